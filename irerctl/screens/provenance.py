"""How provenance looks: what was told, what is unusual, and what came from what.

`overview` is `irerctl provenance`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from irerctl import render
from irerctl.figures import coloured, moment, number
from irerctl.session import Session

WATCHED = "provenance"
SHOWN = 5
COLOURS = {"breach": "red", "burst": "yellow", "rate": "yellow", "drift": "yellow"}


def overview(now: Session) -> None:
    with render.Waiting("waiting for provenance"), now.connect() as client:
        status = client.call("provenance.status").result
        anomalies = client.call("provenance.anomalies", {"limit": SHOWN}).result["anomalies"]
    now.show({"status": status, "anomalies": anomalies}, _draw_overview)


def _draw_overview(found: Mapping[str, Any]) -> None:
    draw_status(found["status"])
    if found["anomalies"]:
        render.say()
        draw_anomalies({"anomalies": found["anomalies"]})
    if found["status"].get("newest"):
        render.say()
        draw_taps({"taps": found["status"]["newest"]})
    render.tell("Try: irerctl provenance graph --run-id RUN   or: irerctl provenance anomalies")


def draw_status(status: Mapping[str, Any]) -> None:
    for unusual in status.get("unusual") or ():
        for line in render.wrapped(render.clean(str(unusual)), f"{render.paint('!', fg='yellow', bold=True)} "):
            render.say(line)
    render.say(status_line(status)[1])


def status_line(status: Mapping[str, Any]) -> tuple[str, str]:
    """`3 taps  2 edges  1 anomaly`."""
    parts = [render.plural(status.get("taps", 0), "tap"), render.plural(status.get("edges", 0), "edge")]
    if status.get("reports"):
        parts.append(render.plural(status["reports"], "report"))
    if unusual := len(status.get("unusual") or ()):
        parts.append(render.paint(f"{unusual} unusual", fg="yellow"))
    return "origins", "  ".join(parts)


def draw_anomalies(page: Mapping[str, Any]) -> None:
    if page["anomalies"]:
        rows = [
            [
                moment(each["time"]),
                coloured(str(each["kind"]), COLOURS),
                render.clean(str(each["name"])),
                number(each["count"]),
                f"{each['expected']:g}",
                render.clean(str(each["evidence"])),
            ]
            for each in page["anomalies"]
        ]
        render.table(["when", "kind", "of", "seen", "usual", "evidence"], rows, right=["seen", "usual"])
    else:
        render.say("nothing unusual was seen")
    _more(page)


def draw_taps(page: Mapping[str, Any]) -> None:
    if page["taps"]:
        rows = [
            [moment(each["time"]), render.clean(each["event_type"]), render.clean(each["run_id"]), render.clean(each["actor"])]
            for each in page["taps"]
        ]
        render.table(["when", "what", "run", "told by"], rows)
    else:
        render.say("nothing was told yet. Try: irerctl provenance tap --help")
    _more(page)


def draw_graph(page: Mapping[str, Any]) -> None:
    nodes: Sequence[Mapping[str, Any]] = page["nodes"]
    known = {node["id"]: _called(node) for node in nodes}
    if page["edges"]:
        rows = [
            [
                known.get(edge["source"], render.clean(str(edge["source"]))),
                render.clean(str(edge["relation"])),
                known.get(edge["target"], render.clean(str(edge["target"]))),
                render.clean(str(edge.get("rule") or "")) or "-",
            ]
            for edge in page["edges"]
        ]
        render.table(["what", "hangs together as", "with", "rule"], rows)
    render.say(f"{render.plural(page['node_count'], 'node')}, {render.plural(page['edge_count'], 'edge')}")
    if not page["node_count"]:
        render.note("No record says anything of that. Runs that were told of: irerctl provenance taps")
    _more(page)


def _called(node: Mapping[str, Any]) -> str:
    """A record by what it says and its place; the id of any other thing has its name in it."""
    label, id = render.clean(str(node.get("label") or "")), render.clean(str(node["id"]))
    return f"{label} ({id})" if node.get("kind") == "record" and label else id


def _more(page: Mapping[str, Any]) -> None:
    if page.get("next") is not None:
        render.note(f"More: add --after {render.clean(str(page['next']))}")


DRAW = {
    "provenance.status": draw_status,
    "provenance.anomalies": draw_anomalies,
    "provenance.taps": draw_taps,
    "provenance.graph": draw_graph,
}
