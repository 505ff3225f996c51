"""Power laws of several factors, fitted by least squares in logarithms.

    seconds = scale * product of factor**exponent + further terms

The exponents of the first term are fitted. Further terms are parts of the work that grow otherwise,
such as the fixed price of a call, which has no powers at all: their powers are given, their scales
are fitted, and they are left out where the data do not ask for them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from itertools import product as each

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

Sizes = Mapping[str, ArrayLike]  # factor -> its values, one a measurement
Powers = Mapping[str, float]  # factor -> power

SHARES = (0.3, 0.03)
"""Of further terms in the least time, from which the search starts."""

EXACT = 1e-12
"""A mean squared residual of log seconds below this is rounding."""


@dataclass(frozen=True)
class PowerLaw:
    """A fitted law.

    Attributes:
        scale: of the first term.
        exponents: factor -> exponent in the first term.
        errors: factor -> standard error of the exponent, infinite without degrees of freedom.
        terms: name -> (scale, powers) of the further terms.
        spread: standard deviation of the residuals of log seconds.
        count: measurements behind the fit.
    """

    scale: float
    exponents: Powers
    errors: Powers = field(default_factory=dict)
    terms: Mapping[str, tuple[float, Powers]] = field(default_factory=dict)
    spread: float = 0.0
    count: int = 0

    def term(self, name: str, sizes: Sizes) -> np.ndarray:
        """Seconds of a further term."""
        scale, powers = self.terms[name]
        return scale * product(sizes, powers)

    def __call__(self, sizes: Sizes) -> np.ndarray:
        """Seconds at these sizes."""
        first = self.scale * product(sizes, self.exponents)
        return first + sum(self.term(name, sizes) for name in self.terms)


def product(sizes: Sizes, powers: Powers) -> np.ndarray:
    """The product of factor**power."""
    values = [np.asarray(sizes[name], float) ** power for name, power in powers.items()]
    return np.prod(np.broadcast_arrays(1.0, *values), axis=0)


def fit(
    sizes: Sizes,
    seconds: ArrayLike,
    factors: Sequence[str],
    terms: Mapping[str, Powers] | None = None,
) -> PowerLaw:
    """The simplest law that holds: with a further term only if it pays for itself.

    Of the laws with any of the terms it is the one of the least Schwarz criterion (Annals of
    Statistics 1978, 6, 461), n log(mean squared residual) + parameters * log n.

    Args:
        sizes: factor -> values (n,).
        seconds: (n,) what was measured, above zero.
        factors: those with a fitted exponent.
        terms: name -> powers of the further terms that are tried; none by default.

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
    terms = terms or {}
    choices = chain(*(combinations(terms, count) for count in range(len(terms) + 1)))
    laws = [
        _fit(sizes, np.log(seconds), factors, design, centre, {name: terms[name] for name in names})
        for names in choices
        if not names or len(seconds) > design.shape[1] + len(names)
    ]
    return min(laws, key=_criterion)


def _fit(
    sizes: Sizes,
    logs: np.ndarray,
    factors: Sequence[str],
    design: np.ndarray,
    centre: np.ndarray,
    terms: Mapping[str, Powers],
) -> PowerLaw:
    """The law with all of these terms.

    Args:
        sizes, factors: as for `fit`.
        logs: of the seconds.
        design: (n, 1 + factors), a column of ones and the logs of the factors less their means.
        centre: these means.
        terms: as for `fit`.
    """
    first = design.shape[1]
    values = np.ones((len(logs), len(terms)))
    for column, powers in enumerate(terms.values()):
        values[:, column] = product(sizes, powers)
    with np.errstate(divide="ignore"):
        further = np.log(values)

    def residuals(parameters: np.ndarray) -> np.ndarray:
        lines = np.column_stack([design @ parameters[:first], further + parameters[first:]])
        return np.logaddexp.reduce(lines, axis=1) - logs

    plain = np.linalg.lstsq(design, logs)[0]
    least = (logs[:, None] - further).min(axis=0)  # of a term that makes up the whole somewhere
    starts = [np.r_[plain, least + np.log(share)] for share in each(SHARES, repeat=len(terms))]
    searches = [optimize.least_squares(residuals, start, method="lm") for start in starts]
    search = min(searches, key=lambda found: found.cost)
    freedom = len(logs) - len(search.x)
    variance = 2 * search.cost / freedom if freedom else np.inf
    errors = np.sqrt(variance) * np.linalg.norm(np.linalg.pinv(search.jac), axis=1)
    exponents = search.x[1:first]
    return PowerLaw(
        scale=float(np.exp(search.x[0] - exponents @ centre)),
        exponents=dict(zip(factors, exponents.tolist(), strict=True)),
        errors=dict(zip(factors, errors[1:first].tolist(), strict=True)),
        terms={
            name: (float(scale), powers)
            for (name, powers), scale in zip(terms.items(), np.exp(search.x[first:]), strict=True)
        },
        spread=float(np.sqrt(variance)),
        count=len(logs),
    )


def _criterion(law: PowerLaw) -> float:
    """Schwarz's; of several laws that of the smallest holds."""
    parameters = 1 + len(law.exponents) + len(law.terms)
    freedom = law.count - parameters
    if not freedom:
        return 0.0
    mean_square = max(law.spread**2 * freedom / law.count, EXACT)
    return law.count * np.log(mean_square) + parameters * np.log(law.count)
