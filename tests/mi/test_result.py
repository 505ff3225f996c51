from math import inf, isnan, nan

import numpy as np
import pytest
from scipy import stats

from fedmi.mi import Estimate, PairEstimate

COLUMNS = (
    "pair, estimator, net_bits, bits, raw_bits, finite_bits, shared_directions, null_bits, "
    "null_sd, perm_bits, perm_sd, permutations, z, p_value, p_fit, p_wilks, low, high, "
    "ceiling_bits, n, rank_x, rank_y, metric, k"
)


def pair(bits, permuted):
    return PairEstimate((0, 2), Estimate(bits=bits, n=9, estimator="ksg"), np.asarray(permuted))


def test_repr_shows_what_applies_only():
    shown = repr(Estimate(bits=1.25, n=9, estimator="ksg", interval=(0.5, 2.0), k=3))
    assert shown == "Estimate(1.25 bits, n=9, estimator=ksg, interval=(0.5, 2), k=3)"


def test_ties_are_shown_where_they_were_counted():
    assert repr(Estimate(bits=1.25, n=9, estimator="ksg", ties=4)).endswith("ksg, ties=4)")
    assert isnan(Estimate(bits=1.25, n=9, estimator="gaussian").ties)


def test_net_bits_z_and_p_value():
    result = pair(3.0, [1.0, 2.0, 3.0, -2.0])
    assert result.perm_bits == 1.0
    assert result.perm_sd == pytest.approx(np.sqrt(14 / 3))
    assert result.net_bits == 2.0
    assert result.z == pytest.approx(2 / np.sqrt(14 / 3))
    assert result.p_value == (1 + 1) / (4 + 1)


def test_the_fitted_p_value_is_uniform_where_repairings_are_normal():
    rng = np.random.default_rng(0)
    found = [pair(own, others).p_fit for own, *others in rng.standard_normal((2000, 8))]
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert pair(inf, [1.0, 2.0]).p_fit == 0
    assert isnan(pair(1.0, [0.5]).p_fit)


def test_infinite_bits_keep_a_finite_null():
    result = pair(inf, [1.0, 2.0])
    assert (result.net_bits, result.z, result.perm_bits) == (inf, inf, 1.5)
    assert result.p_value == 1 / 3


def test_without_repairings_nothing_is_claimed():
    result = pair(1.0, [])
    assert all(map(isnan, (result.net_bits, result.perm_sd, result.z, result.p_value)))


def test_row_has_the_columns_of_the_table():
    row = pair(1.0, [0.0, 0.5]).row()
    assert list(row) == COLUMNS.split(", ")
    assert row["pair"] == "0-2"
    assert row["permutations"] == 2
    assert isnan(row["low"]) and isnan(row["rank_x"])


def test_default_is_nan_not_zero():
    assert isnan(Estimate(bits=nan, n=1, estimator="ksg").null_sd)
