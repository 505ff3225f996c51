"""An aggregator over many seeds, with its input checked."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from fedmi.aggregation.median import coordinate_median, geometric_median

Aggregator = Callable[..., jax.Array]
ROBUST = (coordinate_median, geometric_median)


def shares(counts: ArrayLike, clients: int) -> np.ndarray:
    """n_q / n from the clients' numbers of examples.

    Raises:
        ValueError: unless there is one positive, finite number a client.
    """
    counts = np.asarray(counts, np.float64)
    if counts.shape != (clients,):
        raise ValueError(
            f"counts: shape {counts.shape}; {clients} clients need one number of examples each"
        )
    if not (np.isfinite(counts) & (counts > 0)).all():
        raise ValueError(f"counts: {counts.tolist()} must be finite and above 0")
    return counts / counts.sum()


def over_seeds(
    aggregator: Aggregator, clients: ArrayLike, counts: ArrayLike | None = None, **beside: ArrayLike
) -> jax.Array:
    """Aggregates the clients of every seed.

    Args:
        aggregator: a function of `fedmi.aggregation`, or one like these.
        clients: (N, Q, t), the clients' parameters.
        counts: (Q,), examples n_q of each client; equal by default.
        **beside: what the aggregator needs besides, the same for all seeds.

    Returns:
        (N, t).

    Raises:
        ValueError: arrays of other shapes, or a client that is not finite where the aggregator is
            none of the medians; fewer than half of the weight may be theirs.
    """
    clients = jnp.asarray(clients)
    if clients.ndim != 3:
        raise ValueError(f"clients: shape {clients.shape}; it must be (seeds, clients, parameters)")
    q = clients.shape[1]
    weights = shares(np.ones(q) if counts is None else counts, q)
    bad = ~np.asarray(jnp.isfinite(clients).all(axis=2))
    if bad.any():
        where = np.argwhere(bad)[0].tolist()
        if aggregator not in ROBUST:
            raise ValueError(
                f"clients: {bad.sum()} are not finite, the first client {where[1]} of seed "
                f"{where[0]}; drop such seeds (fedmi.finite) or use a median"
            )
        if ((bad * weights).sum(axis=1) >= 0.5).any():
            raise ValueError(
                "clients: of some seed half of the weight or more is not finite; no median "
                "survives that; drop such seeds (fedmi.finite)"
            )
    shared = {name: jnp.asarray(value) for name, value in beside.items()}
    one = jax.vmap(lambda c: aggregator(c, jnp.asarray(weights, c.dtype), **shared))
    return jax.jit(one)(clients)
