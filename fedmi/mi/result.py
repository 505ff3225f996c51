"""What an estimator returns: an estimate that says how far it can be trusted."""

from dataclasses import dataclass
from itertools import combinations
from math import inf, isinf, nan
from typing import Any

import numpy as np
from scipy.special import stdtr

COLUMNS = (
    "pair estimator net_bits bits raw_bits finite_bits shared_directions null_bits null_sd "
    "perm_bits perm_sd permutations z p_value p_fit p_wilks low high ceiling_bits n rank_x rank_y "
    "metric k"
).split()


@dataclass(frozen=True, repr=False)
class Estimate:
    """Mutual information between two sets of samples, in bits.

    What does not apply to an estimator is nan (None for `metric`).

    Attributes:
        bits: the estimate, corrected for the bias known analytically; never clipped at zero, and
            infinite where a direction of x is a function of a direction of y.
        raw_bits: the estimate before that correction.
        finite_bits: the estimate on the directions that are not shared; equals `bits` if all are.
        shared_directions: number of directions with canonical correlation 1.
        null_bits, null_sd: exact mean and standard deviation of `raw_bits` over independent
            Gaussian samples of the same N and ranks.
        p_value: of independence, analytically; valid for Gaussian samples.
        interval: (low, high), the 95 % interval of `bits`.
        ceiling_bits: the most that the estimator reads at this N (with KSG, unless distances in x
            equal those in y, as in I(x; x)).
        rank_x, rank_y: number of directions in which the samples vary.
        metric, k: distance within each of x and y, and number of neighbours.
        ties: with KSG, how many samples of x and of y repeat another, as a few of low precision do
            by chance.
    """

    bits: float
    n: int
    estimator: str
    raw_bits: float = nan
    finite_bits: float = nan
    shared_directions: int | float = nan
    null_bits: float = nan
    null_sd: float = nan
    p_value: float = nan
    interval: tuple[float, float] = (nan, nan)
    ceiling_bits: float = nan
    rank_x: int | float = nan
    rank_y: int | float = nan
    metric: str | None = None
    k: int | float = nan
    ties: int | float = nan

    def __repr__(self) -> str:
        shown = [f"{self.bits:.4g} bits"]
        for name, value in vars(self).items():
            low = value[0] if isinstance(value, tuple) else value
            if name == "bits" or low is None or low != low:
                continue
            if isinstance(value, tuple):
                value = f"({value[0]:.4g}, {value[1]:.4g})"
            elif isinstance(value, float):
                value = f"{value:.4g}"
            shown.append(f"{name}={value}")
        return f"Estimate({', '.join(shown)})"


def client_pairs(clients: int) -> list[tuple[int, int]]:
    """The pairs (a, b), a < b, of so many clients, in the order in which results are listed."""
    return list(combinations(range(clients), 2))


@dataclass(frozen=True)
class PairEstimate:
    """An estimate for clients a and b beside the same estimate over re-paired seeds.

    Attributes:
        pair: (a, b), the clients' positions.
        permuted: (m,) bits, the corrected estimate for each re-pairing; infinite, as `bits` is,
            where its samples share a direction.
        rounding_bits: measured effect of float32 distances on `estimate.bits`; nan where distances
            were computed in float64.
        permuted_finite: (m,) `permuted` on the directions that are not shared, as `finite_bits`
            is; None where that is the same.
    """

    pair: tuple[int, int]
    estimate: Estimate
    permuted: np.ndarray
    rounding_bits: float = nan
    permuted_finite: np.ndarray | None = None

    @classmethod
    def uncorrected(
        cls, pair: tuple[int, int], bits: np.ndarray, rounding_bits: float = nan, **others: Any
    ) -> "PairEstimate":
        """From (1 + m,) bits, as paired and as re-paired, whose bias no formula takes off."""
        own = float(bits[0])
        estimate = Estimate(bits=own, raw_bits=own, finite_bits=own, **others)
        return cls(pair, estimate, bits[1:], rounding_bits)

    @property
    def _finite(self) -> np.ndarray:
        return self.permuted if self.permuted_finite is None else self.permuted_finite

    @property
    def perm_bits(self) -> float:
        """Mean over re-pairings, of the directions that are not shared; nan without any."""
        return float(self._finite.mean()) if self._finite.size else nan

    @property
    def perm_sd(self) -> float:
        """Standard deviation of the same; nan with fewer than two re-pairings."""
        return float(self._finite.std(ddof=1)) if self._finite.size > 1 else nan

    @property
    def net_bits(self) -> float:
        """The headline: the estimate less its mean over re-pairings."""
        return self.estimate.bits - self.perm_bits

    @property
    def z(self) -> float:
        """`net_bits` in units of `perm_sd`."""
        if isinf(self.net_bits):
            return inf
        return self.net_bits / self.perm_sd if self.perm_sd > 0 else nan

    @property
    def p_value(self) -> float:
        """(r + 1) / (m + 1), where r of m re-pairings read at least as much as the estimate."""
        if not self.permuted.size:
            return nan
        return float((1 + (self.permuted >= self.estimate.bits).sum()) / (1 + self.permuted.size))

    @property
    def p_fit(self) -> float:
        """The p-value if re-pairings are normal: of one more draw beside m, by Student's t.

        nan where one of them is infinite, and so not normal.
        """
        m = self.permuted.size
        if np.isinf(self.permuted).any():
            return nan
        return float(stdtr(m - 1, -self.z / np.sqrt(1 + 1 / m))) if m > 1 else nan

    def row(self) -> dict[str, object]:
        """The columns of `mi.csv` that belong to the estimate.

        `low` and `high` bound `bits` (with the Gaussian formula as much wider than for normal
        samples as re-pairings spread more than those); `p_value` is by the rank among
        re-pairings, `p_fit` by a normal law fitted to them, `p_wilks` the analytic one.
        """
        low, high = self.estimate.interval
        found = vars(self.estimate) | {
            "pair": f"{self.pair[0]}-{self.pair[1]}",
            "net_bits": self.net_bits,
            "perm_bits": self.perm_bits,
            "perm_sd": self.perm_sd,
            "permutations": int(self.permuted.size),
            "z": self.z,
            "p_value": self.p_value,
            "p_fit": self.p_fit,
            "p_wilks": self.estimate.p_value,
            "low": low,
            "high": high,
        }
        return {column: found[column] for column in COLUMNS}
