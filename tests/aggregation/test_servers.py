import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedmi.aggregation import fednova_step, shrunken_mean, ties_step, weighted_mean
from fedmi.aggregation.servers import PathMean, ServerOptimizer

DOWNLOAD = np.array([1.0, -1.0, 0.5])


def uploads(q=3, seed=0):
    return DOWNLOAD + np.random.default_rng(seed).standard_normal((q, 3))


def follow(aggregator, rounds, weights, start=DOWNLOAD, noise=0.3):
    """The models of several rounds whose clients end near a tenth of their download."""
    model, state, models = jnp.asarray(start, jnp.float32), None, []
    state = aggregator.init(model)
    for number in range(rounds):
        draw = noise * np.random.default_rng(number).standard_normal((len(weights), 3))
        model, state = aggregator.step(state, 0.1 * model + draw, weights, model)
        models.append(np.asarray(model))
    return np.array(models)


def test_plain_descent_on_the_pseudo_gradient_is_the_mean():
    weights = np.array([0.5, 0.25, 0.25])
    w = uploads()
    one = ServerOptimizer(optax.sgd(1.0))
    model, _ = one.step(one.init(jnp.asarray(DOWNLOAD)), w, weights, jnp.asarray(DOWNLOAD))
    np.testing.assert_allclose(model, weighted_mean(w, weights), rtol=1e-6)


def reddi(second, rounds, weights, rate, tau=1e-9, b1=0.9, b2=0.99):
    """Algorithm 2 of Reddi et al., in loops, biases corrected as Kingma and Ba do."""
    model, m, v, models = DOWNLOAD.copy(), np.zeros(3), np.zeros(3), []
    for number in range(rounds):
        draw = 0.3 * np.random.default_rng(number).standard_normal((len(weights), 3))
        delta = weights @ (0.1 * model + draw) - model
        if second == "adagrad":
            m, v = delta, v + delta**2
            fit_m, fit_v = m, v
        else:
            m = b1 * m + (1 - b1) * delta
            v = b2 * v + (1 - b2) * delta**2
            fit_m, fit_v = m / (1 - b1 ** (number + 1)), v / (1 - b2 ** (number + 1))
        model = model + rate * fit_m / (np.sqrt(fit_v) + tau)
        models.append(model)
    return np.array(models)


@pytest.mark.parametrize(
    ("second", "optimizer"),
    [
        ("adagrad", optax.adagrad(0.1, initial_accumulator_value=0.0, eps=1e-18)),
        ("adam", optax.adam(0.1, b1=0.9, b2=0.99, eps=1e-9)),
    ],
)
def test_adaptive_servers_follow_their_formula_round_after_round(second, optimizer):
    weights = np.array([0.5, 0.3, 0.2])
    found = follow(ServerOptimizer(optimizer), 8, weights)
    np.testing.assert_allclose(found, reddi(second, 8, weights, 0.1), rtol=1e-4, atol=1e-5)


def test_momentum_remembers():
    """v <- 0.9 v + (w' - mean), w <- w' - v, by hand where the mean is always half the download."""
    aggregator = ServerOptimizer(optax.sgd(1.0, momentum=0.9))
    model = jnp.array([8.0])
    state = aggregator.init(model)
    for expected in (4.0, -1.6, -1.6 - (0.9 * 5.6 - 0.8)):
        model, state = aggregator.step(state, 0.5 * model[None], np.ones(1), model)
        assert float(model[0]) == pytest.approx(expected, rel=1e-6)


def test_the_mean_over_the_path_s_last_rounds():
    aggregator = PathMean(last=2)
    model = jnp.zeros(1)
    state, found = aggregator.init(model), []
    for upload in (3.0, 5.0, 9.0):
        model, state = aggregator.step(state, np.array([[upload]]), np.ones(1), model)
        found.append(float(model[0]))
    assert found == [3.0, 4.0, 7.0]
    with pytest.raises(ValueError, match="last: 0 is no whole number of rounds"):
        PathMean(last=0)


def test_fednova_does_not_count_examples_twice():
    """Clients that took steps as they have examples, of one length in one direction each."""
    w = DOWNLOAD + np.array([[3.0, 0, 0], [0, 1.0, 0]])  # three steps and one, of length 1
    # tau = 3/4 * 3 + 1/4 * 1 = 2.5, times the mean update a step, (3/4, 1/4).
    found = fednova_step(w, np.array([0.75, 0.25]), download=DOWNLOAD)
    np.testing.assert_allclose(found, DOWNLOAD + 2.5 * np.array([0.75, 0.25, 0]), rtol=1e-6)
    equal = np.full(3, 1 / 3)
    np.testing.assert_allclose(
        fednova_step(uploads(), equal, download=DOWNLOAD),
        weighted_mean(uploads(), equal),
        rtol=1e-5,
    )


def test_shrinking_scales_the_mean():
    equal = np.full(3, 1 / 3)
    found = shrunken_mean(uploads(), equal, shrink=0.9)
    np.testing.assert_allclose(found, 0.9 * uploads().mean(axis=0), rtol=1e-6)
    with pytest.raises(ValueError, match="shrink: not finite"):
        shrunken_mean(uploads(), equal, shrink=np.nan)


def test_ties_by_hand():
    """Two of four components stay of each update; the third's sign wins the second component."""
    start = np.zeros(4)
    w = np.array([[4.0, 1.0, 0.5, -3.0], [2.0, 3.0, 0.1, 0.2], [0.1, -5.0, 0.2, -1.0]])
    equal = np.full(3, 1 / 3)
    found = ties_step(w, equal, download=start, kept=0.5)
    np.testing.assert_allclose(found, [3.0, -5.0, 0.0, -2.0], rtol=1e-6)
    half = ties_step(w, equal, download=start, kept=0.5, step=0.5)
    np.testing.assert_allclose(half, [1.5, -2.5, 0.0, -1.0], rtol=1e-6)
    # Weighed: the second client's 3 outweighs the third's 5 where it has most of the examples.
    heavy = ties_step(w, np.array([0.1, 0.8, 0.1]), download=start, kept=0.5)
    np.testing.assert_allclose(heavy[1], 3.0, rtol=1e-6)
    with pytest.raises(ValueError, match="kept: 0 is not a share"):
        ties_step(w, equal, download=start, kept=0)


@pytest.mark.parametrize(
    "aggregator",
    [
        ServerOptimizer(optax.adam(0.1)),
        ServerOptimizer(optax.yogi(0.1)),
        ServerOptimizer(optax.sgd(0.5, momentum=0.9)),
        PathMean(3),
    ],
)
def test_states_go_through_vmap_and_scan(aggregator):
    weights, starts = np.full(3, 1 / 3), np.stack([DOWNLOAD, 2 * DOWNLOAD]).astype(np.float32)
    draws = np.stack(
        [0.3 * np.random.default_rng(r).standard_normal((3, 3)) for r in range(5)]
    ).astype(np.float32)

    def one(start):
        def step(carry, draw):
            model, state = carry
            model, state = aggregator.step(state, 0.1 * model + draw, weights, model)
            return (model, state), model

        return jax.lax.scan(step, (start, aggregator.init(start)), draws)[1]

    found = jax.jit(jax.vmap(one))(starts)
    for models, start in zip(found, starts, strict=True):
        np.testing.assert_allclose(models, follow(aggregator, 5, weights, start), rtol=1e-5)
