"""Medians of the clients: near most of them, wherever a minority is, infinitely far included."""

import jax
import jax.numpy as jnp
from jax import Array

from fedmi.aggregation.mean import weighted_mean

STEPS = 100


def coordinate_median(clients: Array, weights: Array) -> Array:
    """The weighted median of every coordinate (Yin, Chen, Kannan and Bartlett, ICML 2018).

    Where half of the weight lies on either side of a gap, the middle of the gap. Clients that are
    not a number count as infinitely large. With two clients of equal weight, and in every
    coordinate that is symmetric about its mean, it is the mean.

    Args:
        clients: (Q, t), the clients' parameters.
        weights: (Q,), n_q / n.

    Returns:
        (t,).
    """
    order = jnp.argsort(clients, axis=0)  # not a number comes last
    ascending = jnp.take_along_axis(clients, order, axis=0)
    below = jnp.cumsum(weights[order], axis=0)
    # Rounding of the weights' sum must not decide whether a half is reached.
    slack = 4 * jnp.finfo(below.dtype).eps
    lower = jnp.argmax(below >= 0.5 - slack, axis=0)
    upper = jnp.argmax(below > 0.5 + slack, axis=0)
    ends = jnp.take_along_axis(ascending, jnp.stack([lower, upper]), axis=0)
    return jnp.where(lower == upper, ends[0], jnp.mean(ends, axis=0))


def geometric_median(clients: Array, weights: Array) -> Array:
    """The point whose weighted sum of distances to the clients is least.

    Weiszfeld's iteration, smoothed as in Pillutla, Kakade and Harchaoui (IEEE Transactions on
    Signal Processing 70 (2022), 1142-1154), from the weighted mean. Clients with a number that is
    not finite are left out.

    Args:
        clients: (Q, t), the clients' parameters.
        weights: (Q,), n_q / n.

    Returns:
        (t,).
    """
    finite = jnp.all(jnp.isfinite(clients), axis=1)
    clients = jnp.where(finite[:, None], clients, 0)
    weights = jnp.where(finite, weights, 0)
    weights = weights / jnp.sum(weights)
    start = weighted_mean(clients, weights)
    spread = jnp.sqrt(weights @ jnp.sum((clients - start) ** 2, axis=1))
    # Below this a distance is rounding of the parameters, and its inverse would be noise.
    least = jnp.maximum(1e-6 * spread, jnp.finfo(clients.dtype).tiny)

    def step(point: Array, _: None) -> tuple[Array, None]:
        apart = jnp.linalg.norm(clients - point, axis=1)
        pull = weights / jnp.maximum(apart, least)
        return (pull @ clients) / jnp.sum(pull), None

    point = jax.lax.scan(step, start, None, length=STEPS)[0]
    # Where the others together pull at a client with no more than its own weight, it is the median
    # itself (Kuhn 1973), which the iteration approaches too slowly.
    between = clients[None, :] - clients[:, None]
    apart = jnp.linalg.norm(between, axis=2, keepdims=True)
    pulls = jnp.where(apart > least, between / jnp.where(apart > least, apart, 1), 0)
    others = jnp.linalg.norm(jnp.einsum("r,qrt->qt", weights, pulls), axis=1)
    own = (apart[:, :, 0] <= least) @ weights
    held = finite & (others <= own)
    return jnp.where(jnp.any(held), clients[jnp.argmax(held)], point)
