"""`irerctl bugreport FILE`: what somebody else needs to know about a daemon that misbehaves, and nothing more.

Works with the daemon down, and then has less in it. Must never read a record of a log, a key or a blob: of files it tells sizes.
"""

import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from irerctl import VERSION, render
from irerctl.session import Failure, Session, body_of, command, session
from irerctl.sieve import NAME, TEXT, Sieve, names_here, vocabulary

MODE = 0o600
PART_BYTES_MAX = 256 * 1024
JOURNAL_LINES = 500
TOOL_S = 10.0
LIBRARIES = (
    "apsw",
    "cbor2",
    "click",
    "h5py",
    "jax",
    "msgspec",
    "numba",
    "numpy",
    "prometheus_client",
    "pyjwt",
    "rich",
    "scipy",
    "trio",
)
MOUNT_OPTIONS = frozenset(
    "rw ro relatime noatime nodiratime sync async discard nobarrier data=ordered data=writeback data=journal".split()
)
OUR_CHECKS = frozenset({"atlas", "views", "ledger", "detector", "workers", "loop"})
"""Checks whose reasons the daemon words by itself, beside those of the logs."""
NEVER = "records, blobs, keys, tokens, names, paths and addresses"


@dataclass
class Case:
    """What is known while the report is made."""

    now: Session
    sieve: Sieve
    state_dir: Path | None
    verify: bool
    status: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Parts that could not be had, and why."""


@command(
    "bugreport",
    "Collect what a report of a fault needs into one file.",
    click.Argument(["file"], metavar="FILE", type=click.Path(dir_okay=False, path_type=Path)),
    click.Option(
        ["--state-dir"],
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="DIR",
        help="The daemon's state directory, where it is not the usual one.",
    ),
    click.Option(["--no-verify"], is_flag=True, help="Leave the verification of the logs out, which reads all of them."),
    click.Option(["--force"], is_flag=True, help="Replace FILE if it exists."),
    epilog=f"A tar.gz for you to read before you send it. Never in it: {NEVER}. What stood in their place is marked.",
)
def bugreport(file: Path, state_dir: Path | None, no_verify: bool, force: bool) -> None:
    now = session()
    now.stay_here()
    if file.exists() and not force:
        raise Failure("already-exists", f"{file} exists.", f"Give another name, or: irerctl bugreport {file} --force")
    case = Case(now, Sieve(vocabulary(), names_here()), state_dir, not no_verify)
    parts: dict[str, bytes] = {}
    about: dict[str, str] = {}
    for name, (what, make) in PARTS.items():
        with render.Waiting(f"collecting: {what}"):
            found = _made(case, name, make)
        if found is not None:
            parts[name], about[name] = found, what
    parts = {"README.txt": _readme(about, case.left_out), **parts}
    _write(file, parts, force)
    told = {
        "file": str(file),
        "bytes": file.stat().st_size,
        "parts": [{"name": name, "bytes": len(body), "what": about.get(name, "what is in it")} for name, body in parts.items()],
        "left_out": case.left_out,
    }
    now.show(told, _draw)


def _made(case: Case, name: str, make: Callable[[Case], Any]) -> bytes | None:
    """One part, within its bounds. A part that cannot be had is named in the report and hinders no other."""
    try:
        found = make(case)
    except Exception as failure:
        body = body_of(failure)
        case.left_out[name] = str(body["title"]) if body is not None else type(failure).__name__
        return None
    if found is None:
        return None
    text = found if isinstance(found, str) else json.dumps(found, indent=2, sort_keys=True) + "\n"
    whole = text.encode("utf-8", "replace")
    return whole if len(whole) <= PART_BYTES_MAX else whole[: whole.rfind(b"\n", 0, PART_BYTES_MAX)] + b"\n[cut here]\n"


# The parts


def _versions(case: Case) -> dict[str, Any]:
    libraries = {}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            libraries[name] = metadata.version(name)
    from irerctl.generic import catalogue

    found: dict[str, Any] = {"irerctl": VERSION, "python": sys.version.split()[0], "libraries": libraries}
    return {**found, "catalogue": catalogue().schema_hash(), "taken_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def _daemon(case: Case) -> dict[str, Any]:
    info = case.now.call("system.info").result
    ours = {"version", "schema", "instance", "state", "uptime_s", "boot", "recovered", "limits", "pid"}
    return {name: value for name, value in info.items() if name in ours}


def _status(case: Case) -> dict[str, Any]:
    case.status = case.now.call("system.status").result
    kept = {name: case.status[name] for name in ("version", "instance") if name in case.status}
    return {**case.sieve.value({name: value for name, value in case.status.items() if name != "problems"}), **kept}


def _health(case: Case) -> dict[str, Any]:
    """Every check; its reason only where the daemon itself words it, for engines name what callers made known."""
    found = case.now.call("system.health").result
    logs = {log.get("log") for log in case.status.get("logs") or ()}  # each is checked first, and an engine may be called the same
    checks: list[dict[str, Any]] = []
    for check in found.pop("checks", ()):
        name, reason = check.get("name"), check.get("reason") or ""
        ours = name in OUR_CHECKS or name in logs
        logs.discard(name)
        shown = case.sieve.sentence(reason) if ours else TEXT if reason else ""
        checks.append(
            {"name": name if ours else case.sieve.name(str(name)), "health": case.sieve.value(check.get("health")), "reason": shown}
        )
    return {**case.sieve.value(found), "checks": checks}


def _configuration(case: Case) -> dict[str, Any]:
    """Keys with their values: numbers and choices as they are, marks for all that an administrator wrote."""
    found = case.now.call("config.get").result
    values: dict[str, Any] = {}
    for key, value in (found.get("values") or {}).items():
        values[_free(case.sieve.name(key), values)] = case.sieve.value(value)
    return {"values": values, "set_over_the_file": sorted(case.sieve.name(key) for key in found.get("set") or ())}


def _free(key: str, taken: Mapping[str, Any]) -> str:
    """Two keys whose names were taken out are still two."""
    count = sum(each == key or each.startswith(f"{key} ") for each in taken)
    return key if not count else f"{key} {count + 1}"


def _verdict(case: Case) -> Any:
    if not case.verify:
        case.left_out["verify.json"] = "not wanted (--no-verify)"
        return None
    from irerctl.audit import last_word, reported_offline

    if case.status:
        with case.now.stream("audit.verify") as items:
            last_word(items)
            found = items.result
    else:
        found = last_word(reported_offline(_state_dir(case), None, False))
    return case.sieve.codes({name: value for name, value in (found or {}).items() if name in ("logs", "result")})


def _doctor(case: Case) -> list[dict[str, str]]:
    """What `irerctl doctor` finds, without its words: those name people and places."""
    from irerctl import doctor

    patient = doctor.Patient(case.now, case.now.path, case.state_dir)
    findings = [found for check in doctor.CHECKS if check is not doctor.check_logs for found in check(patient)]
    return [{"check": found.check, "verdict": found.verdict} for found in findings]


def _state_dir(case: Case) -> Path:
    from irerctl import doctor

    where = case.state_dir or doctor.find_state_dir(doctor.Patient(case.now, case.now.path, None, status=case.status))
    if where is None:
        raise Failure("not-found", "no state directory found")
    return where


def _disk(case: Case) -> dict[str, Any]:
    """Room, the file system, and how large each log is. Only names of logs and numbers."""
    where = _state_dir(case)
    room = os.statvfs(where)
    free = {"free_bytes": room.f_bavail * room.f_frsize, "total_bytes": room.f_blocks * room.f_frsize, "free_files": room.f_favail}
    logs: dict[str, dict[str, int]] = {}
    for path in sorted(where.glob("*.jsonl")):
        older = [each for each in (where / "log.d" / path.stem).rglob("*") if each.is_file()]
        name = path.stem if path.stem in case.sieve.value([path.stem]) else NAME
        logs[name] = {
            "bytes": path.stat().st_size,
            "older_files": len(older),
            "older_bytes": sum(each.stat().st_size for each in older),
        }
    quarantine = sum(1 for each in (where / "quarantine").rglob("*") if each.is_file())
    return {**free, "file_system": _mount(where), "logs": logs, "quarantined_files": quarantine}


def _mount(where: Path) -> dict[str, Any]:
    """Kind and options of the file system the state is on; not its name, nor where it is."""
    best: tuple[int, dict[str, Any]] = (-1, {})
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if where.resolve().is_relative_to(place) and len(place) > best[0]:
            best = len(place), {"kind": kind, "options": sorted(MOUNT_OPTIONS & set(options.split(",")))}
    return best[1]


def _machine(case: Case) -> dict[str, Any]:
    """The kernel and what there is of memory and processors; not what the machine is called."""
    uname = os.uname()
    found: dict[str, Any] = {
        "kernel": uname.release,
        "machine": uname.machine,
        "processors": os.cpu_count(),
        "load": os.getloadavg(),
    }
    wanted = ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")
    lines = [line.split() for line in Path("/proc/meminfo").read_text().splitlines()]
    found["memory_kib"] = {words[0][:-1]: int(words[1]) for words in lines if words[0][:-1] in wanted}
    found["open_files_max"] = resource.getrlimit(resource.RLIMIT_NOFILE)
    for name in ("cpu", "io", "memory"):
        with contextlib.suppress(OSError):
            found[f"pressure_{name}"] = Path(f"/proc/pressure/{name}").read_text().splitlines()
    with contextlib.suppress(OSError):
        found["clock"] = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource").read_text().strip()
    pid = case.status.get("pid")
    with contextlib.suppress(OSError):
        figures = ("VmRSS", "VmHWM", "VmSwap", "Threads", "FDSize")
        lines = [line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        found["daemon"] = {words[0][:-1]: int(words[1]) for words in lines if words[0][:-1] in figures}
    return found


def _journal(case: Case) -> str | None:
    """The last lines of irerd and of the service manager about it."""
    asked = ["journalctl", "-u", "irerd.service", "-n", str(JOURNAL_LINES), "-o", "json", "--no-pager", "-q"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=TOOL_S, check=False).stdout
    except FileNotFoundError:
        case.left_out["journal.jsonl"] = "no journalctl here"
        return None
    lines = journal_lines(said, case.sieve)
    if not lines:
        case.left_out["journal.jsonl"] = "the journal has nothing of irerd.service, or not for you"
        return None
    tail, size = [], 0
    for line in reversed(lines):  # the newest are what is wanted
        size += len(line) + 1
        if size > PART_BYTES_MAX:
            break
        tail.append(line)
    return "\n".join(reversed(tail)) + "\n"


def journal_lines(exported: str, sieve: Sieve) -> list[str]:
    """The journal's own export, line by line, through the sieve."""
    made = []
    for line in exported.splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            message = entry.get("MESSAGE") if isinstance(entry, dict) else None
            if isinstance(message, str):
                if entry.get("SYSLOG_IDENTIFIER") == "systemd" and entry.get("_PID") == "1":
                    kept = {"systemd": sieve.sentence(message)}
                else:
                    kept = sieve.journal_line(message)
                at_us = str(entry.get("__REALTIME_TIMESTAMP", ""))
                made.append(json.dumps({"at_us": int(at_us) if at_us.isdigit() else None, **kept}, ensure_ascii=False))
    return made


PARTS: dict[str, tuple[str, Callable[[Case], Any]]] = {
    "versions.json": ("versions of irerctl, Python and libraries; hash of the catalogue", _versions),
    "daemon.json": ("version, uptime, limits and catalogue hash of the daemon", _daemon),
    "status.json": ("the numbers of every engine and log", _status),
    "health.json": ("every check, load and lag", _health),
    "configuration.json": ("configuration in force, without names and texts", _configuration),
    "verify.json": ("what verification says of each log, with digests", _verdict),
    "doctor.json": ("what was examined on this machine, and the verdicts", _doctor),
    "disk.json": ("room, file system, sizes of logs", _disk),
    "machine.json": ("kernel, memory, processors, pressure", _machine),
    "journal.jsonl": ("the last lines of the journal, scrubbed", _journal),
}


# The file


def _readme(about: Mapping[str, str], left_out: Mapping[str, str]) -> bytes:
    lines = ["A report about irer, made by `irerctl bugreport`.", "", "In it:"]
    lines += [f"  {name.ljust(20)}{what}" for name, what in about.items()]
    lines += ["", "Not to be had:", *(f"  {name.ljust(20)}{why}" for name, why in left_out.items())] if left_out else []
    lines += ["", f"Never in it: {NEVER}.", "[redacted:KIND] stands where one was.", ""]
    return "\n".join(lines).encode()


def _write(file: Path, parts: Mapping[str, bytes], force: bool) -> None:
    """For its owner only, whole or not at all."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, MODE), "wb") as target:
            with tarfile.open(fileobj=target, mode="w:gz", format=tarfile.USTAR_FORMAT) as archive:
                manifest = {name: {"bytes": len(body), "sha256": sha256(body).hexdigest()} for name, body in parts.items()}
                for name, body in {**parts, "manifest.json": json.dumps(manifest, indent=2).encode() + b"\n"}.items():
                    header = tarfile.TarInfo(f"irer-bugreport/{name}")
                    header.size, header.mode, header.mtime = len(body), MODE, int(time.time())
                    archive.addfile(header, io.BytesIO(body))
            target.flush()
            os.fsync(target.fileno())
        if force:
            os.replace(temporary, file)
        else:
            os.link(temporary, file)
    except FileExistsError:
        raise Failure("already-exists", f"{file} exists.", f"Give another name, or: irerctl bugreport {file} --force") from None
    except OSError as problem:
        text = f"cannot write {file}: {(problem.strerror or type(problem).__name__).lower()}."
        raise Failure("failed-precondition", text, "Give another FILE") from problem
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _draw(told: Mapping[str, Any]) -> None:
    for part in told["parts"]:
        render.say(f"{part['name'].ljust(20)}{render.size(part['bytes']).rjust(9)}  {part['what']}")
    for name, why in told["left_out"].items():
        render.say(f"{name.ljust(20)}{'-'.rjust(9)}  {render.paint('not to be had', fg='yellow')}: {why}")
    render.say()
    render.tell(f"{told['file']}, {render.size(told['bytes'])}, readable by you only. Never in it: {NEVER}.")
    render.tell(f"Read it before you send it: tar -xzOf {told['file']} | less")
