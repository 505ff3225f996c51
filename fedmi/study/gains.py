"""Where what a server could gain over the mean lies: in a longer step, or in another direction."""

from typing import Any

import numpy as np
import pandas as pd

from fedmi.aggregation import DOWNLOAD, MEAN
from fedmi.aggregation.linear import MAPS
from fedmi.study.methods import EXP_STEP, FURTHER, LINE, PLANE, STEP

COORDINATES = ("Fisher mean", "inverse-variance mean", "coordinate median")
"""Aggregators that weigh every coordinate by itself."""


def share_of_fall(
    rows: pd.DataFrame, method: str, final: pd.DataFrame | None = None
) -> tuple[float, float]:
    """By how much F of a method is below F of the mean, as a share of what F fell to the mean.

    Args:
        rows: of `fedmi.study.aggregators`, of one setting and checkpoint.
        method: of which.
        final: the rows of the checkpoint down to which F fell, the same one by default.

    Returns:
        The share and its standard error.

    Raises:
        ValueError: if the table has no such method.
    """
    start = _row(rows if final is None else final, DOWNLOAD)
    own = _row(rows, method)
    fall, gain = float(start.objective_less_mean), -float(own.objective_less_mean)
    errors = float(own.objective_less_mean_se), gain / fall * float(start.objective_less_mean_se)
    return gain / fall, float(np.hypot(*errors) / fall)


def _row(rows: pd.DataFrame, method: str) -> pd.Series:
    found = rows.loc[rows.method == method]
    if found.empty:
        raise ValueError(f"method: the table has no {method!r}; `make aggregation` makes it anew")
    return found.iloc[0]


def gains(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """What can be gained over the mean, by where it lies, as shares of what F fell.

    Args:
        rows: of `fedmi.study.aggregators`, of one setting and checkpoint.

    Returns:
        By place the `method` that gains most there, its `share` and the share's `error`: "length",
        the server step fitted to other seeds; "data-free", FedExP's; "longest", the best step of
        every seed; "further", clients that train as much longer as the server steps; "plane", the
        best weights of every seed; "coordinates", the best aggregator that weighs each coordinate
        by itself; "direction", the best of "plane" and "coordinates"; "any", the best of all
        aggregators, but for fitted maps, which can remember other seeds.
    """
    rivals = rows.method[~rows.reference.astype(bool) & ~rows.method.isin([MEAN, *MAPS])]
    asked = {
        "length": [STEP],
        "data-free": [EXP_STEP],
        "longest": [LINE],
        "further": [FURTHER],
        "plane": [PLANE],
        "coordinates": list(COORDINATES),
        "direction": [PLANE, *COORDINATES],
        "any": rivals.to_list(),
    }
    return {place: _most(rows, methods) for place, methods in asked.items()}


def _most(rows: pd.DataFrame, methods: list[str]) -> dict[str, Any]:
    shares = {method: share_of_fall(rows, method) for method in methods}
    best = max(shares, key=lambda method: shares[method][0])
    return dict(method=best, share=shares[best][0], error=shares[best][1])
