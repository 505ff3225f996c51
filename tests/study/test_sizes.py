from itertools import product
from math import log, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmi.study import sizes
from fedmi.study.sizes import FAILS, HOLDS, INFINITE, OPEN, all_of, told


@pytest.mark.parametrize(
    ("effect", "expected"),
    [(0.5, HOLDS), (0.13, OPEN), (0.1, OPEN), (0.05, OPEN), (0.01, FAILS), (-0.5, FAILS)],
)
def test_an_effect_is_held_against_the_smallest_that_matters(effect, expected):
    assert told(effect, 0.04, size=0.1) == expected


@given(st.floats(-9, 9), st.floats(0.001, 3), st.floats(-1, 1), st.floats(1, 4))
def test_a_stricter_limit_never_turns_a_verdict(effect, error, size, limit):
    strict, lax = told(effect, error, size, limit + 1), told(effect, error, size, limit)
    assert strict in (lax, OPEN)


def test_all_of_it_holds_where_every_part_does():
    order = (FAILS, INFINITE, OPEN, HOLDS)
    for parts in product(order, repeat=3):
        assert order.index(all_of(*parts)) == min(map(order.index, parts))


def test_the_bits_that_matter_are_those_of_pinskers_inequality():
    """Total variation is at most sqrt(MI / 2) in nats; half of it is what guessing gains."""
    right = 0.5 + 0.5 * sqrt(sizes.BITS * log(2) / 2)
    assert right == pytest.approx(0.59, abs=0.005)
