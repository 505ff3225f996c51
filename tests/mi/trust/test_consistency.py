import jax
import numpy as np
import pandas as pd
import pytest

from fedmi import mi
from fedmi.mi.trust.consistency import promises
from fedmi.mi.trust.laws import Mapped, Normal, dense, paired

KEY = jax.random.key(0)


@pytest.mark.parametrize("estimator", ["gaussian", "gaussian_copula", "ksg"])
def test_a_law_that_the_estimator_can_see_is_consistent(estimator):
    x, y = Normal(dense(2, 0.2), 2).sample(KEY, 800)
    table = mi.self_consistency(x, y, estimator=estimator, key=KEY)
    held = table.set_index("law").holds
    assert held["symmetry"]
    assert held["data processing, half of x"]
    assert held["additivity, two copies"]
    exact = table[table.promised]
    np.testing.assert_allclose(exact.left_bits, exact.right_bits, atol=1e-4)
    assert exact.holds.all()


def test_an_estimator_that_is_blind_contradicts_itself():
    """Most of twelve bits over ten directions escapes the neighbours, which then do not add up."""
    x, y = Normal(paired(np.full(10, 0.9)), 10).sample(KEY, 600)
    table = mi.self_consistency(x, y, estimator="ksg", key=KEY).set_index("law")
    assert not table.holds["additivity, two copies"]
    assert not table.promised["units of the components"]


def test_what_an_estimator_promises_depends_on_its_options():
    rotation, units = "rotation of the components", "units of the components"
    assert promises("ksg", {}) == {"symmetry", rotation}
    assert promises("ksg", dict(metric="chebyshev")) == {"symmetry"}
    assert promises("ksg", dict(scale="standardised")) == {"symmetry", units}
    assert promises("ksg", dict(scale="scores")) == promises("gaussian_copula", {})
    assert promises("neural", {}) == set()
    x, y = Normal(dense(3, 0.5), 3).sample(KEY, 200)
    table = mi.self_consistency(
        x, y, estimator="ksg", scale="standardised", permutations=2, key=KEY
    )
    exact = table[table.promised]
    assert set(exact.law) == {"symmetry", units}
    np.testing.assert_allclose(exact.left_bits, exact.right_bits, atol=1e-6)


def test_the_gaussian_formula_changes_under_bending_and_the_copula_does_not():
    law = Mapped(Normal(paired([0.8, 0.3]), 2), lambda x: np.sinh(3 * x), lambda y: np.sinh(3 * y))
    x, y = law.sample(KEY, 500)
    plain = mi.self_consistency(x, y, estimator="gaussian", key=KEY).set_index("law")
    copula = mi.self_consistency(x, y, estimator="gaussian_copula", key=KEY).set_index("law")
    bent = "asinh of the components"
    assert not plain.promised[bent]
    assert abs(plain.left_bits[bent] - plain.right_bits[bent]) > 0.1
    assert copula.promised[bent]
    assert copula.left_bits[bent] == pytest.approx(copula.right_bits[bent], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["gaussian", "ksg"])
def test_a_constant_component_and_offsets_break_no_law(estimator):
    """Mixed into the others, a large constant would take their digits."""
    x, y = (z.astype(np.float32) for z in Normal(dense(2, 0.5), 2).sample(KEY, 400))
    wide = np.hstack([x, np.full((400, 1), 3e6, np.float32)])
    settings = dict(estimator=estimator, permutations=3)
    found = mi.self_consistency(wide, y, **settings)
    pd.testing.assert_frame_equal(found, mi.self_consistency(x, y, **settings))
    shifted = mi.self_consistency(x + np.float32(30), y, **settings).set_index("law")
    bent = "asinh of the components"
    assert abs(shifted.left_bits[bent] - found.set_index("law").left_bits[bent]) < 0.02


def test_impossible_arguments_are_refused():
    x, y = Normal(dense(2, 0.7), 2).sample(KEY, 50)
    with pytest.raises(ValueError, match="'kde' is not one of"):
        mi.self_consistency(x, y, estimator="kde", key=KEY)
    with pytest.raises(ValueError, match="x has one component"):
        mi.self_consistency(x[:, 0], y, key=KEY)
    with pytest.raises(ValueError, match="permutations: 1 is below 2"):
        mi.self_consistency(x, y, permutations=1, key=KEY)
    with pytest.raises(ValueError, match=r"k is \[1, 3\]; name a single number"):
        mi.self_consistency(x, y, estimator="ksg", k=[1, 3], key=KEY)
