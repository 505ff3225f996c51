"""The mean in which every client counts where its data tell most."""

import jax.numpy as jnp
from jax import Array

from fedmi.aggregation.mean import weighted_mean


def fisher_mean(clients: Array, weights: Array, *, information: Array) -> Array:
    """sum_q n_q F_q w_q / sum_q n_q F_q in every coordinate (Matena and Raffel, NeurIPS 2022).

    The mean where clients have the same information, and where none has any.

    Args:
        clients: (Q, t), the clients' parameters.
        weights: (Q,), n_q / n.
        information: (Q, t), the diagonal of each client's Fisher information per example, at its
            own parameters.

    Returns:
        (t,).
    """
    return precision_weighted(clients, weights, weights[:, None] * information)


def precision_weighted(clients: Array, weights: Array, precision: Array) -> Array:
    """The mean weighted by (Q, t) precisions; by the weights where no client has any."""
    largest = jnp.max(precision, axis=0)
    relative = precision / jnp.where(largest > 0, largest, 1)
    total = jnp.sum(relative, axis=0)
    weighted = jnp.sum(relative * clients, axis=0) / jnp.where(largest > 0, total, 1)
    return jnp.where(largest > 0, weighted, weighted_mean(clients, weights))
