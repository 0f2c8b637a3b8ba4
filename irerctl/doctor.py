"""`irerctl doctor`: what is wrong on this machine, and what to type about it. Works with the daemon down.

It only looks: it must never take a lock, write a file or change a setting, for it may run beside a daemon that is starting.
"""

import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click

from irerctl import VERSION, render
from irerctl.about import SAME_VERSION, same_methods
from irerctl.session import START_IT, Failure, Session, body_of, command, not_admitted, session

Verdict = Literal["ok", "warn", "fail"]

FREE_BYTES_WARN = 1 << 30
FREE_BYTES_FAIL = 64 << 20
CLOCK_AHEAD_S_MAX = 5.0
TOOL_TIMEOUT_S = 5.0
CBOR2_MIN = (6, 1)
MAY_READ_KEYS = frozenset({"viewer", "operator", "admin"})

ANOTHER_DIRECTORY = "Try: irerctl doctor --state-dir DIR"
AS_ROOT = "Try: sudo irerctl doctor"
JOURNAL = "Try: journalctl -u irerd -n 50"


class Finding(NamedTuple):
    """One thing that was looked at."""

    check: str
    verdict: Verdict
    text: str
    remedy: str = ""


@dataclass
class Patient:
    """What is known so far; each check may learn something for those after it."""

    now: Session
    path: str
    state_dir: Path | None
    status: dict[str, Any] = field(default_factory=dict)
    """The daemon's own words; empty when it does not answer."""
    reachable: bool = False


@command(
    "doctor",
    "Examine this machine and say what to repair.",
    click.Option(
        ["--state-dir"],
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="The daemon's state directory, where it is not the usual one.",
    ),
    epilog="Works with the daemon down. Exit status 1 when something failed.",
)
def doctor(state_dir: Path | None) -> None:
    now = session()
    patient = Patient(now, now.path, state_dir)
    findings = []
    for check in CHECKS:
        for finding in check(patient):
            findings.append(finding)
            if now.output == "table":
                _draw(finding)
    failed = any(finding.verdict == "fail" for finding in findings)
    if now.output == "table":
        _draw_end(findings)
    else:
        listed = [finding._asdict() for finding in findings]
        now.show(listed if now.output == "jsonl" else {"ok": not failed, "findings": listed})
    if failed:
        click.get_current_context().exit(1)


def _draw(finding: Finding) -> None:
    lead = f"{render.verdict(finding.verdict, finding.verdict.ljust(4))}  {finding.check.ljust(8)}  "
    for line in render.wrapped(render.clean(finding.text), lead):
        render.say(line)
    if finding.remedy:
        render.say(f"{' ' * 16}{render.clean(finding.remedy)}")


def _draw_end(findings: list[Finding]) -> None:
    failed, warned = (sum(finding.verdict == verdict for finding in findings) for verdict in ("fail", "warn"))
    render.say()
    render.say(f"{failed} failed, {render.plural(warned, 'warning')}." if failed or warned else "Nothing to repair.")


# The checks, in the order in which one may explain the next


def check_program(patient: Patient) -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("cbor2")
    except PackageNotFoundError:
        yield Finding("program", "fail", "cbor2 is not installed", "Try: pip install 'cbor2>=6.1'")
        return
    text = f"irerctl {VERSION}, python {sys.version.split()[0]}, cbor2 {found}"
    if tuple(int(part) for part in found.split(".")[:2]) < CBOR2_MIN:
        yield Finding("program", "fail", f"{text}: too old", "Try: pip install 'cbor2>=6.1'")
    else:
        yield Finding("program", "ok", text)


def check_caller(patient: Patient) -> Iterator[Finding]:
    """Who we are to this machine."""
    import grp
    import pwd

    uid, name, groups = os.getuid(), "no name", []
    with contextlib.suppress(KeyError):
        name = pwd.getpwuid(uid).pw_name
    for gid in dict.fromkeys([os.getgid(), *os.getgroups()]):
        with contextlib.suppress(KeyError):
            groups.append(grp.getgrgid(gid).gr_name)
    yield Finding("caller", "ok", f"uid {uid} ({name}), groups {', '.join(groups) or 'none'}")


def check_socket(patient: Patient) -> Iterator[Finding]:
    """Is there a socket, may we open it, and does anyone listen?"""
    from irerctl.client import PATH_BYTES_MAX

    path = patient.path
    mode = stat.S_IFSOCK
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        text = f"{path}: a socket's path has at most {PATH_BYTES_MAX} bytes"
        yield Finding("socket", "fail", text, "Try: irerctl --socket PATH doctor")
        return
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        yield Finding("socket", "fail", f"{path} does not exist: the daemon is not running", START_IT)
        return
    except PermissionError:
        pass  # connecting says the same, and more clearly
    if not stat.S_ISSOCK(mode):
        yield Finding("socket", "fail", f"{path} is not a socket", "Try: irerctl --socket PATH doctor")
        return
    if mode & 0o007:
        yield Finding("socket", "warn", f"{path} is open to everybody (mode {mode & 0o777:04o})", f"Try: chmod o= {path}")
    problem = _knock(path)
    if problem is not None:
        remedy = str(not_admitted(path)["help"]) if isinstance(problem, PermissionError) else START_IT
        yield Finding("socket", "fail", f"{path}: {(problem.strerror or str(problem)).lower()}", remedy)
        return
    patient.reachable = True
    yield Finding("socket", "ok", path)


def _knock(path: str) -> OSError | None:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as knock:
        knock.settimeout(TOOL_TIMEOUT_S)
        try:
            knock.connect(path)
        except OSError as problem:
            return problem
    return None


def check_daemon(patient: Patient) -> Iterator[Finding]:
    """Does it answer us, as whom does it know us, and what does it say of itself?"""
    if not patient.reachable:
        return
    try:
        with patient.now.connect() as client:
            info = client.call("system.info").result
            patient.status = client.call("system.status").result
            role = client.welcome["peer"]["role"]
            keys = _keys_set(client) if role in MAY_READ_KEYS else {}
    except Exception as failure:
        body = body_of(failure)
        if body is None:
            raise
        yield Finding("daemon", "fail", str(body.get("detail", body["title"])), str(body.get("help", "")))
        return
    yield Finding("role", "ok", f"the daemon knows you as {role}")
    text = f"irerctl {VERSION}, irerd {render.word(info.get('version'))}"
    if same_methods(info):
        yield Finding("versions", "ok", f"{text}, the same methods")
    else:
        yield Finding("versions", "warn", f"{text}: their methods differ", SAME_VERSION)
    yield from _check_health(patient.status)
    yield from _check_keys(keys)


def _keys_set(client: Any) -> Mapping[str, Any]:
    """Configuration keys that win over the file; none of a daemon that knows no such thing."""
    try:
        return dict(client.call("config.get").result.get("set") or {})
    except Exception as failure:
        if body_of(failure) is None:
            raise
        return {}


def _check_keys(keys: Mapping[str, Any]) -> Iterator[Finding]:
    """Which configuration keys are not what the file says."""
    for key, found in sorted(keys.items()):
        value = json.dumps(found.get("value"))
        text = f"{key} = {value} was set by {render.word(found.get('by'))} and wins over the file"
        unset = json.dumps({"key": key, "value": None})
        yield Finding("settings", "ok", text, f"Back to the file: irerctl call config.set '{unset}'")


def _check_health(status: Mapping[str, Any]) -> Iterator[Finding]:
    verdict = WORSE.get(status.get("health", "ok"), "fail")
    state, up = render.word(status.get("state")), render.duration(status.get("uptime_s") or 0)
    problems = status.get("problems") or ()
    if not problems:
        yield Finding("health", verdict, f"{state}, up {up}")
    for problem in problems:
        yield Finding("health", "warn" if verdict == "ok" else verdict, str(problem))


def check_unit(patient: Patient) -> Iterator[Finding]:
    """What systemd thinks of it, where there is systemd."""
    if not shutil.which("systemctl") or not Path("/run/systemd/system").is_dir():
        yield Finding("unit", "ok", "no systemd here")
        return
    shown = _ask("systemctl", "show", "irerd.service", "--property=LoadState,ActiveState,SubState,Result,NRestarts")
    unit = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    text = f"irerd.service is {unit.get('ActiveState', 'unknown')} ({unit.get('SubState', '')})"
    if unit.get("LoadState") != "loaded":
        yield Finding("unit", "ok", "irerd.service is not installed: the daemon is started by hand")
    elif unit.get("ActiveState") == "failed":
        yield Finding("unit", "fail", f"{text}, result {unit.get('Result')}", f"{JOURNAL}   then: systemctl restart irerd")
    elif unit.get("NRestarts", "0") not in ("0", ""):
        yield Finding("unit", "warn", f"{text}, restarted {unit['NRestarts']} times", JOURNAL)
    else:
        yield Finding("unit", "ok", text)


def check_state(patient: Patient) -> Iterator[Finding]:
    """Where the state is, and whether it is private."""
    where = patient.state_dir or find_state_dir(patient)
    patient.state_dir = None  # for the checks that follow, unless it can be read
    if where is None:
        yield Finding("state", "warn", "no state directory found", ANOTHER_DIRECTORY)
        return
    try:
        mode = where.stat().st_mode
        stored = (where / "ledger.json").exists()
    except PermissionError:
        yield Finding("state", "warn", f"{where}: not for you to read", AS_ROOT)
        return
    except OSError as problem:
        yield Finding("state", "fail", f"{where}: {(problem.strerror or '').lower()}", ANOTHER_DIRECTORY)
        return
    if not stored:
        yield Finding("state", "warn", f"{where} holds no ledger: nothing was ever stored there", ANOTHER_DIRECTORY)
        return
    patient.state_dir = where
    if mode & 0o027:
        yield Finding("state", "warn", f"{where} has mode {mode & 0o777:04o}: others can look into it", f"Try: chmod 0700 {where}")
    else:
        yield Finding("state", "ok", str(where))


def find_state_dir(patient: Patient) -> Path | None:
    """The directory whose LOCK the answering daemon has open, else the first usual place that has a ledger."""
    with contextlib.suppress(OSError):
        for each in Path(f"/proc/{patient.status.get('pid')}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = Path(os.readlink(each))
                if target.name == "LOCK":
                    return target.parent
    usual = Path(os.environ.get("STATE_DIRECTORY", "/var/lib/irer"))
    for place in (Path(patient.path).parent, usual, Path("~/.local/state/irer").expanduser()):
        with contextlib.suppress(OSError):
            if (place / "ledger.json").exists():
                return place
    return None


def check_lock(patient: Patient) -> Iterator[Finding]:
    """Who holds the state, and is it who answers?"""
    if patient.state_dir is None:
        return
    owner, answering = lock_owner(patient.state_dir / "LOCK"), patient.status.get("pid")
    if owner is None and answering is None:
        yield Finding("lock", "ok", "nobody holds the state")
    elif owner is None:
        yield Finding("lock", "warn", f"pid {answering} answers, but its state is elsewhere", ANOTHER_DIRECTORY)
    elif answering is None:
        remedy = f"Try: irerctl --socket PATH doctor   or: kill {owner}"
        yield Finding("lock", "fail", f"pid {owner} ({_process_name(owner)}) holds the state and does not answer here", remedy)
    elif owner != answering:
        yield Finding("lock", "warn", f"held by pid {owner}, while pid {answering} answers: two daemons", ANOTHER_DIRECTORY)
    else:
        yield Finding("lock", "ok", f"held by the daemon, pid {owner}")


def lock_owner(lock: Path) -> int | None:
    """The process that holds the file's lock, as the kernel lists it; looking takes no lock."""
    try:
        found = lock.stat()
        held = Path("/proc/locks").read_text()
    except OSError:
        return None
    wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in held.splitlines():
        words = line.split()
        if len(words) >= 6 and words[1] == "FLOCK" and words[5] == wanted:
            return int(words[4])
    return None


def _process_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "unknown"


def check_disk(patient: Patient) -> Iterator[Finding]:
    """A full disk stops every write."""
    if patient.state_dir is None:
        return
    room = os.statvfs(patient.state_dir)
    free = room.f_bavail * room.f_frsize
    text = f"{render.size(free)} free"
    if room.f_files and room.f_favail < 1_000:
        yield Finding("disk", "warn", f"{text}, but only {room.f_favail} more files fit", "Remove files, or move the state")
    elif free < FREE_BYTES_FAIL:
        yield Finding("disk", "fail", text, "Free some space: writes are refused when the disk is full")
    elif free < FREE_BYTES_WARN:
        yield Finding("disk", "warn", text, "Free some space before the disk is full")
    else:
        yield Finding("disk", "ok", text)


def check_logs(patient: Patient) -> Iterator[Finding]:
    """Every chain: up to what the daemon says is on disk, or whole where it already found damage."""
    if patient.state_dir is None:
        return
    from irerctl.audit import chains, first_bad, verified_offline

    logs = [log for log in patient.status.get("logs") or () if log.get("integrity", "ok") == "ok"]
    durable = {log["log"]: log["durable_seq"] for log in logs if log.get("durable_seq", -1) >= 0}
    try:
        with render.Waiting("reading the logs"):
            rows = chains(verified_offline(patient.state_dir, until=durable))
    except Failure as failure:
        yield Finding("logs", "warn", str(failure), AS_ROOT if os.getuid() else "")
        return
    if all(row["ok"] for row in rows):
        records = render.plural(sum(row.get("records", 0) for row in rows), "record")
        yield Finding("logs", "ok", f"{render.plural(len(rows), 'log')}, {records}, every chain is whole")
    for row in rows:
        if not row["ok"]:
            remedy = "Keep a copy of the state directory, then restore a backup"
            yield Finding("logs", "fail", f"{row['log']}: {first_bad(row)}", remedy)


def check_clock(patient: Patient) -> Iterator[Finding]:
    """Order never depends on it, but times for people do."""
    wall = time.time()
    ahead = _newest_write(patient.state_dir) - wall
    if ahead > CLOCK_AHEAD_S_MAX:
        yield Finding("clock", "warn", f"the last record was written {render.duration(ahead)} from now", "Try: timedatectl")
        return
    shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall))
    match _ask("timedatectl", "show", "--property=NTPSynchronized", "--value").strip():
        case "no":
            yield Finding("clock", "warn", f"{shown}, not synchronised", "Try: timedatectl set-ntp true")
        case "yes":
            yield Finding("clock", "ok", f"{shown}, synchronised")
        case _:
            yield Finding("clock", "ok", shown)


def _newest_write(state_dir: Path | None) -> float:
    times = [0.0]
    with contextlib.suppress(OSError):
        times += [each.stat().st_mtime for each in (state_dir.glob("*.jsonl") if state_dir else ())]
    return max(times)


def _ask(*words: str) -> str:
    """What a system tool prints; nothing where there is no such tool or it cannot say."""
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


WORSE: dict[str, Verdict] = {"ok": "ok", "degraded": "warn"}

CHECKS: list[Callable[[Patient], Iterator[Finding]]] = [
    check_program,
    check_caller,
    check_socket,
    check_daemon,
    check_unit,
    check_state,
    check_lock,
    check_disk,
    check_logs,
    check_clock,
]
