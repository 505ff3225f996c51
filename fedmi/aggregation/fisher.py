"""The mean in which every client counts where its data tell most."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from fedmi.aggregation.inputs import at_least_zero, models


def fisher_mean(clients: Array, weights: Array, *, information: Array) -> Array:
    """sum_q n_q F_q w_q / sum_q n_q F_q in every coordinate (Matena and Raffel, NeurIPS 2022).

    The mean where clients have the same information, and where none has any.

    Args:
        clients: (Q, t), the clients' parameters.
        weights: (Q,), n_q / n.
        information: (Q, t), the diagonal of each client's Fisher information per example, at its
            own parameters.

    Returns:
        (t,), in the precision that JAX's x64 flag allows.

    Raises:
        ValueError: other shapes or types; information that is negative or not finite. Under
            `jax.jit` and `jax.vmap`, where values cannot be looked at, such coordinates are NaN.
    """
    clients, weights = models(clients, weights)
    information, xp = at_least_zero(information, "information", clients.shape)
    largest = information.max(axis=0)
    if xp is np and not np.isfinite(largest).all():
        raise ValueError("information: some are infinite; drop the seeds whose gradients are")
    relative = information / xp.where(largest == 0, 1, largest)
    return precision_weighted(clients, weights, weights[:, None] * relative)


def precision_weighted(clients: Array, weights: Array, precision: Array) -> Array:
    """The mean weighted by (Q, t) precisions; by the weights where no client has any."""
    largest = jnp.max(precision, axis=0)
    none = largest == 0  # where a precision is NaN, the result is
    relative = jnp.where(none, weights[:, None], precision / jnp.where(none, 1, largest))
    return jnp.sum(relative / jnp.sum(relative, axis=0) * clients, axis=0)
