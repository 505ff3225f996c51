import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedmi.models.fast import lenet_logits
from fedmi.models.fast.lenet_logits import logits
from fedmi.models.lenet import LeNet

pytestmark = pytest.mark.usefixtures("quickly_compiled")

NETWORKS, IMAGES = 3, 6


def loss(predict):
    def mean_entropy(params, images, labels):
        entropy = optax.softmax_cross_entropy_with_integer_labels(predict(params, images), labels)
        return jnp.mean(entropy)

    return mean_entropy


def plain(params, images):
    return LeNet().apply({"params": params}, images)


@pytest.fixture(scope="module")
def networks():
    """Several networks with weights, images and labels of their own."""
    draw = np.random.default_rng(0)
    keys = jax.random.split(jax.random.key(0), NETWORKS)
    params = jax.vmap(lambda key: LeNet().init(key, jnp.zeros((1, 28, 28)))["params"])(keys)
    params = jax.tree.map(lambda p: p + 0.05 * draw.normal(size=p.shape).astype("f"), params)
    images = draw.random((NETWORKS, IMAGES, 28, 28), dtype=np.float32)
    return params, images, draw.integers(0, 10, (NETWORKS, IMAGES), dtype=np.int32)


@pytest.fixture(scope="module")
def reference(networks):
    """Losses and gradients of the plain Flax network."""
    return jax.jit(jax.vmap(jax.value_and_grad(loss(plain))))(*networks)


def check(found, expected):
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.abs(theirs).max() > 1e-3  # there is something to compare
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


def test_losses_and_gradients_are_the_plain_networks_side_by_side(networks, reference):
    check(jax.jit(jax.vmap(jax.value_and_grad(loss(logits))))(*networks), reference)


def test_many_images_are_taken_in_parts(networks, reference, monkeypatch):
    monkeypatch.setattr(lenet_logits, "IMAGES_AT_ONCE", 4)  # 6 images are then 2 parts of 3
    one = jax.tree.map(lambda a: a[0], networks)
    found = jax.jit(jax.value_and_grad(loss(lambda *a: logits(*a))))(*one)
    check(found, jax.tree.map(lambda a: a[0], reference))


def test_of_equal_maxima_the_first_has_the_gradient_as_in_flax(networks):
    """Black images: all places of every pool are equal, and what goes back must not grow."""
    params, _, labels = jax.tree.map(lambda a: a[0], networks)
    params = jax.tree.map(lambda p: p, params) | {
        "conv1": dict(params["conv1"], bias=jnp.abs(params["conv1"]["bias"]) + 0.1)
    }
    black = jnp.zeros((IMAGES, 28, 28))
    found, expected = (
        jax.jit(jax.grad(loss(predict)))(params, black, labels) for predict in (logits, plain)
    )
    for layer in ("conv1", "conv2", "dense1"):
        np.testing.assert_allclose(
            found[layer]["bias"], expected[layer]["bias"], rtol=1e-3, atol=1e-6
        )
