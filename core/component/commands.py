"""What the component engine may be asked to do: begin a run, end one, and hear what one came to. Judges and changes nothing.

Whatever a component needs is judged here by its manifest, before any worker starts; only whether the file of a run is there is left
to the work itself, which looks before it takes a worker.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from core.component import manifest as manifests
from core.component.builtin import BUILTIN
from core.component.events import ComponentAccepted, ComponentFinished, ComponentStarted, FolderName
from core.component.manifest import Manifest, PortName, Scalar, Title
from core.component.model import ENDED_MAX, Components, Run
from core.engine import NOTHING, CancelJob, Command, Context, Decision, Event, JobEnded, Refused
from core.fields import Frozen, Hash, Name

ACCEPTED_MAX = 64
RUNNING_MAX = 64
"""Runs begun by callers that may go on or wait at once; the pool of workers takes them in turn."""


class RunComponent(Command):
    """Which component is to run, and on what.

    name: of the component
    inputs: what it takes, by the names in its manifest
    variables: what is tuned, by the names in its manifest; those not given have their defaults
    """

    name: Title
    inputs: Annotated[dict[PortName, Scalar], Meta(max_length=64)]
    variables: Annotated[dict[PortName, Scalar], Meta(max_length=64)] = {}


class RunBegun(msgspec.Struct, frozen=True):
    """A run that goes on by itself.

    job: its id: follow it with system.op_watch, end it with system.op_cancel
    component: which component
    version: of the component
    """

    job: Name
    component: Title
    version: Name


def begun(happened: Sequence[Event]) -> RunBegun:
    first = happened[0]
    assert isinstance(first, ComponentStarted)
    return RunBegun(first.job, first.component, first.version)


def named(components: Components, name: str) -> Manifest:
    """A component there is, or a refusal that says which there are."""
    manifest = components.manifests.get(name)
    if manifest is None:
        close = get_close_matches(name, components.manifests, n=1, cutoff=0.5)
        there = f"There are: {', '.join(components.manifests)}. One of your own must be accepted first: irerctl component ls"
        instead = f"Did you mean {close[0]}?" if close else there
        raise Refused("not-found", f"no component is named {name}. {instead}", reason="component", data={"nearest": close})
    return manifest


def decide_run(components: Components, command: RunComponent, ctx: Context) -> Decision:
    manifest = named(components, command.name)
    inputs = manifests.inputs_of(manifests.asked_of(manifest), command.inputs)
    variables = manifests.variables_of(manifest, command.variables)
    if len(components.running) - components.triggered >= RUNNING_MAX:
        text = f"{RUNNING_MAX} runs of components go on or wait already. Try again when one has ended, or end one: "
        raise Refused("resource-exhausted", text + "irerctl call system.op_cancel", reason="runs", retry_ms=5_000)
    return Decision(started(components, ctx.new_id(), manifest, inputs, variables))


def started(
    components: Components, job: str, manifest: Manifest, inputs: dict[str, Any], variables: dict[str, Any]
) -> ComponentStarted:
    return ComponentStarted(job, manifest.name, manifest.version, components.digest_of(manifest.name), inputs, variables)


# --- accepting one ----------------------------------------------------------------------------------------------------------


class AcceptComponent(Command):
    """Which component may run from now on.

    name: of the component
    digest: as component.list shows it: what somebody has looked at, and not what it may be by then
    """

    name: Title
    digest: Hash


class Adopt(Command):
    """A component that was found in the configured directory is accepted.

    name: of the component
    manifest: all of it, as JSON
    script_sha256: of its script
    folder: where it stands
    """

    name: Title
    manifest: Annotated[str, Meta(max_length=manifests.ACCEPTED_CHARACTERS_MAX)]
    script_sha256: Hash
    folder: FolderName


def decide_adopt(components: Components, command: Adopt, ctx: Context) -> Decision:
    manifest = manifests.parse(command.manifest.encode())
    manifests.check_user(manifest, BUILTIN)
    digest = manifests.whole_digest(manifest, command.script_sha256)
    known = components.accepted.get(command.name)
    if known is not None and (known.digest, known.folder) == (digest, command.folder):
        return NOTHING
    if known is None and len(components.accepted) >= ACCEPTED_MAX:
        text = f"{ACCEPTED_MAX} components are accepted, as many as there may be. Take one of those under its name instead"
        raise Refused("resource-exhausted", text, reason="components")
    text = manifests.text(manifest)
    return Decision(ComponentAccepted(manifest.name, manifest.version, digest, text, command.script_sha256, command.folder))


# --- how one ends -----------------------------------------------------------------------------------------------------------


class _Said(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """What the work says: not believed before it is checked."""

    outputs: dict[str, Any]
    artefact_sha256: Hash
    files: dict[str, Any] = {}


_DETAILS = {
    "no-script": "its script is not where it was accepted. Put it back, or accept it anew: irerctl component ls",
    "changed": "its script is another than the one that was accepted. Look at it, then: irerctl component accept",
    "no-sandbox": "it cannot be confined on this machine, so it was not run. See: irerctl component ls",
    "forbidden": "it tried what it may not: another process, the network, or a file that is not its own. Change its script",
    "cpu": "it used more processor time than its manifest allows. Raise limits.cpu_s there, or make it faster",
    "too-much-output": "it wrote more than its manifest allows. Raise limits.output_mb there, or write less",
    "undeclared-output": "it left a file that its manifest does not promise. Name it there as an output, or write it into tmp",
    "crashed": "its script ended with an error. Mend the script, then accept it anew",
    "disk-error": "a file of it could not be written or read. Look whether the disk is full (df), then try again",
    "no-artefact": "no file of this run is here: it has not ended, or came to nothing. Take one that ended: irerctl hunt ledger",
    "bad-artefact": "the file of this run is not one that irer wrote, or it is damaged. Compute the run again",
    "unknown-component": "this version of irer has no such component. See: irerctl component ls",
    "out-of-range": "the fields of this run are of a form that the component does not take. Compute it again, then try again",
    "poison": "its worker ended three times, so it is not tried again. If that stays so, see: irerctl doctor",
    "memory": "it needs more memory than a worker may have. Have an admin raise compute.memory_bytes and restart irerd",
    "timeout": "it took longer than its manifest allows. Try again with fewer draws, or on a smaller grid",
    "no-memory": "there is no memory for its work. Make room on the machine, then try again",
    "no-process": "no process could be started. Try again when the machine has room for one",
    "busy": "too much waits for a worker. Try again later",
    "bad-output": "what it said is not what the manifest promises. Try again; if it stays so, see: irerctl doctor",
    "not-installed": "what it is computed with is not installed here. Install the numeric libraries, then try again",
}
_ELSE = "it ended early. Try again; if it stays so, see: irerctl doctor"


def decide_ended(components: Components, command: JobEnded, ctx: Context) -> Decision:
    run = components.of_effect(command.effect)
    if run is None:
        return NOTHING  # it was cancelled meanwhile
    if not command.ok:
        return Decision(failed(run, command.code, _why(components, run, command)))
    said = _believed(components, run, command.result)
    if said is None:
        return Decision(failed(run, "bad-output", _DETAILS["bad-output"]))
    files = {name: stored[0] for name, stored in said.files.items()}
    finished = ComponentFinished(
        run.job, run.subject, run.component, run.version, run.digest, True, said.outputs, said.artefact_sha256, files
    )
    return Decision(finished)


def _why(components: Components, run: Run, command: JobEnded) -> str:
    """What to do about it; of a user's component with what it said last, or which limit it was."""
    text = _DETAILS.get(command.code) or command.detail or _ELSE
    if run.component in components.accepted and command.code == "memory":
        text = "it used more memory than its manifest allows. Raise limits.memory_mb there, or use less"
    return f"{text} ({command.detail})" if run.component in components.accepted and command.detail not in ("", text) else text


def _believed(components: Components, run: Run, result: dict[str, Any]) -> _Said | None:
    """None for what this component cannot have said."""
    manifest = components.manifests.get(run.component)
    if run.component in components.accepted and components.digest_of(run.component) != run.digest:
        return None
    try:
        said = msgspec.convert(result, _Said, strict=True)
    except msgspec.ValidationError:
        return None
    outputs = manifests.outputs_of(manifest, said.outputs) if manifest else None
    files = manifests.files_of(manifest, said.files) if manifest else None
    return _Said(outputs, said.artefact_sha256, files) if outputs is not None and files is not None else None


def failed(run: Run, code: str, detail: str = "") -> ComponentFinished:
    return ComponentFinished(run.job, run.subject, run.component, run.version, run.digest, False, code=code, detail=detail[:500])


def decide_cancel(components: Components, command: CancelJob, ctx: Context) -> Decision:
    run = components.running.get(command.job)
    if run is not None:
        return Decision(failed(run, "cancelled"))
    if any(run.job == command.job for run in components.ended):
        return NOTHING
    text = f"no run {command.job} of a component is known; of those that ended the last {ENDED_MAX} are. See: irerctl component"
    raise Refused("not-found", text, reason="job")
