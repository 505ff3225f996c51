"""Mutual information and distance within later rounds of federated learning.

From the second round on, what the clients of a seed download differs from seed to seed, and they
share it. Their parameters then depend on each other through it, whatever else they share; so both
are read, the parameters w_q and the updates w_q - w' that the clients made to what they downloaded.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from fedmi.sampling.sampler import finite, sample
from fedmi.stats import bonferroni_limit, sign
from fedmi.study import trends
from fedmi.study.params import Sampling

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


def measure(study: Sampling, store: Path, *, permutations: int) -> list[dict]:
    """The `rows` of one round, which is sampled first where the store does not hold it."""
    samples = sample(**study.sampling(), store=store)
    return rows(finite(samples), permutations=permutations)


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
        found += [
            {name: (row | number | dict(what=what))[name] for name in COLUMNS}
            for row in trends.measure(values, permutations=permutations)
        ]
    return found


def facts(table: pd.DataFrame) -> dict:
    """What the page "rounds" says.

    Args:
        table: rows with `COLUMNS`, of one task.
    """
    first, last = table.iteration.min(), table.iteration.max()
    limit = bonferroni_limit(len(table.loc[table.iteration == last]))
    table = table.assign(
        closer=1 - table.distance / table.unmatched,
        closer_se=trends.closer_error(table.distance_se, table.unmatched),
    )
    found, courses = [], {}
    for (coupling, number), of in table.groupby(["coupling", "round"], sort=False):
        ends = of.loc[of.iteration.isin([first, last])].sort_values("iteration")
        both = {what: rows.to_dict("records") for what, rows in ends.groupby("what")}
        found.append(dict(coupling=coupling, round=number, **both))
    for (coupling, what, number), rows in table.groupby(["coupling", "what", "round"], sort=False):
        at = rows.set_index("iteration")
        change, error = at.net_bits[last] - at.net_bits[first], np.hypot(*at.net_se[[first, last]])
        course = "infinite" if rows.infinite.any() else sign(change, error, limit)
        courses.setdefault((coupling, what), {}).setdefault(course, []).append(number)
    return dict(
        first=first,
        last=last,
        limit=limit,
        rounds=found,
        courses=[
            dict(coupling=coupling, what=what, rounds=by_course)
            for (coupling, what), by_course in courses.items()
        ],
    )
