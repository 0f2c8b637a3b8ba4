"""The trajectory optimiser: facts, rules, and the cheapest way from one to the other.

It keeps a program: facts, and rules that derive one atom from others at a cost. What follows from it is worked out when it is asked
for, and kept only as long as the program stays; what is in the log is the program and the spines that were folded, nothing else.
"""

from core.engine import Engine, Nothing, read, task, write
from core.trajectory import commands, events, program, reads

DEADLINE_MS = 600_000
"""Of what a worker may have to think about."""
SPINE = {
    "facts": ["A"],
    "goals": ["B"],
    "rules": [{"rule_id": "rule1", "premises": ["A"], "conclusion": "B", "cost": 1.0}],
}

ENGINE = Engine(
    "trajectory",
    log="trajectory_log",
    state=program.Program,
    dump=program.dump,
    load=program.load,
    rows=[
        write(
            "add_fact",
            commands.AddFact,
            commands.decide_fact,
            apply={events.FactAdded: program.apply_fact},
            help="Tell a fact",
            example={"symbol": "A"},
            cli="trajectory fact SYMBOL",
        ),
        write(
            "add_rule",
            commands.AddRule,
            commands.decide_rule,
            apply={events.RuleAdded: program.apply_rule},
            reply=commands.rule_added,
            help="Add a rule",
            example={"rule_id": "rule1", "premises": ["A"], "conclusion": "B", "cost": 1.0},
            cli="trajectory rule RULE_ID CONCLUSION",
        ),
        write(
            "load",
            commands.Load,
            commands.decide_load,
            apply={events.Loaded: program.apply_loaded},
            reply=commands.loaded,
            help="Replace the whole program, at once or in parts",
            example={
                "problem": {
                    "facts": ["A", {"symbol": "C", "value": False}],
                    "rules": [
                        {"rule_id": "rule1", "premises": ["A"], "conclusion": "B", "cost": 1.0},
                        {"rule_id": "rule2", "premises": ["A", "B"], "conclusion": "D", "cost": 0.25, "group": "north"},
                    ],
                    "goals": ["D"],
                }
            },
            cli="trajectory load PROBLEM",
        ),
        write(
            "set_costs",
            commands.SetCosts,
            commands.decide_costs,
            apply={events.CostsSet: program.apply_costs},
            reply=commands.costs_set,
            help="Give rules other costs; what follows stays as it was",
            example={"costs": {"rule1": 2.5}},
            cli="trajectory costs COSTS",
        ),
        task(
            "forward_chain",
            reads.ForwardChain,
            help="All that follows from the facts, and how",
            example={},
            result=reads.Closure,
            deadline_ms=DEADLINE_MS,
            cli="trajectory closure",
        ),
        task(
            "explain",
            reads.Explain,
            help="Why an atom holds, as a tree; or what it lacks",
            example={"symbol": "B"},
            result=reads.Explanation,
            deadline_ms=DEADLINE_MS,
            cli="trajectory explain SYMBOL",
        ),
        task(
            "search",
            reads.Search,
            help="Find a cheap spine, and say how good it is for sure",
            example={"goals": ["B"]},
            result=reads.SearchAnswer,
            deadline_ms=DEADLINE_MS,
            cli="trajectory search",
        ),
        write(
            "fold",
            commands.Fold,
            commands.decide_fold,
            apply={events.Folded: program.apply_folded},
            reply=commands.folded,
            help="Fold a spine to its name, which is the same however it is written down",
            example={"spine": SPINE},
            cli="trajectory fold SPINE",
        ),
        read(
            "compare",
            reads.Compare,
            reads.compare,
            help="What one spine has that another has not",
            example={"a": SPINE, "b": SPINE},
            cli="trajectory compare A B",
        ),
        read(
            "occupancy",
            reads.Occupancy,
            reads.occupancy,
            help="Which rules folded spines have in common, and where these lie",
            example={},
            cli="trajectory occupancy",
        ),
        read(
            "program",
            reads.ListProgram,
            reads.page,
            help="Facts and rules, a page at a time",
            example={"limit": 10},
            cli="trajectory program",
        ),
        read("status", Nothing, reads.status, help="The program in one object", example={}, cli="trajectory status"),
    ],
)
