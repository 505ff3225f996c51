"""Power laws of several factors, fitted by least squares in logarithms.

    seconds = scale * product of factor**exponent + rest_scale * product of factor**power

The exponents of the first term are fitted. The second term stands for what is left where the first
is small: a fixed price of a call (no powers at all), or a part of the work that grows otherwise.
Its powers are given, its scale is fitted, and it is left out where the data do not ask for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

Sizes = Mapping[str, ArrayLike]  # factor -> its values, one a measurement

EXACT = 1e-12
"""A mean squared residual of log seconds below this is rounding."""


@dataclass(frozen=True)
class PowerLaw:
    """A fitted law.

    Attributes:
        scale: of the first term.
        exponents: factor -> exponent in the first term.
        errors: factor -> standard error of the exponent, infinite without degrees of freedom.
        rest_scale: of the second term, 0 if there is none.
        powers: factor -> power in the second term.
        spread: standard deviation of the residuals of log seconds.
        count: measurements behind the fit.
    """

    scale: float
    exponents: Mapping[str, float]
    errors: Mapping[str, float]
    rest_scale: float = 0.0
    powers: Mapping[str, float] = field(default_factory=dict)
    spread: float = 0.0
    count: int = 0

    def rest(self, sizes: Sizes) -> np.ndarray:
        """Seconds of the second term."""
        return self.rest_scale * product(sizes, self.powers)

    def __call__(self, sizes: Sizes) -> np.ndarray:
        """Seconds at these sizes."""
        return self.scale * product(sizes, self.exponents) + self.rest(sizes)


def product(sizes: Sizes, powers: Mapping[str, float]) -> np.ndarray:
    """The product of factor**power."""
    values = [np.asarray(sizes[name], float) ** power for name, power in powers.items()]
    return np.prod(np.broadcast_arrays(1.0, *values), axis=0)


def fit(
    sizes: Sizes,
    seconds: ArrayLike,
    factors: Sequence[str],
    powers: Mapping[str, float] | None = None,
) -> PowerLaw:
    """The simplest law that holds: with a second term only if it pays for itself.

    It does if it lowers Schwarz's criterion (Annals of Statistics 1978, 6, 461), that is
    n log(mean squared residual) + parameters * log n.

    Args:
        sizes: factor -> values (n,).
        seconds: (n,) what was measured, above zero.
        factors: those with a fitted exponent.
        powers: of the second term that is tried, {} for a constant; None for no such trial.

    Raises:
        ValueError: if the measurements are too few, or do not tell the factors' effects apart.
    """
    seconds = np.asarray(seconds, float)
    if not (np.isfinite(seconds) & (seconds > 0)).all():
        raise ValueError("seconds: all must be finite and above 0")
    logs = np.stack([np.log(np.asarray(sizes[name], float)) for name in factors], axis=1)
    # Centred, the scale and the exponents are nearly uncorrelated: the search is quick and exact.
    centre = logs.mean(axis=0)
    design = np.column_stack([np.ones(len(logs)), logs - centre])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError(
            f"sizes: {len(seconds)} measurements do not tell the effects of {', '.join(factors)} "
            "apart; vary each of them by itself"
        )
    plain = np.linalg.lstsq(design, np.log(seconds))[0]
    laws = [_law(plain, design, seconds, factors, centre)]
    if powers is not None:
        rest = np.broadcast_to(product(sizes, powers), seconds.shape)
        laws.append(_with_rest(plain, design, seconds, factors, centre, rest, powers))
    return min(laws, key=_criterion)


def _with_rest(plain, design, seconds, factors, centre, rest, powers) -> PowerLaw:
    """The law with a second term, from the best of several starts."""

    def logarithm(parameters: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.logaddexp(design @ parameters[:-1], parameters[-1] + np.log(rest))

    shares = (0.5, 0.1, 0.01)  # of the second term in the least time, to start from
    there = rest > 0
    least = (seconds[there] / rest[there]).min()
    trials = [
        optimize.least_squares(
            lambda p: logarithm(p) - np.log(seconds), np.append(plain, np.log(share * least))
        )
        for share in shares
    ]
    best = min(trials, key=lambda trial: trial.cost)
    return _law(best.x[:-1], design, seconds, factors, centre, best, powers)


def _law(first, design, seconds, factors, centre, search=None, powers=None) -> PowerLaw:
    jacobian = design if search is None else search.jac
    residuals = design @ first - np.log(seconds) if search is None else search.fun
    freedom = len(seconds) - jacobian.shape[1]
    variance = residuals @ residuals / freedom if freedom > 0 else np.inf
    errors = np.sqrt(variance * np.diag(np.linalg.pinv(jacobian.T @ jacobian)))
    return PowerLaw(
        scale=float(np.exp(first[0] - first[1:] @ centre)),
        exponents=dict(zip(factors, first[1:].tolist(), strict=True)),
        errors=dict(zip(factors, errors[1 : len(first)].tolist(), strict=True)),
        rest_scale=0.0 if search is None else float(np.exp(search.x[-1])),
        powers=powers or {},
        spread=float(np.sqrt(variance)),
        count=len(seconds),
    )


def _criterion(law: PowerLaw) -> float:
    """Schwarz's; of two laws that of the smaller holds."""
    parameters = 1 + len(law.exponents) + (law.rest_scale > 0)
    freedom = law.count - parameters
    if freedom < 1:
        return np.inf if law.rest_scale else 0.0
    mean_square = max(law.spread**2 * freedom / law.count, EXACT)
    return law.count * np.log(mean_square) + parameters * np.log(law.count)
