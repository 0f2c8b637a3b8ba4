"""What the component engine remembers: the runs that go on, the last that ended, and of each run of the field the figures that a
ledger shows. All of it is bounded; what is older stands in the log.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from core.component.builtin import BSSN_CHECK, BUILTIN, NULL_PROFILE
from core.component.events import ComponentAccepted, ComponentFinished, ComponentStarted, Value
from core.component.manifest import SUBJECT, Manifest, declared, digest, parse
from core.engine import Errand, JobStatus, Stamp
from core.fields import Frozen
from core.times import time_text

ERRAND = "component.run"
METHOD = "component.run"
ENDED_MAX = 64
"""Runs that ended and can still be asked about by their id."""
SUBJECTS_MAX = 10_000
"""Runs of the field whose figures are remembered."""
BEGUN_MAX = 1_024
HUNTS_MAX = 256
FIGURES = {BSSN_CHECK: ("h_classical",), NULL_PROFILE: ("gap_phase", "gap_target")}
"""Outputs that are remembered beside a run of the field."""


class Run(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """One run of a component. `code` is empty while it goes on."""

    job: str
    seq: int
    """The record that began it."""
    component: str
    version: str
    digest: str
    inputs: dict[str, Value]
    variables: dict[str, Value]
    hunt_id: str
    """The hunt whose job began it; empty where a caller did."""
    started_us: int
    ended_us: int = 0
    ok: bool = False
    outputs: dict[str, Value] = {}
    code: str = ""
    detail: str = ""
    files: dict[str, str] = {}

    @property
    def subject(self) -> str:
        return str(self.inputs.get(SUBJECT, ""))


class Figures(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """What components found out about one run of the field: null where none did, or where there is no number.

    h_classical: of bssn-check
    gap_phase: of null-profile
    gap_target: of null-profile
    """

    h_classical: float | None = None
    gap_phase: float | None = None
    gap_target: float | None = None


class Accepted(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True):
    """A component of a user's that may run, just as it was when somebody said so."""

    digest: str
    manifest: str
    script_sha256: str
    folder: str


class Components:
    """The state of the engine."""

    def __init__(self) -> None:
        self.accepted: dict[str, Accepted] = {}
        """By name, the newest last; besides those that come with irer."""
        self.manifests: dict[str, Manifest] = dict(BUILTIN)
        """Of all that may run."""
        self.running: dict[str, Run] = {}
        """In the order of their coming."""
        self.ended: tuple[Run, ...] = ()
        """The newest first."""
        self.figures: OrderedDict[str, Figures] = OrderedDict()
        """By the run of the field; the first to be forgotten first."""
        self.begun: OrderedDict[str, None] = OrderedDict()
        """Ids of the last runs for the best of a generation: none is begun twice. The first to be forgotten first."""
        self.reached: OrderedDict[str, int] = OrderedDict()
        """Of each hunt, the place of the next job to look at. The hunt that was looked at longest ago is forgotten first."""
        self.errands: dict[str, Errand] = {}
        """The work of those that go on, by the id of its effect: made once, as it is asked for after every event."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Components) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def of_effect(self, effect: str) -> Run | None:
        """The run whose work this is, while it goes on."""
        errand = self.errands.get(effect)
        return self.running[errand.params["job"]] if errand is not None else None

    def keep(self, run: Run) -> None:
        self.running[run.job] = run
        self.errands[effect_of(run)] = Errand(effect_of(run), ERRAND, _work(self, run))

    def digest_of(self, name: str) -> str:
        accepted = self.accepted.get(name)
        return accepted.digest if accepted is not None else digest(self.manifests[name])

    def accept(self, name: str, accepted: Accepted) -> None:
        self.accepted.pop(name, None)
        self.accepted[name] = accepted
        self.manifests[name] = parse(accepted.manifest.encode())

    @property
    def triggered(self) -> int:
        """How many that nobody asked for go on."""
        return sum(bool(run.hunt_id) for run in self.running.values())


def outputs_of(components: Components, job_uuid: str) -> Figures:
    """What components found out about this run of the field; nothing is found out about one that was never looked at."""
    return components.figures.get(job_uuid, _NOTHING)


_NOTHING = Figures()


def effect_of(run: Run) -> str:
    return f"hunt_log:{run.seq}:0"


def _work(components: Components, run: Run) -> dict[str, Any]:
    manifest = components.manifests.get(run.component)
    accepted = components.accepted.get(run.component)
    # Once the component is another, what was begun with the one before cannot be done any more.
    told = _script(manifest, accepted) if manifest is not None and accepted is not None and accepted.digest == run.digest else {}
    return {
        **told,
        "job": run.job,
        "component": run.component,
        "builtin": manifest.builtin if manifest else "",
        "wall_s": manifest.limits.wall_s if manifest else 0.0,
        "inputs": declared(manifest.inputs if manifest else (), run.inputs),
        "variables": declared(manifest.tunable_variables if manifest else (), run.variables),
    }


def _script(manifest: Manifest, accepted: Accepted) -> dict[str, Any]:
    """All that running a user's script takes."""
    limits = manifest.limits
    return {
        "script": {
            "folder": accepted.folder,
            "name": manifest.script_to_run,
            "sha256": accepted.script_sha256,
            "dependencies": manifest.dependencies,
            "paths": [[port.name, port.type] for port in manifest.inputs if port.type.startswith("path:")],
            "files": [[port.name, port.type] for port in manifest.outputs if port.type.startswith("path:")],
            "cpu_s": float(limits.cpu_s),
            "memory_mb": limits.memory_mb,
            "output_mb": limits.output_mb,
        }
    }


# --- what happened ----------------------------------------------------------------------------------------------------------


def apply_started(components: Components, event: ComponentStarted, stamp: Stamp) -> None:
    inputs, variables = plain(event.inputs), plain(event.variables)
    hunt_id = event.hunt_id or ""
    run = Run(event.job, stamp.seq, event.component, event.version, event.digest, inputs, variables, hunt_id, stamp.time_us)
    components.keep(run)
    if event.hunt_id is not None and event.place is None:
        components.begun[event.job] = None
        _bound(components.begun, BEGUN_MAX)
    if event.hunt_id is not None and event.place is not None:
        components.reached[event.hunt_id] = event.place + 1
        components.reached.move_to_end(event.hunt_id)
        _bound(components.reached, HUNTS_MAX)


def apply_accepted(components: Components, event: ComponentAccepted, stamp: Stamp) -> None:
    components.accept(event.name, Accepted(event.digest, event.manifest, event.script_sha256, event.folder))


def _bound(remembered: OrderedDict[str, Any], most: int) -> None:
    while len(remembered) > most:
        remembered.popitem(last=False)


def apply_finished(components: Components, event: ComponentFinished, stamp: Stamp) -> None:
    run = components.running.pop(event.job)
    del components.errands[effect_of(run)]
    outputs = plain(event.outputs)
    told = {"outputs": outputs, "code": event.code, "detail": event.detail, "files": dict(sorted(event.files.items()))}
    ended = msgspec.structs.replace(run, ended_us=stamp.time_us, ok=event.ok, **told)
    components.ended = (ended, *components.ended)[:ENDED_MAX]
    if not event.ok:
        return
    found = {name: outputs.get(name) for name in FIGURES.get(event.component, ())}
    numbers = {name: value for name, value in found.items() if isinstance(value, float)}
    before = components.figures.pop(event.job_uuid, _NOTHING)
    cleared: dict[str, float | None] = dict.fromkeys(found)
    components.figures[event.job_uuid] = msgspec.structs.replace(before, **{**cleared, **numbers})
    _bound(components.figures, SUBJECTS_MAX)


def plain(values: Mapping[str, Value]) -> dict[str, Value]:
    """The same live and as the log gives it back: every number a float, and none of them a negative zero."""
    return {name: _plain(value) for name, value in sorted(values.items())}


def _plain(value: Value) -> Value:
    return float(value) + 0.0 if isinstance(value, int | float) and not isinstance(value, bool) else value


# --- looking ----------------------------------------------------------------------------------------------------------------


def jobs(components: Components) -> Iterator[JobStatus]:
    for run in reversed(components.running.values()):
        yield JobStatus(run.job, METHOD, "running", run.seq, time_text(run.started_us))
    for run in components.ended:
        manifest = components.manifests.get(run.component)
        outputs = declared(manifest.outputs if manifest else (), run.outputs)
        yield JobStatus(
            run.job,
            METHOD,
            "done",
            run.seq,
            time_text(run.started_us),
            time_text(run.ended_us),
            run.ok,
            run.code,
            run.detail or None,
            {"component": run.component, "version": run.version, SUBJECT: run.subject, "outputs": outputs, **_left(run)},
        )


def _left(run: Run) -> dict[str, Any]:
    return {"files": run.files} if run.files else {}


# --- snapshots --------------------------------------------------------------------------------------------------------------


class ComponentsDump(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    running: list[Run]
    ended: list[Run]
    figures: list[tuple[str, Figures]]
    begun: list[str]
    reached: list[tuple[str, int]]
    accepted: list[tuple[str, Accepted]]


def dump(components: Components) -> ComponentsDump:
    return ComponentsDump(
        list(components.running.values()),
        list(components.ended),
        list(components.figures.items()),
        list(components.begun),
        list(components.reached.items()),
        list(components.accepted.items()),
    )


def load(dumped: ComponentsDump) -> Components:
    components = Components()
    for name, accepted in dumped.accepted:
        components.accept(name, accepted)
    for run in dumped.running:
        components.keep(run)
    components.ended = tuple(dumped.ended)
    components.figures.update(dumped.figures)
    components.begun.update(dict.fromkeys(dumped.begun))
    components.reached.update(dumped.reached)
    return components
