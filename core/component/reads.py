"""How the component engine looks: the components there are, each by its manifest, and the runs of them."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from core.component import manifest as manifests
from core.component.builtin import BUILTIN
from core.component.commands import AcceptComponent, Adopt, named
from core.component.manifest import Manifest, Title
from core.component.model import Components
from core.engine import Command, Refused, Result
from core.fields import Count, Hash
from core.settings import Settings


class Found(NamedTuple):
    """A folder of the configured directory with a manifest in it, as it is now."""

    folder: str
    manifest: Manifest | None
    """None where it is none that irer takes; then `reason` says why."""
    script_sha256: str
    reason: str

    @property
    def digest(self) -> str:
        return manifests.whole_digest(self.manifest, self.script_sha256) if self.manifest is not None else ""


class Sandbox(Result):
    """What a user's component is held to on this machine.

    files: what keeps it from files that are not its own
    calls: what keeps it from other processes, and from making any
    network: what keeps it from the network
    """

    files: str
    calls: str
    network: str


class DescribeComponent(Command):
    """Which component.

    name: of the component
    """

    name: Title


class Listed(Result):
    """A component.

    name: of the component
    version: of the component
    description: what it does
    kind: builtin, part of irer; or user, found in component.directory
    trigger: job, after each job of a hunt; winner, after a generation for its best run; or manual, when somebody asks
    digest: SHA-256 of its manifest; of a user's component of its script too
    state: ready; or new, changed (to be accepted), missing (its folder is gone) or invalid
    reason: of an invalid one, what is wrong with it
    folder: of a user's component, where it stands in component.directory
    """

    name: str
    version: str
    description: str
    kind: str
    trigger: str
    digest: str
    state: Literal["ready", "new", "changed", "missing", "invalid"]
    reason: str | None = None
    folder: str | None = None


class Listing(Result):
    """The components there are.

    components: each of them, by name
    running: runs that go on or wait for a worker
    sandbox: what components of users are held to here; null where none are configured
    """

    components: list[Listed]
    running: Count
    sandbox: Sandbox | None = None


class Described(Result):
    """A component, whole.

    manifest: what it says of itself
    digest: SHA-256 of its manifest; of a user's component of its script too
    trigger: when it runs here: job, winner or manual; the configuration says it
    """

    manifest: Manifest
    digest: Hash
    trigger: str


def listing(components: Components, found: Sequence[Found], settings: Settings, sandbox: Sandbox | None = None) -> Listing:
    """Those that come with irer, those that were accepted, and those that could be."""
    rows = [_row(components, manifest, settings, "builtin", "ready") for manifest in BUILTIN.values()]
    there = {each.manifest.name: each for each in found if each.manifest is not None}
    for name, accepted in components.accepted.items():
        now = there.get(name)
        if now is None:
            rows.append(_row(components, components.manifests[name], settings, "user", "missing", accepted.folder))
        elif (now.digest, now.folder) == (accepted.digest, accepted.folder):
            rows.append(_row(components, components.manifests[name], settings, "user", "ready", accepted.folder))
    for each in found:
        if each.manifest is None:
            rows.append(Listed(each.folder, "", "", "user", "manual", "", "invalid", each.reason, each.folder))
            continue
        known = components.accepted.get(each.manifest.name)
        if known is None or (each.digest, each.folder) != (known.digest, known.folder):
            kind: Literal["new", "changed"] = "new" if known is None else "changed"
            row = _row(components, each.manifest, settings, "user", kind, each.folder)
            rows.append(msgspec.structs.replace(row, digest=each.digest))
    return Listing(sorted(rows, key=lambda row: row.name), len(components.running), sandbox)


def _row(
    components: Components, manifest: Manifest, settings: Settings, kind: str, state: Any, folder: str | None = None
) -> Listed:
    digest = components.digest_of(manifest.name) if manifest.name in components.manifests else ""
    trigger = trigger_of(manifest, settings)
    return Listed(manifest.name, manifest.version, manifest.description, kind, trigger, digest, state, None, folder)


def described(components: Components, found: Sequence[Found], name: str, settings: Settings) -> Described:
    """As it was accepted; and one that is not accepted, or changed, as somebody would accept it."""
    now = next((each for each in found if each.manifest is not None and each.manifest.name == name), None)
    if now is not None and now.manifest is not None:
        return Described(now.manifest, now.digest, trigger_of(now.manifest, settings))
    manifest = named(components, name)
    return Described(manifest, components.digest_of(name), trigger_of(manifest, settings))


def adopted(found: Sequence[Found], command: AcceptComponent) -> Adopt:
    """What is to be accepted, if it is still what somebody looked at."""
    here = [each for each in found if each.manifest is not None and each.manifest.name == command.name]
    if not here:
        why = next((f": {each.reason}" for each in found if each.folder == command.name), "")
        text = f"no component {command.name} is in component.directory{why}. See: irerctl component ls"
        raise Refused("not-found", text, reason="component")
    now = here[0]
    assert now.manifest is not None
    if now.digest != command.digest:
        text = (
            f"{command.name} is now {now.digest}, and not {command.digest}. Look at it again: irerctl component show {command.name}"
        )
        raise Refused("aborted", text, reason="digest", data={"digest": now.digest})
    return Adopt(now.manifest.name, manifests.text(now.manifest), now.script_sha256, now.folder)


def trigger_of(manifest: Manifest, settings: Settings) -> str:
    """When a component runs by itself, as the configuration says."""
    if manifest.name in settings.component.triggered:
        return "job"
    return "winner" if manifest.name in settings.component.winners else "manual"
