import numpy as np
import pytest

from benchmarks import proposition as simulated
from fedmi.mi import gaussian
from fedmi.mi.trust import laws
from fedmi.study import additive

pytestmark = pytest.mark.usefixtures("quickly_compiled")


def test_the_squared_distance_is_separation_and_both_noises():
    draw, n, d = np.random.default_rng(3), 20_000, 20
    p = draw.standard_normal((n, d)) @ simulated.MIX
    x = p + draw.standard_normal((n, d))
    y = p + 0.7 * draw.standard_t(8, (n, d)) + np.arange(d) / 10
    found = additive.decompose(x, y)
    assert found.squared_distance == pytest.approx(((x - y) ** 2).sum(axis=1).mean())
    parts = found.separation + found.own_x + found.own_y
    assert found.squared_distance == pytest.approx(parts)
    for name, truth in dict(
        shared=(simulated.MIX**2).sum(),
        own_x=d,
        own_y=d * 0.49 * 8 / 6,
        separation=(np.arange(d) ** 2 / 100).sum(),
    ).items():
        error = getattr(found, f"{name}_se")
        assert abs(getattr(found, name) - truth) < 3 * error
        assert error < 0.03 * truth


def test_errors_are_spreads_and_equal_means_are_not_apart():
    found = [
        additive.decompose(*simulated.additive(np.random.default_rng(i))[:2]) for i in range(300)
    ]
    for name in ("shared", "own_x", "own_y", "squared_distance"):
        values, errors = (
            np.array([getattr(f, kind) for f in found]) for kind in (name, f"{name}_se")
        )
        assert errors.mean() == pytest.approx(values.std(), rel=0.15)
    values = np.array([f.separation for f in found])
    errors = np.array([f.separation_se for f in found])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(300)
    assert errors.mean() == pytest.approx(np.sqrt(2) * values.std(), rel=0.15)


def test_mi_and_distance_rise_together_in_the_additive_model():
    rows = additive.counter_example()
    for name in ("mi_bits", "distance", "shared_variance", "noise_variance"):
        assert (np.diff([row[name] for row in rows]) > 0).all()
    # As the paper's proof has it: the noise alone grows.
    assert (np.diff([row["fixed_mi_bits"] for row in rows]) < 0).all()


def test_the_counter_example_is_what_samples_show():
    draw, n = np.random.default_rng(4), 4000
    for row in additive.counter_example()[::4]:
        d, spread = row["dimension"], np.sqrt([row["shared_variance"], row["noise_variance"]])
        r = spread[0] ** 2 / (spread**2).sum()
        assert row["mi_bits"] == pytest.approx(laws.Normal(laws.paired([r] * d), d).mi_bits)
        p = spread[0] * draw.standard_normal((n, d))
        x, y = (p + spread[1] * draw.standard_normal((n, d)) for _ in range(2))
        e = gaussian(x, y)
        assert e.interval[0] < row["mi_bits"] < e.interval[1]
        apart = np.linalg.norm(x - y, axis=1)
        assert abs(apart.mean() - row["distance"]) < 3 * apart.std() / np.sqrt(n)


def test_what_cannot_be_is_refused():
    x = np.zeros((1, 3))
    with pytest.raises(ValueError, match="1 sample"):
        additive.decompose(x, x)
    with pytest.raises(ValueError, match="3, 2 components"):
        additive.decompose(x, x[:, :2])
    with pytest.raises(ValueError, match="d: 0"):
        additive.counter_example(0)
    with pytest.raises(ValueError, match="variances above 0"):
        additive.counter_example(3, [(0.0, 1.0)])
