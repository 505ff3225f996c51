"""The best linear aggregator: what linear function of the updates comes nearest to a target?

The target is the update that pooling the clients' data would have made. Averaging is one linear
function of the clients' updates w_q - w'; here others are fitted by least squares on some seeds, to
be judged on others. If none of them comes nearer to the target than the mean does, then no linear
aggregation rule of its kind beats averaging at that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jax import Array
from numpy.typing import ArrayLike
from scipy import linalg

from fedmi.aggregation import inputs
from fedmi.aggregation.inputs import floats, real

KINDS = ("scalar", "coordinate", "reduced-rank")
RIDGES = tuple(10.0**power for power in range(-6, 3))
RANKS = (1, 2, 4, 8, 16, 32, 64, 128)
VALIDATION = 0.25

LINEAR = {
    "linear, scalar": dict(kind="scalar"),
    "linear, per coordinate": dict(kind="coordinate"),
    "linear, reduced rank": dict(kind="reduced-rank"),
    "linear with offset": dict(kind="reduced-rank", offset=True),
}
"""The best linear aggregators, by name, and what `fit` takes for each."""
MAPS = ("linear, per coordinate", "linear, reduced rank", "linear with offset")
"""Those that can remember where other seeds' training led, besides weighing what the clients say.

An offset is such a memory; but so is a matrix, where all updates have much in common: it can send
that to any place. What they gain is told apart from aggregation by what other seeds' pooled
training led to on average, which looks at no client at all. Under `null` even the data are the same
in all seeds.
"""


@dataclass(frozen=True)
class LinearAggregator:
    """A fitted rule: w' + centre + sum over clients of their centred updates times weights.

    Attributes:
        kind: "scalar" (one weight a client), "coordinate" (one a client and parameter), or
            "reduced-rank" (a matrix of low rank that is applied to the weighted mean update).
        centre_in: (Q, t) or (t,), the mean of the updates that were fitted on; zero without offset.
        centre_out: (t,), the mean of the targets; zero without offset.
        weights: (Q,), (Q, t), or the two factors (t, r) and (r, t).
        shares: (Q,), n_q / n, for the mean update of the reduced-rank rule.
        ridge, rank: what validation chose; the rank is 0 for the other kinds.
    """

    kind: str
    centre_in: np.ndarray
    centre_out: np.ndarray
    weights: np.ndarray | tuple[np.ndarray, np.ndarray]
    shares: np.ndarray
    ridge: float
    rank: int = 0

    def __call__(
        self, clients: Array | np.ndarray, download: Array | np.ndarray
    ) -> Array | np.ndarray:
        """The aggregate (..., t) of clients (..., Q, t) that started from download (..., t).

        Of NumPy's arrays, in float64, or JAX's, in the precision that its x64 flag allows, under
        `jax.vmap` too.
        """
        clients, download = (
            floats(value, name) if isinstance(value, Array) else _float64(value, name)
            for name, value in (("clients", clients), ("download", download))
        )
        updates = clients - download[..., None, :]
        if isinstance(self.weights, tuple):  # the factors of a reduced-rank rule
            mean = (self.shares[:, None] * updates).sum(axis=-2)
            moved = (mean - self.centre_in) @ self.weights[0] @ self.weights[1]
        else:
            weights = self.weights[:, None] if self.kind == "scalar" else self.weights
            moved = (weights * (updates - self.centre_in)).sum(axis=-2)
        return download + (self.centre_out + moved)


def fit(
    clients: np.ndarray,
    target: np.ndarray,
    download: np.ndarray,
    *,
    kind: str,
    shares: Sequence[float] | None = None,
    offset: bool = False,
    seed: int = 0,
) -> LinearAggregator:
    """Fits a rule to targets by ridge regression; a part of the seeds chooses ridge and rank.

    With an offset a rule also knows where training led on average, on the data of all the seeds
    that it was fitted on: clients that stay where they are then get that for an answer. Without
    one, scalar weights know nothing but how to weigh updates; weights per coordinate and matrices
    can remember as much where updates have much in common, as they can send that anywhere. (A
    matrix of reduced rank cannot be the mean itself.)

    Everything is computed in float64, whatever type it comes in.

    Args:
        clients: (N, Q, t), the clients' parameters.
        target: (N, t), what aggregation should have given (the pooled solution).
        download: (t,) or (N, t), where the clients started.
        kind: "scalar", "coordinate" or "reduced-rank".
        shares: (Q,), n_q / n; equal by default.
        offset: whether the rule may add a constant to what the updates say.
        seed: of the choice of the seeds that validate.

    Raises:
        ValueError: an unknown kind, unequal shapes, shares that do not sum to 1, values that are
            masked, no real numbers or not finite, or fewer than 8 seeds.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is not one of {', '.join(KINDS)}")
    clients, target, download = (
        _float64(values, name)
        for name, values in (("clients", clients), ("target", target), ("download", download))
    )
    if clients.ndim != 3 or target.shape != (len(clients), clients.shape[2]):
        raise ValueError(
            f"clients: shape {clients.shape}, target: shape {target.shape}; they must be "
            "(seeds, clients, parameters) and (seeds, parameters)"
        )
    if download.shape not in (target.shape, target.shape[1:]):
        raise ValueError(
            f"download: shape {download.shape}; it must be {target.shape[1:]} or {target.shape}"
        )
    if len(clients) < 8:
        raise ValueError(f"clients: {len(clients)} seeds are too few to fit and validate; give 8")
    for name, values in (("clients", clients), ("target", target), ("download", download)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: not finite; drop such seeds (fedmi.finite)")
    q = clients.shape[1]
    given = np.full(q, 1 / q) if shares is None else shares
    weights = np.asarray(inputs.shares(given, "shares", q), np.float64)
    updates = clients - (download[:, None] if download.ndim == 2 else download)
    wanted = target - download
    order = np.random.default_rng(seed).permutation(len(clients))
    validating, fitting = np.split(order, [int(VALIDATION * len(order))])
    regress = {"scalar": _scalar, "coordinate": _coordinate, "reduced-rank": _reduced_rank}[kind]

    def rules(rows: np.ndarray, only: tuple[float, int] | None = None):
        return regress(updates[rows], wanted[rows], weights, only, offset)

    def error(rule: LinearAggregator) -> float:
        made = rule(clients[validating], download[validating] if download.ndim == 2 else download)
        return float(((made - target[validating]) ** 2).sum())

    best = min(rules(fitting), key=error)
    return next(iter(rules(order, (best.ridge, best.rank))))


def _float64(values: ArrayLike, name: str) -> np.ndarray:
    return np.asarray(real(values, name), np.float64)


def _centred(a: np.ndarray, offset: bool) -> tuple[np.ndarray, np.ndarray]:
    centre = a.mean(axis=0) if offset else np.zeros(a.shape[1:])
    return a - centre, centre


def _scalar(updates, wanted, shares, only, offset):
    """One weight a client: the normal equations are (Q, Q)."""
    (u, centre_in), (y, centre_out) = _centred(updates, offset), _centred(wanted, offset)
    gram = np.einsum("nqt,nrt->qr", u, u)
    cross = np.einsum("nqt,nt->q", u, y)
    scale = np.trace(gram) / len(gram) or 1.0  # clients that did not move: any will do
    for ridge in [only[0]] if only else RIDGES:
        weights = linalg.solve(gram + ridge * scale * np.eye(len(gram)), cross, assume_a="pos")
        yield LinearAggregator("scalar", centre_in, centre_out, weights, shares, ridge)


def _coordinate(updates, wanted, shares, only, offset):
    """One weight a client and coordinate: normal equations (Q, Q) for each coordinate."""
    (u, centre_in), (y, centre_out) = _centred(updates, offset), _centred(wanted, offset)
    gram = np.einsum("nqt,nrt->tqr", u, u)
    cross = np.einsum("nqt,nt->tq", u, y)
    scale = np.trace(gram, axis1=1, axis2=2).mean() / gram.shape[1]
    for ridge in [only[0]] if only else RIDGES:
        penalty = max(ridge * scale, np.finfo(float).tiny) * np.eye(gram.shape[1])
        weights = np.linalg.solve(gram + penalty, cross[..., None])[..., 0].T
        yield LinearAggregator("coordinate", centre_in, centre_out, weights, shares, ridge)


def _reduced_rank(updates, wanted, shares, only, offset):
    """Reduced-rank ridge regression on the mean update (Mukherjee and Zhu 2011).

    The ridge solution, projected on the directions in which its fitted values vary most.
    """
    (u, centre_in), (y, centre_out) = (
        _centred(np.einsum("q,nqt->nt", shares, updates), offset),
        _centred(wanted, offset),
    )
    gram, cross = u.T @ u, u.T @ y
    scale = np.trace(gram) / len(gram)
    values, axes = np.linalg.eigh(gram)
    rotated = axes.T @ cross
    for ridge in [only[0]] if only else RIDGES:
        penalty = max(ridge * scale, np.finfo(float).tiny)
        full = axes @ (rotated / (np.maximum(values, 0) + penalty)[:, None])
        spread = full.T @ (gram + penalty * np.eye(len(gram))) @ full
        directions = np.linalg.eigh(spread)[1][:, ::-1]
        for rank in [only[1]] if only else [r for r in RANKS if r <= len(gram)]:
            kept = directions[:, :rank]
            factors = (full @ kept, kept.T)
            yield LinearAggregator(
                "reduced-rank", centre_in, centre_out, factors, shares, ridge, rank
            )
