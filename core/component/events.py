"""What happened to components: runs that began and ended. A record says by which component, in which version, of which manifest."""

from typing import Annotated

from msgspec import Meta

from core.component.manifest import ACCEPTED_CHARACTERS_MAX, PortName, StoredName, Text, Title
from core.engine import Event
from core.fields import Code, Count, Hash, Name, privacy, words

Value = float | bool | Text | None
"""A whole number is a float too: written without a point, it comes back as the very same value, however large it is."""
Values = Annotated[dict[PortName, Value], Meta(max_length=64)]
FolderName = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\Z"),
    privacy("public"),
    words("the name of a directory: letters, digits and . _ -"),
]
FileOf = Annotated[StoredName, privacy("public")]
Detail = Annotated[str, Meta(max_length=500), privacy("open")]


class ComponentStarted(Event, type="component.started"):
    """A run of a component began.

    job: its id
    component: which component
    version: of the component
    digest: SHA-256 of its manifest
    inputs: what it was given
    variables: what was tuned, all of them
    hunt_id: the hunt whose job began it; none where a caller did
    place: of that job within its hunt, counted on over the generations; none where it runs for the best of a generation
    """

    job: Name
    component: Title
    version: Name
    digest: Hash
    inputs: Values
    variables: Values
    hunt_id: Name | None = None
    place: Count | None = None


class ComponentAccepted(Event, type="component.accepted"):
    """Somebody said that a component which does not come with irer may run, just as it was then.

    name: of the component
    version: of the component
    digest: SHA-256 over its manifest and its script: what is changed is another, and is to be accepted again
    manifest: all of it, as JSON
    script_sha256: of the script
    folder: where it stands in the configured directory
    """

    name: Title
    version: Name
    digest: Hash
    manifest: Annotated[str, Meta(max_length=ACCEPTED_CHARACTERS_MAX), privacy("public")]
    script_sha256: Hash
    folder: FolderName


class ComponentFinished(Event, type="component.finished"):
    """A run of a component came to its end.

    job: its id
    job_uuid: the run of the field that it looked at
    component: which component
    version: of the component
    digest: SHA-256 of its manifest
    ok: whether it did its work
    outputs: what it found; null where there is no number, and then an output says why
    artefact_sha256: of the very file that it read
    files: what it left in files: of each such output the name in the directory component_files
    code: without an outcome cancelled, or what went wrong
    detail: one line about that, and what to do
    """

    job: Name
    job_uuid: Name
    component: Title
    version: Name
    digest: Hash
    ok: bool
    outputs: Values = {}
    artefact_sha256: Hash | None = None
    files: Annotated[dict[PortName, FileOf], Meta(max_length=64)] = {}
    code: Code = "ok"
    detail: Detail = ""
