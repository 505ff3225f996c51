"""The mean of the updates, taken further or less far than the clients went."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from fedmi.aggregation.inputs import check_shape, floats, known, models
from fedmi.aggregation.means import weighted_mean


def server_step(clients: Array, weights: Array, *, download: Array, step: Array | float) -> Array:
    """w' + step * (mean - w'), FedAvg with a server step size (Reddi et al., ICLR 2021).

    With step 1 it is the mean. The step is to be chosen on other seeds than those it is judged on.

    Args:
        clients: (Q, t), the clients' parameters.
        weights: (Q,), n_q / n.
        download: (t,), w', where the clients started.
        step: the server's step size, one finite number.

    Returns:
        (t,), in the precision that JAX's x64 flag allows.

    Raises:
        ValueError: other shapes or types; a download or step that is not finite.
    """
    mean, step = weighted_mean(clients, weights), floats(step, "step")
    download = _checked(download, mean)
    check_shape(step, "step", (), "one number")
    if known(step) and not np.isfinite(step):
        raise ValueError("step: not finite; how far to go must be")
    return download + step * (mean - download)


def fedexp_step(clients: Array, weights: Array, *, download: Array) -> Array:
    """A server step whose size follows from the updates alone (FedExP; Jhunjhunwala, ICLR 2023).

    w' + s (mean - w'), where s = max(1, sum_q (n_q / n) |w_q - w'|^2 / (2 |mean - w'|^2)): the more
    the updates point apart, the farther. It is the mean where they agree, or are none.

    Args:
        clients: (Q, t), the clients' parameters.
        weights: (Q,), n_q / n.
        download: (t,), w', where the clients started.

    Returns:
        (t,), in the precision that JAX's x64 flag allows.

    Raises:
        ValueError: other shapes or types; a download that is not finite.
    """
    clients, weights = models(clients, weights)
    mean = weights @ clients
    download = _checked(download, mean)
    update = mean - download
    own, common = weights @ jnp.sum((clients - download) ** 2, axis=1), jnp.sum(update**2)
    size = jnp.where(common > 0, own / jnp.where(common > 0, 2 * common, 1), 1)
    return download + jnp.maximum(size, 1) * update


def _checked(download: Array, mean: Array) -> Array:
    """The download, of the mean's shape and finite, or ValueError."""
    download = floats(download, "download")
    check_shape(download, "download", mean.shape, "one number a parameter")
    if known(download) and not np.isfinite(download).all():
        raise ValueError("download: not finite; where clients started must be")
    return download
