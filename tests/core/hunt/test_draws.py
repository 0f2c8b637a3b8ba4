"""A hunt's chance: named by seed, generation and draw, the same on every machine, and never remembered."""

import pytest

from core.hunt.draws import SEED_MAX, draws

MULTIPLY = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
BUMP = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
WORD = 2**64 - 1


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox 4x64-10 as it stands in the paper (Salmon et al. 2011): the slow twin."""
    for _ in range(10):
        first, second = MULTIPLY[0] * counter[0], MULTIPLY[1] * counter[2]
        counter = [(second >> 64) ^ counter[1] ^ key[0], second & WORD, (first >> 64) ^ counter[3] ^ key[1], first & WORD]
        key = [key[0] + BUMP[0] & WORD, key[1] + BUMP[1] & WORD]
    return counter


@pytest.mark.parametrize(("seed", "generation", "draw"), [(0, 0, 0), (7, 3, 0), (7, 3, 2), (SEED_MAX, 2**40, 2**33)])
def test_the_bits_are_those_of_philox_keyed_by_the_seed_at_generation_and_draw(seed, generation, draw):
    # The first block is the one after the counter that is named.
    expected = [word for block in range(1, 6) for word in philox([block, 0, draw, generation], [seed, 0])]
    assert draws(seed, generation, draw).raw(20).tolist() == expected


def test_a_uniform_number_is_the_upper_53_bits():
    raw = draws(11, 5).raw(600).tolist()
    numbers = draws(11, 5).uniform(200, 3)
    assert numbers.shape == (200, 3)
    assert numbers.reshape(-1).tolist() == [(bits >> 11) / 2**53 for bits in raw]
    assert all(0 <= number < 1 for number in numbers.flat)


def test_an_order_holds_everybody_once():
    stream = draws(11, 5)
    one, other = stream.order(50).tolist(), stream.order(50).tolist()
    assert sorted(one) == sorted(other) == list(range(50))
    assert one != other


def test_a_stream_asked_for_again_begins_again():
    used = draws(3, 1)
    used.raw(1_000)
    assert draws(3, 1).raw(4).tolist() == draws(3, 1).raw(4).tolist() != used.raw(4).tolist()


def test_every_name_is_another_stream():
    names = [(seed, generation, draw) for seed in (0, 1, 2**63) for generation in range(8) for draw in range(8)]
    assert len({draws(*name).raw(1).tolist()[0] for name in names}) == len(names)


@pytest.mark.parametrize("name", [(-1, 0, 0), (SEED_MAX + 1, 0, 0), (0, -1, 0), (0, 2**64, 0), (0, 0, -1), (0, 0, 2**64)])
def test_what_does_not_fit_the_key_or_the_counter_names_no_stream(name):
    with pytest.raises(ValueError, match="no stream"):
        draws(*name)
