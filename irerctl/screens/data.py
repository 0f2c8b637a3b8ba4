"""How the data engine looks: what is near what, who leans on whom, which patterns are strong, and where value went.

`overview` is `irerctl data`. Ids are long: on a terminal their first letters stand for them, elsewhere they are whole.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from irerctl import render
from irerctl.figures import bar, coloured, moment, number, sparkline
from irerctl.session import Session

WATCHED = "data"
SHOWN = 8
ID_SHOWN = 12
PAST_DAYS, PAST_CELLS = 14, 15
HEAT = (("·", "white"), ("░", "blue"), ("░", "cyan"), ("▒", "green"), ("▒", "yellow"), ("▓", "yellow"), ("█", "red"))
"""By shape and by colour, so that either tells."""
HEAT_CELLS = 2
PHASE_SHOWN = 0.005
WHY_EXACT = {
    "small": "so few are compared sooner than an index is looked into",
    "building": "the index is being made; see: irerctl data index",
    "many": "an index is measured for 100 neighbours at most",
    "quicker": "what recall asks for takes so many lists that it is quicker to compare each; see: irerctl data index",
    "unlike": "what is asked for is less like the stored vectors than anything the index was measured with",
    "damaged": "the index was damaged, and is made anew",
    "none": "no index could be made; see: irerctl data index",
}
STATES = {"crystallised": "green", "rising": "yellow", "forming": "white"}


def overview(now: Session) -> None:
    with render.Waiting("waiting for the data engine"), now.connect() as client:
        status = client.call("data.status").result
        patterns = client.call("data.patterns", {"limit": SHOWN, "past": PAST_DAYS}).result
    now.show({"status": status, "patterns": patterns}, _draw_overview)


def _draw_overview(found: Mapping[str, Any]) -> None:
    draw_status(found["status"])
    if found["patterns"]["patterns"]:
        render.say()
        draw_patterns({name: value for name, value in found["patterns"].items() if name != "next"})
    render.tell("Try: irerctl data search WORDS   or: irerctl data --help")


def draw_status(status: Mapping[str, Any]) -> None:
    waiting = status.get("waiting", 0)
    late = f", {number(waiting)} wait for theirs" if waiting else ""
    render.pairs(
        {
            "events": number(status.get("events", 0)),
            "vectors": f"{number(status.get('vectors', 0))} of {render.word(status.get('models') or ['no model'])}{late}",
            "citations": number(status.get("citations", 0)),
            "patterns": f"{number(status.get('patterns', 0))}, {number(status.get('crystallised', 0))} crystallised",
            "value": f"{number(status.get('distributed', 0))} units distributed",
        }
    )


def status_line(status: Mapping[str, Any]) -> tuple[str, str]:
    """`3  1 citation  1 pattern, 1 crystallised`."""
    parts = [render.count(status.get("events", 0))]
    if status.get("citations"):
        parts.append(render.plural(status["citations"], "citation"))
    if status.get("patterns"):
        parts.append(f"{render.plural(status['patterns'], 'pattern')}, {number(status.get('crystallised', 0))} crystallised")
    if status.get("waiting"):
        parts.append(render.paint(f"{number(status['waiting'])} wait for embeddings", fg="yellow"))
    return "events", "  ".join(parts)


def short(event: Any) -> str:
    text = render.clean(str(event))
    return text[:ID_SHOWN] if render.terminal() and len(text) == 64 else text


def _share(value: float, most: float) -> str:
    """A bar for eyes, nothing for pipes."""
    return bar(max(0.0, min(1.0, value / most)) if most else 0.0, "cyan") if render.terminal() else ""


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    """Without the column of bars where nobody looks."""
    kept = [place for place, name in enumerate(columns) if name or render.terminal()]
    render.table([columns[place] for place in kept], [[row[place] for place in kept] for row in rows], right)


def draw_emitted(found: Mapping[str, Any]) -> None:
    if not found:
        render.say("nothing changed")
        return
    render.say(f"{render.clean(str(found['event']))}")
    render.note(f"{render.clean(str(found['family']))} {render.clean(str(found['type']))} is on record under this id")


def draw_search(found: Mapping[str, Any]) -> None:
    hits = found.get("hits") or []
    if not hits:
        render.say("nothing is near: no event has a vector of this model")
    else:
        rows = [
            [
                f"{hit.get('relevance', 0):.3f}",
                _share(hit.get("relevance", 0), 1.0),
                short(hit["event"]),
                render.clean(str(hit["type"])).partition(".")[2],
                render.clean(str(hit.get("text", ""))),
            ]
            for hit in hits
        ]
        _table(["near", "", "event", "type", "text"], rows, ["near"])
    cost = f"{number(found.get('compared', 0))} vectors of {render.clean(str(found.get('model')))} compared"
    cost = f"{cost} in {found.get('took_ms', 0):.1f} ms"
    if found.get("method") == "approximate":
        lists = f"{number(found.get('probes', 0))} of {render.plural(found.get('lists', 0), 'list')}"
        render.note(f"{cost}, those in {lists}: approximate, {found.get('recall', 0):.1%} of the nearest found as measured")
    else:
        render.note(f"{cost}, each of them; at most {number(found.get('limit', 0))} can be")
        if found.get("because"):
            render.note(f"not approximate: {WHY_EXACT.get(str(found['because']), render.clean(str(found['because'])))}")


def draw_index(found: Mapping[str, Any]) -> None:
    """What is found by looking into more and more lists."""
    model, state = render.clean(str(found.get("model"))), str(found.get("state"))
    if state == "ready":
        _draw_recall(found.get("recall") or [])
        covered = f"{number(found.get('covered', 0))} of {number(found.get('vectors', 0))} vectors of {model}"
        size = f"{found.get('bytes', 0) / 1e6:.1f} MB"
        render.tell(f"{covered} in {render.plural(found.get('lists', 0), 'list')}, {size}; others are compared one by one.")
        render.tell(
            f"The share of the 10 nearest that is found, measured with {number(found.get('sampled', 0))} stored vectors, and with "
            "so many parts of noise to one of them: a question is held against what is about as like the stored vectors."
        )
    elif state != "making":
        render.say(f"no index of {model}: {number(found.get('vectors', 0))} vectors are stored")
        render.tell("One is made when somebody searches by it, from 8,192 vectors on, or now: irerctl data index --make")
    if found.get("total") is not None:
        render.say(f"an index of {model} is being made, {number(found.get('done', 0))} of {number(found['total'])} steps done")
    if found.get("failed"):
        render.say(f"the last one could not be made: {render.clean(str(found['failed']))}")


def _draw_recall(found: Sequence[Mapping[str, Any]]) -> None:
    """A row for each number of lists, a column for each level of noise."""
    noises = sorted({row["noise"] for row in found})
    shares = {(row["probes"], row["noise"]): row["at_10"] for row in found}
    columns = [f"noise {noise:g}" if noise else "stored" for noise in noises]
    rows = [
        [
            number(probes),
            *(f"{shares.get((probes, noise), 0):.3f}" for noise in noises),
            _share(shares.get((probes, noises[0]), 0), 1),
        ]
        for probes in sorted({row["probes"] for row in found})
    ]
    _table(["lists", *columns, ""], rows, ["lists", *columns])


def draw_cited(found: Mapping[str, Any]) -> None:
    if not found:
        render.say("nothing changed: it is cited already")
        return
    near = found.get("relevance", 0)
    render.say(f"{short(found['from'])} leans on {short(found['to'])}, relevance {near:.3f}")


def draw_rated(found: Mapping[str, Any]) -> None:
    render.say("nothing changed: you rated it so" if not found else f"{short(found['event'])} rated {found['rating']:g}")


def draw_forgotten(found: Mapping[str, Any]) -> None:
    render.say(f"let go of {', '.join(short(event) for event in found.get('events') or ())}; its record stays in the log")


def draw_patterns(found: Mapping[str, Any]) -> None:
    patterns = found.get("patterns") or []
    if not patterns:
        render.say("no patterns yet: one begins when a text is near an older one, or leans on it")
        return
    threshold = found.get("threshold", 0)
    most = max(threshold, *(each.get("strength", 0) for each in patterns))
    rows = [
        [
            render.clean(str(each["pattern"])),
            coloured(str(each["state"]), STATES),
            f"{each.get('strength', 0):.2f}",
            _trend(each) or _share(each.get("strength", 0), most),
            number(each.get("events", 0)),
            moment(each.get("falls_at")),
            ", ".join(render.clean(str(who)) for who in each.get("contributors") or ())
            or render.clean(str(each.get("key") or "-")),
        ]
        for each in patterns
    ]
    _table(["pattern", "state", "strength", "", "events", "falls", "of"], rows, ["strength", "events"])
    hold = render.duration(found.get("hold_s", 0))
    render.tell(f"A pattern rises at {threshold:g} and crystallises after {hold} above that; strength halves every 7 d.")


def _trend(each: Mapping[str, Any]) -> str:
    return sparkline(each["past"], PAST_CELLS) if each.get("past") and render.terminal() else ""


def draw_clusters(found: Mapping[str, Any]) -> None:
    clusters = found.get("clusters") or []
    if found.get("code", "ok") == "not-installed":
        render.say("clusters need NumPy and SciPy beside irer: pip install 'irer[science]'")
    elif not clusters:
        render.say("no clusters yet: they are looked for from 8 texts on")
    most = max((each["size"] for each in clusters), default=0)
    rows = [
        [
            render.clean(str(each["cluster"])),
            number(each["size"]),
            _share(each["size"], most),
            f"{each.get('near', 0):.2f}",
            next((render.clean(str(text["text"])) for text in each.get("examples") or ()), ""),
        ]
        for each in clusters
    ]
    if rows:
        _table(["cluster", "events", "", "near", "such as"], rows, ["events", "near"])
    render.tell(f"{number(found.get('vectors', 0))} vectors compared, {number(found.get('loose', 0))} in no cluster")


def draw_field(found: Mapping[str, Any]) -> None:
    """A heat map: a row a cluster, a cell a time. A pipe gets the numbers."""
    clusters = found.get("clusters") or []
    if not clusters:
        render.say("no clusters yet, so there is no field: irerctl data clusters")
        return
    rows = [
        [
            render.clean(str(each["cluster"])),
            f"{each['values'][0]:.3f}",
            "".join(_heat(value) for value in each["values"]),
            f"{each['values'][-1]:.3f}",
        ]
        for each in clusters
    ]
    _table(["cluster", "now", "", "then"], rows, ["now", "then"])
    days, total = found.get("days") or [0], found.get("total") or [0]
    render.tell(
        f"{days[-1]:g} days over {render.plural(found.get('links', 0), 'link')}; in all {total[0]:.3f} now, {total[-1]:.3f} then"
    )


def _heat(value: float) -> str:
    place = min(len(HEAT) - 1, int(max(0.0, value) * len(HEAT)))
    return render.paint(HEAT[place][0] * HEAT_CELLS, fg=HEAT[place][1]) if render.terminal() else ""


def draw_waves(found: Mapping[str, Any]) -> None:
    modes = found.get("modes") or []
    tested = f"{number(found.get('tested', 0))} modes tested"
    if not modes:
        render.say(f"no waves: chance explains all there is ({tested})")
        return
    rows = [
        [
            f"{mode['amplitude']:.3g}",
            f"{mode['wavenumber']:.3f}",
            f"{mode['frequency']:.3f}",
            f"{mode['speed']:.3f}" if mode.get("speed") is not None else "-",
            f"{mode['chance']:.1e}",
        ]
        for mode in modes
    ]
    render.table(["height", "per cluster", "per bin", "clusters/bin", "chance"], rows, ["height"])
    render.tell(f"{tested}; these explain {found.get('explained', 0):.0%} of what moves. Angles in radians.")


def draw_overlap(found: Mapping[str, Any]) -> None:
    events = found.get("events") or []
    if not events:
        render.say("no clusters yet, or no vectors of these events: irerctl data clusters")
        return
    real, imaginary = found["real"], found["imaginary"]
    waves = any(abs(each) > PHASE_SHOWN for row in imaginary for each in row)
    rows = [
        [
            short(event),
            *(f"{one:.2f}{f'{other:+.2f}i' if waves else ''}" for one, other in zip(real[at], imaginary[at], strict=True)),
        ]
        for at, event in enumerate(events)
    ]
    render.table(["event", *(str(at + 1) for at in range(len(events)))], rows, [])
    render.tell(f"1 is the same, 0 has nothing in common; over {render.plural(found.get('clusters', 0), 'cluster')}")


def draw_topology(found: Mapping[str, Any]) -> None:
    places = found.get("places") or []
    if not places:
        render.say("nothing cites anything yet: irerctl data cite FROM TO")
        return
    most = max(place["rank"] for place in places)
    rows = [
        [
            f"{place['rank']:.4f}",
            _share(place["rank"], most),
            short(place["event"]),
            f"<-{number(place.get('cited', 0))}",
            f"->{number(place.get('cites', 0))}",
            number(place.get("core", 0)),
            number(place.get("component", 0)),
        ]
        for place in places
    ]
    _table(["rank", "", "event", "cited", "cites", "core", "part"], rows, ["rank", "cited", "cites", "core", "part"])
    parts = render.plural(found.get("components", 0), "part")
    shape = f"{number(found.get('nodes', 0))} events, {render.plural(found.get('edges', 0), 'citation')}, {parts}"
    render.tell(f"{shape}; cycle rank {number(found.get('cycle_rank', 0))}")


def draw_value(found: Mapping[str, Any]) -> None:
    events = found.get("events") or []
    if events:
        most = max(row["units"] for row in events)
        rows = [
            [number(row["units"]), _share(row["units"], most), short(row["event"]), render.clean(str(row["contributor"]))]
            for row in events
        ]
        _table(["units", "", "event", "contributor"], rows, ["units"])
    for row in found.get("contributors") or ():
        render.say(f"{render.clean(str(row['contributor']))} has {render.plural(row['units'], 'unit')}")
    waiting = found.get("waiting", 0)
    soon = f"; {render.plural(waiting, 'event')} about to distribute" if waiting else ""
    render.say(f"{render.plural(found.get('distributed', 0), 'unit')} distributed in all{soon}")


def draw_events(found: Mapping[str, Any]) -> None:
    events = found.get("events") or []
    if not events:
        render.say("no events")
        return
    rows = [
        [
            number(each.get("seq", 0)),
            moment(each.get("at")),
            render.clean(str(each["family"])),
            render.clean(str(each["type"])),
            short(each["event"]),
            render.clean(str(each.get("contributor", ""))),
            _said(each.get("data") or {}),
        ]
        for each in events
    ]
    render.table(["record", "at", "family", "type", "event", "by", "says"], rows, ["record"])


def _said(data: Mapping[str, Any]) -> str:
    shown = {
        name: short(value) if isinstance(value, str) else value for name, value in data.items() if name not in ("type", "vector")
    }
    return render.fields(shown)


DRAW = {
    "data.emit": draw_emitted,
    "data.search": draw_search,
    "data.index": draw_index,
    "data.cite": draw_cited,
    "data.feedback": draw_rated,
    "data.forget": draw_forgotten,
    "data.patterns": draw_patterns,
    "data.clusters": draw_clusters,
    "data.field": draw_field,
    "data.waves": draw_waves,
    "data.overlap": draw_overlap,
    "data.topology": draw_topology,
    "data.value": draw_value,
    "data.events": draw_events,
    "data.status": draw_status,
}
