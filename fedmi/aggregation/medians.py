"""Medians of the clients: near most of them, wherever a minority is, infinitely far included."""

import jax
import jax.numpy as jnp
from jax import Array

from fedmi.aggregation.inputs import models
from fedmi.devices import one_by_one

STEPS = 100
"""The most that are taken towards a geometric median; a handful is usual."""
LENGTHS = (1.0, 0.5, 0.25, 0.125, 0.03125)
"""How much of Newton's step is tried."""


def coordinate_median(clients: Array, weights: Array) -> Array:
    """The weighted median of every coordinate (Yin, Chen, Kannan and Bartlett, ICML 2018).

    Where half of the weight lies on either side of a gap, the middle of the gap. Clients that are
    not a number count as infinitely large. With two clients of equal weight, and in every
    coordinate that is symmetric about its mean, it is the mean.

    Args:
        clients: (Q, t), the clients' parameters.
        weights: (Q,), n_q / n.

    Returns:
        (t,), in the precision that JAX's x64 flag allows.

    Raises:
        ValueError: other shapes or types; weights that do not sum to 1.
    """
    clients, weights = models(clients, weights)
    order = jnp.argsort(clients, axis=0)  # not a number comes last
    ascending = jnp.take_along_axis(clients, order, axis=0)
    below = jnp.cumsum(weights[order], axis=0)
    half = below[-1] / 2
    # Rounding of the weights' sum must not decide whether a half is reached.
    slack = len(weights) * jnp.finfo(below.dtype).eps
    lower = jnp.argmax(below >= half - slack, axis=0)
    upper = jnp.argmax(below > half + slack, axis=0)
    ends = jnp.take_along_axis(ascending, jnp.stack([lower, upper]), axis=0)
    return jnp.where(lower == upper, ends[0], ends[0] / 2 + ends[1] / 2)


def geometric_median(clients: Array, weights: Array) -> Array:
    """The point whose weighted sum of distances to the clients is least.

    Where it is a client itself, that client, to the bit; where several points are (of clients on
    one line), the middle between the outermost: with two clients of equal weight, the mean. Clients
    with a number that is not finite are left out; where half of the weight is theirs, it is NaN.
    Everything is measured by how far most of the clients are from their coordinates' medians, so
    that those farther away may be at any distance.

    Args:
        clients: (Q, t), the clients' parameters.
        weights: (Q,), n_q / n.

    Returns:
        (t,), in the precision that JAX's x64 flag allows.

    Raises:
        ValueError: other shapes or types; weights that do not sum to 1.
    """
    return _geometric_median(*models(clients, weights))


@jax.jit
def _geometric_median(clients: Array, weights: Array) -> Array:
    finite = jnp.all(jnp.isfinite(clients), axis=1)
    clients = jnp.where(finite[:, None], clients, 0)
    kept = jnp.where(finite, weights, 0)
    lost = jnp.sum(kept) <= jnp.sum(weights) / 2
    weights = kept / jnp.sum(kept)
    with jax.default_matmul_precision("highest"):
        centre, unit, axes, points = _seen_from_most(clients, weights)
        ends, held = _clients_that_are_it(points, weights)
        between = centre + unit * (axes @ _between_clients(points, weights, held))
    median = jnp.where(held, jnp.sum(clients[ends] / 2, axis=0), between)
    return jnp.where(lost, jnp.nan, median)


def _seen_from_most(clients: Array, weights: Array) -> tuple[Array, Array, Array, Array]:
    """The clients in coordinates in which most of them are near zero, by about one.

    A median lies in the span of the clients' differences, which has at most Q dimensions.

    Returns:
        The centre (t,) and the unit of the coordinates, their axes (t, d), and the clients (Q, d).
        Each client's coordinates are exact to rounding of its own distance from the centre.
    """
    centre = coordinate_median(clients, weights)
    # Of these shares no difference overflows, nor is the inverse of one too small a number.
    apart = jnp.where(weights[:, None] > 0, clients / 16 - centre / 16, 0)
    largest = jnp.max(jnp.abs(apart), axis=1, keepdims=True)
    apart = apart / jnp.where(largest > 0, largest, 1)
    norms = jnp.linalg.norm(apart, axis=1, keepdims=True)
    directions, distances = apart / jnp.where(norms > 0, norms, 1), (largest * norms)[:, 0]
    order = jnp.argsort(distances)
    nearer = jnp.cumsum(weights[order])
    unit = distances[order][jnp.argmax(nearer > nearer[-1] / 2)]
    unit = jnp.where(unit > 0, unit, 1)
    # A client at this distance pulls, to rounding, as it would from any greater.
    distances = jnp.minimum(distances / unit, jnp.finfo(clients.dtype).eps ** -2.0)
    axes, coordinates = one_by_one(jnp.linalg.qr)(directions.T)
    return centre, 16 * unit, axes, coordinates.T * distances[:, None]


def _clients_that_are_it(points: Array, weights: Array) -> tuple[Array, Array]:
    """The two outermost clients at which the others pull with no more than its weight (Kuhn 1973).

    Returns:
        The indices (2,) of the two, which are one where the median is unique, and whether there
        are any.
    """
    eps = jnp.finfo(points.dtype).eps

    def excess(place: Array) -> Array:
        between = points - place
        apart = jnp.linalg.norm(between, axis=1)
        # Equal clients may differ by the rounding of their coordinates, which follows their own
        # distance from the centre.
        equal = apart <= 16 * eps * jnp.linalg.norm(place)
        pulls = between / jnp.where(equal, jnp.inf, apart)[:, None]
        return jnp.linalg.norm(weights @ pulls) - weights @ equal

    slack = len(weights) * eps
    held = (weights > 0) & (jax.lax.map(excess, points) <= slack)
    one = jnp.argmax(held)
    apart = jnp.linalg.norm(points - points[one], axis=1)
    return jnp.stack([one, jnp.argmax(jnp.where(held, apart, -1))]), jnp.any(held)


def _between_clients(points: Array, weights: Array, held: Array) -> Array:
    """The median (d,) of points (Q, d), sought from zero unless one of them is held to be it.

    Of Weiszfeld's step, corrected at clients as by Vardi and Zhang (PNAS 97 (2000), 1423-1426),
    and Newton's, in several lengths, the one that makes the sum of distances least is taken, until
    none makes it less. Changes of the sum are computed as such, without cancellation.
    """
    eps = jnp.finfo(points.dtype).eps
    lengths = jnp.array(LENGTHS, points.dtype)[:, None]

    def improved(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        place, number, _ = state
        between = points - place
        apart = jnp.linalg.norm(between, axis=1)
        here = apart == 0
        inverse = jnp.where(here, 0, 1 / jnp.where(here, 1, apart))
        pulls = inverse[:, None] * between
        force = weights @ pulls
        held_back = (weights @ here) / jnp.linalg.norm(force)
        force = force * jnp.maximum(1 - held_back, 0)
        stiffness = weights * inverse
        total = jnp.sum(stiffness)
        curvature = (1 + 8 * eps) * total * jnp.eye(len(force)) - (pulls.T * stiffness) @ pulls
        newton = one_by_one(jnp.linalg.solve)(curvature, force)
        steps = jnp.concatenate([force[None] / total, lengths * newton])
        steps = jnp.where(jnp.isfinite(steps), steps, 0)

        def change(step: Array) -> Array:
            both = apart + jnp.linalg.norm(between - step, axis=1)
            return weights @ ((step @ step - 2 * between @ step) / jnp.where(both > 0, both, 1))

        changes = jax.vmap(change)(steps)
        step = jnp.where(jnp.min(changes) < 0, steps[jnp.argmin(changes)], 0)
        arrived = jnp.linalg.norm(step) <= eps * jnp.linalg.norm(place)
        return place + step, number + 1, arrived

    start = jnp.zeros(points.shape[1], points.dtype), jnp.zeros((), int), held
    return jax.lax.while_loop(lambda s: ~s[2] & (s[1] < STEPS), improved, start)[0]
