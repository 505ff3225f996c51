import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from fedmi.aggregation.matching import match, matched_mean, signed_permutations
from fedmi.models.recurrent import RecurrentRegressor

pytestmark = pytest.mark.usefixtures("quickly_compiled")

NETWORK = RecurrentRegressor(layers=3)
X = jax.random.normal(jax.random.key(9), (6, 12, 1))


@jax.jit
def network(seed):
    params = NETWORK.init(jax.random.key(seed), X)["params"]
    noise = iter(jax.random.split(jax.random.key(seed + 100), 100))
    return jax.tree.map(lambda a: a + 0.1 * jax.random.normal(next(noise), a.shape), params)


def turned(params, seed):
    """The same function, its hidden units in another order and with other signs."""
    ways = jnp.asarray(signed_permutations(4), jnp.float32)
    below, made = None, {}
    for name in sorted(n for n in params if n != "head"):
        cell = params[name]["cell"]
        seed += 1
        s = ways[np.random.default_rng(seed).integers(len(ways))]
        kernel = cell["i"]["kernel"] if below is None else below.T @ cell["i"]["kernel"]
        made[name] = {
            "cell": {
                "i": {"kernel": kernel @ s, "bias": cell["i"]["bias"] @ s},
                "h": {"kernel": s.T @ cell["h"]["kernel"] @ s},
            }
        }
        below = s
    head = params["head"]
    return made | {"head": {"kernel": below.T @ head["kernel"], "bias": head["bias"]}}


@jax.jit
def apply(params):
    return NETWORK.apply({"params": params}, X)


def test_there_are_384_ways_and_each_is_orthogonal():
    ways = signed_permutations(4)
    assert len(np.unique(ways.reshape(384, -1), axis=0)) == 384
    np.testing.assert_array_equal(ways @ ways.transpose(0, 2, 1), np.tile(np.eye(4), (384, 1, 1)))


@pytest.mark.parametrize("seed", range(3))
def test_matching_does_not_change_what_a_network_says(seed):
    params, reference = network(seed), network(seed + 50)
    matched = jax.jit(match)(params, reference)
    np.testing.assert_allclose(apply(matched), apply(params), atol=1e-5)
    before, after = (
        sum(jnp.sum((a - b) ** 2) for a, b in zip(*map(jax.tree.leaves, pair), strict=True))
        for pair in ((params["layer_00"], reference["layer_00"]),
                     (matched["layer_00"], reference["layer_00"]))
    )  # fmt: skip
    assert after < before


@pytest.mark.parametrize("seed", range(3))
def test_a_network_in_disguise_is_recognised(seed):
    params = network(seed)
    other = turned(params, seed)
    np.testing.assert_allclose(apply(other), apply(params), atol=1e-5)
    found = jax.jit(match)(other, params)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_the_matched_mean_of_networks_in_disguise_is_the_network():
    params = network(0)
    flat, unravel = ravel_pytree(params)
    clients = jnp.stack([flat, *(ravel_pytree(turned(params, s))[0] for s in (1, 2))])
    weights = jnp.array([0.2, 0.3, 0.5])
    assert jnp.abs(weights @ clients - flat).max() > 0.1
    np.testing.assert_allclose(matched_mean(clients, weights, unravel=unravel), flat, atol=1e-6)
    mapped = jax.jit(jax.vmap(lambda c: matched_mean(c, weights, unravel=unravel)))
    np.testing.assert_allclose(mapped(clients[None])[0], flat, atol=1e-6)
