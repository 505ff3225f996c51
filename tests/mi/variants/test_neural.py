import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedmi import mi
from fedmi.mi.trust import laws
from fedmi.mi.variants.neural import OBJECTIVES, Training, infonce, nwj

pytestmark = pytest.mark.usefixtures("quickly_compiled")

KEY = jax.random.key(0)
QUICK = dict(restarts=2, epochs=40, patience=8, batch_size=64, width=32)
LAW = laws.Normal(laws.paired([0.9]), 1)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_best_critic_of_a_known_law_reads_its_mi(objective):
    """The log ratio of densities, given as scores, attains either bound on average."""
    r = 0.9
    x, y = (a[:, 0] for a in LAW.sample(KEY, 64 * 200))
    x, y = x.reshape(200, 64, 1), y.reshape(200, 1, 64)
    squares = (x**2 + y**2 - 2 * r * x * y) / (1 - r**2)
    scores = -0.5 * np.log(1 - r**2) - squares / 2 + (x**2 + y**2) / 2
    if objective == "nwj":
        scores = scores + 1
    bits = np.array([OBJECTIVES[objective][0](jnp.asarray(s)) for s in scores]) / np.log(2)
    error = bits.std(ddof=1) / np.sqrt(len(bits))
    # InfoNCE falls short of it by its finite batch.
    assert bits.mean() < LAW.mi_bits + 4 * error
    assert bits.mean() > LAW.mi_bits - 4 * error - (0.1 if objective == "infonce" else 0)


def test_objectives_of_a_critic_that_knows_nothing_are_zero():
    flat = jnp.zeros((16, 16))
    assert float(infonce(flat)) == pytest.approx(0, abs=1e-6)
    assert float(nwj(flat + 1)) == pytest.approx(0, abs=1e-6)
    assert float(infonce(1e3 * jnp.eye(16))) == pytest.approx(np.log(16))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_trained_critic_finds_the_mi(objective):
    x, y = LAW.sample(KEY, 2500)
    e = mi.neural(x, y, key=KEY, objective=objective, **QUICK)
    assert e.bits == pytest.approx(LAW.mi_bits, abs=0.4 if objective == "nwj" else 0.25)
    assert e.ceiling_bits == (6 if objective == "infonce" else np.inf)
    assert (e.n, e.estimator) == (2500, "neural")


def test_independent_samples_read_about_zero_and_may_read_less():
    x, y = np.random.default_rng(0).standard_normal((2, 600, 5))
    e = mi.neural(x, y, key=KEY, **QUICK)
    assert abs(e.bits) < 0.15
    assert mi.neural(x, y, key=KEY, **QUICK).bits == e.bits  # the same key, the same estimate


def test_the_ceiling_is_not_exceeded():
    x = np.random.default_rng(0).standard_normal((1000, 1))
    e = mi.neural(x, x, key=KEY, **QUICK | dict(batch_size=8))
    assert 2 < e.bits <= e.ceiling_bits + 1e-6
    assert e.ceiling_bits == 3


def test_re_pairing_trains_critics_anew():
    x, y = LAW.sample(KEY, 600)
    (pair,) = mi.pairwise(
        [x, y], estimator="neural", permutations=3, key=KEY, **QUICK | dict(epochs=15)
    )
    assert pair.permuted.shape == (3,)
    assert (pair.permuted < pair.estimate.bits).all()
    assert abs(pair.perm_bits) < 0.3


def test_impossible_input_is_refused():
    x, y = LAW.sample(KEY, 300)
    with pytest.raises(ValueError, match="300 samples: .*batch of 128; take 640 samples"):
        mi.neural(x, y, key=KEY)
    with pytest.raises(ValueError, match=r"x has 1 constant components \(the first: 1;"):
        mi.neural(np.hstack([x, 0 * x + 3]), y, key=KEY, batch_size=16)
    with pytest.raises(ValueError, match="objective 'mine' is not one of infonce, nwj"):
        mi.neural(x, y, key=KEY, objective="mine")
    with pytest.raises(ValueError, match="^y is not finite"):
        mi.neural(x, y * np.nan, key=KEY)
    for options in (dict(epochs=0), dict(batch_size=1), dict(learning_rate=0.0)):
        with pytest.raises(ValueError, match=next(iter(options))):
            Training(**options)
