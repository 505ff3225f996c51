"""The mean in which a client counts for less where it varies more from seed to seed."""

import jax.numpy as jnp
from jax import Array

from fedmi.aggregation.fisher import precision_weighted
from fedmi.aggregation.inputs import at_least_zero, models


def inverse_variance_mean(clients: Array, weights: Array, *, variances: Array) -> Array:
    """sum_q w_q / v_q over sum_q 1 / v_q, coordinate by coordinate (Aitken 1935).

    The best unbiased weights if clients are independent measurements of one thing with these
    variances. Clients of one law have the same variances: there, it is the unweighted mean. What
    more data are worth is in the variances, so that n_q enters only where some client does not
    vary, or where the variances of all are infinite.

    Args:
        clients: (Q, t), the clients' parameters.
        weights: (Q,), n_q / n.
        variances: (Q, t), of each client's parameters over other seeds; a coordinate that does not
            vary at some client is taken from there. Infinite ones count for nothing.

    Returns:
        (t,), in the precision that JAX's x64 flag allows.

    Raises:
        ValueError: other shapes or types; variances that are negative or not a number. Under
            `jax.jit` and `jax.vmap`, where values cannot be looked at, such coordinates are NaN.
    """
    clients, weights = models(clients, weights)
    variances, xp = at_least_zero(variances, "variances", clients.shape)
    least = variances.min(axis=0)
    # Where some are certain, or all are unknown, their weights decide between them.
    alike = (least == 0) | (least == xp.inf)
    relative = xp.where(alike, variances == least, least / xp.where(alike, 1, variances))
    precision = jnp.where(jnp.asarray(alike), weights[:, None], 1) * relative
    return precision_weighted(clients, weights, precision)
