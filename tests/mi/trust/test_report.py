import jax
import numpy as np
import pandas as pd
import pytest

from fedmi import mi
from fedmi.mi.trust import laws
from fedmi.mi.trust.report import COLUMNS, common_range, sentence

LAW = laws.Normal(laws.sparse(4, 2, 1.5), 4)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def found():
    x, y = LAW.sample(jax.random.key(1), 500)
    return mi.report(x, y, truths=[0, 1, 2, 4], draws=2, key=KEY, options={"ksg": dict(k=4)})


def test_every_estimator_has_a_row_with_all_that_it_is_worth(found):
    assert list(found.table.columns) == COLUMNS
    rows = found.table.set_index("estimator")
    assert list(rows.index) == ["gaussian", "ksg"]
    assert rows.interval.tolist() == ["analytic", "subsampling"]
    assert (rows.low < rows.net_bits).all() and (rows.net_bits < rows.high).all()
    gaussian, ksg = rows.loc["gaussian"], rows.loc["ksg"]
    assert gaussian.low < LAW.mi_bits < gaussian.high
    assert np.isnan(gaussian.ceiling_bits) and ksg.ceiling_bits > 5
    assert abs(gaussian.limit_bits - LAW.mi_bits) < 3 * gaussian.limit_sd
    assert ksg.limit_bits == found.subsamples["ksg"].limit[0]
    assert ksg.variance_exponent == found.subsamples["ksg"].exponent
    assert (rows.truth_low < LAW.mi_bits).all() and (LAW.mi_bits < rows.truth_high).all()
    assert not rows.blind.any()
    assert rows.agree.all() and (rows.fits == "some").all()
    low, high = rows.truth_low.max(), rows.truth_high.min()
    assert found.sentence == (
        f"gaussian and ksg agree: normal laws of {low:.3g} to {high:.3g} bits read what they read."
    )
    assert set(found.subsamples) == {"gaussian", "ksg"}


def test_few_samples_are_calibrated_but_not_cut_into_parts():
    x, y = LAW.sample(jax.random.key(2), 60)
    found = mi.report(x, y, truths=[0, 4], draws=2, key=KEY)
    rows = found.table.set_index("estimator")
    assert rows.interval.tolist() == ["analytic", "none"]
    assert rows[["limit_bits", "limit_sd", "variance_exponent"]].isna().all(axis=None)
    assert not found.subsamples
    assert rows.truth_high.notna().all()


def test_shared_directions_are_reported_as_infinite():
    x, y = LAW.sample(jax.random.key(3), 400)
    y[:, 3] = x[:, 3]
    found = mi.report(x, y, estimators=["gaussian"], truths=[0, 4], draws=2, key=KEY)
    (row,) = found.table.to_dict("records")
    assert row["net_bits"] == row["truth_low"] == row["truth_high"] == np.inf
    assert not row["blind"]
    assert row["agree"] and row["fits"] == "some"
    assert found.sentence == "gaussian (inf) fits infinitely many bits."


@pytest.mark.slow
def test_readings_that_no_normal_law_gives_are_said_to_disagree():
    """Points on a circle: neighbours see what correlations cannot."""
    angle, noise = np.random.default_rng(0).random(600), np.random.default_rng(1)
    x, y = np.cos(7 * angle), np.sin(7 * angle)
    x, y = (z + 0.1 * noise.standard_normal(600) for z in (x, y))
    found = mi.report(x, y, truths=[0, 0.5, 1, 2], draws=2, permutations=5)
    rows = found.table.set_index("estimator")
    assert rows.truth_high["gaussian"] < rows.truth_low["ksg"]
    assert not rows.agree.any()
    assert found.sentence.startswith(
        "No normal law that was tried reads what gaussian and ksg read"
    )


def rows(*ranges):
    return pd.DataFrame(
        [
            dict(estimator=name, net_bits=bits, fits=fits, truth_low=low, truth_high=high)
            for name, bits, fits, low, high in ranges
        ]
    )


def test_the_sentence_says_who_agrees_on_what():
    a = ("gaussian", 0.13, "some", 0.056, 0.2)
    b = ("gaussian_copula", 0.15, "some", 0.1, np.inf)
    c = ("ksg", 0.09, "above", np.nan, np.nan)
    assert common_range(rows(a, b)) == (0.1, 0.2)
    assert common_range(rows(b)) == (0.1, np.inf)
    assert common_range(rows(a, c)) is common_range(rows(c)) is None
    assert sentence(rows(b), 16.0) == "gaussian_copula (0.15) fits 0.1 bits or more."
    assert sentence(rows(a, c), 16.0) == (
        "No normal law that was tried reads what gaussian and ksg read: gaussian (0.13) fits 0.056 "
        "to 0.2 bits; ksg (0.09) reads more than any law of 0 to 16 bits makes it read."
    )
    found = sentence(rows(a, c, b), 16.0)
    assert found.endswith("Of them gaussian and gaussian_copula agree, on 0.1 to 0.2 bits.")
    below = ("ksg", -0.4, "below", np.nan, np.nan)
    assert "ksg (-0.4) reads less than any law" in sentence(rows(a, below), 16.0)


@pytest.mark.parametrize(("n", "dtype"), [(300, np.float64), (300, np.float32)])
def test_one_dimension_and_no_key_make_a_report(n, dtype):
    x, y = (z[:, 0].astype(dtype) for z in laws.Normal(laws.paired([0.7]), 1).sample(KEY, n))
    truth = -np.log2(1 - 0.7**2) / 2
    found = mi.report(x, y, draws=2, permutations=5)
    assert (found.table.truth_low < truth).all() and (truth < found.table.truth_high).all()
    again = mi.report(x, y, draws=2, permutations=5, key=jax.random.key(0))
    pd.testing.assert_frame_equal(again.table, found.table)
