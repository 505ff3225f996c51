"""Mutual information by a neural network that tells true pairs from re-paired ones.

A critic scores pairs (x, y). How much higher it can score seeds' own pairs than mixed ones bounds
MI from below (Poole, Ozair, van den Oord, Alemi and Tucker, "On Variational Bounds of Mutual
Information", ICML 2019). The critic is trained on some seeds, stopped by others, and the estimate
is taken on a third part that had no say in either; so it may well be below zero, and is no bound on
the samples at hand but on average.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import inf, log
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from fedmi.mi.null import Repairing
from fedmi.mi.result import PairEstimate, client_pairs
from fedmi.mi.samples import check_components_vary
from fedmi.progress import track

Part = tuple[Array, Array]
"""x (n, p) and y (n, q) of some seeds, float32."""

TRAINING, VALIDATION = 0.6, 0.2
"""Shares of the seeds; the rest is for the estimate."""


def infonce(scores: Array) -> Array:
    """InfoNCE in nats (van den Oord, Li and Vinyals 2018), the mean of both directions.

    Scores are (B, B), of x of one seed (rows) with y of another (columns).
    """
    own = jnp.diagonal(nn.log_softmax(scores, axis=0)) + jnp.diagonal(nn.log_softmax(scores))
    return jnp.mean(own) / 2 + log(len(scores))


def nwj(scores: Array) -> Array:
    """The bound of Nguyen, Wainwright and Jordan (2010) in nats; no ceiling, but large variance."""
    b = len(scores)
    mixed = jnp.sum(jnp.exp(scores - 1) * (1 - jnp.eye(b))) / (b * (b - 1))
    return jnp.mean(jnp.diagonal(scores)) - mixed


OBJECTIVES: dict[str, tuple[Callable[[Array], Array], Callable[[int], float]]] = {
    "infonce": (infonce, log),
    "nwj": (nwj, lambda batch_size: inf),
}
"""Name -> the bound on scores, and its ceiling in nats by the size of a batch."""


class Critic(nn.Module):
    """Scores of all pairs of a batch: inner products of what two networks make of x and of y."""

    width: int
    embedding: int

    @nn.compact
    def __call__(self, x: Array, y: Array) -> Array:
        """Scores (B, B) of x (B, p) and y (B, q)."""

        def embed(a: Array) -> Array:
            for _ in range(2):
                a = nn.gelu(nn.Dense(self.width)(a))
            return nn.Dense(self.embedding)(a)

        return embed(x) @ embed(y).T


@dataclass(frozen=True, kw_only=True)
class Training:
    """How critics are trained.

    Attributes:
        objective: "infonce" or "nwj".
        batch_size: seeds that are told apart; InfoNCE cannot read more than its logarithm.
        epochs: at most so many passes over the training seeds.
        patience: epochs without a better validation after which a critic is left as it was best.
        restarts: critics trained from other starts; the best in validation is taken.
        learning_rate: of Adam.
        width: units of both hidden layers of a critic.
        embedding: dimensions of its inner product.
    """

    objective: str = "infonce"
    batch_size: int = 128
    epochs: int = 200
    patience: int = 20
    restarts: int = 3
    learning_rate: float = 1e-3
    width: int = 128
    embedding: int = 32

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective {self.objective!r} is not one of {', '.join(OBJECTIVES)}")
        if self.batch_size < 2:
            raise ValueError(f"batch_size: {self.batch_size} is below 2")
        for name in ("epochs", "patience", "restarts", "width", "embedding"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is below 1")
        if not 0 < self.learning_rate < inf:
            raise ValueError(f"learning_rate: {self.learning_rate} is not a positive number")

    @property
    def ceiling_bits(self) -> float:
        """The most that the objective can read."""
        return OBJECTIVES[self.objective][1](self.batch_size) / log(2)


def pairs(
    clients: Mapping[str, np.ndarray], repairing: Repairing, *, key: Array, **options: Any
) -> list[PairEstimate]:
    """Estimates every pair of clients; every re-pairing trains critics of its own.

    `options` are of `Training`.
    """
    training = Training(**options)
    n = repairing.n
    least = int(np.ceil(training.batch_size / (1 - TRAINING - VALIDATION) - 1e-9))
    if n < least:
        raise ValueError(
            f"{n} samples: a fifth of them must fill a batch of {training.batch_size}; take "
            f"{least} samples, or a smaller batch_size"
        )
    for name, x in clients.items():
        check_components_vary(x, name, "a critic cannot be trained on; drop them")
    samples, combinations = list(clients.values()), client_pairs(len(clients))
    work = list(product(combinations, repairing.pairings))
    bits = [
        _bits(samples[a], samples[b][rows], training, key)
        for (a, b), rows in track(work, what="training critics", unit="pair")
    ]
    values = np.reshape(bits, (len(combinations), -1))
    return [
        PairEstimate.uncorrected(
            pair, found, ceiling_bits=training.ceiling_bits, n=n, estimator="neural"
        )
        for pair, found in zip(combinations, values, strict=True)
    ]


def _bits(x: np.ndarray, y: np.ndarray, training: Training, key: Array) -> float:
    """The bound on the test seeds, by the critic that validates best."""
    split_key, start_key, order_key = jax.random.split(key, 3)
    train, validate, test = _parts(x, y, split_key)
    start, epoch, evaluate = _programs(training)
    states = start(jax.random.split(start_key, training.restarts), train)
    for i in range(training.epochs):
        keys = jax.random.split(jax.random.fold_in(order_key, i), training.restarts)
        states = epoch(states, keys, train, validate)
        if (np.asarray(states.waited) >= training.patience).all():
            break
    validated = np.asarray(states.best_value)
    if not np.isfinite(validated).any():
        raise ValueError(
            f"no critic could be trained at learning_rate {training.learning_rate}; try a smaller "
            "one, or standardise the samples' tails away (asinh)"
        )
    chosen = jax.tree.map(lambda a: a[validated.argmax()], states.best)
    return float(evaluate(chosen, test)) / log(2)


class State(NamedTuple):
    """A critic in training, what it was when it validated best, and the epochs since then."""

    params: Any
    moments: Any
    best: Any
    best_value: Array
    waited: Array


@cache
def _programs(training: Training) -> tuple[Callable, Callable, Callable]:
    """The compiled start and epoch of all restarts at once, and the mean bound on a part."""
    critic = Critic(training.width, training.embedding)
    optimizer = optax.adam(training.learning_rate)
    bound = OBJECTIVES[training.objective][0]

    def value(params: Any, batch: Part) -> Array:
        return bound(critic.bind(params)(*batch))

    def mean_value(params: Any, part: Part) -> Array:
        batches = jax.tree.map(lambda a: _batches(a, training.batch_size), part)
        return jnp.mean(jax.lax.map(lambda batch: value(params, batch), batches))

    def start(key: Array, train: Part) -> State:
        params = critic.init(key, *jax.tree.map(lambda a: a[:1], train))
        moments = optimizer.init(params)
        return State(params, moments, params, -jnp.float32(jnp.inf), jnp.int32(0))

    def epoch(state: State, key: Array, train: Part, validate: Part) -> State:
        order = jax.random.permutation(key, len(train[0]))
        batches = jax.tree.map(lambda a: _batches(a[order], training.batch_size), train)

        def step(carry: tuple, batch: Part) -> tuple:
            params, moments = carry
            gradient = jax.grad(lambda p: -value(p, batch))(params)
            updates, moments = optimizer.update(gradient, moments)
            return (optax.apply_updates(params, updates), moments), None

        (params, moments), _ = jax.lax.scan(step, (state.params, state.moments), batches)
        now = mean_value(params, validate)
        better = now > state.best_value  # never, if it is nan
        return State(
            params,
            moments,
            jax.tree.map(lambda new, old: jnp.where(better, new, old), params, state.best),
            jnp.where(better, now, state.best_value),
            jnp.where(better, 0, state.waited + 1),
        )

    return (
        jax.jit(jax.vmap(start, (0, None))),
        jax.jit(jax.vmap(epoch, (0, 0, None, None))),
        jax.jit(mean_value),
    )


def _parts(x: np.ndarray, y: np.ndarray, key: Array) -> list[Part]:
    """The training, validation and test seeds, in units of the training seeds' spread."""
    n = len(x)
    order = np.asarray(jax.random.permutation(key, n))
    rows = np.split(order, [round(TRAINING * n), round((TRAINING + VALIDATION) * n)])
    scaled = []
    for a in (x, y):
        centre, spread = a[rows[0]].mean(axis=0), a[rows[0]].std(axis=0)
        scaled.append(((a - centre) / np.where(spread > 0, spread, 1)).astype(np.float32))
    x, y = scaled
    return [(jnp.asarray(x[part]), jnp.asarray(y[part])) for part in rows]


def _batches(a: Array, size: int) -> Array:
    """As many batches as are full."""
    return a[: len(a) // size * size].reshape(-1, size, *a.shape[1:])
