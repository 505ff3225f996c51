"""An aggregator over many seeds, with its input checked."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from fedmi.aggregation.inputs import floats, known, real
from fedmi.aggregation.means import fisher_mean, inverse_variance_mean, weighted_mean
from fedmi.aggregation.medians import coordinate_median, geometric_median
from fedmi.aggregation.purity import check_pure
from fedmi.aggregation.servers import server_step

ROBUST = (coordinate_median, geometric_median)
OWN = (*ROBUST, weighted_mean, server_step, fisher_mean, inverse_variance_mean)
"""Those of this package, which need not be tried out."""


def shares(counts: ArrayLike, clients: int) -> np.ndarray:
    """n_q / n from the clients' numbers of examples.

    Raises:
        ValueError: unless there is one positive, finite number a client.
    """
    counts = np.asarray(real(counts, "counts"), np.float64)
    if counts.shape != (clients,):
        raise ValueError(
            f"counts: shape {counts.shape}; {clients} clients need one number of examples each"
        )
    if not (np.isfinite(counts) & (counts > 0)).all():
        raise ValueError(f"counts: {counts.tolist()} must be finite and above 0")
    return counts / counts.sum()


def over_seeds(
    aggregator: Callable[..., jax.Array],
    clients: ArrayLike,
    counts: ArrayLike | None = None,
    **beside: ArrayLike,
) -> jax.Array:
    """Aggregates the clients of every seed.

    Args:
        aggregator: a function of `fedmi.aggregation`, or one like these.
        clients: (N, Q, t), the clients' parameters.
        counts: (Q,), examples n_q of each client; equal by default.
        **beside: what the aggregator needs besides, the same for all seeds, passed on as it is.

    Returns:
        (N, t), float32, or float64 where JAX's x64 flag is set, whatever type the clients come in.

    Raises:
        ValueError: arrays of other shapes or types, masked or empty; a client that is not finite
            where the aggregator is none of the medians (fewer than half of the weight may be
            theirs); what is beside and not a number; an aggregator that is no function of its
            arguments alone or that JAX cannot compile.
    """
    if not callable(aggregator):
        raise ValueError(f"aggregator: a {type(aggregator).__name__}, not a function")
    clients = floats(clients, "clients")
    if clients.ndim != 3 or 0 in clients.shape:
        raise ValueError(
            f"clients: shape {clients.shape}; it must be (seeds, clients, parameters), none of "
            "them 0"
        )
    q = clients.shape[1]
    weights = shares(np.ones(q) if counts is None else counts, q)
    bad = ~np.asarray(jnp.isfinite(clients).all(axis=2))
    if bad.any():
        where = np.argwhere(bad)[0].tolist()
        if aggregator not in ROBUST:
            raise ValueError(
                f"clients: {bad.sum()} are not finite, the first client {where[1]} of seed "
                f"{where[0]} (in {clients.dtype}); drop such seeds (fedmi.finite) or use a median"
            )
        if ((bad * weights).sum(axis=1) >= 0.5).any():
            raise ValueError(
                "clients: of some seed half of the weight or more is not finite; no median "
                "survives that; drop such seeds (fedmi.finite)"
            )
    beside = {name: real(value, name) for name, value in beside.items()}
    for name, value in beside.items():
        if known(value) and np.isnan(np.asarray(value, np.float64)).any():
            raise ValueError(f"{name}: some are not a number")
    weights = floats(weights, "weights")
    if aggregator not in OWN:
        check_pure(aggregator, jnp.stack([clients[0], 1 - clients[-1]]), weights, beside)
    return jax.jit(jax.vmap(lambda c: aggregator(c, weights, **beside)))(clients)
