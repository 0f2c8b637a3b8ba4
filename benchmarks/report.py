"""Judges a result against its targets and writes the table people read. Reads nothing but the result."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEGIN = "<!-- {subject}: written by make bench -->"
END = "<!-- end of {subject} -->"


@dataclass(frozen=True)
class Target:
    """What was aimed at and what was reached. `value` is None where it could not be measured."""

    name: str
    aim: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    won: bool | None


class _Result:
    """A result with the few sums that targets and tables need."""

    def __init__(self, result: dict[str, Any]) -> None:
        self.rounds: dict[str, list[dict[str, float]]] = result["rounds"]
        self.memory: dict[str, dict[str, float]] = result["memory_mb"]
        self.result = result

    def series(self, case: str, figure: str = "rate") -> list[float]:
        return [figures[figure] for figures in self.rounds.get(case, []) if figure in figures]

    def paired(self, one: str, other: str, of: Callable[[float, float], float], figure: str = "rate") -> list[float]:
        """The two cases of each round together, so that what changed between rounds falls out."""
        ours, others = self.series(one, figure), self.series(other, figure)
        return [of(mine, theirs) for mine, theirs in zip(ours, others, strict=True)] if ours and others else []


def _at_least(name: str, values: list[float], least: float, unit: str = "×") -> Target:
    return _target(name, f"≥ {least:,g} {unit}", values, unit, lambda value: value >= least)


def _at_most(name: str, values: list[float], most: float, unit: str) -> Target:
    return _target(name, f"≤ {most:,g} {unit}", values, unit, lambda value: value <= most)


def _target(name: str, aim: str, values: list[float], unit: str, reached: Callable[[float], bool]) -> Target:
    if not values:
        return Target(name, aim, None, None, None, unit, None)
    value = statistics.median(values)
    return Target(name, aim, round(value, 3), round(min(values), 3), round(max(values), 3), unit, reached(value))


def judge(result: dict[str, Any]) -> list[Target]:
    found = _Result(result)

    def ratio(one: str, other: str) -> list[float]:
        return found.paired(one, other, lambda mine, theirs: mine / theirs)

    added_ms = found.paired("irerd-ping-busy", "irerd-ping", lambda busy, quiet: (busy - quiet) / 1000, "p99_us")
    idle = [found.memory.get("irerd", {})[name] for name in ("idle_60s",) if name in found.memory.get("irerd", {})]
    return [
        _at_least("ping, against FastAPI POST (typed parameters, as ours)", ratio("irerd-ping", "fastapi-post"), 1.8),
        _at_least("ping, against FastAPI GET (no parameters)", ratio("irerd-ping", "fastapi-get"), 1.8),
        _at_least("ping, against grpc.aio at both ends", ratio("irerd-ping", "grpc-aio"), 6),
        _at_least("ping, against grpc.aio asked by its blocking client", ratio("irerd-ping", "grpc-blocking"), 6),
        _at_least("ping, against redis SET", ratio("irerd-ping", "redis-set"), 0.25),
        _at_least("window of 64, against FastAPI POST ping-pong", ratio("irerd-window", "fastapi-post"), 7),
        _at_least("window of 64, against FastAPI GET ping-pong", ratio("irerd-window", "fastapi-get"), 7),
        _at_least("window of 64", found.series("irerd-window"), 40_000, "/s"),
        _at_least("`resource.submit_task`, durable, 8 connections", found.series("irerd-submit"), 40_000, "/s"),
        _at_most("p99 of ping added by 1,000 requests/s beside it", added_ms, 2, "ms"),
        _at_most("`irerctl --help`", result["help_ms"], 150, "ms"),
        _at_most("irerd ready after start", result["ready_ms"], 1000, "ms"),
        _at_most("irerd idle, memory after 60 s", idle, 64, "MB"),
    ]


# --- the table ----------------------------------------------------------------------------------------------------------------


def markdown(result: dict[str, Any]) -> str:
    found = _Result(result)
    return "\n\n".join(
        part for part in (_head(result), targets(result["targets"]), _cases(found), _memory(found), *_profiles(result)) if part
    )


def _head(result: dict[str, Any]) -> str:
    machine = result["machine"]
    named = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    missing = "".join(f"\n\n**Not measured:** {line}" for line in result["missing"])
    return (
        f"`{result['command']}` at {result['measured']}, commit {result['commit']}: medians of {result['rounds_count']} "
        f"interleaved rounds of {result['seconds']:g} s, with the lowest and highest round.\n\n"
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']:g} GB; load {machine['load_before']:g} before; "
        f"state on {machine['file_system']}, where one synced 4 KiB append takes {machine['sync_p50_us']:g} µs "
        f"(p99 {machine['sync_p99_us']:g}). {named}.{missing}"
    )


def targets(judged: list[dict[str, Any]]) -> str:
    lines = ["| target | aim | reached | lowest … highest | |", "|---|---|---|---|---|"]
    for target in judged:
        if target["value"] is None:
            lines.append(f"| {target['name']} | {target['aim']} | not measured | | |")
            continue
        won = "won" if target["won"] else "**LOST**"
        unit = target["unit"]
        reached, low, high = (number(target[key]) for key in ("value", "low", "high"))
        lines.append(f"| {target['name']} | {target['aim']} | {reached} {unit} | {low} … {high} | {won} |")
    return "\n".join(lines)


def _cases(found: _Result) -> str:
    lines = ["| | requests/s | lowest … highest | p50 µs | p99 µs | server CPU | client CPU |", "|---|--:|--:|--:|--:|--:|--:|"]
    for case, title in found.result["titles"].items():
        if case not in found.rounds:
            continue
        rates = found.series(case)
        cells = [
            title,
            f"{statistics.median(rates):,.0f}",
            f"{min(rates):,.0f} … {max(rates):,.0f}",
            *(_median(found.series(case, figure), ",.0f") for figure in ("p50_us", "p99_us")),
            *(_median(found.series(case, figure), ".0%") for figure in ("server_cpu", "client_cpu")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _memory(found: _Result) -> str:
    lines = ["| resident memory, MB | idle | after 60 idle seconds | after the load |", "|---|--:|--:|--:|"]
    for name, sizes in found.memory.items():
        cells = [f"{sizes[key]:.0f}" if key in sizes else "" for key in ("idle", "idle_60s", "loaded")]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    submitted = [figures for case in ("irerd-submit", "irerd-submit-keyed") for figures in found.rounds.get(case, [])]
    if submitted:
        most = max(submitted, key=lambda figures: figures["requests"])
        lines.append(f"| irerd holding {most['requests']:,.0f} tasks | | | {most['resident_mb']:.0f} |")
    return "\n".join(lines)


def _profiles(result: dict[str, Any]) -> list[str]:
    parts = []
    for case, profile in result["profiles"].items():
        files = ", ".join(f"{_file(row['where'])} {row['share']:.0%}" for row in profile["by_file"] if row["share"] >= 0.01)
        functions = ", ".join(f"`{row['where']}` {row['share']:.0%}" for row in profile["by_function"][:10])
        parts.append(
            f"Where the time of irerd's main thread goes during “{result['titles'][case]}” ({profile['samples']:,.0f} samples of "
            f"wall time; C code and system calls count for the file that calls them): {files}. Most often on top: {functions}."
        )
    return parts


def _file(name: str) -> str:
    return name if name in ("waiting", "trio") else f"`{name}`"


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _median(values: list[float], form: str) -> str:
    return format(statistics.median(values), form) if values else ""


def put_into(page: Path, text: str, subject: str = "results") -> None:
    """Replace what stands between the two marks of a subject."""
    begin, end = BEGIN.format(subject=subject), END.format(subject=subject)
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page} has no place for {subject}: write {begin} and {end} into it")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
