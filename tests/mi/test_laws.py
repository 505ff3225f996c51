import jax
import numpy as np
import pytest
from scipy import integrate, stats

from fedmi.mi.laws import Normal, StudentT, paired


def test_normal_of_known_correlations():
    law = Normal(paired([0.75, -0.2]), 2)
    assert law.mi_bits == pytest.approx(-0.5 * np.log2((1 - 0.75**2) * (1 - 0.2**2)))
    assert Normal(paired([0.75]), 1).mi_bits == pytest.approx(0.5963, abs=5e-5)


def test_student_t_agrees_with_integration():
    law = StudentT(paired([0.6]), 1, df=3.0)
    joint = stats.multivariate_t(shape=law.scale, df=law.df)
    margin = stats.t(df=law.df)

    # Substituting x = sinh(u) brings the tails within reach of a grid.
    u, v = np.meshgrid(*[np.linspace(-9, 9, 181)] * 2)
    x, y = np.sinh(u), np.sinh(v)
    log_joint = joint.logpdf(np.stack([x, y], axis=-1))
    log_ratio = log_joint - margin.logpdf(x) - margin.logpdf(y)
    values = np.exp(log_joint) * log_ratio * np.cosh(u) * np.cosh(v)
    grid = u[0]
    nats = integrate.simpson(integrate.simpson(values, x=grid), x=grid)
    assert law.mi_bits == pytest.approx(nats / np.log(2), abs=1e-3)


def test_student_t_becomes_normal():
    covariance = paired([0.5, 0.1])
    assert StudentT(covariance, 2, 1e7).mi_bits == pytest.approx(Normal(covariance, 2).mi_bits)


def test_samples_have_the_law():
    covariance = paired([0.75, -0.2])
    x, y = Normal(covariance, 2).sample(jax.random.key(0), 20_000)
    assert (x.shape, y.shape, x.dtype) == ((20_000, 2), (20_000, 2), np.float64)
    np.testing.assert_allclose(np.cov(np.hstack([x, y]).T), covariance, atol=0.05)
    x, y = StudentT(covariance, 2, 4.0).sample(jax.random.key(0), 2000)
    for column in np.hstack([x, y]).T:
        assert stats.kstest(column, stats.t(df=4.0).cdf).pvalue > 1e-3
