"""Few directions in place of many, chosen on other seeds than those that are then estimated on.

Dependence between clients is often low-dimensional, and estimators that compare neighbours see it
only there. A map of x alone and of y alone cannot raise MI, so that the MI of the reduced samples
is at most that of the whole (data processing). Directions chosen on the samples themselves would
break that: among hundreds, some correlate by chance. So they are fitted on the first half of the
seeds in random order and used on the second.

Random directions are fitted to nothing, and lose most: of p that are alike, c of them see the share
c / p of the information.
"""

from dataclasses import dataclass

import jax
import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from fedmi.mi.gaussian import whiten
from fedmi.mi.samples import as_pair

KINDS = ("canonical", "principal", "random")


@dataclass(frozen=True)
class Reduced:
    """Samples in few directions.

    Attributes:
        x, y: (n, c) the seeds that the directions were not fitted on, in units of one standard
            deviation of those that they were.
        fitted_on, kept: indices of the seeds of both halves.
        kind: "canonical", "principal" or "random".
        strength: (c,) correlations of the canonical pairs on the fitting seeds, or (2, c) shares of
            the variance of x and of y that the other directions carry there.
    """

    x: np.ndarray
    y: np.ndarray
    fitted_on: np.ndarray
    kept: np.ndarray
    kind: str
    strength: np.ndarray


def reduce(
    x: ArrayLike,
    y: ArrayLike,
    *,
    kind: str = "canonical",
    components: int = 2,
    key: jax.Array,
) -> Reduced:
    """The most correlated pairs of directions, those of largest variance, or random ones.

    Args:
        x, y: (N, p) and (N, q), row i of each from the same seed.
        kind: "canonical" (Hotelling, Biometrika 28 (1936), 321-377), "principal" or "random" (see
            `random_directions`; the same of x and of y if they have equally many components).
        components: how many directions c of each, at most the smaller rank.
        key: a JAX random key, which parts the seeds and draws the random directions.

    Raises:
        ValueError: an unknown kind, too many components, or, for canonical ones, too few seeds:
            half of them must exceed rank_x + rank_y.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is not one of {', '.join(KINDS)}")
    x, y = as_pair(x, y)
    n = len(x)
    fitted_on, kept = halves(n, key)
    sides = [whiten(a[fitted_on], name) for a, name in ((x, "x"), (y, "y"))]
    ranks = [side.rank for side in sides]
    if not 1 <= components <= min(ranks):
        raise ValueError(
            f"components: {components} is not one of 1 to {min(ranks)}, the smaller rank"
        )
    if kind == "canonical":
        if len(fitted_on) < sum(ranks) + 1:
            raise ValueError(
                f"{n} samples: half of them must be at least {sum(ranks) + 1} (rank_x + rank_y + "
                "1), or every direction has a partner by chance; take more samples, or "
                'kind="principal"'
            )
        cross = sides[0].basis.T @ sides[1].basis
        left, strength, right = linalg.svd(cross, full_matrices=False)
        rotations = left[:, :components], right[:components].T
        strength = strength[:components]
        maps = [s.to_basis / s.units[:, None] @ r for s, r in zip(sides, rotations, strict=True)]
    elif kind == "principal":
        own = [side.principal for side in sides]
        maps = [(o.axes / o.values)[:, :components] for o in own]
        strength = np.array([(o.values**2 / np.sum(o.values**2))[:components] for o in own])
    else:
        maps, strength = [], []
        for side in sides:
            drawn = random_directions(len(side.units), components, key)
            drawn[~side.to_basis.any(axis=1)] = 0  # a column that is idle where they are fitted
            fitted = side.standard * side.units
            spread = linalg.norm(fitted @ drawn, axis=0)
            maps.append(drawn / spread)
            strength.append(spread**2 / linalg.norm(fitted) ** 2)
        strength = np.array(strength)
    reduced = [
        (a[kept] - a[fitted_on].mean(axis=0, dtype=np.float64)) @ to_few * np.sqrt(n // 2 - 1)
        for a, to_few in zip((x, y), maps, strict=True)
    ]
    return Reduced(*reduced, fitted_on, kept, kind, strength)


def halves(n: int, key: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """The seeds to fit on and those to keep, indices in ascending order."""
    order = np.asarray(jax.random.permutation(key, n))
    return np.sort(order[: n // 2]), np.sort(order[n // 2 :])


def random_directions(size: int, components: int, key: jax.Array) -> np.ndarray:
    """(size, components): orthonormal directions, every set of them as likely as any other.

    Gaussian ones, orthonormalised (Stewart, SIAM J. Numer. Anal. 17 (1980), 403-409).
    """
    drawn = jax.random.normal(jax.random.fold_in(key, size), (size, components))
    return linalg.qr(np.asarray(drawn, np.float64), mode="economic")[0]
