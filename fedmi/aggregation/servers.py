"""What a server makes of the clients' updates: how far it goes, and what it remembers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import jax.numpy as jnp
import numpy as np
from jax import Array

from fedmi.aggregation.inputs import check_shape, floats, known, models
from fedmi.aggregation.means import weighted_mean
from fedmi.aggregation.stateful import State

if TYPE_CHECKING:
    import optax


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
    mean, step = weighted_mean(clients, weights), _number(step, "step")
    download = _checked(download, mean)
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


def fednova_step(clients: Array, weights: Array, *, download: Array) -> Array:
    """The mean of updates a step, times the mean number of steps (FedNova; Wang, NeurIPS 2020).

    w' + (sum_q p_q tau_q) sum_q p_q (w_q - w') / tau_q, where p_q = n_q / n and client q took
    tau_q steps of plain SGD. After equally many epochs in minibatches of one size tau_q is in
    proportion to n_q, so that this is w' + (sum_q p_q^2) sum_q (w_q - w'): who has more data does
    not count twice, by its weight and by its longer way. It is the mean where all have equally
    many.

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
    download = _checked(download, clients[0])
    return download + jnp.sum(weights**2) * jnp.sum(clients - download, axis=0)


def shrunken_mean(clients: Array, weights: Array, *, shrink: Array | float = 0.99) -> Array:
    """The mean with weights that sum to less than one (FedLAW; Li et al., ICML 2023).

    It is a weight decay at the server, which they find to help generalisation.

    Args:
        clients: (Q, t), the clients' parameters.
        weights: (Q,), n_q / n.
        shrink: what the weights sum to.

    Returns:
        (t,), in the precision that JAX's x64 flag allows.

    Raises:
        ValueError: other shapes or types; a shrink that is not finite.
    """
    return _number(shrink, "shrink") * weighted_mean(clients, weights)


def ties_step(
    clients: Array,
    weights: Array,
    *,
    download: Array,
    kept: float = 0.2,
    step: Array | float = 1.0,
) -> Array:
    """Updates without their small parts and without those of the other sign (TIES; Yadav 2023).

    Of every update the largest `kept` of its components stay, the others become zero; each
    component then takes the sign that is larger in sum, and the mean of those that have it. (P.
    Yadav et al., NeurIPS 2023. Weights, which they do not have, count in the sums.)

    Args:
        clients: (Q, t), the clients' parameters.
        weights: (Q,), n_q / n.
        download: (t,), w', where the clients started.
        kept: the share of components that stays, above 0 and at most 1.
        step: how far to go.

    Returns:
        (t,), in the precision that JAX's x64 flag allows.

    Raises:
        ValueError: other shapes or types; an impossible share; a download or step that is not
            finite.
    """
    clients, weights = models(clients, weights)
    download, step = _checked(download, clients[0]), _number(step, "step")
    if not 0 < kept <= 1:
        raise ValueError(f"kept: {kept} is not a share above 0 and at most 1")
    updates = clients - download
    size = jnp.abs(updates)
    count = max(round(kept * size.shape[1]), 1)
    least = jnp.sort(size, axis=1)[:, size.shape[1] - count, None]
    updates = jnp.where(size >= least, updates, 0)
    elected = jnp.sign(weights @ updates)
    agreeing = weights[:, None] * ((jnp.sign(updates) == elected) & (updates != 0))
    total = jnp.sum(agreeing, axis=0)
    mean = jnp.sum(agreeing * updates, axis=0) / jnp.where(total > 0, total, 1)
    return download + step * mean


@dataclass(frozen=True)
class ServerOptimizer:
    """An optimiser of Optax's that takes the clients' mean update for a gradient.

    The pseudo-gradient is w' - mean (Reddi et al., ICLR 2021). FedAvgM is
    `ServerOptimizer(optax.sgd(rate, momentum=0.9))` (Hsu et al. 2019), FedAdagrad, FedAdam and
    FedYogi are `optax.adagrad`, `optax.adam` and `optax.yogi`, and `optax.sgd(1.0)` is the mean.

    Flower's versions differ: its FedAdagrad, FedAdam and FedYogi add `tau` to the root of the
    second moment, where Optax's Adagrad adds `eps` below the root; its FedYogi corrects no bias;
    its FedAdam corrects it as if one more round had gone by than has.

    Attributes:
        optimizer: what is made of pseudo-gradients.
    """

    optimizer: "optax.GradientTransformation"

    def init(self, download: Array) -> State:
        """The optimiser's own state."""
        return self.optimizer.init(download)

    def step(
        self, state: State, uploads: Array, weights: Array, download: Array
    ) -> tuple[Array, State]:
        """The optimiser's step from the download."""
        gradient = download - weighted_mean(uploads, weights)
        updates, state = self.optimizer.update(gradient, state, download)
        return download + cast(Array, updates), state


@dataclass(frozen=True)
class PathMean:
    """The mean of the weighted means of the last rounds (as LAWA; Kaddour 2022, in one process).

    Attributes:
        last: over how many rounds, or as many as there have been.
    """

    last: int = 5

    def __post_init__(self) -> None:
        if not isinstance(self.last, int) or self.last < 1:
            raise ValueError(f"last: {self.last!r} is no whole number of rounds from 1 on")

    def init(self, download: Array) -> State:
        """No model yet, and room for the last ones."""
        return jnp.zeros((), jnp.int32), jnp.zeros((self.last, *download.shape), download.dtype)

    def step(
        self, state: State, uploads: Array, weights: Array, download: Array
    ) -> tuple[Array, State]:
        """The mean over what has been seen."""
        rounds, kept = state
        kept = kept.at[rounds % self.last].set(weighted_mean(uploads, weights).astype(kept.dtype))
        rounds = rounds + 1
        return jnp.sum(kept, axis=0) / jnp.minimum(rounds, self.last), (rounds, kept)


def _checked(download: Array, model: Array) -> Array:
    """The download, of a model's shape and finite, or ValueError."""
    download = floats(download, "download")
    check_shape(download, "download", model.shape, "one number a parameter")
    if known(download) and not np.isfinite(download).all():
        raise ValueError("download: not finite; where clients started must be")
    return download


def _number(value: Array | float, name: str) -> Array:
    """One finite number, or ValueError."""
    found = floats(value, name)
    check_shape(found, name, (), "one number")
    if known(found) and not np.isfinite(found):
        raise ValueError(f"{name}: not finite; it must be")
    return found
