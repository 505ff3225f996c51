import numpy as np
import pytest

from fedmi import stats
from fedmi.stats import family_p_values

M = 19


def test_one_test_is_its_own_family():
    permuted = np.arange(1.0, 20.0)[None]
    assert family_p_values(np.array([20.0]), permuted) == [1 / 20]
    assert family_p_values(np.array([19.5]), permuted) == [1 / 20]
    assert family_p_values(np.array([18.5]), permuted) == [2 / 20]
    assert family_p_values(np.array([0.0]), permuted) == [1.0]


def test_an_estimate_is_compared_with_the_largest_of_all():
    # On one scale, by hand: each row has mean 0 and the same spread but for the last column.
    permuted = np.array([[-1.0, 1.0, -1.0], [1.0, -1.0, -1.0]])
    p = family_p_values(np.array([1.0, 1.0]), permuted)
    # Alone, each is reached by one re-pairing of three; together, by two.
    assert p.tolist() == [3 / 4, 3 / 4]
    assert family_p_values(np.array([1.0]), permuted[:1]).tolist() == [2 / 4]


def test_units_do_not_matter():
    draw = np.random.default_rng(0)
    bits, permuted = draw.standard_normal(5), draw.standard_normal((5, M))
    scale, shift = np.array([1, 10, 100, 0.1, 3]), np.arange(5.0)
    np.testing.assert_array_equal(
        family_p_values(bits, permuted),
        family_p_values(scale * bits + shift, scale[:, None] * permuted + shift[:, None]),
    )


@pytest.mark.parametrize("shared", [0.0, 0.9])
def test_under_independence_the_smallest_is_below_a_level_as_often_as_it_says(shared):
    draw = np.random.default_rng(1)
    smallest = []
    for _ in range(2000):
        common = draw.standard_normal(M + 1)
        values = np.sqrt(shared) * common + np.sqrt(1 - shared) * draw.standard_normal((18, M + 1))
        values = np.exp(values)  # skewed, as readings are
        smallest.append(family_p_values(values[:, 0], values[:, 1:]).min())
    for level in (0.05, 0.1, 0.5):
        share = np.mean(np.array(smallest) <= level + 1e-9)
        assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / 2000)


def test_infinite_readings_and_readings_without_spread():
    permuted = np.random.default_rng(2).standard_normal((2, M))
    p = family_p_values(np.array([np.inf, -5.0]), permuted)
    assert p[0] == 1 / 20 and p[1] == 1.0
    assert family_p_values(np.array([0.0, 9.0]), np.vstack([np.zeros(M), permuted[:1]]))[1] == 0.05
    assert np.isnan(family_p_values(np.array([1.0]), np.empty((1, 0)))).all()


@pytest.mark.filterwarnings("error")
def test_an_infinite_re_pairing_reads_as_much_as_any_estimate():
    permuted = np.random.default_rng(2).standard_normal((2, M))
    permuted[0, 3] = np.inf
    # The same of the family's other test, and of an estimate that is infinite itself.
    assert family_p_values(np.array([np.inf, 9.0]), permuted).tolist() == [2 / 20, 2 / 20]
    assert family_p_values(np.array([-9.0, -9.0]), permuted).tolist() == [1, 1]
    permuted[0] = np.inf
    assert family_p_values(np.array([np.inf, 9.0]), permuted).tolist() == [1, 1]


def test_holm_by_hand():
    # 0.01 * 4, then max(0.04, 0.02 * 3), max(0.06, 0.03 * 2) and max(0.06, 0.5).
    assert stats.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert stats.holm([0.9, 0.8]).tolist() == [1, 1]


def test_a_mean_and_its_error():
    assert stats.mean_and_error([1.0, 2.0, 3.0, 4.0]) == pytest.approx((2.5, np.sqrt(5 / 3 / 4)))
    mean, error = stats.mean_and_error([7])
    assert mean == 7 and np.isnan(error)


def test_the_error_of_a_mean_is_taken_in_float64():
    values = np.float32([1e8, 1e8 + 8, 1e8 - 8])
    assert stats.mean_and_error(values) == pytest.approx((1e8, 8 / np.sqrt(3)), rel=1e-12)


def test_a_ratio_s_error_is_how_much_it_scatters():
    rng = np.random.default_rng(0)
    whole = rng.normal(2, 0.5, (400, 500))
    part = 0.3 * whole + rng.normal(0, 0.2, whole.shape)
    found = np.array([stats.ratio_and_error(*pair) for pair in zip(part, whole, strict=True)])
    # Of 400 standard deviations, the scatter is sd / sqrt(800): five of those.
    assert found[:, 0].std(ddof=1) == pytest.approx(found[:, 1].mean(), rel=5 / np.sqrt(800))
    assert np.isnan(stats.ratio_and_error([1.0, 2.0], [1.0, -1.0])).all()


def test_signs():
    assert stats.sign(2.0, 1.0) == "yes"
    assert stats.sign(-2.0, 1.0) == "no"
    assert stats.sign(1.9, 1.0) == stats.sign(2.0, 1.0, limit=3.0) == "open"
    assert stats.sign(0.0, 0.0) == "open"
    assert stats.bonferroni_limit(1) == pytest.approx(stats.Z95, abs=1e-3)
    assert stats.bonferroni_limit(10) == pytest.approx(2.807, abs=1e-3)
