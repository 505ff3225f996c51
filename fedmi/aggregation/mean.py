"""The weighted mean of the clients, the paper's Step 3."""

from jax import Array


def weighted_mean(clients: Array, weights: Array) -> Array:
    """w* = sum_q (n_q / n) w_q (the paper's introduction; McMahan et al., AISTATS 2017).

    Args:
        clients: (Q, t), the clients' parameters.
        weights: (Q,), n_q / n.

    Returns:
        (t,).
    """
    return weights @ clients
