"""How often intervals hold the truth at the studies' own sizes: counts, and what a page says."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from fedmi.stats import Z95, mean_and_error
from fedmi.study.tables import groups

LEVELS = (*np.round(np.arange(0.05, 1, 0.05), 2).tolist(), 0.99)
"""Nominal levels of intervals."""
SHOWN = (0.5, 0.8, 0.95, 0.99)
COLUMNS = [
    "study", "d", "n", "law", "promised", "sets", "true_bits", "bias", "bias_se", "level",
    "held", "held_low", "held_high",
]  # fmt: skip


def rows(bits: ArrayLike, half: ArrayLike, truth: float) -> Iterator[dict[str, float]]:
    """How often intervals of every level hold the truth.

    An interval of another level than 95 % is as much wider or narrower as those of a normal
    variable are.

    Args:
        bits: (S,) estimates of as many data sets.
        half: (S,) half the widths of their 95 % intervals.
        truth: the true MI.

    Yields:
        The columns sets, true_bits, bias, bias_se, level, held, and Wilson's interval of it.
    """
    bits, half = np.asarray(bits, float), np.asarray(half, float)
    bias, error = mean_and_error(bits - truth)
    for level in LEVELS:
        reach = half / Z95 * stats.norm.isf((1 - level) / 2)
        held = int((np.abs(bits - truth) <= reach).sum())
        wilson = stats.binomtest(held, len(bits)).proportion_ci(method="wilson")
        yield dict(
            sets=len(bits),
            true_bits=truth,
            bias=bias,
            bias_se=error,
            level=level,
            held=held / len(bits),
            held_low=wilson.low,
            held_high=wilson.high,
        )


def envelope(level: ArrayLike, sets: int) -> tuple[np.ndarray, np.ndarray]:
    """Between what shares of so many sets 95 of 100 exact intervals of a level lie."""
    low, high = stats.binom.interval(0.95, sets, level)
    return low / sets, high / sets


def facts(table: pd.DataFrame) -> dict:
    """What the page "coverage" says.

    Args:
        table: rows with `COLUMNS`.
    """
    found = []
    for study, of_study in groups(table, "study"):
        for law, of in groups(of_study, "law"):
            at = of.set_index("level")
            low, high = envelope(at.index, at.sets.iloc[0])
            found.append(
                dict(
                    {name: of[name].iloc[0] for name in COLUMNS[1:9]},
                    study=study,
                    law=law,
                    held={level: at.held[level] for level in SHOWN},
                    outside=[
                        level
                        for level, share, least, most in zip(
                            at.index, at.held, low, high, strict=True
                        )
                        if not least <= share <= most
                    ],
                )
            )
    return dict(
        rows=found,
        shown=SHOWN,
        levels=len(LEVELS),
        kept=[row for row in found if row["promised"]],
        broken=[row for row in found if not row["promised"]],
    )
