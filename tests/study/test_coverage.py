"""Intervals that are right hold the truth as often as they say, and others are told."""

import numpy as np
import pandas as pd
from scipy import stats

from fedmi.stats import Z95
from fedmi.study import coverage, figures, pages


def table(sd=1.0, promised=True, sets=2000, **where):
    """Of normal estimates with a standard deviation, whose intervals say that it is 1."""
    bits = 5 + sd * np.random.default_rng(0).standard_normal(sets)
    where = dict(study="signal", d=10, n=100, law="normal", promised=promised) | where
    found = coverage.rows(bits, np.full(sets, Z95), 5.0)
    return pd.DataFrame([where | row for row in found], columns=coverage.COLUMNS)


def test_intervals_of_every_level_are_counted():
    rows = table().set_index("level")
    assert rows.index.tolist() == list(coverage.LEVELS) and set(coverage.SHOWN) <= {*rows.index}
    spread = np.sqrt(rows.index * (1 - rows.index) / 2000)
    assert (np.abs(rows.held - rows.index) < 4 * spread).all()
    assert abs(rows.bias.iloc[0]) < 4 * rows.bias_se.iloc[0]
    assert (rows.held_low < rows.held).all() and (rows.held < rows.held_high).all()


def test_intervals_that_are_too_narrow_hold_what_theory_says():
    rows = table(sd=2.0).set_index("level")
    reach = stats.norm.isf((1 - rows.index.to_numpy()) / 2) / 2
    expected = 1 - 2 * stats.norm.sf(reach)
    np.testing.assert_allclose(rows.held, expected, atol=4 * np.sqrt(0.25 / 2000))


def test_the_envelope_is_binomial():
    low, high = coverage.envelope([0.5, 0.95], 100)
    np.testing.assert_allclose(low, [0.40, 0.90], atol=0.011)
    np.testing.assert_allclose(high, [0.60, 0.99], atol=0.011)


def test_the_page_says_which_intervals_fail():
    parts = [table(), table(sd=2.0, law="wide"), table(sd=2.0, law="Student", promised=False)]
    rows = pd.concat(parts)
    page = pages.render("coverage", coverage.facts(rows))
    assert "- signal, normal: the intervals hold as often as they say" in page
    assert "- signal, wide: **the intervals do not hold as often as they say**: 20 of 20" in page
    assert "- signal, Student: the intervals fail, as is expected" in page
    assert "| signal | 100 | 10 | normal | 5.0 | 2000 |" in page


def test_a_panel_a_size_and_a_curve_a_law():
    rows = pd.concat([table(), table(law="wide", sd=2.0), table(study="digits")])
    figure = figures.coverage(rows, "N = 100")
    drawn = {line.get_label() for line in figure.axes[0].lines}
    assert {"normal", "wide", "as often as promised"} <= drawn
    assert "digits: N = 100, d = 10, 2000 sets a law" in figure.axes[1].get_title(loc="left")
