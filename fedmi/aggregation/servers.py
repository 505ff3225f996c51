"""The mean of the updates, taken further or less far than the clients went."""

import numpy as np
from jax import Array

from fedmi.aggregation.inputs import check_shape, floats, known
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
    mean = weighted_mean(clients, weights)
    download, step = floats(download, "download"), floats(step, "step")
    check_shape(download, "download", mean.shape, "one number a parameter")
    check_shape(step, "step", (), "one number")
    for name, value in (("download", download), ("step", step)):
        if known(value) and not np.isfinite(value).all():
            raise ValueError(f"{name}: not finite; where clients started and how far to go must be")
    return download + step * (mean - download)
