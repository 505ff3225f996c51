import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedmi.models.fast.lenet_features import features
from fedmi.models.lenet import LeNet


@jax.jit
def init(seed=0):
    return LeNet().init(jax.random.key(seed), jnp.zeros((1, 28, 28)))["params"]


@jax.jit
def plain(params, images):
    return LeNet().apply({"params": params}, images)


@jax.jit
def plain_features(params, images):
    return LeNet().apply({"params": params}, images, method="features")


def test_lenet_has_its_61706_parameters():
    params = init()
    count = {
        name: sum(leaf.size for leaf in jax.tree.leaves(layer)) for name, layer in params.items()
    }
    assert count == dict(conv1=156, conv2=2416, dense1=48120, dense2=10164, head=850)
    assert sum(count.values()) == 61_706


def test_the_head_reads_the_features():
    params, x = init(), np.random.default_rng(0).random((3, 28, 28), dtype=np.float32)
    below = plain_features(params, x)
    assert below.shape == (3, 84) and (below >= 0).all()
    expected = below @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(plain(params, x), expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, 200])
def test_fast_features_are_the_plain_networks(count):
    rng = np.random.default_rng(count)
    params = jax.tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape).astype("f"), init(count))
    x = rng.random((count, 28, 28), dtype=np.float32)
    slow = plain_features(params, x)
    fast = jax.jit(features)(params, x.transpose(1, 2, 0)).T
    assert np.mean(slow > 0) > 0.2  # there is something to compare
    np.testing.assert_allclose(fast, slow, rtol=1e-4, atol=1e-5 * np.max(slow))
