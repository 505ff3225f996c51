"""Which true values of MI are compatible with what an estimator reads, at the user's own size.

In hundreds of dimensions an estimator can read 0.3 where the truth is 30. How it reads depends on
N, on the dimensions, on the samples' own covariances and on how the dependence is spread. So
Gaussian surrogates are drawn that have all of these from the samples, and a known MI, and every
estimator is run on them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import jax
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from fedmi.mi.gaussian import Whitened, squared_correlations, whiten
from fedmi.mi.null import Repairing, default_key, repairing
from fedmi.mi.pairwise import ESTIMATORS, estimate_pair
from fedmi.mi.result import PairEstimate
from fedmi.mi.samples import as_pair, check_varies
from fedmi.mi.ties import repeats
from fedmi.mi.trust import laws
from fedmi.stats import Z95

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

    @property
    def directions(self) -> int:
        """How many pairs of directions can be correlated: the smaller rank."""
        return min(len(self.colour_x), len(self.colour_y))

    def draw(self, key: jax.Array, family: str, mi_bits: float) -> tuple[np.ndarray, np.ndarray]:
        """Draws x (N, p) and y (N, q) of a family with a true MI, float64."""
        squares = laws.scale_to(self._with_room(family, mi_bits), mi_bits)
        key_x, key_y = jax.random.split(key)
        u = laws.normals(key_x, (self.n, len(self.colour_x)))
        v = laws.normals(key_y, (self.n, len(self.colour_y)))
        shared = len(squares)
        v[:, :shared] = np.sqrt(1 - squares) * v[:, :shared] + np.sqrt(squares) * u[:, :shared]
        return u @ self.colour_x, v @ self.colour_y

    def _with_room(self, family: str, mi_bits: float) -> np.ndarray:
        """The family's correlations; more of them, as weak as the last, for MI they cannot carry.

        Raises:
            ValueError: MI that all directions together cannot carry.
        """
        squares = self.squares[family].copy()
        carrying = np.count_nonzero(squares)
        needed = int(np.ceil(mi_bits / laws.most_bits(1)))
        squares[carrying:needed] = squares[carrying - 1]
        return squares


def surrogates(x: np.ndarray, y: np.ndarray, repairs: Repairing) -> Surrogates:
    """The surrogates of samples x (N, p) and y (N, q).

    *Concentrated*: the samples' canonical directions whose correlation exceeds the 99 % quantile
    of the largest one over re-paired seeds, with their correlations debiased; where there is none,
    the first direction alone; and as many more as the MI asked for needs, since one cannot carry
    more than 12 bits. *Dense*: all directions alike.
    """
    whitened = whiten(x, "x"), whiten(y, "y")
    n = len(x)
    ranks = [w.rank for w in whitened]
    if n < sum(ranks) + 1:
        raise ValueError(
            f"{n} samples of ranks {ranks[0]} and {ranks[1]}: surrogates need at least "
            f"{sum(ranks) + 1} (rank_x + rank_y + 1); take more samples or fewer components"
        )
    bases = [w.basis for w in whitened]
    left, correlations, right = np.linalg.svd(bases[0].T @ bases[1])
    largest = [
        squared_correlations(whitened[0], _rows(whitened[1], repairs.partners(s)))[-1]
        for s in repairs.shifts
    ]
    above = correlations**2 > np.quantile(largest, QUANTILE)
    concentrated = np.where(above, debiased(correlations**2, n, *ranks), 0.0)
    found = int(np.count_nonzero(concentrated))
    if not found:
        concentrated = np.eye(1, len(correlations))[0] / 2
    squares = {"concentrated": concentrated, "dense": np.full(len(correlations), 0.5)}
    colours = [
        rotation.T @ w.colour / np.sqrt(n - 1)
        for w, rotation in zip(whitened, (left, right.T), strict=True)
    ]
    return Surrogates(n, *colours, squares, found)


def _coarse(surrogate: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The surrogate in another precision, unless that makes samples of it equal."""
    coarse = surrogate.astype(dtype)
    return surrogate if repeats(coarse) else coarse


def _rows(whitened: Whitened, order: np.ndarray) -> Whitened:
    return replace(whitened, standard=whitened.standard[order])


def debiased(squares: np.ndarray, n: int, p: int, q: int) -> np.ndarray:
    """Squared population canonical correlations behind sample ones that stand out from the bulk.

    Bao, Hu, Pan and Zhou, Annals of Statistics 47 (2019), 612-640: a population r^2
    appears at (1 - a + a / r^2)(1 - b + b / r^2) r^2 with a = p / n, b = q / n, which is solved
    for r^2. What has no solution lies inside the bulk of noise and becomes 0.

    Args:
        squares: (d,) squared sample correlations.
        n, p, q: samples and ranks.
    """
    a, b = p / (n - 1), q / (n - 1)
    # (1 - a)(1 - b) r^4 + ((1 - a) b + (1 - b) a - sample) r^2 + a b = 0; the larger root.
    second = (1 - a) * (1 - b)
    first = (1 - a) * b + (1 - b) * a - np.asarray(squares, float)
    discriminant = first**2 - 4 * second * a * b
    root = (-first + np.sqrt(np.maximum(discriminant, 0))) / (2 * second)
    return np.where((discriminant > 0) & (first < 0), np.clip(root, 0, 1 - 1e-9), 0.0)


@dataclass(frozen=True)
class Calibration:
    """Truth against reading.

    Attributes:
        table: one row a surrogate and estimator: family, true_bits, draw, estimator, net_bits,
            the estimate less its mean over surrogates of true MI 0.
        own: estimator -> the estimate of the samples themselves, with its null.
        n, ranks: number of samples, and the directions in which x and y vary.
        found: canonical directions that stand out from noise; 0 says that the concentrated
            family is a guess of one direction.
    """

    table: pd.DataFrame
    own: Mapping[str, PairEstimate]
    n: int
    ranks: tuple[int, int]
    found: int

    def bands(self) -> pd.DataFrame:
        """Mean and standard deviation of the reading by estimator, family and truth."""
        grouped = self.table.groupby(["estimator", "family", "true_bits"]).net_bits
        return grouped.agg(mean="mean", sd="std").reset_index()

    def ranges(self) -> pd.DataFrame:
        """The true values with which each reading is compatible, for Gaussian surrogates.

        A truth is compatible with a reading if that lies where 95 % of another surrogate's readings
        are expected, or within 1.96 `perm_sd` of there: the samples' own tails count too. Between
        the truths of the grid means are interpolated; beyond the largest, nobody knows, so that a
        reading as high as what a family reads there leaves the range open (inf). Ranges of two
        estimators that have nothing in common say that no normal law reads both.

        Columns: estimator, net_bits, fits ("some" truth; or none, as the reading is "above" or
        "below" what all truths that were tried read, in both families), low, high (of the truths
        that fit, over both families; nan where none does), blind (whether 0 and the largest truth
        both fit). A reading of infinity is taken at its word.
        """
        rows = []
        for estimator, bands in self.bands().groupby("estimator"):
            reading = self.own[estimator].net_bits
            if np.isinf(reading):  # shared directions, which no surrogate has
                unbounded = dict(net_bits=np.inf, fits="some", low=np.inf, high=np.inf, blind=False)
                rows.append(dict(estimator=estimator) | unbounded)
                continue
            compatible = []
            # One spread a truth, over both families and the truths next to it: they differ little
            # in it, and a few draws alone tell it badly.
            variances = (bands.sd**2).groupby(bands.true_bits).mean()
            spread = np.sqrt(variances.rolling(3, center=True, min_periods=2).mean())
            for _, band in bands.groupby("family"):
                compatible.append(self._compatible(estimator, band, spread))
            inside = np.concatenate([truths for truths, _ in compatible])
            top = any(open_ended for _, open_ended in compatible)
            fits, low, high = "above" if top else "below", np.nan, np.nan
            if len(inside):
                fits, low, high = "some", inside.min(), np.inf if top else inside.max()
            rows.append(
                dict(
                    estimator=estimator,
                    net_bits=reading,
                    fits=fits,
                    low=low,
                    high=high,
                    blind=bool(low == 0 and top),
                )
            )
        return pd.DataFrame(rows)

    def _compatible(
        self, estimator: str, band: pd.DataFrame, spread: pd.Series
    ) -> tuple[np.ndarray, bool]:
        """Compatible truths on a fine grid, and whether larger ones may be compatible too."""
        truths = np.linspace(band.true_bits.min(), band.true_bits.max(), 2001)
        mean = np.interp(truths, band.true_bits, band["mean"])
        draws = self.table.draw.nunique()
        # For one more reading beside `draws` of unknown mean, and a spread from two families at two
        # truths at least.
        quantile = stdtrit(4 * (draws - 1), 0.975) * np.sqrt(1 + 1 / draws)
        sd = np.interp(truths, spread.index, spread)
        error = np.hypot(quantile * sd, Z95 * self.own[estimator].perm_sd)
        above = self.own[estimator].net_bits - mean
        return truths[np.abs(above) <= error], bool(above[-1] >= -error[-1])


def calibrate(
    x: ArrayLike,
    y: ArrayLike,
    *,
    estimators: Sequence[str] = ("gaussian", "ksg"),
    truths: Sequence[float] | None = None,
    draws: int = 4,
    permutations: int = 20,
    key: jax.Array | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Calibration:
    """Runs estimators on Gaussian surrogates of the samples with known MI.

    Args:
        x, y: (N, p) and (N, q), with N > rank_x + rank_y.
        estimators: names of estimators.
        truths: true MI in bits, 0 among them; by default 0 and a doubling grid that goes to four
            times the largest reading of the samples, and to 16 bits at least, or to what the
            samples' directions can carry (`fedmi.mi.trust.laws.MOST_BITS` each).
        draws: surrogates for each truth and family, at least 2.
        permutations: re-pairings of the samples behind their readings.
        key: a JAX random key; `jax.random.key(0)` if none is given.
        options: estimator -> its options.

    Raises:
        ValueError: what an estimator refuses, or impossible arguments.
    """
    unknown = [name for name in estimators if name not in ESTIMATORS]
    if unknown or not estimators:
        raise ValueError(f"estimators: {list(estimators)} must be among {', '.join(ESTIMATORS)}")
    if draws < 2:
        raise ValueError(f"draws: {draws} is below 2, which leave no spread")
    x, y = as_pair(x, y)
    for array, name in ((x, "x"), (y, "y")):
        check_varies(array, name)
    if permutations < 2:
        raise ValueError(f"permutations: {permutations} is below 2, which leave no error")
    if truths is not None:
        try:
            truths = sorted({float(truth) for truth in truths})
        except (TypeError, ValueError):
            raise ValueError(f"truths: {truths!r} must be a list of numbers") from None
        if len(truths) < 2 or truths[0] != 0 or not np.isfinite(truths).all():
            raise ValueError(f"truths: {truths} must hold 0 and something larger")
    options = options or {}
    repair_key, draw_key = jax.random.split(default_key(key))

    def estimate(x: np.ndarray, y: np.ndarray, name: str, m: int) -> PairEstimate:
        return estimate_pair(x, y, name, permutations=m, key=repair_key, **options.get(name, {}))

    own = {name: estimate(x, y, name, permutations) for name in estimators}
    laws_of = surrogates(x, y, repairing(len(x), permutations, repair_key))
    most = laws.most_bits(laws_of.directions)
    if truths is None:
        readings = [pair.net_bits for pair in own.values() if np.isfinite(pair.net_bits)]
        top = min(max([16.0, *(4 * reading for reading in readings)]), most)
        truths = [0.0, *(top / 2.0**i for i in range(5, -1, -1))]
    elif truths[-1] > most:
        raise ValueError(
            f"truths: {truths[-1]} is more than the {most:.4g} bits that {laws_of.directions} "
            f"directions can carry, {laws.MOST_BITS} each"
        )
    rows = []
    for i, (truth, family, draw) in enumerate(product(truths, FAMILIES, range(draws))):
        pair = laws_of.draw(jax.random.fold_in(draw_key, i), family, truth)
        # Neighbours are found in the samples' own precision, for speed; everything else keeps
        # float64, where no direction is lost to rounding.
        coarse = [_coarse(a, b.dtype) for a, b in zip(pair, (x, y), strict=True)]
        for name in estimators:
            e = estimate(*(coarse if name == "ksg" else pair), name, 0).estimate
            rows.append(
                dict(family=family, true_bits=truth, draw=draw, estimator=name, bits=e.bits)
            )
    table = pd.DataFrame(rows)
    # At 0 both families are the same law.
    unrelated = table[table.true_bits == 0].groupby("estimator").bits.mean()
    table["net_bits"] = table.bits - table.estimator.map(unrelated)
    return Calibration(
        table, own, len(x), (len(laws_of.colour_x), len(laws_of.colour_y)), laws_of.found
    )
