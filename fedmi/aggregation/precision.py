"""The mean in which a client counts for less where it varies more from seed to seed."""

import jax.numpy as jnp
from jax import Array

from fedmi.aggregation.fisher import precision_weighted


def inverse_variance_mean(clients: Array, weights: Array, *, variances: Array) -> Array:
    """sum_q w_q / v_q over sum_q 1 / v_q, coordinate by coordinate (Aitken 1935).

    The best unbiased weights if clients are independent measurements of one thing with these
    variances. Clients of one law have the same variances: there, it is the unweighted mean. What
    more data are worth is in the variances, so that n_q enters where no client varies only.

    Args:
        clients: (Q, t), the clients' parameters.
        weights: (Q,), n_q / n.
        variances: (Q, t), of each client's parameters over other seeds; a coordinate that does not
            vary at some client is taken from there.

    Returns:
        (t,).
    """
    certain = variances <= 0
    precision = jnp.where(certain, 0, 1 / jnp.where(certain, 1, variances))
    known = weights[:, None] * certain
    any_certain = jnp.any(certain, axis=0)
    return precision_weighted(clients, weights, jnp.where(any_certain, known, precision))
