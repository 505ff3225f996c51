"""Fits of laws that are known."""

import numpy as np
import pytest

from benchmarks.power_law import PowerLaw, fit, product

SIZES = [
    dict(n=n, t=t, m=m)
    for n, t, m in [
        (1000, 100, 0),
        (2000, 100, 0),
        (4000, 100, 0),
        (1000, 50, 0),
        (1000, 200, 0),
        (1000, 400, 0),
        (1000, 100, 5),
        (1000, 100, 20),
        (4000, 400, 5),
        (2000, 200, 10),
    ]
]
SIZES = {name: np.array([size[name] for size in SIZES]) for name in ("n", "t", "m")}
LAW = PowerLaw(scale=3e-9, exponents=dict(n=1.5, t=0.8))
CALL, SQUARE, OTHERS = {}, dict(n=2), dict(n=1, m=1)


def noisy(seconds, seed, spread=0.05):
    return seconds * np.exp(spread * np.random.default_rng(seed).standard_normal(len(seconds)))


def test_product_of_powers():
    assert product(dict(a=[2, 4], b=3.0), dict(a=2, b=-1)) == pytest.approx([4 / 3, 16 / 3])
    assert product(dict(a=[0, 4]), dict(a=1)).tolist() == [0, 4]
    assert product({}, {}) == 1


def test_a_power_law_is_found_and_nothing_is_added_to_it():
    found = fit(SIZES, LAW(SIZES), ["n", "t"], {"call": CALL, "square": SQUARE})
    assert found.exponents == pytest.approx(dict(n=1.5, t=0.8))
    assert found.scale == pytest.approx(3e-9)
    assert found.terms == {}
    assert max(found.errors.values()) < 1e-6
    larger = dict(n=10_000, t=1000, m=0)
    assert found(larger) == pytest.approx(3e-9 * 10_000**1.5 * 1000**0.8)


@pytest.mark.parametrize("names", [["call"], ["others"], ["square"], ["call", "others"]])
def test_further_terms_are_told_apart(names):
    powers = dict(call=CALL, others=OTHERS, square=SQUARE)
    share = 0.5 * np.median(LAW(SIZES))
    terms = {name: (share / product(SIZES, powers[name]).max(), powers[name]) for name in names}
    law = PowerLaw(LAW.scale, LAW.exponents, terms=terms)
    found = fit(SIZES, law(SIZES), ["n", "t"], powers)
    assert set(found.terms) == set(names)
    assert found.exponents == pytest.approx(dict(n=1.5, t=0.8), rel=1e-3)
    for name in names:
        assert found.terms[name][0] == pytest.approx(terms[name][0], rel=1e-2)
    larger = dict(n=10_000, t=1000, m=30)
    assert found(larger) == pytest.approx(law(larger), rel=1e-3)


def test_standard_errors_are_those_of_repeated_fits():
    fits = [fit(SIZES, noisy(LAW(SIZES), seed), ["n", "t"]) for seed in range(200)]
    for name in ("n", "t"):
        true = np.std([f.exponents[name] for f in fits])
        told = np.sqrt(np.mean([f.errors[name] ** 2 for f in fits]))
        assert told == pytest.approx(true, rel=0.15)
    assert np.mean([f.spread**2 for f in fits]) == pytest.approx(0.05**2, rel=0.15)


def test_the_simpler_law_is_kept_where_there_is_only_noise():
    fits = [fit(SIZES, noisy(LAW(SIZES), seed), ["n", "t"], {"call": CALL}) for seed in range(40)]
    assert np.mean([not found.terms for found in fits]) >= 0.7


def test_what_cannot_be_told_apart_is_refused():
    together = dict(n=[1, 2, 4], t=[1, 2, 4])
    with pytest.raises(ValueError, match="do not tell the effects of n, t apart"):
        fit(together, [1.0, 2.0, 4.0], ["n", "t"])
    with pytest.raises(ValueError, match="seconds"):
        fit(dict(n=[1, 2, 4]), [1.0, 0.0, 4.0], ["n"])


def test_without_degrees_of_freedom_no_error_is_claimed():
    found = fit(dict(n=[1, 2]), [1.0, 2.0], ["n"], {"call": CALL})
    assert found.exponents["n"] == pytest.approx(1)
    assert found.errors["n"] == np.inf and found.terms == {}
