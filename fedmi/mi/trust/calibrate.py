"""Which true values of MI are compatible with what an estimator reads, at the user's own size.

In hundreds of dimensions an estimator can read 0.3 where the truth is 30. How it reads depends on
N, on the dimensions, on the samples' own covariances and on how the dependence is spread. So
Gaussian surrogates are drawn that have all of these from the samples, and a known MI, and every
estimator is run on them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from fedmi.mi.gaussian import estimate
from fedmi.mi.null import default_key, repairing
from fedmi.mi.pairwise import ESTIMATORS, estimate_pair
from fedmi.mi.result import PairEstimate
from fedmi.mi.samples import as_pair
from fedmi.mi.ties import repeats
from fedmi.mi.trust import laws
from fedmi.mi.trust.against import ksg_against
from fedmi.mi.trust.surrogates import FAMILIES, Surrogates, surrogates
from fedmi.mi.whitening import whiten
from fedmi.progress import track
from fedmi.stats import Z95

OF_ERROR = 1 / 3
"""What part of the error of the samples' own reading, its `perm_sd`, surrogates' readings by
nearest neighbours may have because they are taken at some of the points only."""


@dataclass(frozen=True)
class Calibration:
    """Truth against reading.

    Attributes:
        table: one row a surrogate and estimator: family, true_bits, draw, estimator, bits; part_sd,
            the standard error of `bits` for being read at some of the points only, 0 where it was
            at all; and net_bits, which are bits less their mean over surrogates of true MI 0.
        own: estimator -> the estimate of the samples themselves, with its null.
        ranks: the directions in which x and y vary.
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
        the truths of the grid means are interpolated; a reading as high as what a family reads at
        the largest leaves the range open (inf).

        Columns: estimator, net_bits, fits ("some" truth; or none, as the reading is "above" or
        "below" what all truths that were tried read, in both families), low, high (of the truths
        that fit, over both families; nan where none does), blind (whether 0 and the largest truth
        both fit). A reading of infinity is taken at its word.
        """
        found = ((str(name), bands) for name, bands in self.bands().groupby("estimator"))
        return pd.DataFrame(
            [dict(estimator=name) | self._range(self.own[name], bands) for name, bands in found]
        )

    def _range(self, own: PairEstimate, bands: pd.DataFrame) -> dict[str, Any]:
        """The columns of `ranges` for one estimator's reading, from its bands."""
        if np.isinf(own.net_bits):  # shared directions, which no surrogate has
            return dict(net_bits=np.inf, fits="some", low=np.inf, high=np.inf, blind=False)
        # One spread a truth, over both families and the truths next to it: they differ little in
        # it, and a few draws alone tell it badly.
        variances = (bands.sd**2).groupby(bands.true_bits).mean()
        spread = np.sqrt(variances.rolling(3, center=True, min_periods=2).mean())
        draws = self.table.draw.nunique()
        # For one more reading beside `draws` of unknown mean, and a spread from two families at two
        # truths at least.
        quantile = stdtrit(4 * (draws - 1), 0.975) * np.sqrt(1 + 1 / draws)
        grid = np.linspace(bands.true_bits.min(), bands.true_bits.max(), 2001)
        error = np.hypot(quantile * np.interp(grid, spread.index, spread), Z95 * own.perm_sd)
        inside, open_ended = [], False
        for _, band in bands.groupby("family"):
            above = own.net_bits - np.interp(grid, band.true_bits, band["mean"])
            inside += grid[np.abs(above) <= error].tolist()
            open_ended |= bool(above[-1] >= -error[-1])
        fits, low, high = "above" if open_ended else "below", np.nan, np.nan
        if inside:
            fits, low, high = "some", min(inside), np.inf if open_ended else max(inside)
        blind = low == 0 and open_ended
        return dict(net_bits=own.net_bits, fits=fits, low=low, high=high, blind=blind)


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

    All surrogates of a draw have the same x, so that its distances are computed once. Nearest
    neighbours are looked for at as many points as leave an error of a third of `perm_sd`.

    Args:
        x, y: (N, p) and (N, q), with N > rank_x + rank_y.
        truths: true MI in bits, 0 among them; by default 0 and a doubling grid that goes to four
            times the largest reading of the samples, and to 16 bits at least, or to what the
            samples' directions can carry (12 bits each).
        draws: surrogates for each truth and family, at least 2.
        permutations: re-pairings of the samples behind their readings.
        key: a JAX random key; `jax.random.key(0)` if none is given.
        options: estimator -> its options.
    """
    unknown = [name for name in estimators if name not in ESTIMATORS]
    if unknown or not estimators:
        raise ValueError(f"estimators: {list(estimators)} must be among {', '.join(ESTIMATORS)}")
    for name, count in (("draws", draws), ("permutations", permutations)):
        if count < 2:
            raise ValueError(f"{name}: {count} is below 2, which leave no error")
    x, y = as_pair(x, y)
    truths = None if truths is None else _checked(truths)
    options = options or {}
    repair_key, draw_key = jax.random.split(default_key(key))
    own = {
        name: estimate_pair(
            x, y, name, permutations=permutations, key=repair_key, **options.get(name, {})
        )
        for name in estimators
    }
    laws_of = surrogates(x, y, repairing(len(x), permutations, repair_key))
    ranks = len(laws_of.colour_x), len(laws_of.colour_y)
    most = laws.most_bits(min(ranks))
    if truths is None:
        readings = [pair.net_bits for pair in own.values() if np.isfinite(pair.net_bits)]
        top = min(max([16.0, *(4 * reading for reading in readings)]), most)
        truths = [0.0, *(top / 2.0**i for i in range(5, -1, -1))]
    elif truths[-1] > most:
        raise ValueError(
            f"truths: {truths[-1]} is more than the {most:.4g} bits that {min(ranks)} "
            f"directions can carry, {laws.MOST_BITS} each"
        )
    cases = [(family, truth) for truth in truths for family in FAMILIES]
    chosen = {name: options.get(name, {}) for name in estimators}
    error = own["ksg"].perm_sd * OF_ERROR if "ksg" in own else np.nan
    rows = []
    for draw in range(draws):
        key_points, key_x, *keys = jax.random.split(
            jax.random.fold_in(draw_key, draw), 2 + len(cases)
        )
        first = laws_of.draw_x(key_x)
        others = (
            laws_of.draw_y(key_y, *case, first) for case, key_y in zip(cases, keys, strict=True)
        )
        told = track(
            others, what=f"surrogates {draw + 1} of {draws}", unit="truth", total=len(cases)
        )
        found = _read(laws_of, first, told, chosen, np.result_type(x, y), error, key_points)
        rows += [
            (*case, draw, name, *of_case)
            for name, read in found.items()
            for case, of_case in zip(cases, read, strict=True)
        ]
    table = pd.DataFrame(rows, columns="family true_bits draw estimator bits part_sd".split())
    # At 0 both families are the same law.
    unrelated = table[table.true_bits == 0].groupby("estimator").bits.mean()
    table["net_bits"] = table.bits - table.estimator.map(unrelated)
    return Calibration(table, own, len(x), ranks, laws_of.found)


def _read(
    made: Surrogates,
    first: np.ndarray,
    others: Iterable[np.ndarray],
    estimators: Mapping[str, Mapping[str, Any]],
    precision: np.dtype,
    error: float,
    key: jax.Array,
) -> dict[str, list[tuple[float, float]]]:
    """By estimator, of x with each other client, the bits and the error of reading a part.

    Args:
        made: the surrogates.
        first, others: canonical variates of x, and of the other clients.
        estimators: name -> options.
        precision: in which neighbours are found, for speed: that of the samples. All else keeps
            float64, where no direction is lost to rounding.
        error: what reading a part of the points may cost `ksg`.
        key: of what estimators draw, and of that part.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in estimators}
    whitened, coarse = whiten(first, "x"), []
    for variates in others:
        for name, of in estimators.items():
            if name == "gaussian":  # to which variates are as good as what is made of them
                bits = estimate(whitened, whiten(variates, "y")).bits
            elif name == "ksg":
                coarse.append(_coarse(variates, made.colour_y, precision))
                continue
            else:
                x, y = first @ made.colour_x, variates @ made.colour_y
                bits = estimate_pair(x, y, name, key=key, **of).estimate.bits
            found[name].append((bits, 0.0))
    if "ksg" in estimators:
        x = _coarse(first, made.colour_x, precision)
        bits, errors = ksg_against(x, coarse, error=error, key=key, **estimators["ksg"])
        found["ksg"] = list(zip(bits.tolist(), errors.tolist(), strict=True))
    return found


def _checked(truths: Sequence[float]) -> list[float]:
    try:
        found = sorted({float(truth) for truth in truths})
    except (TypeError, ValueError):
        raise ValueError(f"truths: {truths!r} must be a list of numbers") from None
    if len(found) < 2 or found[0] != 0 or not np.isfinite(found).all():
        raise ValueError(f"truths: {found} must hold 0 and something larger")
    return found


def _coarse(variates: np.ndarray, colour: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The surrogate in another precision, unless that makes samples of it equal."""
    coarse = variates.astype(dtype) @ colour.astype(dtype)
    return variates @ colour if repeats(coarse) else coarse
