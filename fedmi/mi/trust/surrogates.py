"""Gaussian laws of known MI that have the samples' own covariances."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np

from fedmi.mi.gaussian import square
from fedmi.mi.lagged import lagged_products
from fedmi.mi.null import Repairing
from fedmi.mi.trust import laws
from fedmi.mi.whitening import whiten

FAMILIES = ("concentrated", "dense")
QUANTILE = 0.99


@dataclass(frozen=True)
class Surrogates:
    """Gaussian laws with the samples' own marginal covariances.

    Attributes:
        n: number of samples.
        colour_x, colour_y: (r, p) and (r, q): standard normal canonical variates, in the order of
            the canonical correlations, times these have the samples' covariances on their support.
        squares: for each family the squared canonical correlations that are scaled, (min(r),).
        found: how many directions of the samples stand out from noise.
    """

    n: int
    colour_x: np.ndarray
    colour_y: np.ndarray
    squares: Mapping[str, np.ndarray]
    found: int

    def draw_x(self, key: jax.Array) -> np.ndarray:
        """Draws canonical variates (N, r) of x, float64: they times `colour_x` are x (N, p)."""
        return laws.normals(key, (self.n, len(self.colour_x)))

    def draw_y(
        self, key: jax.Array, family: str, mi_bits: float, variates: np.ndarray
    ) -> np.ndarray:
        """Draws those of y, of a family with a true MI to the x of such variates.

        Directions that cannot carry it are joined by others, as weak as the last of them.
        """
        squares = self.squares[family].copy()
        carrying, needed = np.count_nonzero(squares), int(np.ceil(mi_bits / laws.most_bits(1)))
        squares[carrying:needed] = squares[carrying - 1]
        squares = laws.scale_to(squares, mi_bits)
        v = laws.normals(key, (self.n, len(self.colour_y)))
        shared = len(squares)
        v[:, :shared] *= np.sqrt(1 - squares)
        v[:, :shared] += np.sqrt(squares) * variates[:, :shared]
        return v


def surrogates(x: np.ndarray, y: np.ndarray, repairs: Repairing) -> Surrogates:
    """The surrogates of samples x (N, p) and y (N, q).

    *Concentrated*: the samples' canonical directions whose correlation exceeds the 99 % quantile
    of the largest one over re-paired seeds, with their correlations debiased; where there is none,
    the first direction alone; and as many more as the MI asked for needs, since one cannot carry
    more than 12 bits. *Dense*: all directions alike.
    """
    of_x, of_y = whiten(x, "x"), whiten(y, "y")
    n, ranks = len(x), (of_x.rank, of_y.rank)
    if n < sum(ranks) + 1:
        raise ValueError(
            f"{n} samples of ranks {ranks[0]} and {ranks[1]}: surrogates need at least "
            f"{sum(ranks) + 1} (rank_x + rank_y + 1); take more samples or fewer components"
        )
    left, correlations, right = np.linalg.svd(of_x.basis.T @ of_y.basis)
    of_pair = [repairs.extended(of.basis) for of in (of_x, of_y)]
    repaired = lagged_products(of_pair[0][:n], of_pair[1], repairs.m)
    largest = [np.linalg.eigvalsh(square(cross))[-1] for cross in repaired]
    above = correlations**2 > np.quantile(largest, QUANTILE)
    concentrated = np.where(above, debiased(correlations**2, n, *ranks), 0.0)
    found = int(np.count_nonzero(concentrated))
    if not found:
        concentrated = np.eye(1, len(correlations))[0] / 2
    squares = {"concentrated": concentrated, "dense": np.full(len(correlations), 0.5)}
    colour_x, colour_y = left.T @ of_x.colour, right @ of_y.colour
    unit = np.sqrt(n - 1)
    return Surrogates(n, colour_x / unit, colour_y / unit, squares, found)


def debiased(squares: np.ndarray, n: int, p: int, q: int) -> np.ndarray:
    """Squared population canonical correlations behind sample ones that stand out from the bulk.

    Bao, Hu, Pan and Zhou, Annals of Statistics 47 (2019), 612-640: a population r^2
    appears at (1 - a + a / r^2)(1 - b + b / r^2) r^2 with a = p / n, b = q / n, which is solved
    for r^2. What has no solution lies inside the bulk of noise and becomes 0. `p`, `q` are ranks.
    """
    a, b = p / (n - 1), q / (n - 1)
    # (1 - a)(1 - b) r^4 + ((1 - a) b + (1 - b) a - sample) r^2 + a b = 0; the larger root.
    second = (1 - a) * (1 - b)
    first = (1 - a) * b + (1 - b) * a - np.asarray(squares, float)
    discriminant = first**2 - 4 * second * a * b
    root = (-first + np.sqrt(np.maximum(discriminant, 0))) / (2 * second)
    return np.where((discriminant > 0) & (first < 0), np.clip(root, 0, 1 - 1e-9), 0.0)
