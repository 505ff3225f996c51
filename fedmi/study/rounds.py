"""Mutual information and distance within later rounds of federated learning.

From the second round on, what the clients of a seed download differs from seed to seed, and they
share it. Their parameters then depend on each other through it, whatever else they share; so both
are read, the parameters w_q and the updates w_q - w' that the clients made to what they downloaded.
"""

import numpy as np
import pandas as pd
import xarray as xr

from fedmi.stats import bonferroni_limit, sign
from fedmi.study import tables, trends

COLUMNS = [
    "task", "coupling", "round", "what", "iteration", "net_bits", "net_se", "infinite",
    "shared_directions", "p_family", "distance", "distance_se", "unmatched",
]  # fmt: skip

PARAMETERS, UPDATES = "parameters", "updates"


def updates(samples: xr.Dataset) -> xr.Dataset:
    """The same samples with what the clients changed in place of their parameters.

    In the first round under a fixed `init` these differ by a constant, and are returned as they
    are.
    """
    if "download" not in samples:
        return samples
    return samples.assign(theta=samples.theta - samples.download)


def rows(samples: xr.Dataset, *, permutations: int) -> list[dict]:
    """The rows of one round: the Gaussian reading and the Euclidean distance by iteration.

    Args:
        samples: finite samples of one round.
        permutations: re-pairings behind the null.

    Returns:
        Rows with `COLUMNS`; means over pairs and their errors as in
        `fedmi.study.trends.coupling_rows`.
    """
    number = dict(round=samples.attrs["rounds"])
    found = []
    for what, values in ((PARAMETERS, samples), (UPDATES, updates(samples))):
        mi, apart = [], []
        for iteration in samples.iteration.values.tolist():
            mi += tables.mi_rows(values, iteration, estimator="gaussian", permutations=permutations)
            apart += tables.distance_rows(values, iteration)
        made = trends.coupling_rows(pd.DataFrame(tables.with_family_p(mi)), pd.DataFrame(apart))
        found += [
            {name: (row | number | dict(what=what))[name] for name in COLUMNS} for row in made
        ]
    return found


def _rounding(theta: xr.DataArray, values: xr.DataArray, iteration: int) -> float:
    """What counts as rounding, relative to the size of the values: that of the parameters.

    Updates are differences of parameters, and carry the rounding of these.
    """
    sizes = [np.linalg.norm(_centred(a.sel(iteration=iteration).values)) for a in (theta, values)]
    return float(min(8 * np.finfo(np.float32).eps * sizes[0] / sizes[1], 0.5))


def _centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=0)


def words(table: pd.DataFrame) -> str:
    """The first and last iteration of every round, as Markdown, every number out of the table.

    Args:
        table: rows with `COLUMNS`, of one task.
    """
    first, last = table.iteration.min(), table.iteration.max()
    lines = [
        f"Gaussian reading in bits at iterations {first} and {last} of each round, means over the "
        "pairs of clients; ± is the 95 % error. Closer: by what share clients of one seed are "
        "closer than clients of other seeds.",
        "",
        "| coupling | round | parameters, first | last | updates, first | last "
        "| Euclidean distance, first | last | closer, first | last |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (coupling, number), of in table.groupby(["coupling", "round"], sort=False):
        ends = {
            (what, iteration): of[(of.what == what) & (of.iteration == iteration)].iloc[0]
            for what in (PARAMETERS, UPDATES)
            for iteration in (first, last)
        }
        cells = [_reading(row) for row in ends.values()]
        apart = [ends[PARAMETERS, iteration] for iteration in (first, last)]
        cells += [f"{row.distance:.3f}" for row in apart]
        cells += [f"{100 * (1 - row.distance / row.unmatched):.1f} %" for row in apart]
        lines.append(f"| `{coupling}` | {number} | {' | '.join(cells)} |")
    lines.append("")
    limit = bonferroni_limit(len(table[table.iteration == last]))
    for coupling, of in table.groupby("coupling", sort=False):
        lines.append(f"- `{coupling}`: {_trend(of, first, last, limit)}")
    lines.append(
        f"\nA trend counts beyond {limit:.1f} standard errors (Bonferroni, 5 % for all rounds and "
        "couplings together)."
    )
    return "\n".join(lines) + "\n"


def _reading(row: pd.Series) -> str:
    # A mean over the pairs: one of three with a single shared direction makes 0.333.
    shared = f"infinite on {row.shared_directions:.3g} directions, else " if row.infinite else ""
    return f"{shared}{row.net_bits:.2f} ± {1.96 * row.net_se:.2f}"


def _trend(of: pd.DataFrame, first: int, last: int, limit: float) -> str:
    parts = []
    for what, rows_of in of.groupby("what", sort=False):
        signs = {"rises": [], "falls": [], "is open": [], "is infinite somewhere": []}
        for number, rows in rows_of.groupby("round"):
            at = rows.set_index("iteration")
            change = at.net_bits[last] - at.net_bits[first]
            error = np.hypot(at.net_se[last], at.net_se[first])
            said = trends.COURSE[sign(change, error, limit)]
            signs["is infinite somewhere" if rows.infinite.any() else said].append(str(number))
        told = [f"{sign} in round {', '.join(n)}" for sign, n in signs.items() if n]
        parts.append(f"the reading of the {what} within a round {'; '.join(told)}")
    return ". ".join(part[0].upper() + part[1:] for part in parts) + "."
