import numpy as np
import pytest

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
