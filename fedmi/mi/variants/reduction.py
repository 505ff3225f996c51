"""Few directions in place of many, chosen on other seeds than those that are then estimated on.

Dependence between clients is often low-dimensional, and estimators that compare neighbours see it
only there. A map of x alone and of y alone cannot raise MI, so that the MI of the reduced samples
is at most that of the whole (data processing). Directions chosen on the samples themselves would
break that: among hundreds, some correlate by chance. So they are fitted on the first half of the
seeds in random order and used on the second.
"""

from dataclasses import dataclass

import jax
import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from fedmi.mi.samples import as_pair
from fedmi.mi.whitening import Whitened, whiten


@dataclass(frozen=True)
class Reduced:
    """Samples in few directions.

    Attributes:
        x, y: (n, c) the kept seeds, in units of one standard deviation of those fitted on.
        fitted_on, kept: indices of the seeds of both halves.
        strength: (c,) correlations of the canonical pairs on the fitting seeds.
    """

    x: np.ndarray
    y: np.ndarray
    fitted_on: np.ndarray
    kept: np.ndarray
    strength: np.ndarray


def reduce(x: ArrayLike, y: ArrayLike, *, components: int = 2, key: jax.Array) -> Reduced:
    """The most correlated pairs of directions (Hotelling, Biometrika 28 (1936), 321-377).

    Args:
        x, y: (N, p) and (N, q), row i of each from the same seed.
        components: how many directions c of each, at most the smaller rank.

    Raises:
        ValueError: too many components, or too few seeds: half of them must exceed rank_x + rank_y.
    """
    x, y = as_pair(x, y)
    n = len(x)
    fitted_on, kept = halves(n, key)
    of_x, of_y = whiten(x[fitted_on], "x"), whiten(y[fitted_on], "y")
    ranks = of_x.rank, of_y.rank
    if not 1 <= components <= min(ranks):
        raise ValueError(
            f"components: {components} is not one of 1 to {min(ranks)}, the smaller rank"
        )
    if len(fitted_on) < sum(ranks) + 1:
        raise ValueError(
            f"{n} samples: half of them must be at least {sum(ranks) + 1} (rank_x + rank_y + 1), "
            "or every direction has a partner by chance; take more samples or fewer components"
        )
    left, strength, right = linalg.svd(of_x.basis.T @ of_y.basis, full_matrices=False)

    def reduced(a: np.ndarray, side: Whitened, rotation: np.ndarray) -> np.ndarray:
        to_few = side.to_basis / side.units[:, None] @ rotation[:, :components]
        moved = a[kept] - a[fitted_on].mean(axis=0, dtype=np.float64)
        return moved @ to_few * np.sqrt(n // 2 - 1)

    few_x, few_y = reduced(x, of_x, left), reduced(y, of_y, right.T)
    return Reduced(few_x, few_y, fitted_on, kept, strength[:components])


def halves(n: int, key: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """The seeds to fit on and those to keep, indices in ascending order."""
    order = np.asarray(jax.random.permutation(key, n))
    return np.sort(order[: n // 2]), np.sort(order[n // 2 :])


def random_directions(size: int, components: int, key: jax.Array) -> np.ndarray:
    """(size, components): orthonormal directions, every set of them as likely as any other.

    Stewart, SIAM J. Numer. Anal. 17 (1980), 403-409. Fitted to nothing, they lose most: of p that
    are alike, c of them see the share c / p of the information.
    """
    drawn = jax.random.normal(jax.random.fold_in(key, size), (size, components))
    return np.asarray(linalg.qr(np.asarray(drawn, np.float64), mode="economic")[0])
