"""Proposition 1 put to the test: can clients be one thing plus independent noise of each?

If X = P + N1, Y = P + N2 and Z = P + N3 with the noises independent of P and of each other, then

- the three cross-covariances are one matrix, the covariance of P: symmetric, equal across pairs and
  positive semi-definite;
- X - Y = N1 - N2 is independent of Z.

Both can be seen in samples of three clients. Each test has a null distribution made from the
samples themselves, so that tails and covariances of the clients are as they are.

For clients that are independent and identically distributed given what they share, the first holds
by construction, and is no evidence: there X = E[X | shared] + N always, with N uncorrelated with
what is shared. Only a noise whose *law* varies with what is shared breaks the additive model then,
and that is what the second asks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, stats

from fedmi.mi.samples import as_samples, check_lengths


@dataclass(frozen=True)
class Test:
    """The outcome of a test.

    Attributes:
        name: what is tested.
        statistic: its value; zero on average, or small, if the additive model holds.
        p_value: the probability of as large a value under it.
    """

    __test__ = False  # not one of pytest's

    name: str
    statistic: float
    p_value: float


def symmetry(x: ArrayLike, y: ArrayLike, *, draws: int = 199, seed: int = 0) -> Test:
    """Is Cov(X, Y) symmetric?

    The statistic is the squared norm of the antisymmetric part of the cross-covariance over that of
    the whole. Its null: every seed's x y' - y x' with a random sign (a wild bootstrap), which has
    the mean zero that the hypothesis asks for and the spread that the samples have.

    Args:
        x, y: (N, t), row i of each from the same seed.
        draws: of random signs.
        seed: of these.

    Raises:
        ValueError: arrays that are not samples, or of unequal shapes.
    """
    x, y = _centred([x, y])

    def part(signs: np.ndarray | None) -> float:
        c = _cross(x, y, signs)
        return float(((c - c.T) ** 2).sum() / 4)

    whole = float((_cross(x, y, None) ** 2).sum())
    return _wild("symmetry", part, len(x), whole, draws, seed)


def equality(clients: Sequence[ArrayLike], *, draws: int = 199, seed: int = 0) -> Test:
    """Have all pairs of three clients the same cross-covariance?

    The statistic adds up the squared norms of Cov(X, Y - Z) and of the two like it, over that of
    the cross-covariances; its null as for `symmetry`.

    Args:
        clients: three arrays (N, t).
        draws, seed: of random signs.

    Raises:
        ValueError: as `symmetry`, or not three clients.
    """
    arrays = _three(clients)

    def part(signs: np.ndarray | None) -> float:
        return sum(
            float((_cross(arrays[i], arrays[j] - arrays[k], signs) ** 2).sum())
            for i, j, k in ((0, 1, 2), (1, 0, 2), (2, 0, 1))
        )

    whole = sum(float((_cross(a, b, None) ** 2).sum()) for a, b in combinations(arrays, 2))
    return _wild("equality", part, len(arrays[0]), whole, draws, seed)


def definiteness(clients: Sequence[ArrayLike], *, seed: int = 0) -> Test:
    """Is the common cross-covariance positive semi-definite?

    On one half of the seeds the direction v is sought in which the symmetrised cross-covariance,
    relative to the clients' own, is most negative; on the other half the mean of (v'x)(v'y) is
    tested against zero from below. The choice of v thus costs no size.

    Args:
        clients: two or more arrays (N, t).
        seed: of the choice of halves.

    Returns:
        A `Test` whose statistic is the correlation in that direction on the second half.

    Raises:
        ValueError: as `symmetry`.
    """
    arrays = _centred(clients)
    order = np.random.default_rng(seed).permutation(len(arrays[0]))
    fit, judge = np.array_split(order, 2)
    t = arrays[0].shape[1]
    shared, own = np.zeros((t, t)), np.zeros((t, t))
    for a, b in combinations(arrays, 2):
        c = a[fit].T @ b[fit]
        shared += c + c.T
    for a in arrays:
        own += a[fit].T @ a[fit]
    # Directions in which nothing varies are left out.
    values, axes = linalg.eigh(own)
    kept = values > values[-1] * t * np.finfo(float).eps
    white = axes[:, kept] / np.sqrt(values[kept])
    v = white @ linalg.eigh(white.T @ shared @ white, subset_by_index=[0, 0])[1][:, 0]
    along = [a[judge] @ v for a in arrays]
    along = [a - a.mean() for a in along]
    products = np.mean([a * b for a, b in combinations(along, 2)], axis=0)
    found = stats.ttest_1samp(products, 0.0, alternative="less")
    correlation = products.mean() / np.mean([a.var() for a in along])
    return Test("definiteness", float(correlation), float(found.pvalue))


def third_client(
    clients: Sequence[ArrayLike], *, draws: int = 199, seeds: int = 1000, seed: int = 0
) -> list[Test]:
    """Is X - Y independent of Z? Under the additive model it is, for each of the three roles.

    Two tests, by re-pairing the third client's seeds: does the size of Z tell the size of X - Y
    (rank correlation of their lengths; the largest of the three roles), and are the two vectors
    independent in any way (distance correlation, Székely, Rizzo and Bakirov 2007)?

    Args:
        clients: three arrays (N, t).
        draws, seed: of re-pairings.
        seeds: the distance correlation is taken on so many at most, as it grows with their square.

    Raises:
        ValueError: as `equality`.
    """
    arrays = _three(clients)
    draw = np.random.default_rng(seed)
    roles = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
    sizes = [
        tuple(_scores(np.linalg.norm(a, axis=1)) for a in (arrays[i] - arrays[j], arrays[k]))
        for i, j, k in roles
    ]
    few = slice(seeds)
    apart = [
        tuple(_double_centred(a[few]) for a in (arrays[i] - arrays[j], arrays[k]))
        for i, j, k in roles
    ]

    def size(order: np.ndarray) -> float:
        return max(abs(float(a @ b[order])) for a, b in sizes)

    def distance(order: np.ndarray) -> float:
        return max(
            float((a * b[np.ix_(order, order)]).sum() / np.sqrt((a**2).sum() * (b**2).sum()))
            for a, b in apart
        )

    return [
        _permuted("third client, size", size, len(arrays[0]), draws, draw),
        _permuted("third client, distance correlation", distance, len(apart[0][0]), draws, draw),
    ]


@dataclass(frozen=True)
class Decomposition:
    """Where the mean squared distance of two clients comes from.

    E |X - Y|^2 = separation + own_x + own_y, where own_x = tr Cov(X) - shared.

    Attributes:
        shared: tr Cov(X, Y), symmetrised: in the additive model the variance of P.
        own_x, own_y: tr Cov(X) - shared and tr Cov(Y) - shared: the variances of the noises.
        separation: |E X - E Y|^2.
        squared_distance: the mean of |X - Y|^2.
    """

    shared: float
    own_x: float
    own_y: float
    separation: float
    squared_distance: float


def decompose(x: ArrayLike, y: ArrayLike) -> Decomposition:
    """The variance that two clients share, and what each has of its own.

    Args:
        x, y: (N, t), row i of each from the same seed.

    Raises:
        ValueError: as `symmetry`.
    """
    means = [np.asarray(a, np.float64).mean(axis=0) for a in (x, y)]
    x, y = _centred([x, y])
    n = len(x)
    shared = float((x * y).sum() / n)
    separation = float(((means[0] - means[1]) ** 2).sum())
    return Decomposition(
        shared=shared,
        own_x=float((x**2).sum() / n) - shared,
        own_y=float((y**2).sum() / n) - shared,
        separation=separation,
        squared_distance=float(((x - y) ** 2).sum() / n) + separation,
    )


def _centred(clients: Sequence[ArrayLike]) -> list[np.ndarray]:
    names = [f"clients[{q}]" for q in range(len(clients))]
    arrays = [as_samples(a, name) for a, name in zip(clients, names, strict=True)]
    check_lengths(arrays, names)
    if len({a.shape[1] for a in arrays}) > 1:
        raise ValueError(
            f"clients have {', '.join(str(a.shape[1]) for a in arrays)} components; the additive "
            "model is of the same parameters in all"
        )
    return [a - a.mean(axis=0) for a in (np.asarray(a, np.float64) for a in arrays)]


def _three(clients: Sequence[ArrayLike]) -> list[np.ndarray]:
    if len(clients) != 3:
        raise ValueError(f"{len(clients)} clients; this compares three")
    return _centred(clients)


def _cross(x: np.ndarray, y: np.ndarray, signs: np.ndarray | None) -> np.ndarray:
    """The cross-covariance of centred samples, each seed with its sign."""
    if signs is None:
        return x.T @ y / len(x)
    # A seed's product less the mean: the signs must not bring the mean back.
    return ((x * signs[:, None]).T @ y - signs.sum() * (x.T @ y) / len(x)) / len(x)


def _wild(
    name: str,
    part: Callable[[np.ndarray | None], float],
    n: int,
    whole: float,
    draws: int,
    seed: int,
) -> Test:
    draw = np.random.default_rng(seed)
    own = part(None)
    null = [part(draw.choice([-1.0, 1.0], n)) for _ in range(draws)]
    p = (1 + sum(value >= own for value in null)) / (1 + draws)
    return Test(name, own / whole if whole > 0 else 0.0, p)


def _permuted(
    name: str,
    statistic: Callable[[np.ndarray], float],
    n: int,
    draws: int,
    draw: np.random.Generator,
) -> Test:
    own = statistic(np.arange(n))
    null = [statistic(draw.permutation(n)) for _ in range(draws)]
    return Test(name, own, (1 + sum(value >= own for value in null)) / (1 + draws))


def _scores(values: np.ndarray) -> np.ndarray:
    """Centred ranks of unit length, so that products are rank correlations."""
    ranks = stats.rankdata(values)
    centred = ranks - ranks.mean()
    return centred / np.linalg.norm(centred)


def _double_centred(x: np.ndarray) -> np.ndarray:
    """Distances between samples, less the means of their rows and columns."""
    squared = (x**2).sum(axis=1)
    d = np.sqrt(np.maximum(squared[:, None] + squared[None] - 2 * x @ x.T, 0))
    return d - d.mean(axis=0) - d.mean(axis=1)[:, None] + d.mean()
