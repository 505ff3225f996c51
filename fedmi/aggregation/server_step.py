"""The mean of the updates, taken further or less far than the clients went."""

from jax import Array

from fedmi.aggregation.mean import weighted_mean


def server_step(clients: Array, weights: Array, *, download: Array, step: Array | float) -> Array:
    """w' + step * (mean - w'), FedAvg with a server step size (Reddi et al., ICLR 2021).

    With step 1 it is the mean. The step is to be chosen on other seeds than those it is judged on.

    Args:
        clients: (Q, t), the clients' parameters.
        weights: (Q,), n_q / n.
        download: (t,), w', where the clients started.
        step: the server's step size.

    Returns:
        (t,).
    """
    return download + step * (weighted_mean(clients, weights) - download)
