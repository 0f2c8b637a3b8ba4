"""The OpenAPI document that the hub serves, held against what it answers: requests that schemathesis makes of it, good and bad.

Nothing may be answered with a 5xx but what irerd means by one (501 and 504), every answer has the status, type and form that
the document promises, and neither the hub nor irerd meets a bug. What has no end (streams) or takes minutes of a core (jobs) is
asked for with bad requests only, or not at all.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from core.publish.routes import JOBS
from tests.campaigns import campaign, per_commit
from tests.e2e.harness import Irerd
from tests.e2e.web import Gateway

schemathesis = pytest.importorskip("schemathesis", reason="NOT TESTED against the OpenAPI document: schemathesis is missing")
requests = pytest.importorskip("requests")

from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.generation import GenerationMode  # noqa: E402
from schemathesis.specs.openapi import checks  # noqa: E402

AT_ONCE = 10
STRIDE = 7
"""Between the cases of one commit, so that they are of all kinds."""
PATIENCE_S = 45
"""Longer than irerd's own deadline of 30 s: what is not answered by then hangs."""
PROMISES = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
SLOW_TO_MAKE = "/rpc/trajectory."
"""schemathesis takes seconds of a core to make one request of these: they are asked in the campaign only."""
EXPECTED_5XX = {501, 504}
pytestmark = [pytest.mark.slow]


class Asked:
    """The hub over one irerd, and what was asked of it so far."""

    def __init__(self, hub: Gateway) -> None:
        self.statuses: Counter[int] = Counter()
        self.paths: set[str] = set()
        self._session = requests.Session()
        self._base = f"http://127.0.0.1:{hub.port}"
        document = hub.ask("GET", "/openapi.json").json
        self._schema = schemathesis.openapi.from_dict(document)
        self.operations = [found.ok() for found in self._schema.get_all_operations()]
        self.operations = [each for each in self.operations if not each.definition.raw.get("x-irer-streams")]

    def again(self, seed: int, count: int) -> None:
        """So many cases of one operation, the same for the same seed."""
        operation = self.operations[seed % len(self.operations)]
        made = operation.definition.raw.get("x-irer-method") or operation.path.removeprefix("/rpc/")
        bad = (seed // len(self.operations)) % 3 == 2 or made in JOBS
        strategy = operation.as_strategy(GenerationMode.NEGATIVE if bad else GenerationMode.POSITIVE)

        @seeded(seed)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def run(case: Any) -> None:
            self._one(case)

        try:
            run()
        except Exception as failure:
            if type(failure).__name__ == "Unsatisfiable":  # nothing is wrong in this way where nothing may be said
                return
            text = f"again: IRER_SEED={seed} .venv/bin/pytest -m campaign tests/e2e/test_openapi_cases.py"
            raise AssertionError(f"{operation.label}: {failure}\n{text}") from failure

    def _one(self, case: Any) -> None:
        response = case.call(base_url=self._base, session=self._session, timeout=PATIENCE_S)
        self.statuses[response.status_code] += 1
        self.paths.add(case.path)
        expected = response.status_code in EXPECTED_5XX
        case.validate_response(response, checks=PROMISES if expected else [not_a_server_error, *PROMISES])


@pytest.fixture
def asked(irerd: Irerd) -> Iterator[Asked]:
    irerd.config.write_text("[compute]\nworkers = 1\n")
    irerd.start()
    hub = Gateway(irerd.socket)
    try:
        yield Asked(hub)
        with irerd.client() as client, client.stream("audit.hashchain") as rows:
            assert all(row["ok"] for row in rows)
        assert irerd.process is not None and irerd.process.poll() is None
        assert "a bug in irer" not in irerd.stderr(), irerd.stderr()[-2_000:]
        assert irerd.stop() == 0
    finally:
        hub.close()


def test_every_answer_is_one_that_the_served_document_promises(asked: Asked) -> None:
    for number in range(per_commit("schemathesis")):
        seed = STRIDE * number % (3 * len(asked.operations))
        if not asked.operations[seed % len(asked.operations)].path.startswith(SLOW_TO_MAKE):
            asked.again(seed, 1)
    assert {200, 400} <= asked.statuses.keys(), f"it gets far, and not only far: {asked.statuses}"


@pytest.mark.campaign
def test_ten_thousand_cases(asked: Asked) -> None:
    """With another seed each time; IRER_SEED says which, and then nothing is written down."""
    if "IRER_SEED" in os.environ:
        asked.again(int(os.environ["IRER_SEED"]), AT_ONCE)
        return
    one: Callable[[int], None] = lambda index: asked.again(index // AT_ONCE, AT_ONCE)  # noqa: E731
    campaign("schemathesis", one, at_once=AT_ONCE)
