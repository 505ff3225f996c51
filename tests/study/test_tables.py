import dataclasses

import numpy as np
import pandas as pd
import pytest

import fedmi
from fedmi.sampling import replay
from fedmi.study import tables
from tests import tiny

pytestmark = pytest.mark.usefixtures("quickly_compiled")


@pytest.fixture(scope="module")
def samples():
    return fedmi.finite(fedmi.sample(tiny.task, seeds=2000, checkpoints=[1, 2, 4], tile=64))


def test_mi_rows_find_the_known_mutual_information(samples):
    for iteration in (1, 4):
        rows = pd.DataFrame(
            tables.mi_rows(samples, iteration, estimator="gaussian", permutations=20)
        )
        assert {*rows.columns, "p_family"} == {*tables.MI_COLUMNS, "rounding_bits", "permuted"}
        assert rows.pair.tolist() == ["0-1", "0-2", "1-2"]
        truth = tiny.mi_bits(tiny.task, iteration)
        assert (rows.low < truth).all() and (truth < rows.high).all()
        np.testing.assert_allclose(rows.net_bits, rows.bits - rows.perm_bits)
        assert (rows.z > 10).all()
        assert (rows.excluded == 0).all() and (rows.n == 2000).all()


def test_a_row_does_not_depend_on_what_else_is_estimated(samples):
    options = dict(estimator="ksg", permutations=4, k=3, metric="euclidean")
    alone = pd.DataFrame(tables.mi_rows(samples, 4, **options))
    tables.mi_rows(samples, 1, **options)
    again = pd.DataFrame(tables.mi_rows(samples, 4, **options))
    pd.testing.assert_frame_equal(alone, again)


def test_a_study_s_p_values_allow_for_all_its_estimates(samples):
    rows = [
        row
        for iteration in (1, 4)
        for row in tables.mi_rows(samples, iteration, estimator="gaussian", permutations=20)
    ]
    found = pd.DataFrame(tables.with_family_p(rows))
    assert set(found.columns) >= set(tables.MI_COLUMNS)
    assert (found.p_family == 1 / 21).all()  # every pair is dependent
    null = pd.DataFrame(tables.null_rows(rows))
    assert list(null.columns) == tables.NULL_COLUMNS
    means = null.groupby(["pair", "iteration"]).bits.mean()
    np.testing.assert_allclose(
        means, found.set_index(["pair", "iteration"]).perm_bits.sort_index(), rtol=1e-12
    )


def test_distance_rows_are_the_paper_s_and_closer_than_unmatched(samples):
    rows = pd.DataFrame(tables.distance_rows(samples, 4))
    assert list(rows.columns) == tables.DISTANCE_COLUMNS
    assert len(rows) == 9
    x, y = samples.theta.values[:, 0, -1], samples.theta.values[:, 2, -1]
    found = rows[rows.pair == "0-2"].set_index("metric").distance
    np.testing.assert_allclose(found["euclidean"], np.linalg.norm(x - y, axis=1).mean(), rtol=1e-6)
    np.testing.assert_allclose(found["manhattan"], np.abs(x - y).sum(1).mean(), rtol=1e-6)
    np.testing.assert_allclose(found["chebyshev"], np.abs(x - y).max(1).mean(), rtol=1e-6)
    # Independent copies are apart by sqrt(1 / (1 - rho)) times as much, for normal differences.
    rho = tiny.correlation(tiny.task, 4)
    ratio = rows.unmatched / rows.distance
    np.testing.assert_allclose(ratio, (1 - rho) ** -0.5, rtol=0.03)


def test_learning_rows_are_means_with_their_interval(samples):
    held_out = replay.held_out_metrics(tiny.task, samples, seeds=64)
    ridge = held_out.isel(iteration=[-1]).rename(distance="distance of x")
    rows = pd.DataFrame(tables.learning_rows(samples, "distance", held_out, ridge))
    assert list(rows.columns) == tables.LEARNING_COLUMNS
    training = rows[(rows.metric == "distance") & (rows.client == 1)]
    assert training.iteration.tolist() == [0, 1, 2, 3]
    values = samples.metric.values[:, 1].astype(float)
    np.testing.assert_allclose(training["mean"], values.mean(0))
    half = 1.96 * values.std(0, ddof=1) / np.sqrt(2000)
    np.testing.assert_allclose(training.high - training["mean"], half)
    np.testing.assert_allclose(training["mean"] - training.low, half)
    fresh = rows[(rows.metric == "held-out distance") & (rows.client == 1)]
    assert fresh.iteration.tolist() == [0, 1, 2, 4]
    np.testing.assert_allclose(fresh["mean"], held_out.distance.values[:, 1].astype(float).mean(0))
    of_ridge = rows[rows.metric == "ridge regression, distance of x"]
    assert of_ridge.iteration.tolist() == [4, 4, 4]
    assert of_ridge["mean"].iloc[1] == fresh["mean"].iloc[-1]


@pytest.mark.parametrize(
    ("growth", "said"), [(1.1, "is not chaotic"), (5e4, "**Chaotic training**")]
)
def test_what_rounding_does_is_said(growth, said):
    told = tables.compare_with_rounding(tiny.STABILITY.assign(growth_median=growth))
    assert said in told and ("1.10-fold" in told or "50,000-fold" in told)


@pytest.mark.parametrize(
    ("baseline", "larger", "verdict"),
    [
        (3.0, False, "the network beats it"),
        (1.0, False, "the network does NOT beat it"),
        (1.0, True, "the network beats it"),
        (2.05, False, "the network cannot be told from it"),
        (None, False, "the best constant prediction is not known"),
    ],
)
def test_the_verdict_follows_the_data(baseline, larger, verdict):
    task = dataclasses.replace(tiny.task, baseline=baseline, larger_is_better=larger)
    learning = pd.DataFrame(
        dict(metric=metric, iteration=iteration, mean=mean, low=mean - 0.1, high=mean + 0.1)
        for metric, means in (("held-out distance", (9.0, 2.0)), ("distance", (9.0, 5.0)))
        for iteration, mean in enumerate(means)
        for _ in range(3)
    )
    sentence = tables.compare_with_baseline(task, learning)
    assert sentence.startswith(
        "On fresh examples at iteration 1 the mean distance is 2.000 ± 0.100"
    )
    assert verdict in sentence
