"""Proposition 1 put to the test: can clients be one thing plus independent noise of each?

If X = P + N1, Y = P + N2 and Z = P + N3 with the noises independent of P and of each other, then

- the three cross-covariances are one matrix, the covariance of P: symmetric, equal across pairs and
  positive semi-definite;
- X - Y = N1 - N2 is independent of Z.

Both can be seen in samples of three clients. Each test has a null distribution made from the
samples themselves, so that tails and covariances of the clients are as they are.

For clients that are independent and identically distributed given what they share, the first holds
by construction, and is no evidence: there X = E[X | shared] + N always, with N uncorrelated with
what is shared. Only a noise whose *law* varies with what is shared breaks the additive model then:
it makes N depend on P, or N1 and N2 on each other. That is what the second asks, and with a fourth
client `noise_dependence` measures it.

Symmetry and equality are squared norms of matrices as they are, without an inverse. Directions in
which nothing varies, of which trained networks have many, add nothing to them; those of large
variance, which make up the distance of clients and the traces of `fedmi.study.additive`, count
most, so that a breach among parameters that hardly move is not seen. Definiteness is asked for
relative to the clients' own covariance, on the directions that vary beyond rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, stats

from fedmi.stats import Z95, mean_and_error
from fedmi.study.additive import centred, checked

BLOCK = 2048
"""Seeds of a block of the kernels: a few float32 matrices of BLOCK x BLOCK are held at once."""

DRAWS = 999
"""Of signs or re-pairings: p-values from 0.001 on stay below 5 % among some forty tests."""

Kernel = Callable[[slice, slice], np.ndarray]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a test.

    Attributes:
        name: what is tested.
        statistic: its value.
        expected: what it is on average where the additive model holds.
        p_value: the probability of a value as far off under it.
    """

    name: str
    statistic: float
    expected: float
    p_value: float


def symmetry(x: ArrayLike, y: ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> Outcome:
    """Is Cov(X, Y) symmetric?

    The statistic is the squared norm of the antisymmetric part of the cross-covariance over that of
    the whole. Its null: every seed's x y' - y x' with a random sign (a wild bootstrap), which has
    the mean zero that the hypothesis asks for and the spread that the samples have.

    Args:
        x, y: (N, t), row i of each from the same seed.
        draws: of random signs.
        seed: of these.

    Raises:
        ValueError: arrays that are not samples, of unequal shapes, or fewer than one draw.
    """
    x, y = _even([x, y])

    def kernel(i: slice, j: slice) -> np.ndarray:
        """Products <A_i, A_j> of the antisymmetric parts A_i of x_i y_i'."""
        return ((x[i] @ x[j].T) * (y[i] @ y[j].T) - (x[i] @ y[j].T) * (y[i] @ x[j].T)) / 2

    return _wild("symmetry", kernel, len(x), _whole([(x, y)]), draws, seed)


def equality(clients: Sequence[ArrayLike], *, draws: int = DRAWS, seed: int = 0) -> Outcome:
    """Have all pairs of three clients the same cross-covariance?

    The statistic adds up the squared norms of Cov(X, Y - Z) and of the two like it, over that of
    the cross-covariances; its null as for `symmetry`.

    Args:
        clients: three arrays (N, t).
        draws, seed: of random signs.

    Raises:
        ValueError: as `symmetry`, or not three clients.
    """
    x, y, z = _even(_three(clients))

    def kernel(i: slice, j: slice) -> np.ndarray:
        """Sums over the roles of <D_i, D_j>, with D_i = x_i (y_i - z_i)'."""
        roles = ((x, y, z), (y, x, z), (z, x, y))
        each = [(a[i] @ a[j].T) * ((b[i] - c[i]) @ (b[j] - c[j]).T) for a, b, c in roles]
        return each[0] + each[1] + each[2]

    return _wild("equality", kernel, len(x), _whole([(x, y), (x, z), (y, z)]), draws, seed)


def definiteness(clients: Sequence[ArrayLike], *, seed: int = 0) -> Outcome:
    """Is the common cross-covariance positive semi-definite?

    On one half of the seeds the direction v is sought in which the symmetrised cross-covariance,
    relative to the clients' own, is most negative; on the other half the mean of (v'x)(v'y) is
    tested against zero from below. The choice of v thus costs no size. With not many times more
    seeds than parameters it costs power: v is then mostly noise.

    Args:
        clients: two or more arrays (N, t).
        seed: of the choice of halves.

    Returns:
        Its statistic is the correlation in that direction on the second half, which is
        at least the expected 0 if the additive model holds.

    Raises:
        ValueError: as `symmetry`, or clients that do not vary.
    """
    clients = checked(clients)
    rounding = 8 * max(np.finfo(a.dtype).eps for a in clients)  # as in fedmi.mi.gaussian
    arrays = centred(clients)
    order = np.random.default_rng(seed).permutation(len(arrays[0]))
    fit, judge = np.array_split(order, 2)
    t = arrays[0].shape[1]
    shared, own = np.zeros((t, t)), np.zeros((t, t))
    parts = [a[fit] for a in arrays]
    for a, b in combinations(parts, 2):
        c = a.T @ b
        shared += c + c.T
    for a in parts:
        own += a.T @ a
    values, axes = linalg.eigh(own)
    # Directions in which nothing varies, to the precision of the samples and of this, are left out.
    kept = values > max(values.mean() * rounding**2, values[-1] * t * np.finfo(float).eps)
    if not kept.any():
        raise ValueError("clients do not vary; there is no covariance to test")
    white = axes[:, kept] / np.sqrt(values[kept])
    v = white @ linalg.eigh(white.T @ shared @ white, subset_by_index=[0, 0])[1][:, 0]
    along = [a[judge] @ v for a in arrays]
    along = [a - a.mean() for a in along]
    products = np.mean([a * b for a, b in combinations(along, 2)], axis=0)
    correlation = products.mean() / np.mean([a.var() for a in along])
    return Outcome("definiteness", float(correlation), 0.0, _t_test(products, "less"))


def third_client(
    clients: Sequence[ArrayLike], *, draws: int = DRAWS, seeds: int = 10_000, seed: int = 0
) -> list[Outcome]:
    """Is X - Y independent of Z? Under the additive model it is, for each of the three roles.

    Two tests, of means over the roles. Does the size of Z tell the size of X - Y? (Rank correlation
    of their lengths; each seed's product has mean zero under independence, and is put to a t-test.)
    Are the two vectors independent in any way? (Distance correlation, squared and free of bias,
    Székely and Rizzo 2014; its null by random signs of the seeds, as for `symmetry`: the wild
    bootstrap of Chwialkowski, Sejdinovic and Gretton 2014.) The roles share clients, which
    re-pairing the seeds of one would undo; a seed's sign leaves it as it is.

    Args:
        clients: three arrays (N, t).
        draws, seed: of random signs.
        seeds: the distance correlation is taken on so many at most, the first, as it grows with
            their square, in time and in memory.

    Raises:
        ValueError: as `equality`, or fewer than four seeds.
    """
    arrays = centred(_three(clients))
    if min(seeds, len(arrays[0])) < 4:
        raise ValueError(f"seeds: {min(seeds, len(arrays[0]))} are too few; give at least 4")
    roles = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
    sizes = [(_squares(arrays[i] - arrays[j]), _squares(arrays[k])) for i, j, k in roles]
    few = _even([a[:seeds] for a in arrays])
    products = np.zeros((len(few[0]), len(few[0])), np.float32)
    for i, j, k in roles:
        products += _distances(few[i] - few[j]) * _distances(few[k]) / len(roles)

    def kernel(i: slice, j: slice) -> np.ndarray:
        return products[i, j]

    name = "third client, distance correlation"
    return [
        _rank_correlation("third client, size", sizes),
        _wild(name, kernel, len(products), 1.0, draws, seed),
    ]


@dataclass(frozen=True)
class NoiseDependence:
    """How far four clients' noises depend on what the clients share, and on each other.

    Attributes:
        on_shared: does what two clients have in common, (Z + W) / 2, tell the size of X - Y?
        on_each_other: does the size of Z - W tell that of X - Y?
        squared_variation: the squared coefficient of variation, over what is shared, of the noise's
            variance given what is shared; below zero by chance.
        squared_error: its standard error over seeds.
    """

    on_shared: Outcome
    on_each_other: Outcome
    squared_variation: float
    squared_error: float

    @property
    def variation(self) -> float:
        """The coefficient of variation, 0 where its square was found below zero."""
        return float(np.sqrt(max(self.squared_variation, 0.0)))

    @property
    def interval(self) -> tuple[float, float]:
        """A 95 % interval of the coefficient of variation, from that of its square."""
        ends = self.squared_variation + np.array([-Z95, Z95]) * self.squared_error
        low, high = np.sqrt(np.maximum(ends, 0.0))
        return float(low), float(high)


def noise_dependence(clients: Sequence[ArrayLike]) -> NoiseDependence:
    """Does the noise's law vary with what is shared? Asked of four clients, with its size.

    Given what is shared, s, the differences X - Y and Z - W of clients that are independent given s
    are independent, so that Cov(|X - Y|^2, |Z - W|^2) is the variance of E[|X - Y|^2 | s] over s.
    For clients that are alike given s that is twice the variance of their noise given s. Its root
    over the mean is the coefficient of variation: 0 in the additive model, 0.1 if the noise's
    variance is typically 10 % above or below its mean. A noise that keeps its total variance and
    changes in shape or direction alone is not seen here, but by `third_client`.

    The tests are of mean rank correlations over all ways to split four clients into pairs, by the
    t-test of `third_client`.

    Args:
        clients: four arrays (N, t), row i of each from the same seed.

    Raises:
        ValueError: as `symmetry`, or not four clients, fewer than three seeds, or clients without
            noise.
    """
    if len(clients) != 4:
        raise ValueError(f"{len(clients)} clients; this splits four into pairs")
    arrays = centred(checked(clients))
    if len(arrays[0]) < 3:
        raise ValueError(f"clients hold {len(arrays[0])} samples; give at least 3")
    pairs = list(combinations(range(4), 2))
    apart = {(i, j): _squares(arrays[i] - arrays[j]) for i, j in pairs}
    if not all(squares.any() for squares in apart.values()):
        raise ValueError("clients: two are the same in all seeds, so that there is no noise")
    common = {(i, j): _squares(arrays[i] + arrays[j]) for i, j in pairs}
    # The pairs are in lexical order: the complement of the first is the last, and so on.
    others = list(zip(pairs, reversed(pairs), strict=True))
    splits = others[:3]

    mean = np.mean([squares.mean() for squares in apart.values()])
    relative = {pair: (squares - squares.mean()) / mean for pair, squares in apart.items()}
    products = np.mean([relative[a] * relative[b] for a, b in splits], axis=0)
    squared = products.mean()
    # The mean is an estimate as well: a seed's influence on the ratio, by the delta method.
    influence = products - 2 * squared * np.mean(list(relative.values()), axis=0)
    return NoiseDependence(
        on_shared=_rank_correlation(
            "noise on the shared part", [(apart[a], common[b]) for a, b in others]
        ),
        on_each_other=_rank_correlation(
            "noises on each other", [(apart[a], apart[b]) for a, b in splits]
        ),
        squared_variation=float(squared),
        squared_error=mean_and_error(influence)[1],
    )


def _three(clients: Sequence[ArrayLike]) -> list[np.ndarray]:
    if len(clients) != 3:
        raise ValueError(f"{len(clients)} clients; this compares three")
    return checked(clients)


def _even(clients: Sequence[ArrayLike]) -> list[np.ndarray]:
    """Centred, of unit root mean square all together, in float32.

    Products of four numbers then neither overflow nor vanish, and what they lose by rounding is far
    below what another draw of signs would change.
    """
    arrays = centred(checked(clients))
    size = np.sqrt(np.mean([float(np.mean(a**2)) for a in arrays])) or 1.0
    return [(a / size).astype(np.float32) for a in arrays]


def _whole(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The squared norms of the cross-covariances of pairs, times the squared number of seeds."""
    return sum(float(linalg.norm(x.T @ y)) ** 2 for x, y in pairs)


def _wild(name: str, kernel: Kernel, n: int, whole: float, draws: int, seed: int) -> Outcome:
    """Is the mean of vectors m_i, one a seed, zero?

    The squared norm of sum_i w_i m_i is w' K w with the kernel K_ij = <m_i, m_j>, which is made
    once for all draws of w, block by block. For the samples w is 1; for the null it is random signs
    less their mean, so that they do not bring the mean of m back.

    Args:
        name: of the test.
        kernel: (some seeds, other seeds) -> K.
        n: number of seeds.
        whole: what the squared norm is told relative to.
        draws, seed: of signs.
    """
    if draws < 1:
        raise ValueError(f"draws: {draws}; a null needs at least one")
    signs = np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), (n, draws))
    weights = np.column_stack([np.ones(n, np.float32), signs - signs.mean(axis=0)])
    blocks = [slice(start, start + BLOCK) for start in range(0, n, BLOCK)]
    forms = np.zeros(1 + draws)
    for i, rows in enumerate(blocks):
        for columns in blocks[i:]:
            half = kernel(rows, columns) @ weights[columns]
            part = np.einsum("nd,nd->d", weights[rows], half, dtype=np.float64)
            forms += part if columns is rows else 2 * part
    own, null = forms[0], forms[1:]
    p = (1 + (null >= own).sum()) / (1 + draws)
    return Outcome(name, float(own / (whole or 1)), float(null.mean() / (whole or 1)), float(p))


def _rank_correlation(name: str, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Outcome:
    """Is the mean rank correlation of pairs of values (N,) zero?"""
    products = np.mean([_scores(a) * _scores(b) for a, b in pairs], axis=0)
    if not products.any():  # what is constant depends on nothing
        return Outcome(name, 0.0, 0.0, 1.0)
    return Outcome(name, float(products.mean()), 0.0, _t_test(products))


def _t_test(values: np.ndarray, alternative: str = "two-sided") -> float:
    """The p-value of a mean of zero."""
    # scipy makes the type of what is found at run time, so that no checker knows its fields.
    found: Any = stats.ttest_1samp(values, 0.0, alternative=alternative)
    return float(found.pvalue)


def _scores(values: np.ndarray) -> np.ndarray:
    """Standardised ranks, so that mean products are rank correlations; 0 if all are equal."""
    ranks = stats.rankdata(values)
    return (ranks - ranks.mean()) / (ranks.std() or 1.0)


def _distances(x: np.ndarray) -> np.ndarray:
    """Distances between samples, U-centred (Székely and Rizzo 2014) and of unit norm.

    Products of two such matrices have mean zero for independent samples; less their plain means,
    distances would add a bias that in many dimensions is as large as what is looked for.
    """
    n = len(x)
    squared = _squares(x)
    d = x @ x.T
    d *= -2
    d += squared
    d += squared[:, None]
    np.sqrt(np.maximum(d, 0, out=d), out=d)
    np.fill_diagonal(d, 0)  # as rounding leaves something there
    sums = d.sum(axis=0, dtype=np.float64)
    off = (sums / (n - 2) - sums.sum() / (2 * (n - 1) * (n - 2))).astype(d.dtype)
    d -= off
    d -= off[:, None]
    np.fill_diagonal(d, 0)
    d /= np.linalg.norm(d) or 1.0
    return d


def _squares(x: np.ndarray) -> np.ndarray:
    return np.einsum("np,np->n", x, x)
