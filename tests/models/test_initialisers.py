"""First weights have the laws that the libraries' documentation states."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from fedmi import tasks
from fedmi.models import initialisers

FEATURES, UNITS = 3, 24
LIBRARIES = ("keras", "torch", "tf1")


@functools.cache
def drawn(name, gates=1, gain=1.0):
    layer = initialisers.of_layer(
        name, features=FEATURES, units=UNITS, gates=gates, recurrent_gain=gain
    )
    keys = jax.random.split(jax.random.key(0), 3)
    kernel = layer.kernel(keys[0], (FEATURES, gates * UNITS), jnp.float32)
    recurrent = layer.recurrent(keys[1], (UNITS, gates * UNITS), jnp.float32)
    return tuple(map(np.asarray, (kernel, recurrent, layer.bias(keys[2], (gates * UNITS,)))))


def bound(name, gates):
    """The largest weight of a kernel that reads the inputs."""
    if name == "torch":
        return UNITS**-0.5
    read = FEATURES + (UNITS if name == "tf1" else 0)
    return (6 / (read + gates * UNITS)) ** 0.5


@pytest.mark.parametrize("gates", [1, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", LIBRARIES)
def test_kernels_are_uniform_within_their_bound(name, gates):
    kernel, recurrent, _ = drawn(name, gates)
    uniform = [kernel] if name == "keras" else [kernel, recurrent]
    for weights in uniform:
        largest = bound(name, gates)
        assert np.abs(weights).max() <= largest
        # The variance of a uniform law on +-1 is 1 / 3, and that of its square 4 / 45.
        error = np.sqrt(4 / 45 / weights.size)
        assert abs(np.mean((weights / largest) ** 2) - 1 / 3) < 5 * error


@pytest.mark.parametrize("gates", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_keras_recurrence_is_orthogonal(gates):
    _, recurrent, _ = drawn("keras", gates)
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(UNITS), atol=1e-5)


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_gain_multiplies_the_recurrence_alone(name):
    kernel, recurrent, bias = drawn(name)
    same, halved, likewise = drawn(name, gain=0.5)
    np.testing.assert_array_equal(kernel, same)
    np.testing.assert_array_equal(bias, likewise)
    np.testing.assert_allclose(halved, recurrent / 2, rtol=1e-6)


@pytest.mark.parametrize("name", LIBRARIES)
def test_an_lstm_starts_by_remembering_but_in_torch(name):
    *_, bias = drawn(name, gates=4)
    if name == "torch":
        assert len(np.unique(bias)) == bias.size and np.abs(bias).max() <= UNITS**-0.5
    else:
        np.testing.assert_array_equal(bias.reshape(4, UNITS).mean(axis=1), [0, 1, 0, 0])
        np.testing.assert_array_equal(bias.reshape(4, UNITS).std(axis=1), 0)
    assert drawn(name)[2].any() == (name == "torch")


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_head_is_drawn_as_dense_layers_are(name):
    kernel, bias = initialisers.of_head(name, features=UNITS)
    weights = np.asarray(kernel(jax.random.key(0), (UNITS, 2), jnp.float32))
    largest = UNITS**-0.5 if name == "torch" else (6 / (UNITS + 2)) ** 0.5
    assert 0.9 * largest < np.abs(weights).max() <= largest
    assert np.asarray(bias(jax.random.key(0), (2,), jnp.float32)).any() == (name == "torch")


@pytest.mark.parametrize("shape", [(4, 4), (4, 16), (16, 4), (1, 1), (20, 20)])
def test_orthogonal_matrices_are_flaxs_without_lapack(shape):
    keys = jax.random.split(jax.random.key(0), 20)
    ours, flaxs = (
        jax.jit(jax.vmap(lambda key, draw=draw: draw(key, shape, jnp.float32)))
        for draw in (initialisers.orthogonal(0.5), nn.initializers.orthogonal(0.5))
    )
    found, expected = ours(keys), flaxs(keys)
    # Rounding of Q is that of the matrix, which is as large as the matrix's condition.
    tall = (max(shape), min(shape))
    condition = max(
        np.linalg.cond(np.asarray(jax.random.normal(key, tall, jnp.float32))) for key in keys
    )
    tolerance = 10 * condition * max(shape) * np.finfo(np.float32).eps
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    small = found if shape[0] <= shape[1] else jnp.swapaxes(found, 1, 2)
    products = jnp.matmul(small, jnp.swapaxes(small, 1, 2))
    assert np.abs(products - 0.25 * np.eye(min(shape))).max() < 1e-6
    assert "geqrf" in flaxs.lower(keys).as_text() and "geqrf" not in ours.lower(keys).as_text()


def test_no_weights_of_a_task_are_drawn_by_lapack():
    """What JAX runs on the threads of its devices and waits for there may wait forever."""
    for name, options in (("signal", {}), ("signal", dict(reading="lstm")), ("digits", {})):
        task = tasks.get(name, **options)
        keys = {stream: jax.random.key(0) for stream in task.streams}
        text = jax.jit(task.init).lower(keys).as_text()
        assert "lapack" not in text and "Qr" not in text
