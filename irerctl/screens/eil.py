"""`irerctl sense`, `act`, `proof`, `market`, `regime`, `energy` and `eil`: how energy intelligence looks.

A number is never shown without its unit, and one that only orders is called a surrogate. What could not have failed is shown as
vacuous and never as passed.
"""

import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from irerctl import energy_picture, generic, render
from irerctl.figures import moment, number
from irerctl.session import Failure, Group, Session, command, session

WATCHED = "eil"
MAP_SOURCES = 400
"""Of a picture."""
COLOURS = {"stable": "green", "learning": "cyan", "drifting": "yellow", "transition": "yellow", "unstable": "red"}
WORDS: dict[bool | None, str] = {True: "pass", False: "fail", None: "vacuous"}


# --- sending ----------------------------------------------------------------------------------------------------------------


@command(
    "sense",
    "Say what the sensors of a source show: irerctl sense rack-01 power_draw=850.5 temperature=72.3",
    click.Argument(["source"]),
    click.Argument(["telemetry"], nargs=-1, required=True, metavar="METRIC=NUMBER..."),
    click.Option(["--timestamp"], metavar="TIME", help="When, such as 2026-01-31T12:00:00Z; now without it."),
    click.Option(["--context"], multiple=True, metavar="NAME=TEXT", help="What else is worth keeping; may be given again."),
    click.Option(["--idem"], metavar="KEY", help="Idempotency key: the same key does it only once."),
)
def sense(source: str, telemetry: Sequence[str], timestamp: str | None, context: Sequence[str], idem: str | None) -> None:
    now = session()
    params: dict[str, Any] = {"source": source, "telemetry": {name: _figure(name, text) for name, text in _pairs(telemetry)}}
    if timestamp is not None:
        params["timestamp"] = timestamp
    if context:
        params["context"] = dict(_pairs(context))
    reply = now.call("eil.sense", params, **({"idem": idem} if idem else {}))
    now.show(reply.result if now.output == "table" else {"result": reply.result, "receipt": reply.receipt}, draw_sensed)


def _pairs(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Each name once: of two numbers one would be lost without a word."""
    pairs = [_pair(text) for text in texts]
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise click.UsageError(f"{name} is given twice. A source has one value of it at a time")
    return pairs


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{text}: a name, an equals sign and a value are wanted, such as power_draw=850.5")
    return name, value


def _figure(name: str, text: str) -> float:
    try:
        figure = float(text)
    except ValueError:
        raise click.UsageError(f"{name}={text}: {text or 'nothing'} is no number") from None
    if not math.isfinite(figure):
        raise click.UsageError(f"{name}={text}: {text} is no number that can be sent. Leave {name} out where nothing is known")
    return figure


# --- how it is, and the map ---------------------------------------------------------------------------------------------------

FILES = click.Path(dir_okay=False, path_type=Path, allow_dash=True)


@command(
    "energy",
    "How energy intelligence is, and what it costs; or the energy map as a file.",
    click.Option(["--png"], type=FILES, metavar="FILE", help="Write the energy map as a picture; - is stdout, here and below."),
    click.Option(["--graphml"], type=FILES, metavar="FILE", help="Write it for programs that draw graphs."),
    click.Option(["--cypher"], type=FILES, metavar="FILE", help="Write it as statements for a graph database."),
)
def energy(png: Path | None, graphml: Path | None, cypher: Path | None) -> None:
    now = session()
    wanted = [(path, form) for path, form in ((png, "png"), (graphml, "graphml"), (cypher, "cypher")) if path is not None]
    if not wanted:
        now.show(now.call("eil.health", {}).result, draw_health)
    for path, form in wanted:
        _write(path, form, _map_as(now, form))


def _map_as(now: Session, form: str) -> bytes:
    """Of a picture the first page: a thousand sources are more than one can show. Documents have them all."""
    if form == "png":
        return energy_picture.png(now.call("eil.energy_map", {"limit": MAP_SOURCES}).result)
    if form == "graphml":
        return _graphml(_pages(now, "json"))
    return "".join(page["document"] for page in _pages(now, form)).encode()


def _pages(now: Session, form: str) -> Iterator[Mapping[str, Any]]:
    after = None
    while True:
        page = now.call("eil.energy_map", {"format": form, **({"after": after} if after else {})}).result
        yield page
        after = page.get("next")
        if after is None:
            return


def _graphml(pages: Iterable[Mapping[str, Any]]) -> bytes:
    """GraphML is one document, so it is put together here."""
    import msgspec

    from core.energy import atlas

    nodes: dict[str, atlas.MapNode] = {}
    edges: list[atlas.MapEdge] = []
    for page in pages:
        nodes |= {each["id"]: msgspec.convert(each, atlas.MapNode) for each in page["nodes"]}
        edges += msgspec.convert(page["edges"], list[atlas.MapEdge])
    return atlas.graphml(nodes.values(), edges).encode()


def _write(path: Path, form: str, data: bytes) -> None:
    if str(path) == "-":
        click.echo(data, nl=False)
        return
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as problem:
        detail = f"the map cannot be written to {path}: {problem.strerror}."
        raise Failure("failed-precondition", detail, f"Give a file in a directory that is yours: --{form} FILE") from problem
    render.note(f"wrote {render.clean(str(path))}")


def draw_map(found: Mapping[str, Any]) -> None:
    """The terminal's view: under each source what hangs on it."""
    names = {node["id"]: node for node in found["nodes"]}
    if not names:
        render.say("nothing on the map yet")
        render.tell("Try: irerctl sense SOURCE power_draw=850.5")
        return
    edges: dict[str, list[Mapping[str, Any]]] = {}
    for edge in found["edges"]:
        edges.setdefault(edge["start"], []).append(edge)
    for id, node in names.items():
        if node["kind"] in ("regime", "account", "action") and not edges.get(id):
            continue
        render.say(f"{node['kind']} {render.clean(node['name'])}" + _how(node))
        for edge in edges.get(id, ()):
            end = names[edge["end"]]
            times = f" × {number(edge['count'])}" if edge["relation"] in ("transitions", "settled") else ""
            render.say(f"   {edge['relation']} {end['kind']} {render.clean(end['name'])}{times}")
    for each in found["junctions"]:
        sigma = f" ± {each['sigma_j']:,.1f}" if each["sigma_j"] else ""
        render.say(
            f"{render.clean(each['source'])}: {each['drawn_j']:,.1f} J drawn, {each['given_j']:,.1f} J arrive,"
            f" {each['difference_j']:,.1f}{sigma} J do not"
        )
    if found.get("next"):
        render.note(f"More: add --after {render.clean(str(found['next']))}")


def draw_rows(found: Mapping[str, Any]) -> None:
    if found["rows"]:
        rows = [[_cell(value) for value in row["values"]] for row in found["rows"]]
        render.table([render.clean(name) for name in found["columns"]], rows)
    else:
        render.say("no rows")
    if found.get("more"):
        render.note("There are more rows: add --limit N, or ask for less with WHERE")


def _cell(value: Any) -> str:
    return "-" if value is None else render.clean(value) if isinstance(value, str) else f"{value:.10g}"


def _how(node: Mapping[str, Any]) -> str:
    if node.get("value") is None:
        return ""
    shown = render.paint(str(node["regime"]), fg=COLOURS.get(str(node["regime"]), "white"))
    return f"  {energy_picture.energy(node)} ({node['provenance']}), {shown}"


# --- the self-test ----------------------------------------------------------------------------------------------------------

HELP = "Energy intelligence: its self-test, its predictions, and all it records."


def _alone() -> None:
    if click.get_current_context().invoked_subcommand is None:
        _overview(session())


eil = Group("eil", help=HELP, short_help=HELP, invoke_without_command=True, callback=_alone, epilog="Alone it tells how it is.")


def _overview(now: Session) -> None:
    with render.Waiting("waiting for energy intelligence"), now.connect() as client:
        health = client.call("eil.health").result
        page = client.call("eil.regime_status", {"limit": 10}).result
    now.show({"health": health, "sources": page["sources"]}, _draw_overview)


def _draw_overview(found: Mapping[str, Any]) -> None:
    draw_health(found["health"])
    if found["sources"]:
        render.say()
        draw_regimes(found)
    render.tell("Try: irerctl sense SOURCE power_draw=850.5   or: irerctl regime SOURCE")


@eil.command_of(
    "selftest",
    "Measure detectors, checks, minting and books on streams in which everything is known.",
    click.Option(["--full"], is_flag=True, help="Ten times as long: up to some minutes."),
    click.Option(["--report"], is_flag=True, help="The source's success criteria beside what was found."),
    click.Option(["--seed"], type=click.INT, metavar="N", help="Of all chance in it (1)."),
)
def selftest(full: bool, report: bool, seed: int | None) -> int | None:
    now = session()
    params = {"full": full, **({"seed": seed} if seed is not None else {})}
    shown = now.output == "table" and render.terminal(sys.stderr)
    with now.stream("eil.selftest", params) as items:
        for item in items:
            if shown:
                render.transient(f"self-test: {item['done']} of {item['total']}")
        if shown:
            render.transient("")
        found = items.result
    if found is None:
        raise Failure("internal", "the self-test ended without a result")
    now.show(found, draw_report if report else draw_selftest)
    return None if found["ok"] else 1


for _name in ("predict", "feedback", "stream", "energy_map", "query"):
    eil.add_command(generic.command(generic.catalogue().rows[f"eil.{_name}"], _name.removeprefix("energy_")))


def draw_selftest(found: Mapping[str, Any]) -> None:
    rows = [
        [
            each["generator"],
            number(each["ticks"]),
            number(each["alarms"]),
            f"{each['per_100_000']:.1f}",
            _share(each["coverage"]),
            _ok(each),
        ]
        for each in found["nulls"]
    ]
    render.table(
        ["null stream", "ticks", "alarms", "per 100,000", "in 95 %", ""], rows, right=["ticks", "alarms", "per 100,000", "in 95 %"]
    )
    render.say()
    faults = [
        [
            each["fault"],
            each["caught_by"],
            _share(each["found"]),
            _share(each.get("bar")) if each.get("bar") else "vacuous",
            _ok(each),
        ]
        for each in found["faults"]
    ]
    render.table(["fault", "caught by", "seen", "bar", ""], faults, right=["seen", "bar"])
    render.say(f"sound windows called faulty: {_share(found['fault_false_alarms'])}")
    render.say(f"minted on streams that nobody can foresee: {found['mint_per_1000']:.2f} PFT for 1,000 claims (bar 1)")
    sums = ", ".join(f"{asset} {total}" for asset, total in sorted(found["sums"].items()))
    render.say(f"books after {number(found['trades'])} trades: {render.clean(sums)}")
    if found.get("alarms_here") is not None:
        render.say(f"this daemon's own streams: {found['alarms_here']:.1f} alarms in 100,000 points, false or true")
    render.say(render.verdict("ok" if found["ok"] else "failed", "every bar is kept" if found["ok"] else "a bar is missed"))


def draw_report(found: Mapping[str, Any]) -> None:
    """The success criteria of the source document, and what stands behind each of them here."""
    rows = [
        ["energy conservation error", _percent(found.get("energy_conservation_error")), "share of energy the heat model misses"],
        ["entropy coherence", _percent(found.get("entropy_coherence")), "steps with Σ ≥ −3σ; source: ≥ 99 %"],
        ["decision latency, p99", f"{found['decision_ms']:.2f} ms", "in memory; source: < 250 ms"],
        ["proof latency, p99", f"{found['proof_ms']:.2f} ms", "in memory; source: < 50 ms"],
        ["throughput", f"{found['sense_per_s']:,.0f} senses/s", "in memory, one core; source: > 1,000/s"],
        ["outcomes in the issued 95 %", _percent(found.get("interval_share")), "in place of the source's accuracy > 95 %"],
        ["planted proofs judged rightly", _percent(found["planted"]), "source: 100 %"],
        ["proofs valid", f"{number(found['proofs_valid'])} of {number(found['proofs'])}", "the rest vacuous or wrong by plan"],
    ]
    render.table(["criterion", "found", "what it is"], rows, right=["found"])
    render.say(render.verdict("ok" if found["ok"] else "failed", "every bar is kept" if found["ok"] else "a bar is missed"))


def _ok(each: Mapping[str, Any]) -> str:
    return render.verdict("ok" if each["ok"] else "failed")


def _share(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "-"


def _percent(value: Any) -> str:
    return f"{100 * value:.2f} %" if isinstance(value, int | float) else "no evidence"


# --- drawing ----------------------------------------------------------------------------------------------------------------


def draw_sensed(found: Mapping[str, Any]) -> None:
    if not found:
        render.say("nothing changed")
        return
    draw_state(found["energy_state"])
    _draw_next(found["regime_prediction"])
    counts = [f"{number(found.get('accepted', 0))} accepted"]
    counts += [f"{number(found['repeated'])} known already"] if found.get("repeated") else []
    counts += [f"{number(each['count'])} × {render.clean(each['metric'])} {each['reason']}" for each in found.get("refused") or ()]
    render.say("points: " + ", ".join(counts))
    if found.get("back"):
        render.say(f"speaks again: {', '.join(map(render.clean, found['back']))}")
    if found.get("prediction_id"):
        render.note(f"Once it is due, {found['due']}: irerctl proof {render.clean(found['prediction_id'])} --actual-state JSON")


def draw_state(state: Mapping[str, Any]) -> None:
    sigma = f" ± {state['total_energy_sigma']:,.1f}" if state.get("total_energy_sigma") else ""
    render.say(
        f"energy   {state['total_energy']:,.1f}{sigma} {_unit(state['total_energy_unit'])} ({state['total_energy_provenance']})"
    )
    render.say(f"entropy  {state['entropy']:,.2f} {state['entropy_unit']} ({state['entropy_kind']}, {state['entropy_provenance']})")
    if state.get("uncovered_s"):
        render.say(f"uncovered {render.duration(state['uncovered_s'])}: no power was known then, and nothing is made up for it")


def _unit(unit: str) -> str:
    return "(only orders)" if unit == "1" else unit


def _draw_next(told: Mapping[str, Any]) -> None:
    shown = render.paint(told["current"], fg=COLOURS.get(told["current"], "white"))
    render.say(f"regime   {shown}, next {told['next_likely']} with {100 * told['confidence']:.0f} %")


def draw_predicted(found: Mapping[str, Any]) -> None:
    for name in ("energy", "entropy"):
        each, unit = found[name], _unit(found[f"{name}_unit"])
        render.say(f"{name.ljust(8)} {each['value']:,.1f} {unit}, 95 % within {each['low']:,.1f} … {each['high']:,.1f}")
    _draw_next(found["regime_prediction"])
    render.note(f"Due {found['due']}: irerctl proof {render.clean(found['prediction_id'])} --actual-state JSON")


def draw_action(found: Mapping[str, Any]) -> None:
    action, terms = found["action"], found["cost_terms"]
    target = f" to {number(action['target_servers'])} servers" if action.get("target_servers") is not None else ""
    render.say(f"{action['type'].replace('_', ' ')}{target}" + ("" if found["feasible"] else ": no candidate keeps every bound"))
    unit, source = action["expected_energy_savings_unit"], action["expected_energy_savings_provenance"]
    render.say(f"saves {action['expected_energy_savings']:,.1f} {unit} in {render.duration(found['horizon_s'])} ({source})")
    render.say(
        f"cost {terms['total_j']:,.1f} J = {terms['weights'][0]:g} × energy {terms['energy_j']:,.1f}"
        f" + {terms['weights'][1]:g} × entropy {terms['entropy_j']:,.1f}"
        f" + {terms['weights'][2]:g} × irreversibility {terms['irreversibility_j']:,.1f}"
    )
    render.say("proof: " + "  ".join(f"{name.replace('_', ' ')} {WORDS[found['proof'].get(name)]}" for name in _CHECKS))
    rows = [
        [each["type"], number(each["target_servers"]), f"{each['cost_j']:,.0f}", "yes" if each["allowed"] else _broken(each)]
        for each in found["alternatives"][:8]
    ]
    if rows:
        render.table(["instead", "servers", "cost in J", "allowed"], rows, right=["servers", "cost in J"])


def draw_feedback(found: Mapping[str, Any]) -> None:
    if not found.get("weights"):
        render.say("noted; no weight has moved")
    for goal, (energy, entropy, irreversibility) in sorted((found.get("weights") or {}).items()):
        render.say(
            f"{goal.replace('_', ' ')} of {render.clean(found['owner'])} now weighs energy × {energy:.4g},"
            f" entropy × {entropy:.4g}, irreversibility × {irreversibility:.4g}"
        )


_CHECKS = ("energy_conservation", "entropy_valid", "feasibility_check")


def _broken(candidate: Mapping[str, Any]) -> str:
    names = [f"{each['name']} {each['outcome']}" for each in candidate.get("bounds") or () if each["outcome"] != "ok"]
    return "no: " + ", ".join(names)


def draw_proof(found: Mapping[str, Any]) -> None:
    good = found["verdict"] == "valid"
    render.say(render.verdict("ok" if good else "warn", f"{found['verdict']}: {found['reason'].replace('-', ' ')}"))
    rows = [
        [name, each["outcome"], each["reason"].replace("-", " "), _share(each.get("value")), _share(each.get("limit"))]
        for name, each in found["checks"].items()
    ]
    render.table(["check", "outcome", "what decided", "value", "limit"], rows, right=["value", "limit"])
    render.say(f"energy off by {found['energy_error']:.2f} %, entropy by {found['entropy_error']:.2f} %")
    render.say(f"minted {found['pft_minted']:g} PFT; confidence {found['confidence_score']:.2f}")


def draw_pricing(found: Mapping[str, Any]) -> None:
    rows = [
        [
            asset,
            f"{each['price']:.6f}" if each["price"] else "none yet",
            f"{each['sell_price']:.6f}",
            " × ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in each["factors"].items()),
        ]
        for asset, each in found["prices"].items()
    ]
    render.table(
        ["asset", f"price in {found['currency']}", "sold for", "made of"], rows, right=[f"price in {found['currency']}", "sold for"]
    )
    render.tell("Try: irerctl market quote CEU buy 100")


def draw_quote(found: Mapping[str, Any]) -> None:
    off = f", {100 * found['discount']:.1f} % off for your proofs" if found.get("discount") else ""
    render.say(f"{found['side']} {found['quantity']:g} {found['asset']} for {found['price']:.6f} {found['currency']}{off}")
    render.note(f"Holds for half a minute: irerctl market trade {render.clean(found['quote_id'])}")


def draw_trade(found: Mapping[str, Any]) -> None:
    if not found:
        render.say("nothing changed")
        return
    bought = "bought" if found["side"] == "buy" else "sold"
    render.say(
        f"{bought} {found['quantity_micro'] / 1e6:g} {found['asset']} for {found['price_micro'] / 1e6:.6f} {found['currency']}"
    )


def draw_balances(found: Mapping[str, Any]) -> None:
    rows = [[render.clean(each["owner"]), each["asset"], f"{each['amount']:,.6f}"] for each in found["accounts"]]
    if rows:
        render.table(["owner", "asset", "amount"], rows, right=["amount"])
    else:
        render.say("no accounts yet")
    if found.get("next"):
        render.note(f"More: add --after {render.clean(str(found['next']))}")


def draw_regimes(found: Mapping[str, Any]) -> None:
    sources = found["sources"]
    if not sources:
        render.say("no sources yet")
        render.tell("Try: irerctl sense SOURCE power_draw=850.5")
        return
    rows = [
        [
            render.clean(each["source"]),
            render.paint(each["energy_state"]["regime"], fg=COLOURS.get(each["energy_state"]["regime"], "white")),
            f"{each['energy_state']['total_energy']:,.1f} {_unit(each['energy_state']['total_energy_unit'])}",
            f"{each['energy_state']['entropy']:,.2f} {each['energy_state']['entropy_unit']}",
            number(each["points"]),
            moment(each["newest"]),
            ", ".join(map(render.clean, each.get("lost") or ())) or "-",
        ]
        for each in sources
    ]
    render.table(
        ["source", "regime", "energy", "entropy", "points", "newest", "silent"], rows, right=["energy", "entropy", "points"]
    )
    if len(sources) == 1 and sources[0].get("streams"):
        _draw_streams(sources[0])
    if found.get("next"):
        render.note(f"More: add --after {render.clean(str(found['next']))}")


def _draw_streams(source: Mapping[str, Any]) -> None:
    render.say()
    rows = [
        [render.clean(each["metric"]), each["unit"], f"{each.get('alert', 0.0):.2f}", "silent" if each.get("lost") else "-"]
        for each in source["streams"]
    ]
    render.table(["metric", "unit", "alert (1 is the bound)", ""], rows, right=["alert (1 is the bound)"])
    shown = [
        [render.clean(each["metric"]), *_diagnosed(each["diagnostics"])] for each in source["streams"] if each.get("diagnostics")
    ]
    if shown:
        render.say()
        names = ["Ψ", "order", "one way", "from rest", "capacity", "neighbours"]
        render.table(["metric", *names, "slows down"], shown, right=names)
        render.note("Diagnostics that decide nothing. A jump gives no warning: irerctl api show eil.regime_status")
    for each in source.get("latest") or ():
        moved = f"from {each['mean_before']:.4g} to {each['mean_after']:.4g}, since {moment(each['began'])}"
        render.say(f"{moment(each['at'])}  {render.clean(each['metric'])} {moved}")
    for name in ("energy_fidelity", "entropy_coherence", "coverage"):
        if source.get(name) is not None:
            render.say(f"{name.replace('_', ' ')} {100 * source[name]:.1f} %")


def _diagnosed(found: Mapping[str, Any]) -> list[str]:
    names = ("entropy_gradient", "permutation_entropy", "irreversibility", "excess_free_energy", "capacity_ratio", "lag_one")
    return [*(_share(found.get(name)) for name in names), "yes" if found["transition_candidate"] else "-"]


def draw_health(found: Mapping[str, Any]) -> None:
    regimes = ", ".join(f"{count} {name}" for name, count in sorted((found.get("regimes") or {}).items())) or "none yet"
    render.say(f"{render.plural(found['sources'], 'source')} with {render.plural(found['streams'], 'metric')}: {regimes}")
    render.say(f"points: {number(found['points'])} taken up, {number(found['refused'])} refused")
    proofs = ", ".join(f"{count} {name}" for name, count in sorted((found.get("proofs") or {}).items())) or "none yet"
    render.say(f"predictions: {number(found['predictions_open'])} open; proofs: {proofs}; {found['pft_minted']:g} PFT minted")
    render.say(f"actions: {number(found['actions'])}; trades: {number(found['trades'])}")
    if found.get("lost"):
        render.say(render.paint(f"sensors fell silent at {', '.join(map(render.clean, found['lost']))}", fg="yellow"))
    for each in found.get("callers") or ():
        left = f", {each['left_j']:,.2f} J left" if each.get("left_j") is not None else ""
        refused = f", {number(each['refused'])} refused" if each.get("refused") else ""
        render.say(f"{render.clean(each['caller'])} took {each['joules']:,.3f} J (modelled){left}{refused}")


def status_line(status: Mapping[str, Any]) -> tuple[str, str]:
    """`3  12 metrics  64 predictions open`."""
    parts = [render.count(status.get("sources", 0)), render.plural(status.get("streams", 0), "metric")]
    parts += [f"{render.count(status['predictions_open'])} predictions open"] if status.get("predictions_open") else []
    return "sources", "  ".join(parts)


DRAW = {
    "eil.sense": draw_sensed,
    "eil.sense_batch": draw_sensed,
    "eil.predict": draw_predicted,
    "eil.act": draw_action,
    "eil.feedback": draw_feedback,
    "eil.proof": draw_proof,
    "eil.market_pricing": draw_pricing,
    "eil.market_quote": draw_quote,
    "eil.market_trade": draw_trade,
    "eil.balances": draw_balances,
    "eil.regime_status": draw_regimes,
    "eil.health": draw_health,
    "eil.energy_map": draw_map,
    "eil.query": draw_rows,
}
