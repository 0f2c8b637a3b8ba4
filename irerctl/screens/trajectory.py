"""`irerctl trajectory`: facts and rules, what follows from them, and the cheapest way from one to the other.

Costs are the daemon's; nothing is added up here. What was not proved is never called optimal. Must never begin to load a file of
which some rule is known to be wrong.
"""

import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import click

from core.trajectory.reads import DEADLINE_MS_DEFAULT, DEADLINE_MS_MAX, DEADLINE_MS_MIN, WIDTH_DEFAULT, Proof
from core.trajectory.strips import BadProblem, problem_of
from irerctl import fields, generic, programs, render
from irerctl.figures import moment, number
from irerctl.session import TIMEOUT_S, Failure, Group, Session, session

if TYPE_CHECKING:
    from irerctl.client import Client, Reply

HELP = "Facts and rules, what follows from them, and the cheapest way to a goal."
WATCHED = "trajectory"
SHADES = " ░▒▓█"
TREE_LINES_MAX = 400
LISTED = 12
LATE_S = 30.0
"""How much longer than its deadline an answer of a search is waited for: a worker may have to start."""
CLOSURE_S = 300.0
"""How long what follows is waited for: a million rules on a busy machine."""
PARTS_AT_ONCE = 2
"""Parts of a load that are on their way together: the daemon takes one while another is synced. A log always has room for two."""


def _alone() -> None:
    if click.get_current_context().invoked_subcommand is None:
        overview(session())


trajectory = Group(
    "trajectory",
    help=HELP,
    short_help=HELP,
    invoke_without_command=True,
    callback=_alone,
    epilog="Alone it tells what the program is. An atom is any text on one line.",
)


def overview(now: Session) -> None:
    with render.Waiting("waiting for the program"), now.connect() as client:
        status = client.call("trajectory.status").result
        entries = client.call("trajectory.program", {"limit": LISTED}).result["entries"]
    now.show({"status": status, "entries": entries}, _draw_overview)


def _draw_overview(found: Mapping[str, Any]) -> None:
    status = found["status"]
    if not status["facts"] and not status["denied"] and not status["rules"]:
        render.say("no facts and no rules yet")
        render.tell("Try: irerctl trajectory fact A   then: irerctl trajectory rule rule1 B --from A --cost 1")
        return
    draw_status(status)
    render.say()
    for entry in found["entries"]:
        render.say(render.cut(entry_line(entry), render.width()))
    rest = status["facts"] + status["denied"] + status["rules"] - len(found["entries"])
    if rest > 0:
        render.say(f"… and {render.count(rest)} more: irerctl trajectory program")
    render.tell("Try: irerctl trajectory search   or: irerctl trajectory closure")


def draw_status(status: Mapping[str, Any]) -> None:
    denied = f", {render.count(status['denied'])} denied" if status["denied"] else ""
    goals = f", {render.plural(status['goals'], 'goal')}" if status["goals"] else ""
    folds = render.plural(status["folds"], "spine")
    render.say(f"{render.plural(status['facts'], 'fact')}{denied}, {render.plural(status['rules'], 'rule')}{goals}; {folds} folded")
    if status.get("last_fold"):
        last = status["last_fold"]
        render.say(f"last fold {render.clean(last['hash'])}, cost {cost_text(last['cost'])}, {moment(last['folded_at'])}")
    if status.get("loading"):
        going = status["loading"]
        sofar = f"{render.plural(going['facts'], 'fact')} and {render.plural(going['rules'], 'rule')} so far"
        render.say(f"{render.clean(going['owner'])} loads another program: {sofar}; it counts once it is whole")


def status_line(status: Mapping[str, Any]) -> tuple[str, str]:
    """`12  34 rules  5 folded`."""
    if not status["facts"] and not status["denied"] and not status["rules"]:
        return "trajectory", "no program yet"
    parts = [render.plural(status["facts"], "fact"), render.plural(status["rules"], "rule")]
    parts += [f"{render.count(status['denied'])} denied"] if status["denied"] else []
    parts += [f"{render.plural(status['folds'], 'spine')} folded"] if status["folds"] else []
    parts += ["another one is being loaded"] if status.get("loading") else []
    return "trajectory", "  ".join(parts)


def entry_line(entry: Mapping[str, Any]) -> str:
    if entry.get("fact"):
        fact = entry["fact"]
        return f"fact  {render.clean(fact['symbol'])}" if fact.get("value", True) else f"not   {render.clean(fact['symbol'])}"
    return f"rule  {rule_text(entry['rule'])}"


def rule_text(rule: Mapping[str, Any]) -> str:
    """`rule1: A, B → C  cost 1  north`."""
    premises = ", ".join(render.clean(str(each)) for each in rule["premises"])
    group = rule.get("group", "default")
    whose = f"  {render.clean(group)}" if group != "default" else ""
    arrow = f"{premises} → " if premises else "→ "
    return f"{render.clean(rule['rule_id'])}: {arrow}{render.clean(rule['conclusion'])}  cost {cost_text(rule['cost'])}{whose}"


def cost_text(cost: float) -> str:
    """Exactly, without zeros that say nothing: costs have at most six decimal places."""
    return f"{cost:.6f}".rstrip("0").rstrip(".")


# --- telling ----------------------------------------------------------------------------------------------------------------

for _name, _method in (("fact", "add_fact"), ("program", "program"), ("status", "status")):
    trajectory.add_command(generic.command(generic.catalogue().rows[f"trajectory.{_method}"], _name))

WRITES = [
    click.Option(["--receipt"], is_flag=True, help="Also print where in the log it stands."),
    click.Option(["--dry-run"], is_flag=True, help="Print the events it would write; write nothing."),
    click.Option(["--idem"], metavar="KEY", help="Idempotency key: the same key does it only once."),
]


@trajectory.command_of(
    "rule",
    "Add a rule: what it needs, what it concludes, what it costs.",
    click.Argument(["rule_id"], metavar="RULE_ID"),
    click.Argument(["conclusion"], metavar="CONCLUSION"),
    click.Option(["--from", "premises"], multiple=True, metavar="ATOM", help="What must hold; once for each. None: always."),
    click.Option(["--cost"], type=click.FLOAT, metavar="X", help="What applying it costs, with at most six decimal places (1)."),
    click.Option(["--group"], metavar="NAME", help="Who bears it (default)."),
    *WRITES,
)
def rule(rule_id: str, conclusion: str, premises: tuple[str, ...], cost: float | None, group: str | None, **about: Any) -> None:
    if cost is not None and not math.isfinite(cost):
        raise click.UsageError(f"--cost {cost} is no amount. Give a number such as 2.5")
    told: dict[str, Any] = {"rule_id": rule_id, "premises": list(premises), "conclusion": conclusion}
    told |= {name: value for name, value in (("cost", cost), ("group", group)) if value is not None}
    full = {"cost": 1.0, "group": "default", **told}
    _write(session(), "add_rule", told, about, lambda found: render.say(rule_text(full) if found else "it is there already"))


@trajectory.command_of(
    "costs",
    "Give rules other costs: RULE_ID=COST, once for each.",
    click.Argument(["costs"], nargs=-1, required=True, metavar="RULE_ID=COST..."),
    *WRITES,
)
def costs(costs: tuple[str, ...], **about: Any) -> None:
    asked = {"costs": _amounts(costs, "RULE_ID=COST")}
    _write(session(), "set_costs", asked, about, lambda found: render.say(f"{render.plural(found['rules'], 'cost')} set"))


def _amounts(texts: Sequence[str], form: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in texts:
        name, _, amount = text.rpartition("=")
        if name in found:
            raise click.UsageError(f"{render.clean(name)} is given twice. Give it once")
        try:
            found[name] = float(amount)
        except ValueError:
            found[name] = math.nan
        if not name or not math.isfinite(found[name]):
            raise click.UsageError(f"{render.clean(text)} is not of the form {form}, such as rule1=2.5")
    return found


def _write(now: Session, verb: str, params: Mapping[str, Any], about: Mapping[str, Any], drawn: Any) -> None:
    key = {"idem": about["idem"]} if about["idem"] else {}
    reply = now.call(f"trajectory.{verb}", params, dry=about["dry_run"], **key)
    if about["dry_run"]:
        now.show(reply.result, _draw_dry)
        return
    if now.output != "table":
        now.show({"result": reply.result, "receipt": reply.receipt})
        return
    drawn(reply.result)
    if about["receipt"] and reply.receipt:
        render.pairs({name: render.word(value) for name, value in reply.receipt.items()})


def _draw_dry(found: Mapping[str, Any]) -> None:
    for event in found.get("events") or ():
        render.say(f"would write {render.clean(str(event['type']))}")
        render.json_value(event["data"])
    if not found.get("events"):
        render.say("would change nothing")


# --- loading ----------------------------------------------------------------------------------------------------------------


@trajectory.command_of(
    "load",
    "Replace the program by the one in a file.",
    click.Argument(["file"], metavar="FILE"),
    click.Option(["--strips"], is_flag=True, help="The file is a grounded planning problem; what actions delete is left out."),
    epilog='FILE is JSON: {"facts": ["A"], "rules": [{"rule_id", "premises", "conclusion", "cost", "group"}], "goals": ["B"]}; '
    "- is standard input. The program before stays in force until the new one is whole.",
)
def load(file: str, strips: bool) -> None:
    now = session()
    with programs.without_collections():
        with render.Waiting(f"reading {file}"):
            program = _program(file, strips)
        taken = _send(now, programs.parts(program), len(program.rule_ids))
    now.show(taken, _draw_loaded)


def _program(file: str, strips: bool) -> programs.Program:
    text = fields.from_file(file if file == "-" else f"@{file}")
    if not strips:
        return programs.read(file, text)
    try:
        document = problem_of(programs.document(file, text))
    except BadProblem as bad:
        raise Failure("invalid-argument", f"{file}: {bad}.", "Nothing was changed. See: docs/trajectory.md") from None
    return programs.one_by_one(file, document)


def _document(file: str) -> dict[str, Any]:
    return programs.document(file, fields.from_file(file if file == "-" else f"@{file}"))


def _send(now: Session, pieces: Iterator[Mapping[str, Any]], rules_in_all: int) -> dict[str, Any]:
    load, shown = os.urandom(8).hex(), render.terminal(sys.stderr)
    parts = facts = rules = 0
    with now.connect() as client:
        coming = next(pieces, None)
        while coming is not None:
            calls: list[tuple[str, Mapping[str, Any]]] = []
            while coming is not None and len(calls) < PARTS_AT_ONCE:
                piece, coming = coming, next(pieces, None)
                asked = {"problem": piece, "part": parts + len(calls), "more": coming is not None, "load": load}
                calls.append(("trajectory.load", asked))
            if shown and (parts or coming is not None):
                render.transient(f"{rules:,} of {render.plural(rules_in_all, 'rule')}")
            for found in _delivered(client, calls):
                facts, rules = facts + found.result["facts"], rules + found.result["rules"]
            parts += len(calls)
    if shown and parts > 1:
        render.transient("")
    return {"parts": parts, "facts": facts, "rules": rules}


def _delivered(client: "Client", calls: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator["Reply"]:
    """A part that was put off is asked for again, and so comes after the next one, which is refused for that."""
    from irerctl.client import Error

    for place, outcome in enumerate(client.pipeline(calls)):
        if not isinstance(outcome, Error):
            yield outcome
        elif outcome.reason == "log-queue" or (place and outcome.reason == "part"):
            yield client.call(*calls[place])
        else:
            raise outcome


def _draw_loaded(found: Mapping[str, Any]) -> None:
    told = f"{render.plural(found['facts'], 'fact')} and {render.plural(found['rules'], 'rule')}"
    render.say(f"{told} are the program now")
    render.tell("Try: irerctl trajectory search   or: irerctl trajectory closure")


# --- what follows -----------------------------------------------------------------------------------------------------------

FROM = [
    click.Option(["--initial"], multiple=True, metavar="ATOM", help="Start from these atoms, not from the program's facts."),
    click.Option(["--denied"], multiple=True, metavar="ATOM", help="No rule may conclude this."),
]


def _from(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(given[name]) for name in ("initial", "denied", "goals", "forbidden") if given.get(name)}


@trajectory.command_of(
    "closure",
    "All that follows from the facts, and how.",
    *FROM,
    click.Option(["--max-depth"], type=click.INT, metavar="N", help="Stop after so many rounds."),
    click.Option(["--limit"], type=click.INT, metavar="N", help="At most so many atoms."),
    click.Option(["--after"], metavar="CURSOR", help="`next` of the page before."),
)
def closure(**given: Any) -> None:
    now = session()
    now.timeout_s = CLOSURE_S if now.timeout_s == TIMEOUT_S else now.timeout_s
    asked = _from(given) | {name: given[name] for name in ("max_depth", "limit", "after") if given[name] is not None}
    found = now.call("trajectory.forward_chain", asked).result
    atoms = list(found["atoms"])
    while found.get("next") and given["limit"] is None and not render.terminal():
        found = now.call("trajectory.forward_chain", {**asked, "after": found["next"]}).result
        atoms += found["atoms"]
    now.show({**found, "atoms": atoms}, draw_closure)


def draw_closure(found: Mapping[str, Any]) -> None:
    if not found["atoms"]:
        render.say("nothing holds: there are no facts")
        return
    rows = [
        [
            render.clean(atom["symbol"]),
            number(atom["depth"]),
            cost_text(atom["cost"]) if atom["cost"] is not None else "beyond counting",
            render.clean(atom.get("rule_id", "fact")),
            render.word(atom.get("premises", [])),
        ]
        for atom in found["atoms"]
    ]
    render.table(["atom", "depth", "cost", "by", "from"], rows, right=["depth", "cost"])
    for rule_id, symbol in (found.get("blocked") or {}).items():
        render.note(f"{render.clean(rule_id)} is left out: it concludes {render.clean(symbol)}, which is denied")
    if found.get("next") is not None:
        render.note(f"More: add --after {render.clean(str(found['next']))}")


@trajectory.command_of("explain", "Why an atom holds, as a tree; or what it lacks.", click.Argument(["symbol"]), *FROM)
def explain(symbol: str, **given: Any) -> int | None:
    now = session()
    now.timeout_s = CLOSURE_S if now.timeout_s == TIMEOUT_S else now.timeout_s
    found = now.call("trajectory.explain", {"symbol": symbol, **_from(given)}).result
    now.show(found, draw_explanation)
    return None if found["holds"] else 1


def draw_explanation(found: Mapping[str, Any]) -> None:
    name = render.clean(found["symbol"])
    if not found["holds"]:
        render.say(f"{render.verdict('failed', 'no')}: {name} does not hold")
        for near in found.get("near") or ():
            lacks = ", ".join(render.clean(each) for each in near["missing"])
            why = "is left out: its conclusion is denied" if near.get("blocked") else f"lacks {lacks}"
            render.say(f"  {render.clean(near['rule_id'])} {why}")
        if not found.get("near"):
            render.say("  no rule concludes it")
        return
    for line in tree(found):
        render.say(render.cut(line, render.width()))
    render.say(f"{name} holds; the rules of this tree cost {cost_text(found['cost'])} together")
    if found.get("more"):
        render.note(f"{render.plural(found['more'], 'atom')} below are not shown. Explain one of them by itself")


def tree(found: Mapping[str, Any]) -> list[str]:
    """The derivation, the atom at the top. What several rules need is drawn where it comes first, and named after that."""
    steps = {step["symbol"]: step for step in found["steps"]}
    lines: list[str] = []
    drawn: set[str] = set()
    agenda = [(found["symbol"], "", "")]
    while agenda and len(lines) < TREE_LINES_MAX:
        symbol, lead, below = agenda.pop()
        step = steps.get(symbol)
        again = symbol in drawn
        drawn.add(symbol)
        lines.append(f"{lead}{render.clean(symbol)}{_by(step, again)}")
        premises = list(step.get("premises", ())) if step is not None and not again else []
        for place, premise in reversed(list(enumerate(premises))):
            last = place == len(premises) - 1
            agenda.append((premise, f"{below}{'└─ ' if last else '├─ '}", f"{below}{'   ' if last else '│  '}"))
    return [*lines, "…"] if agenda else lines


def _by(step: Mapping[str, Any] | None, again: bool) -> str:
    if step is None:
        return "  …"
    if step.get("rule_id") is None:
        return "  fact"
    if again:
        return "  as above"
    return f"  by {render.clean(step['rule_id'])}, cost {cost_text(step.get('cost', 0.0))}"


# --- search -----------------------------------------------------------------------------------------------------------------


@trajectory.command_of(
    "search",
    "Find the cheapest way to the goals, and say how good it is for sure.",
    *FROM,
    click.Option(["--goal", "goals"], multiple=True, metavar="ATOM", help="What to reach; once for each."),
    click.Option(
        ["--mode"],
        type=click.Choice(["beam", "exact", "pareto"]),
        help="beam is quick (default), exact goes on until it is proved, pareto finds what is cheap and what is fair.",
    ),
    click.Option(
        ["--fairness"],
        type=click.Choice(["cost", "coverage"]),
        help="Whether groups are to bear alike (default), or to see as much of their goals reached.",
    ),
    click.Option(["--width"], type=click.INT, metavar="N", help=f"How many ways the beam follows at once ({WIDTH_DEFAULT})."),
    click.Option(["--forbid", "forbidden"], multiple=True, metavar="RULE_ID", help="Do without this rule."),
    click.Option(["--budget"], multiple=True, metavar="GROUP=COST", help="What a group may bear at most."),
    click.Option(["--weights"], type=fields.JsonText(), metavar="JSON", help='Of the score: {"efficiency", "fairness", "groups"}.'),
    click.Option(
        ["--deadline"],
        type=click.FLOAT,
        metavar="S",
        help=f"Seconds it may take ({DEADLINE_MS_DEFAULT / 1000:g}); then the best so far.",
    ),
    epilog="Save the spine: irerctl -o json trajectory search > best.json   then: irerctl trajectory fold best.json",
)
def search(**given: Any) -> int | None:
    now = session()
    asked = _from(given)
    named = (("mode", "mode"), ("width", "beam_width"), ("fairness", "fairness"))
    asked |= {name: given[option] for option, name in named if given[option] is not None}
    if given["budget"]:
        asked["budgets"] = _amounts(given["budget"], "GROUP=COST")
    if given["weights"] is not None:
        asked["weights"] = given["weights"]
    if given["deadline"] is not None:
        asked["deadline_ms"] = _milliseconds(given["deadline"])
    now.timeout_s = max(now.timeout_s, asked.get("deadline_ms", DEADLINE_MS_DEFAULT) / 1000 + LATE_S)
    found = now.call("trajectory.search", asked).result
    now.show(found, draw_search)
    return None if found["spine"] is not None else 1


def _milliseconds(seconds: float) -> int:
    least, most = DEADLINE_MS_MIN / 1000, DEADLINE_MS_MAX / 1000
    if not least <= seconds <= most:
        raise click.UsageError(f"--deadline {seconds:g} is not between {least:g} and {most:g} seconds")
    return round(seconds * 1000)


def draw_search(found: Mapping[str, Any]) -> None:
    goals = ", ".join(render.clean(goal) for goal in found["goals"]) or "nothing: no rule leads anywhere"
    if found["spine"] is None:
        lost = ", ".join(render.clean(goal) for goal in found.get("unreachable") or ())
        if lost:
            render.say(f"{render.verdict('failed', 'no way')}: no rules lead to {lost}")
            render.tell("Try: irerctl trajectory explain ATOM")
        elif found["proof"] == "optimal":
            render.say(f"{render.verdict('failed', 'no way')}: nothing within the budgets reaches {goals}")
        else:
            render.say(f"{render.verdict('warn', 'nothing found')} in time that reaches {goals}; there may be a way")
        return
    render.say(f"to reach {goals}")
    draw_spine(found["spine"])
    missed = sorted(set(found["goals"]) - set(found["spine"]["goals"]))
    if missed:
        render.note(f"not reached: {', '.join(render.clean(goal) for goal in missed)}")
    if found.get("front"):
        _draw_front(found)
        return
    render.say(f"cost {cost_text(found['cost'])}: {proof_text(found)}")
    if found.get("fairness") is not None and (missed or len({rule["group"] for rule in found["spine"]["rules"]}) > 1):
        render.say(f"fairness {found['fairness']:.4g} between groups, score {found['score']:.4g}")


def _draw_front(found: Mapping[str, Any]) -> None:
    """Every spine of the front in a line, the one above marked."""
    count, shown = found["front_count"], found["front"]
    whole = f"{render.verdict('ok', 'whole')}, nothing is cheaper and fairer"
    known = whole if found["proof"] == "optimal" else f"{render.verdict('warn', 'cut short')}, there may be better ones"
    render.say(f"cost {cost_text(found['cost'])}, fairness {found['fairness']:.4g}, score {found['score']:.4g}")
    render.say()
    render.say(f"front of {render.plural(count, 'spine')}: {known}")
    wanted = len(found["goals"])
    rows, laid = [], [rule["rule_id"] for rule in found["spine"]["rules"]]
    for point in shown:
        here = point["rules"] == laid
        goals = f"{number(point['goals'])} of {number(wanted)}"
        figures = [cost_text(point["cost"]), f"{point['fairness']:.4g}", f"{point['score']:.4g}", goals]
        rows.append([*figures, "this" if here else "", " ".join(render.clean(rule) for rule in point["rules"])])
    render.table(["cost", "fairness", "score", "goals", "", "rules"], rows, right=["cost", "fairness", "score"])
    if count > len(shown):
        render.note(f"and {render.count(count - len(shown))} more, with lower scores")


def draw_spine(spine: Mapping[str, Any]) -> None:
    if spine["facts"]:
        render.say(f"from     {', '.join(render.clean(fact) for fact in spine['facts'])}")
    wide = len(str(len(spine["rules"])))
    for place, each in enumerate(spine["rules"]):
        render.say(render.cut(f"step {place + 1:>{wide}}  {rule_text(each)}", render.width()))


def proof_text(found: Mapping[str, Any]) -> str:
    """How good it is for sure, in words."""
    cost, bound, proof = found["cost"], found["bound"], found["proof"]
    assert proof in get_args(Proof)
    if proof == "optimal":
        return f"{render.verdict('ok', 'optimal')}, nothing is cheaper"
    if proof == "bound" and bound:
        near = render.verdict("warn", f"within {100 * (cost / bound - 1):.2g} %")
        return f"{near} of the optimum, which is at least {cost_text(bound)}"
    return f"{render.verdict('warn', 'heuristic')}, nothing is proved about it"


# --- spines -----------------------------------------------------------------------------------------------------------------


def spine_in(file: str) -> Any:
    """The spine in a file: alone, or within an answer of `search`."""
    found = _document(file)
    inner = found.get("spine", found)
    if not isinstance(inner, Mapping) or not {"facts", "goals", "rules"} <= set(inner):
        hint = "Write one: irerctl -o json trajectory search > best.json"
        raise Failure("invalid-argument", f"{file} holds no spine, which has facts, goals and rules.", hint)
    return inner


@trajectory.command_of(
    "fold", "The name of a spine, however it is written down.", click.Argument(["file"], metavar="FILE"), *WRITES
)
def fold(file: str, **about: Any) -> None:
    _write(session(), "fold", {"spine": spine_in(file)}, about, draw_fold)


def draw_fold(found: Mapping[str, Any]) -> None:
    render.say(render.clean(found["hash"]))


@trajectory.command_of(
    "compare",
    "What one spine has that another has not.",
    click.Argument(["a"], metavar="FILE_A"),
    click.Argument(["b"], metavar="FILE_B"),
)
def compare(a: str, b: str) -> int | None:
    now = session()
    found = now.call("trajectory.compare", {"a": spine_in(a), "b": spine_in(b)}).result
    now.show(found, draw_comparison)
    return None if found["same"] else 1


def draw_comparison(found: Mapping[str, Any]) -> None:
    if found["same"]:
        render.say(f"{render.verdict('ok', 'the same')}: {render.clean(found['hash_a'])}")
        return
    render.say(f"a  {render.clean(found['hash_a'])}  cost {cost_text(found['cost_a'])}")
    render.say(f"b  {render.clean(found['hash_b'])}  cost {cost_text(found['cost_b'])}")
    for name, told in (("only_a", "only a"), ("only_b", "only b"), ("changed", "not the same")):
        for rule_id in found[name]:
            render.say(f"{told}: {render.clean(rule_id)}")


@trajectory.command_of(
    "occupancy",
    "Which rules the folded spines have in common, and where these lie.",
    click.Option(["--limit"], type=click.INT, metavar="N", help="At most so many rules, atoms and cells (100)."),
)
def occupancy(limit: int | None) -> None:
    now = session()
    now.show(now.call("trajectory.occupancy", {"limit": limit} if limit is not None else {}).result, draw_occupancy)


def draw_occupancy(found: Mapping[str, Any]) -> None:
    if not found["folds"]:
        render.say("no spines were folded yet")
        render.tell("Try: irerctl -o json trajectory search > best.json   then: irerctl trajectory fold best.json")
        return
    render.say(f"{render.plural(found['folds'], 'spine')} folded")
    for line in heat_map(found["grid"]):
        render.say(render.cut(line, render.width()))
    render.say()
    rows = [[render.clean(each["rule_id"]), number(each["count"])] for each in found["rules"][:LISTED]]
    render.table(["rule", "spines"], rows, right=["spines"])


def heat_map(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """A row for each group, a column for each depth; the darker the more rules lie there. Nothing is blank."""
    groups = sorted({str(cell["group"]) for cell in cells})
    depths = max((cell["depth"] for cell in cells), default=0)
    most = max((cell["count"] for cell in cells), default=0)
    counts = {(str(cell["group"]), cell["depth"]): cell["count"] for cell in cells}
    wide = max((len(render.clean(group)) for group in groups), default=0)
    rows = []
    for group in groups:
        row = "".join(shade(counts.get((group, depth), 0), most) * 2 for depth in range(1, depths + 1))
        rows.append(f"{render.clean(group).ljust(wide)} │{row}│")
    return [*rows, f"{' ' * wide}  depth 1 to {depths}; darkest is {render.plural(most, 'rule')}"] if rows else []


def shade(count: int, most: int) -> str:
    if not count or not most:
        return SHADES[0]
    return SHADES[max(1, min(len(SHADES) - 1, -(-count * (len(SHADES) - 1) // most)))]


def draw_fact(found: Mapping[str, Any]) -> None:
    if not found:
        render.say("it is there already")
    else:
        render.say(f"{render.clean(found['symbol'])} {'holds' if found['value'] else 'is denied'}")


def draw_program(found: Mapping[str, Any]) -> None:
    for entry in found["entries"]:
        render.say(render.cut(entry_line(entry), render.width()))
    if not found["entries"]:
        render.say("no facts and no rules yet")
    if found.get("next") is not None:
        render.note(f"More: add --after {render.clean(str(found['next']))}")


DRAW = {
    "trajectory.add_fact": draw_fact,
    "trajectory.program": draw_program,
    "trajectory.status": draw_status,
    "trajectory.forward_chain": draw_closure,
    "trajectory.explain": draw_explanation,
    "trajectory.search": draw_search,
    "trajectory.fold": draw_fold,
    "trajectory.compare": draw_comparison,
    "trajectory.occupancy": draw_occupancy,
}
