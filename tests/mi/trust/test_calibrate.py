from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pandas as pd
import pytest

from fedmi import mi
from fedmi.mi.gaussian import squared_correlations
from fedmi.mi.null import repairing
from fedmi.mi.trust import laws
from fedmi.mi.trust.calibrate import Calibration, _coarse
from fedmi.mi.trust.surrogates import FAMILIES, debiased, surrogates
from fedmi.mi.whitening import whiten

D, N = 20, 800


@pytest.fixture(scope="module")
def samples():
    """Two strong directions of twenty, through mixing maps of unequal scale."""
    covariance = laws.paired(np.r_[0.9, 0.8, np.zeros(D - 2)])
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, D, D)) * np.logspace(0, 2, D)
    law = laws.Mapped(laws.Normal(covariance, D), lambda x: x @ a.T, lambda y: y @ b.T)
    return law, *law.sample(jax.random.key(0), N)


@pytest.fixture(scope="module")
def made(samples):
    _, x, y = samples
    return surrogates(x, y, repairing(N, 20, jax.random.key(1)))


def draw(made, key, family, bits):
    key_x, key_y = jax.random.split(key)
    variates = made.draw_x(key_x)
    return variates @ made.colour_x, made.draw_y(key_y, family, bits, variates) @ made.colour_y


@pytest.mark.parametrize("family", FAMILIES)
def test_surrogates_have_the_mi_and_the_samples_covariances(samples, made, family):
    _, x, y = samples
    squares = laws.scale_to(made.squares[family], 3.0)
    assert -0.5 * np.log2(1 - squares).sum() == pytest.approx(3.0)
    drawn = [draw(made, key, family, 3.0) for key in jax.random.split(jax.random.key(2), 8)]
    bits = np.array([mi.gaussian(*pair).bits for pair in drawn])
    assert abs(bits.mean() - 3.0) < 4 * bits.std(ddof=1) / np.sqrt(8)
    for side, own in enumerate((x, y)):
        together = np.vstack([pair[side] for pair in drawn])
        got, want = np.cov(together.T), np.cov(own.T)
        assert np.linalg.norm(got - want) < 0.1 * np.linalg.norm(want)


def test_only_what_stands_out_from_noise_is_scaled(made):
    assert made.found == 2
    concentrated = made.squares["concentrated"]
    assert (concentrated > 0).sum() == 2
    np.testing.assert_allclose(concentrated[:2], [0.81, 0.64], atol=0.08)
    assert len(np.unique(made.squares["dense"])) == 1


def test_more_than_a_direction_can_carry_is_spread_over_more(made):
    x, y = draw(made, jax.random.key(5), "concentrated", 40.0)
    e = mi.gaussian(x, y)
    assert e.shared_directions == 0
    assert abs(e.bits - 40.0) < 4 * (e.interval[1] - e.bits) / 1.96
    with pytest.raises(ValueError, match="more than 20 directions can carry"):
        draw(made, jax.random.key(5), "dense", 1000.0)


def test_debiasing_inverts_what_high_dimension_adds():
    n, p, q, truth = 1000, 150, 100, 0.6
    covariance = np.eye(p + q)
    covariance[0, p] = covariance[p, 0] = np.sqrt(truth)
    law = laws.Normal(covariance, p)
    top = [
        squared_correlations(*(whiten(a, "a") for a in law.sample(key, n)))[-1]
        for key in jax.random.split(jax.random.key(0), 10)
    ]
    assert np.mean(top) > truth + 0.05
    assert np.mean(debiased(np.array(top), n, p, q)) == pytest.approx(truth, abs=0.03)
    noise = [law.sample(key, n) for key in jax.random.split(jax.random.key(1), 1)][0]
    second = squared_correlations(*(whiten(a, "a") for a in noise))[-3:-1]
    assert (debiased(second, n, p, q) < 0.2).all()
    assert (debiased(np.array([0.0, 0.05]), n, p, q) == 0).all()


def test_ranges_hold_the_truth_and_a_blind_estimator_says_so(samples):
    law, x, y = samples
    found = mi.calibrate(
        x, y, estimators=["gaussian", "ksg"], truths=[0, 1, 2, 4], draws=3, key=jax.random.key(3)
    )
    ranges = found.ranges().set_index("estimator")
    # 2.0 bits: the Gaussian formula sees them in either family.
    assert ranges.low["gaussian"] < law.mi_bits < ranges.high["gaussian"]
    assert ranges.high["gaussian"] - ranges.low["gaussian"] < 1.5
    assert ranges.low["ksg"] < law.mi_bits < ranges.high["ksg"]
    bands = found.bands()
    assert len(bands) == 2 * 2 * 4
    zero = bands[bands.true_bits == 0].groupby("estimator")["mean"].mean()
    np.testing.assert_allclose(zero, 0, atol=1e-12)
    # Spread over twenty directions, most of 4 bits escape the neighbours.
    ksg = bands[(bands.estimator == "ksg") & (bands.true_bits == 4)].set_index("family")["mean"]
    assert ksg["dense"] < 2


def test_a_reading_within_its_error_of_everything_is_blind():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 120, 50))
    found = mi.calibrate(x, y, estimators=["ksg"], truths=[0, 0.2], draws=2, key=jax.random.key(0))
    (row,) = found.ranges().to_dict("records")
    assert found.found == 0
    assert row["blind"] and row["low"] == 0 and row["high"] == np.inf


def test_ranges_are_read_off_the_bands():
    own = {"gaussian": SimpleNamespace(net_bits=3.0, perm_sd=0.01)}
    rows = [
        dict(estimator="gaussian", family=family, true_bits=truth, draw=draw, net_bits=bits)
        for family, slope in (("concentrated", 1.0), ("dense", 0.5))
        for truth in (0.0, 4.0, 8.0)
        for draw, bits in enumerate((slope * truth - 0.01, slope * truth + 0.01))
    ]
    found = Calibration(pd.DataFrame(rows), own, 100, (5, 5), 1)

    def low_and_high(reading):
        own["gaussian"].net_bits = reading
        (row,) = found.ranges().to_dict("records")
        assert not row["blind"]
        return row["low"], row["high"]

    # 3 bits of the one family, 6 of the other; a sd of 0.014 makes an error of 0.05.
    assert low_and_high(3.0) == pytest.approx((3.0, 6.0), abs=0.15)
    # From 4 bits on, more than was tried may lie behind what the dense family reads.
    assert low_and_high(5.0) == pytest.approx((5.0, np.inf), abs=0.1)
    assert low_and_high(8.0) == pytest.approx((8.0, np.inf), abs=0.1)
    assert found.ranges().fits.tolist() == ["some"]
    # Nothing that was tried reads so much, or so little.
    assert np.isnan(low_and_high(9.0)).all()
    assert found.ranges().fits.tolist() == ["above"]
    assert np.isnan(low_and_high(-1.0)).all()
    assert found.ranges().fits.tolist() == ["below"]


def test_the_published_readings_of_the_signal_task():
    """The neighbours read as much as of normal surrogates of several times the formula's bits.

    So more than linear dependence is there, and the page says that the estimators contradict.
    """
    folder = Path(__file__).parents[3] / "figures"
    bands = pd.read_csv(folder / "signal-calibration-bands.csv")
    rows = pd.read_csv(folder / "signal-calibration.csv").set_index("estimator")
    # Two draws a truth that have the published mean and spread.
    draws = [
        bands.assign(draw=draw, net_bits=bands["mean"] + side * bands.sd / np.sqrt(2))
        for draw, side in enumerate((-1, 1))
    ]
    found = Calibration(pd.concat(draws), rows.to_dict("index"), 22_000, (394, 394), 1)
    found = replace(found, own={n: SimpleNamespace(**row) for n, row in found.own.items()})
    ranges = found.ranges().set_index("estimator")
    assert ranges.fits.to_dict() == {"gaussian": "some", "ksg": "some"}
    low, high = ranges.low, ranges.high
    assert low["gaussian"] < ranges.net_bits["gaussian"] < high["gaussian"] < low["gaussian"] + 1
    assert 2 * high["gaussian"] < low["ksg"] and np.isinf(high["ksg"])


def test_one_component_is_not_asked_for_more_than_it_can_carry():
    x, y = laws.Normal(laws.paired([0.7]), 1).sample(jax.random.key(0), 300)
    found = mi.calibrate(x[:, 0], y[:, 0], estimators=["gaussian"], draws=2)
    (row,) = found.ranges().to_dict("records")
    assert row["low"] < -np.log2(1 - 0.7**2) / 2 < row["high"]
    assert found.table.true_bits.max() == laws.most_bits(1)
    with pytest.raises(ValueError, match="truths: 16.0 is more than the .* 1 directions can carry"):
        mi.calibrate(x, y, estimators=["gaussian"], truths=[0, 16])


def test_surrogates_are_not_rounded_until_they_coincide():
    x, y = laws.Normal(laws.paired([0.7]), 1).sample(jax.random.key(0), 300)
    distinct, close = x[:200], np.concatenate([x[:200], x[:1] * (1 + 1e-12)])
    as_they_are = np.eye(1)
    assert _coarse(distinct, as_they_are, np.float32).dtype == np.float32
    assert _coarse(close, as_they_are, np.float32).dtype == np.float64
    # In float16 hardly a sample keeps to itself.
    half = mi.calibrate(
        *(np.float16(z) for z in (x, y)), estimators=["gaussian"], truths=[0, 1], draws=2
    )
    assert len(half.table) == 8
    assert _coarse(x, as_they_are, np.float16).dtype == np.float64


def test_impossible_arguments_are_refused(samples):
    _, x, y = samples
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="estimators: .'kde'. must be among gaussian"):
        mi.calibrate(x, y, estimators=["kde"], key=key)
    with pytest.raises(ValueError, match="draws: 1 is below 2"):
        mi.calibrate(x, y, draws=1, key=key)
    with pytest.raises(ValueError, match="truths: .* must hold 0"):
        mi.calibrate(x, y, truths=[1.0, 2.0], key=key)
    with pytest.raises(ValueError, match="permutations: 1 is below 2"):
        mi.calibrate(x, y, permutations=1, key=key)
    with pytest.raises(ValueError, match=r"k is \[1, 3\]; name a single number"):
        mi.calibrate(x, y, estimators=["ksg"], options={"ksg": {"k": [1, 3]}}, key=key)
    with pytest.raises(ValueError, match="30 samples of ranks 20 and 20.*at least 41"):
        mi.calibrate(x[:30], y[:30], estimators=["ksg"], key=key)


@pytest.mark.parametrize("truths", [[0, np.nan], [0, np.inf], [0, "a"], 5])
def test_truths_that_are_no_numbers_are_refused(truths):
    x = np.random.default_rng(0).standard_normal((50, 1))
    with pytest.raises(ValueError, match="^truths: "):
        mi.calibrate(x, x**2, truths=truths)
