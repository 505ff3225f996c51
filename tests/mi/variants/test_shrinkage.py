import jax
import numpy as np
import pytest
from sklearn.covariance import OAS, LedoitWolf

from fedmi import mi
from fedmi.mi.trust import laws
from fedmi.mi.variants.shrinkage import plug_in_bits

KEY = jax.random.key(0)


def shrunk(x, y, **options):
    (pair,) = mi.pairwise([x, y], estimator="gaussian_shrunk", permutations=0, **options)
    return pair.estimate


@pytest.mark.parametrize(("name", "estimator"), [("ledoit-wolf", LedoitWolf), ("oas", OAS)])
def test_the_plug_in_is_the_determinant_formula_of_the_shrunken_covariance(name, estimator):
    x, y = laws.Normal(laws.dense(4, 1.0), 4).sample(KEY, 60)
    x = x[:, :3]
    covariance = estimator().fit(np.hstack([x, y])).covariance_
    assert plug_in_bits(x, y, name) == pytest.approx(laws.Normal(covariance, 3).mi_bits)
    assert plug_in_bits(y, x, name) == pytest.approx(plug_in_bits(x, y, name))


@pytest.mark.parametrize("name", ["ledoit-wolf", "oas"])
def test_independent_clients_of_any_covariance_read_zero(name):
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((2, 30, 30)) * np.logspace(0, 1, 30)
    keys = jax.random.split(KEY, 20)
    found = [
        shrunk(*(rng.standard_normal((2, 50, 30)) @ maps), shrinkage=name, key=key) for key in keys
    ]  # 50 samples of 60 dimensions
    bits = np.array([e.bits for e in found])
    assert abs(bits.mean()) < 4 * np.hypot(bits.std(ddof=1), found[0].null_sd) / np.sqrt(20)
    assert min(e.raw_bits for e in found) > 0.1  # what would be read without the correction
    assert found[0].estimator == "gaussian_shrunk" and np.isnan(found[0].interval).all()


def test_dependence_is_seen_where_the_plain_formula_cannot_work():
    x, y = laws.Normal(laws.dense(40, 5.0), 40).sample(KEY, 60)
    with pytest.raises(ValueError, match="at least 81"):
        mi.gaussian(x, y)
    (pair,) = mi.pairwise([x, y], estimator="gaussian_shrunk", permutations=20, key=KEY)
    assert pair.z > 4
    assert abs(pair.perm_bits) < 4 * pair.estimate.null_sd


def test_impossible_arguments_are_refused():
    x, y = laws.Normal(laws.dense(2, 1.0), 2).sample(KEY, 60)
    with pytest.raises(ValueError, match="shrinkage 'james-stein' is not one of ledoit-wolf, oas"):
        shrunk(x, y, shrinkage="james-stein")
    x[:, 1] = 0
    with pytest.raises(ValueError, match=r"clients\[0\] has 1 constant components"):
        shrunk(x, y, shrinkage="oas")
