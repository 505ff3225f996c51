import numpy as np
import pytest
from scipy import stats

from fedmi.mi import wilks

SIZES = [(40, 2, 3), (60, 7, 4), (30, 10, 15)]


def lambda_samples(n, p, q, draws, seed=0):
    """-1/2 log Lambda from simulated covariance matrices, in nats."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((draws, n, p + q))
    z -= z.mean(axis=1, keepdims=True)
    s = z.transpose(0, 2, 1) @ z

    def logdet(a):
        return np.linalg.slogdet(a)[1]

    return (logdet(s[:, :p, :p]) + logdet(s[:, p:, p:]) - logdet(s)) / 2


@pytest.mark.parametrize(("n", "p", "q"), SIZES)
def test_mean_variance_and_p_values_match_simulation(n, p, q):
    draws = lambda_samples(n, p, q, 4000)
    sd = np.sqrt(wilks.null_variance(n, p, q))
    assert abs(draws.mean() - wilks.null_mean(n, p, q)) < 4 * sd / np.sqrt(len(draws))
    assert draws.std() == pytest.approx(sd, rel=0.06)
    p_values = [wilks.p_value(v, n, p, q) for v in draws]
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3


def test_one_dimension_agrees_with_the_exact_correlation_test():
    n = 50
    for r in (0.1, 0.3, 0.6):
        t = r * np.sqrt((n - 2) / (1 - r**2))
        exact = 2 * stats.t.sf(t, n - 2)
        assert wilks.p_value(-np.log1p(-(r**2)) / 2, n, 1, 1) == pytest.approx(exact, rel=0.05)


def test_large_dimensions_with_almost_no_degrees_of_freedom_left():
    n, p, q = 1600, 765, 765
    rng = np.random.default_rng(0)
    i = np.arange(1, p + 1)
    draws = -0.5 * np.log(rng.beta((n - q - i) / 2, q / 2, (2000, p))).sum(axis=1)
    p_values = [wilks.p_value(v, n, p, q) for v in draws]
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3


def test_moments_do_not_depend_on_which_side_is_x():
    assert wilks.null_mean(50, 3, 9) == pytest.approx(wilks.null_mean(50, 9, 3))
    assert wilks.null_variance(50, 3, 9) == pytest.approx(wilks.null_variance(50, 9, 3))
    assert wilks.p_value(0.8, 50, 3, 9) == pytest.approx(wilks.p_value(0.8, 50, 9, 3))
