"""The weighted mean of the clients, the paper's Step 3."""

from jax import Array

from fedmi.aggregation.inputs import models


def weighted_mean(clients: Array, weights: Array) -> Array:
    """w* = sum_q (n_q / n) w_q (the paper's introduction; McMahan et al., AISTATS 2017).

    Args:
        clients: (Q, t), the clients' parameters.
        weights: (Q,), n_q / n.

    Returns:
        (t,), float32, or float64 where JAX's x64 flag is set, whatever type the clients come in.

    Raises:
        ValueError: other shapes or types; weights that do not sum to 1.
    """
    clients, weights = models(clients, weights)
    return weights @ clients
