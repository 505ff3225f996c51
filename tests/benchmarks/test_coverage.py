"""A smaller `make coverage`."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import coverage
from benchmarks.output import FIGURES


def serially(function, count):
    return map(function, range(count))


PROMISED = [e for e in coverage.EXPERIMENTS if e.promised and e.estimator == "gaussian"]


@pytest.mark.parametrize("experiment", PROMISED, ids=lambda e: e.name)
def test_gaussian_intervals_hold_the_truth(experiment):
    row = coverage.coverage(experiment, 200, serially)
    assert 0.90 <= row["coverage"] <= 0.99
    assert abs(row["bias"]) < 2.5 * row["bias_error"]


@pytest.mark.slow
def test_ksg_intervals_hold_the_truth():
    (experiment,) = [
        e for e in coverage.EXPERIMENTS if (e.estimator, e.name) == ("ksg", "binormal, r = 0.75")
    ]
    row = coverage.coverage(experiment, 20, serially)
    assert row["coverage"] >= 0.75  # at 95 %, fewer than 15 of 20 happen once in 3,000 times
    assert abs(row["bias"]) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["gaussian", "ksg"])
def test_p_values_are_uniform_without_dependence(estimator):
    row = coverage.uniformity(estimator, 120, 60, serially)
    assert row["ks_p_value"] > 0.001
    values = [coverage.p_value(estimator, 120, i) for i in range(60)]
    assert min(values) >= 0 and max(values) <= 1
    assert len(np.unique(values)) == 60


def test_the_published_table_is_of_these_experiments():
    published = pd.read_csv(FIGURES / "coverage.csv")
    counted = published[published.kind != "p-values"]
    named = [(e.estimator, e.name, e.n) for e in coverage.EXPERIMENTS]
    assert named == list(counted[["estimator", "law", "n"]].itertuples(index=False, name=None))
    row = coverage.coverage(coverage.EXPERIMENTS[0], 3, serially)
    assert [*row, "ks_p_value"] == list(published)
    assert counted[counted.kind == "interval"].coverage_high.min() > 0.92


def test_the_experiments_are_those_that_are_asked_for():
    by_estimator = {
        name: [e for e in coverage.EXPERIMENTS if e.estimator == name and e.promised]
        for name in ("gaussian", "ksg")
    }
    assert len(by_estimator["gaussian"]) >= 4 and len(by_estimator["ksg"]) >= 4
    shares = [e.law.p / e.n for e in by_estimator["gaussian"]]
    assert max(shares) > 0.1
    key = coverage.jax.random.key(0)
    sizes = [e.law.sample(key, 2)[0].shape[1] for e in by_estimator["ksg"]]
    assert max(sizes) <= 3
