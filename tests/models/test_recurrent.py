"""The plain network, the fast stack and the dropout masks agree with each other and with NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from fedmi.models.fast.recurrent import recurrent_stack
from fedmi.models.recurrent import RecurrentRegressor, dropout_masks

pytestmark = pytest.mark.usefixtures("quickly_compiled")

SMALL = RecurrentRegressor(layers=3, units=2)


def plain(network, params, x, masks):
    return network.apply({"params": params}, x, masks)


def problem(network, examples=2, time=4, features=1, seed=0):
    """Parameters, sequences, masks and targets for a network, drawn at random."""
    rng = np.random.default_rng(seed)
    dtype = network.param_dtype
    x = jnp.asarray(rng.normal(size=(examples, time, features)), dtype)
    shapes = jax.eval_shape(network.init, jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda a: jnp.asarray(0.6 * rng.normal(size=a.shape), dtype), shapes)
    kept = rng.random((examples, network.layers, network.units)) < 0.75
    targets = jnp.asarray(rng.normal(size=(examples, network.outputs)), dtype)
    return params, x, jnp.asarray(kept / 0.75, jnp.float32), targets


@functools.cache
def batch(count):
    """The problems of several seeds, stacked."""
    draw = functools.partial(problem, SMALL)
    return jax.tree.map(lambda *a: jnp.stack(a), *[draw(seed=seed) for seed in range(count)])


def loss(predict, params, x, masks, targets):
    return jnp.mean((predict(params, x, masks) - targets) ** 2)


fast = functools.partial(loss, recurrent_stack)
reference = functools.partial(loss, functools.partial(plain, SMALL))
reference_step = jax.jit(jax.value_and_grad(reference))

PREDICTORS = {"plain": jax.jit(functools.partial(plain, SMALL)), "stack": jax.jit(recurrent_stack)}
predictors = pytest.mark.parametrize("predict", PREDICTORS.values(), ids=PREDICTORS.keys())


def reference_steps(*args):
    """Loss and gradient of the plain network for each seed, one seed after the other."""
    seeds = len(args[1])
    steps = [reference_step(*pick(args, i)) for i in range(seeds)]
    return jax.tree.map(lambda *a: jnp.stack(a), *steps)


def pick(tree, *index):
    """The elements of a pytree's arrays at one index."""
    return jax.tree.map(lambda a: a[index], tree)


def assert_close(actual, desired, tolerance=2e-5):
    assert jax.tree.structure(actual) == jax.tree.structure(desired)
    for a, d in zip(jax.tree.leaves(actual), jax.tree.leaves(desired), strict=True):
        np.testing.assert_allclose(a, d, rtol=tolerance, atol=tolerance)


def numpy_network(params, x, masks):
    """The recurrence, written out in loops."""
    params = jax.tree.map(np.asarray, params)
    below = np.asarray(x)
    for layer in range(masks.shape[1]):
        cell = params[f"layer_{layer:02d}"]["cell"]
        states = np.zeros((*below.shape[:2], masks.shape[2]))
        h = np.zeros((below.shape[0], masks.shape[2]))
        for t in range(below.shape[1]):
            z = below[:, t] @ cell["i"]["kernel"] + h @ cell["h"]["kernel"] + cell["i"]["bias"]
            h = np.tanh(z)
            states[:, t] = h
        below = states * np.asarray(masks)[:, None, layer]
    return below[:, -1] @ params["head"]["kernel"] + params["head"]["bias"]


def test_the_default_network_has_394_parameters():
    init = RecurrentRegressor().init
    params = jax.eval_shape(init, jax.random.key(0), jnp.zeros((5, 64, 1)))["params"]
    sizes = {name: sum(a.size for a in jax.tree.leaves(p)) for name, p in params.items()}
    expected = {"layer_00": 24, "head": 10} | {f"layer_{layer:02d}": 36 for layer in range(1, 11)}
    assert sizes == expected
    assert sum(sizes.values()) == 394


def test_initialisation_is_that_of_keras():
    params = jax.jit(SMALL.init)(jax.random.key(1), jnp.zeros((5, 4, 1)))["params"]
    for name, layer in params.items():
        kernel = (layer if name == "head" else layer["cell"]["i"])["kernel"]
        assert np.abs(kernel).max() <= np.sqrt(6 / sum(kernel.shape))
        assert not (layer if name == "head" else layer["cell"]["i"])["bias"].any()
        if name != "head":
            u = layer["cell"]["h"]["kernel"]
            np.testing.assert_allclose(u @ u.T, np.eye(2), atol=1e-6)


@predictors
def test_predictions_follow_the_recurrence(predict):
    params, x, masks, _ = problem(SMALL)
    expected = numpy_network(params, x, masks)
    np.testing.assert_allclose(predict(params, x, masks), expected, rtol=1e-5, atol=1e-6)


@predictors
def test_no_masks_are_masks_of_one(predict):
    params, x, masks, _ = problem(SMALL)
    np.testing.assert_array_equal(
        predict(params, x, None), predict(params, x, jnp.ones_like(masks))
    )


@predictors
def test_masks_cut_what_goes_up_and_nothing_else(predict):
    params, x, masks, _ = problem(SMALL)
    ones = jnp.ones_like(masks)
    # Nothing passes a layer that is masked whole: the prediction forgets the sequence.
    closed = ones.at[:, 1].set(0)
    np.testing.assert_array_equal(predict(params, x, closed), predict(params, x + 1, closed))
    # Each example has its own masks.
    one_closed = predict(params, x, ones.at[0].set(0))
    np.testing.assert_allclose(one_closed[0], params["head"]["bias"])
    np.testing.assert_array_equal(one_closed[1:], predict(params, x, ones)[1:])
    # A mask of 2 on the top layer doubles what the head reads and leaves its recurrence alone.
    bias = params["head"]["bias"]
    single, double = (predict(params, x, ones.at[:, -1].set(m)) - bias for m in (1.0, 2.0))
    np.testing.assert_allclose(double, 2 * single, rtol=1e-5, atol=1e-6)


@settings(max_examples=6, deadline=None)
@given(
    layers=st.integers(1, 4),
    units=st.integers(1, 5),
    outputs=st.integers(1, 3),
    examples=st.integers(1, 4),
    time=st.integers(1, 6),
    data=st.data(),
)
def test_the_stack_agrees_at_any_size(layers, units, outputs, examples, time, data):
    features = data.draw(st.integers(1, 7))
    network = RecurrentRegressor(layers=layers, units=units, outputs=outputs)
    params, x, masks, _ = problem(network, examples, time, features)
    expected = numpy_network(params, x, masks)
    actual = jax.jit(recurrent_stack)(params, x, masks)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "sizes", [(1, 3, 2, 4, 1), (4, 2, 3, 1, 5), (2, 1, 1, 1, 1), (3, 2, 2, 4, 6)]
)
def test_gradients_agree_at_other_sizes(sizes):
    layers, units, examples, time, features = sizes
    network = RecurrentRegressor(layers=layers, units=units)
    args = problem(network, examples, time, features)
    expected = jax.jit(jax.grad(functools.partial(loss, functools.partial(plain, network))))(*args)
    assert_close(jax.jit(jax.grad(fast))(*args), expected)


def test_the_full_network_agrees():
    network = RecurrentRegressor()
    args = problem(network, examples=5, time=64)
    full = functools.partial(loss, functools.partial(plain, network))
    expected = jax.jit(jax.value_and_grad(full))(*args)
    assert_close(jax.jit(jax.value_and_grad(fast))(*args), expected)


def test_gradients_agree_in_float64():
    with jax.enable_x64(True):
        network = RecurrentRegressor(layers=3, units=3, param_dtype=jnp.float64)
        args = problem(network)
        exact = functools.partial(loss, functools.partial(plain, network))
        value, gradient = jax.jit(jax.value_and_grad(fast))(*args)
        assert value.dtype == jnp.float64
        expected = jax.jit(jax.value_and_grad(exact))(*args)
        assert_close((value, gradient), expected, tolerance=1e-10)


step = jax.value_and_grad(fast)
TRANSFORMATIONS = {
    "jit": lambda *a: jax.jit(step)(*pick(a, 0)),
    "vmap": jax.jit(jax.vmap(step)),
    "vmap of jit": jax.vmap(jax.jit(step)),
    "vmap of vmap": jax.jit(jax.vmap(jax.vmap(step))),
    "batched lax.map": jax.jit(lambda *a: lax.map(lambda b: step(*b), a, batch_size=3)),
    "lax.map of vmap": jax.jit(lambda *a: lax.map(lambda b: jax.vmap(step)(*b), a)),
    "vmap of lax.map": jax.jit(jax.vmap(lambda *a: lax.map(lambda b: step(*b), a))),
}


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_transformations_agree(name):
    args = batch(4)
    expected = reference_steps(*args)
    if name == "jit":
        expected = pick(expected, 0)
    if name in ("vmap of vmap", "lax.map of vmap", "vmap of lax.map"):
        args, expected = jax.tree.map(lambda a: a.reshape(2, 2, *a.shape[1:]), (args, expected))
    assert_close(TRANSFORMATIONS[name](*args), expected)


def test_vmap_takes_seeds_from_any_axis():
    args = batch(4)
    last = jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), args)
    predict = jax.jit(jax.vmap(recurrent_stack, in_axes=-1))
    expected = [PREDICTORS["plain"](*pick(args[:3], i)) for i in range(4)]
    assert_close(predict(*last[:3]), jnp.stack(expected))


@pytest.mark.parametrize("shared", range(3), ids=["params", "x", "masks"])
@pytest.mark.parametrize("gradient", ["inside", "outside"])
def test_seeds_may_share_arguments(shared, gradient):
    args = list(batch(3))
    one = pick(args[shared], 0)
    args[shared] = jax.tree.map(lambda a: jnp.stack([a, a, a]), one)
    _, expected = reference_steps(*args)
    args[shared] = one
    in_axes = [None if i == shared else 0 for i in range(4)]
    if gradient == "inside":
        actual = jax.jit(jax.vmap(jax.grad(fast), in_axes))(*args)
    else:
        actual = jax.jit(jax.grad(lambda *a: jax.vmap(fast, in_axes)(*a).sum()))(*args)
        if shared == 0:
            expected = jax.tree.map(lambda a: a.sum(0), expected)
    assert_close(actual, expected)


def test_clients_may_share_what_seeds_do_not():
    """Clients over seeds: parameters shared by all, masks by the clients of a seed."""
    params, x, masks, targets = batch(4)
    params = pick(params, 0)
    x, targets = (a.reshape(2, 2, *a.shape[1:]) for a in (x, targets))
    over_seeds = jax.vmap(step, (None, 0, 0, 0))
    actual = jax.jit(jax.vmap(over_seeds, (None, 0, None, 0)))(params, x, masks[:2], targets)
    for client in range(2):
        for seed in range(2):
            expected = reference_step(params, x[client, seed], masks[seed], targets[client, seed])
            assert_close(pick(actual, client, seed), expected)


def test_a_whole_training_agrees():
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1))
    params, x, _, targets = problem(SMALL, examples=8)

    def draw(key):
        keys = jax.random.split(key)
        order = jax.random.permutation(keys[0], 8).reshape(4, 2)
        return order, dropout_masks(keys[1], (4, 2, 3, 2), 0.1)

    def update(loss_and_gradient, carry, now):
        params, state = carry
        chosen, masks = now
        value, gradient = loss_and_gradient(params, x[chosen], masks, targets[chosen])
        updates, state = optimiser.update(gradient, state)
        return (optax.apply_updates(params, updates), state), value

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(None, 0))
    def train(params, key):
        start = (params, optimiser.init(params))
        return lax.scan(functools.partial(update, step), start, draw(key))

    keys = jax.random.split(jax.random.key(5), 2)
    plain_update = jax.jit(functools.partial(update, reference_step))
    (trained, _), values = train(params, keys)
    for seed, key in enumerate(keys):
        carry, draws = (params, optimiser.init(params)), draw(key)
        for i in range(4):
            now = pick(draws, i)
            carry, value = plain_update(carry, now)
            np.testing.assert_allclose(values[seed, i], value, rtol=1e-4)
        assert_close(pick(trained, seed), carry[0])


def test_a_seed_does_not_depend_on_the_seeds_beside_it():
    args = batch(4)
    steps = jax.jit(jax.vmap(step))
    moved = jax.tree.map(lambda a: jnp.concatenate([a[2:3], jnp.zeros_like(a[:3])]), args)
    for a, b in zip(*map(jax.tree.leaves, (steps(*args), steps(*moved))), strict=True):
        np.testing.assert_array_equal(a[2], b[0])


def test_gradients_of_the_data_agree():
    args = problem(SMALL, features=3)
    expected = jax.jit(jax.grad(reference, argnums=1))(*args)
    assert_close(jax.jit(jax.grad(fast, argnums=1))(*args), expected)


def test_gradients_of_the_masks_are_refused():
    with pytest.raises(NotImplementedError, match="with respect to masks"):
        jax.grad(fast, argnums=2)(*problem(SMALL))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_an_lstm_follows_its_recurrence():
    network = RecurrentRegressor(layers=2, units=3, cell="lstm")
    params, x, masks, _ = problem(network, features=2)
    below = np.asarray(x)
    for layer in range(2):
        cell = jax.tree.map(np.asarray, params[f"layer_{layer:02d}"]["cell"])
        memory, state = np.zeros((2, len(below), 3))
        states = np.zeros((*below.shape[:2], 3))
        for t in range(below.shape[1]):
            z = below[:, t] @ cell["i"]["kernel"] + cell["i"]["bias"] + state @ cell["h"]["kernel"]
            let_in, keep, candidate, let_out = np.split(z, 4, axis=1)
            memory = sigmoid(keep) * memory + sigmoid(let_in) * np.tanh(candidate)
            state = states[:, t] = sigmoid(let_out) * np.tanh(memory)
        below = states * np.asarray(masks)[:, None, layer]
    expected = below[:, -1] @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(plain(network, params, x, masks), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("rate", "kept"), [(0.0, 256), (0.1, 230), (0.5, 128), (0.99, 3)])
def test_dropout_rates_are_rounded_to_256ths(rate, kept):
    masks = np.asarray(dropout_masks(jax.random.key(0), (50_001, 2), rate))
    assert masks.shape == (50_001, 2)
    assert masks.dtype == np.float32
    assert set(np.unique(masks)) <= {np.float32(0), np.float32(256 / kept)}
    p = kept / 256
    assert abs((masks > 0).mean() - p) <= 5 * np.sqrt(p * (1 - p) / masks.size)


def test_dropout_bits_are_all_different():
    masks = np.asarray(dropout_masks(jax.random.key(3), (4096, 4), 0.5)) > 0
    # Four units share a 32-bit draw; their decisions must not be related.
    correlation = np.corrcoef(masks.T) - np.eye(4)
    assert np.abs(correlation).max() < 5 / np.sqrt(4096)


def test_each_key_has_its_own_masks_under_vmap():
    keys = jax.random.split(jax.random.key(0), 3)
    draw = functools.partial(dropout_masks, shape=(5, 11, 4), rate=0.5)
    together = jax.vmap(draw)(keys)
    np.testing.assert_array_equal(together, [draw(key) for key in keys])
    assert not np.array_equal(together[0], together[1])


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, 0.999, float("nan")])
def test_impossible_dropout_rates_are_refused(rate):
    with pytest.raises(ValueError, match="dropout rate"):
        dropout_masks(jax.random.key(0), (3,), rate)
