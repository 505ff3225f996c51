"""Aggregators that a few dishonest clients cannot lead astray. Weights play no part in them."""

import jax.numpy as jnp
from jax import Array

from fedmi.aggregation.inputs import models


def trimmed_mean(clients: Array, weights: Array, *, share: float = 0.2) -> Array:
    """The mean of each coordinate without its largest and smallest values (Yin et al., ICML 2018).

    Flower's `FedTrimmedAvg` takes the same, with `beta` for `share`.

    Args:
        clients: (Q, t), the clients' parameters.
        weights: (Q,), n_q / n, which are not used.
        share: of the clients that is left out at either end, from 0 to below 1/2; so many whole
            ones are.

    Returns:
        (t,), in the precision that JAX's x64 flag allows.

    Raises:
        ValueError: other shapes or types; an impossible share.
    """
    clients, _ = models(clients, weights)
    if not 0 <= share < 0.5:
        raise ValueError(f"share: {share} is not from 0 to below 0.5, which leave some clients")
    cut = int(share * len(clients))
    return jnp.mean(jnp.sort(clients, axis=0)[cut : len(clients) - cut], axis=0)


def krum(clients: Array, weights: Array, *, dishonest: int = 1) -> Array:
    """The client that is nearest to its n - f - 2 nearest others (Blanchard et al., NeurIPS 2017).

    Near is meant in the sum of squared distances. Flower's `Krum` is the same.

    Args:
        clients: (Q, t), the clients' parameters.
        weights: (Q,), n_q / n, which are not used.
        dishonest: f, how many clients may be; Q must be at least 2 f + 3.

    Returns:
        (t,), in the precision that JAX's x64 flag allows.

    Raises:
        ValueError: other shapes or types; too few clients.
    """
    clients, _ = models(clients, weights)
    return clients[jnp.argmin(_scores(clients, dishonest))]


def multi_krum(
    clients: Array, weights: Array, *, dishonest: int = 1, kept: int | None = None
) -> Array:
    """The mean of the `kept` clients that `krum` scores best (Blanchard et al., NeurIPS 2017).

    Flower's `MultiKrum` weighs them by their numbers of examples; this is their plain mean, as in
    the paper, which is the same where clients have equally many.

    Args:
        clients: (Q, t), the clients' parameters.
        weights: (Q,), n_q / n, which are not used.
        dishonest: f, how many clients may be; Q must be at least 2 f + 3.
        kept: how many are averaged, from 1 on; all but f by default.

    Returns:
        (t,), in the precision that JAX's x64 flag allows.

    Raises:
        ValueError: other shapes or types; too few clients; an impossible number of them.
    """
    clients, _ = models(clients, weights)
    kept = len(clients) - dishonest if kept is None else kept
    if not 1 <= kept <= len(clients):
        raise ValueError(f"kept: {kept} is not from 1 to the {len(clients)} clients")
    best = jnp.argsort(_scores(clients, dishonest), stable=True)[:kept]
    return jnp.mean(clients[best], axis=0)


def _scores(clients: Array, dishonest: int) -> Array:
    """(Q,) sums of squared distances to the n - f - 2 nearest others."""
    n = len(clients)
    if not 0 <= dishonest <= (n - 3) // 2:
        raise ValueError(
            f"dishonest: {dishonest} among {n} clients; with f of them Krum needs 2 f + 3 at "
            f"least, here {2 * max(dishonest, 0) + 3}: ask more clients, or allow for fewer"
        )
    squares = jnp.sum((clients[:, None] - clients) ** 2, axis=-1)
    return jnp.sum(jnp.sort(squares, axis=1)[:, 1 : n - dishonest - 1], axis=1)
