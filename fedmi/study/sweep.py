"""Learning rate against batch size: does the reading of MI rise or fall, and by how much?

A client's data depend on neither, so that they are made once (digits: the features of augmented
images) and every point of the grid trains on them. Each point has a store of its own, of the
samples that `fedmi.sample` takes there with its default tile for a CPU.
"""

from collections.abc import Mapping
from functools import partial
from math import nan
from pathlib import Path

import pandas as pd
import xarray as xr

from fedmi.progress import track
from fedmi.sampling.design import Design
from fedmi.sampling.sampler import finite, sample_together
from fedmi.sampling.tiles import TILE
from fedmi.stats import bonferroni_limit, sign
from fedmi.study import results, tables
from fedmi.study.params import Sweep
from fedmi.study.trends import measure, trends

COLUMNS = [
    "task", "coupling", "learning_rate", "batch_size", "steps", "n", "first_bits", "first_se",
    "last_bits", "last_se", "rise_bits", "rise_se", "infinite", "smallest_p_family",
    "distance_rise", "distance_rise_se", "closer_first", "closer_last", "why_not",
]  # fmt: skip


def sample_grid(points: Mapping[str, Design], *, seeds: int, folder: Path) -> dict[str, xr.Dataset]:
    """Samples every point of a grid, on the same data.

    What the folder holds is not computed again.

    Args:
        points: name -> design, as `Sweep.designs` gives them.
        seeds: number of repetitions N.
        folder: where the stores <name>.zarr are.

    Returns:
        name -> dataset, as `fedmi.sample` returns it.

    Raises:
        ValueError, fedmi.sampling.store.StoreError, OSError: as `fedmi.sample` does.
    """
    stores = [folder / f"{name}.zarr" for name in points]
    sampled = sample_together(list(points.values()), stores, seeds=seeds, tile=TILE)
    return {name: store.dataset(seeds) for name, store in zip(points, sampled, strict=True)}


def trend_row(samples: xr.Dataset, *, permutations: int) -> dict:
    """The row of a point: first against last iteration, as `fedmi.study.trends.trends` tells it.

    Args:
        samples: finite samples of a point.
        permutations: re-pairings of seeds behind the null.

    Returns:
        The columns of `COLUMNS`. Where the Gaussian formula refuses the samples `why_not` says why,
        and the numbers are nan.
    """
    attrs = samples.attrs
    row = dict.fromkeys(COLUMNS, nan) | dict(
        task=attrs["task"],
        coupling=attrs["coupling"],
        learning_rate=attrs["learning_rate"],
        batch_size=attrs["batch_size"],
        steps=samples.sizes["step"],
        n=samples.sizes["seed"],
    )
    try:
        rows = measure(samples, permutations=permutations)
    except ValueError as error:
        return row | dict(why_not=str(error))
    (trend,) = trends(pd.DataFrame(rows)).to_dict("records")
    return row | {name: trend[name] for name in trend if name in COLUMNS}


def run(plan: Sweep, coupling: str, folder: Path) -> pd.DataFrame:
    """Samples and estimates all points of a coupling, and writes their table.

    Points that the stores hold are not sampled again, and rows that are kept not estimated.

    Args:
        plan: the sweep.
        coupling: one of its couplings.
        folder: of the sweep's results: <coupling>/ for what is kept, <coupling>.csv for the table.

    Raises:
        ValueError: if the sweep has no such coupling.
    """
    if coupling not in plan.couplings:
        raise ValueError(f"coupling: {coupling!r} is none of the sweep's, {plan.couplings}")
    points = plan.designs(coupling)
    samples = sample_grid(points, seeds=plan.seeds, folder=folder / coupling)
    rows = []
    for name in track(points, what="estimating", unit="point"):
        make = partial(_row, samples[name], plan.permutations)
        rows.append(results.kept(folder / coupling / f"{name}.json", plan.fingerprint(), make))
    return results.write(rows, folder / f"{coupling}.csv", COLUMNS)


def _row(samples: xr.Dataset, permutations: int) -> dict:
    return trend_row(finite(samples), permutations=permutations)


def facts(table: pd.DataFrame) -> dict:
    """What the page "sweep" says.

    Args:
        table: rows of `trend_row`, of one task.
    """
    limit = bonferroni_limit(len(table))
    found = []
    for coupling, rows in tables.groups(table, "coupling"):
        told = rows.loc[rows.rise_bits.notna() & ~rows.infinite.eq(True)]
        told = told.sort_values("rise_bits")
        signs = [sign(row.rise_bits, row.rise_se, limit) for row in told.itertuples()]
        rise, fall = signs.count("yes"), signs.count("no")
        found.append(
            dict(
                coupling=coupling,
                points=len(rows),
                rise=rise,
                fall=fall,
                open=len(rows) - rise - fall,
                ends=told.iloc[[0, -1]].to_dict("records") if len(told) else [],
            )
        )
    return dict(seeds=table.n.min(), points=len(table), limit=limit, couplings=found)
