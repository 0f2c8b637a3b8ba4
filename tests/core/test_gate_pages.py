"""Pages of the gate's list of tokens: each can be sent, however long the names in it, and together they are the whole list."""

from core.gate import ENGINE
from core.gate.reads import ListTokens, tokens
from core.gate.state import Gates, Token
from core.paging import PAGE_BYTES_MAX, PAGE_VALUES_MAX, weight
from tests.core.engine_loop import EngineLoop

LONG = "x" * 64
COUNT = 3_000


def test_a_page_of_tokens_ends_before_it_is_too_large_to_be_sent() -> None:
    ctx = EngineLoop(ENGINE).context()
    held = [
        Token(f"{number:064}", "gate", "wealth", LONG, [LONG] * 16, 1, 0, 60, ctx.mono_us + 1, ctx.boot_id, number)
        for number in range(1, COUNT + 1)
    ]
    gates = Gates(boot=ctx.boot_id, tokens={token.jti: token for token in held})
    after: str | None = None
    seen, pages = list[str](), 0
    while True:
        page = tokens(gates, ListTokens(limit=10_000, after=after), ctx)
        size, values = (sum(each) for each in zip(*map(weight, page.tokens), strict=True))
        assert size <= PAGE_BYTES_MAX and values <= PAGE_VALUES_MAX
        seen += [row.jti for row in page.tokens]
        pages, after = pages + 1, page.next
        if after is None:
            break
    assert pages > 3 and seen == [token.jti for token in held]
