"""The optimiser on functions whose fronts are known: how much of the exact volume a budget of 25,000 evaluations covers.

`python -m benchmarks.optimiser` holds the same against pymoo.
"""

import statistics

import pytest

from benchmarks.optimiser import PROBLEMS, REFERENCE, Problem, ours
from core.hunt.hypervolume import hypervolume

ASKED = [name for name, problem in PROBLEMS.items() if problem.least is not None]


def share(problem: Problem, seed: int) -> float:
    found = ours(problem, seed, 25_000)
    return hypervolume(found.objectives, [REFERENCE] * problem.objectives) / problem.exact


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zdt1", "zdt2", "zdt3", "zdt6"])
def test_two_hunts_cover_what_is_asked(name):
    problem = PROBLEMS[name]
    assert problem.least is not None
    assert min(share(problem, seed) for seed in (100, 101)) >= problem.least


@pytest.mark.campaign
@pytest.mark.parametrize("name", ASKED)
def test_the_median_of_eleven_hunts_covers_what_is_asked(name):
    problem = PROBLEMS[name]
    assert problem.least is not None
    assert statistics.median(share(problem, seed) for seed in range(11)) >= problem.least
