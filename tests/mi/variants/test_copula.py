import jax
import numpy as np
import pytest
from scipy import stats

from fedmi import mi
from fedmi.mi.samples import normal_scores
from fedmi.mi.trust.laws import Mapped, Normal, dense, paired


def test_scores_are_normal_quantiles_of_the_ranks():
    x = np.array([[3.0, -1.0], [1.0, 7.0], [2.0, 0.0]])
    want = stats.norm.ppf(np.array([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]]))
    np.testing.assert_allclose(normal_scores(x, "x"), want, atol=1e-15)


def test_margins_do_not_matter():
    law = Normal(dense(4, 1.5), 4)
    x, y = law.sample(jax.random.key(0), 500)
    plain = mi.gaussian_copula(x, y)
    bent = mi.gaussian_copula(np.exp(3 * x), y**3)
    assert bent == plain
    assert plain.estimator == "gaussian_copula"
    # On normal samples it reads what the Gaussian formula reads, nearly.
    assert plain.bits == pytest.approx(mi.gaussian(x, y).bits, abs=0.1)


def test_the_mean_is_the_truth_where_the_gaussian_formula_fails():
    law = Mapped(Normal(paired([0.8]), 1), lambda x: np.sinh(3 * x), lambda y: np.sinh(3 * y))
    draws = [law.sample(key, 1000) for key in jax.random.split(jax.random.key(1), 30)]
    copula = np.array([mi.gaussian_copula(*draw).bits for draw in draws])
    error = copula.std(ddof=1) / np.sqrt(len(copula))
    assert abs(copula.mean() - law.mi_bits) < 4 * error + 0.01
    assert np.mean([mi.gaussian(*draw).bits for draw in draws]) < law.mi_bits - 0.2


def test_re_paired_samples_read_zero():
    x, y = Normal(dense(3, 1.0), 3).sample(jax.random.key(0), 300)
    null = mi.permutation_null(
        np.exp(x), np.exp(y), estimator="gaussian_copula", m=40, key=jax.random.key(1)
    )
    assert abs(null.mean()) < 4 * null.std(ddof=1) / np.sqrt(40)


def test_ties_are_refused_or_averaged():
    x, y = Normal(dense(2, 1.0), 2).sample(jax.random.key(0), 400)
    x[7, 1] = x[3, 1]
    assert np.isfinite(mi.gaussian_copula(x, y).bits)  # float32 samples have a few
    x[:10, 1] = 0.0
    with pytest.raises(ValueError, match=r"^x has tied values in 1 of 2 .*the first: 1.*average"):
        mi.gaussian_copula(x, y)
    assert np.isfinite(mi.gaussian_copula(x, y, ties="average").bits)
    x[:, 1] = 2.0
    with pytest.raises(ValueError, match="^x has tied values"):
        mi.gaussian_copula(x, y)
    assert mi.gaussian_copula(x, y, ties="average").rank_x == 1
    x[::2, 1] = np.nextafter(2.0, 3.0)  # the order of rounding errors says nothing either
    assert mi.gaussian_copula(x, y, ties="average").rank_x == 1
    with pytest.raises(ValueError, match="ties is 'drop'"):
        mi.gaussian_copula(x, y, ties="drop")
