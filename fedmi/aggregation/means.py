"""Means of the clients: by their examples (the paper's Step 3), by information, by variance."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fedmi.aggregation.inputs import at_least_zero, floats, models
from fedmi.devices import one_by_one


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
    known, xp = at_least_zero(information, "information", clients.shape)
    largest = known.max(axis=0)
    if xp is np and not np.isfinite(largest).all():
        raise ValueError("information: some are infinite; drop the seeds whose gradients are")
    relative = known / xp.where(largest == 0, 1, largest)
    return _precision_weighted(clients, weights, weights[:, None] * relative)


def regmean(clients: Array, weights: Array, *, grams: Array) -> Array:
    """(sum_q n_q G_q)^-1 sum_q n_q G_q W_q, the layer nearest to all (RegMean; Jin, ICLR 2023).

    Of layers W (inputs, outputs) it minimises sum_q n_q E|x' W - x' W_q|^2 over the inputs x of
    client q, where G_q = E x x': exact for a linear last layer. Where no client has inputs in a
    direction, it is the mean. Jin et al. shrink what is not on the diagonal of G_q, which is left
    to the caller.

    Args:
        clients: (Q, t), the layers, input by input: t is inputs times outputs. Flax ravels the
            biases of a `Dense` before its weights, as those of a first input that is always 1.
        weights: (Q,), n_q / n.
        grams: (Q, inputs, inputs), G_q, symmetric.

    Returns:
        (t,), in the precision that JAX's x64 flag allows.

    Raises:
        ValueError: other shapes or types; as many inputs as do not divide t.
    """
    clients, weights = models(clients, weights)
    grams = floats(grams, "grams")
    q, t = clients.shape
    inputs = grams.shape[-1] if grams.ndim else 0
    if grams.shape != (q, inputs, inputs) or not inputs or t % inputs:
        raise ValueError(
            f"grams: shape {grams.shape}; it must be ({q}, inputs, inputs), where the number of "
            f"inputs divides the {t} parameters"
        )
    layers = clients.reshape(q, inputs, -1)
    mean = jnp.einsum("q,qio->io", weights, layers)
    total = jnp.einsum("q,qij->ij", weights, grams)
    pulled = jnp.einsum("q,qij,qjo->io", weights, grams, layers - mean)
    # Below what rounding leaves of the sum nothing is known, and the mean stays as it is.
    least = jnp.finfo(total.dtype).eps * jnp.maximum(jnp.trace(total), 1e-30)
    solve = one_by_one(partial(jax.scipy.linalg.solve, assume_a="pos"))
    return (mean + solve(total + least * jnp.eye(inputs), pulled)).ravel()


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
    known, xp = at_least_zero(variances, "variances", clients.shape)
    least = known.min(axis=0)
    # Where some are certain, or all are unknown, their weights decide between them.
    alike = (least == 0) | (least == xp.inf)
    relative = xp.where(alike, known == least, least / xp.where(alike, 1, known))
    precision = jnp.where(jnp.asarray(alike), weights[:, None], 1) * relative
    return _precision_weighted(clients, weights, precision)


def _precision_weighted(clients: Array, weights: Array, precision: Array) -> Array:
    """The mean weighted by (Q, t) precisions; by the weights where no client has any."""
    largest = jnp.max(precision, axis=0)
    none = largest == 0  # where a precision is NaN, the result is
    relative = jnp.where(none, weights[:, None], precision / jnp.where(none, 1, largest))
    return jnp.sum(relative / jnp.sum(relative, axis=0) * clients, axis=0)
