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

from fedmi.sampling.design import Design
from fedmi.sampling.sampler import sample_together
from fedmi.sampling.tiles import TILE
from fedmi.stats import bonferroni_limit
from fedmi.study import tables
from fedmi.study.results import MissingResults
from fedmi.study.trends import coupling_rows, trends

COLUMNS = [
    "task", "coupling", "learning_rate", "batch_size", "steps", "n", "first_bits", "first_se",
    "last_bits", "last_se", "rise_bits", "rise_se", "infinite", "smallest_p_family",
    "distance_rise", "distance_rise_se", "closer_first", "closer_last", "why_not",
]  # fmt: skip


def sample_grid(points: Mapping[str, Design], *, seeds: int, folder: Path) -> dict[str, xr.Dataset]:
    """Samples every point of a grid, on the same data.

    What the folder holds is not computed again.

    Args:
        points: name -> design, as `designs` gives them.
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
        why_not="",
    )
    estimate = partial(tables.mi_rows, samples, estimator="gaussian", permutations=permutations)
    iterations = samples.iteration.values.tolist()
    try:
        rows = [row for i in iterations for row in estimate(i)]
    except ValueError as error:
        return row | dict(why_not=str(error))
    mi = pd.DataFrame(tables.with_family_p(rows))
    distances = pd.DataFrame([row for i in iterations for row in tables.distance_rows(samples, i)])
    (trend,) = trends(pd.DataFrame(coupling_rows(mi, distances))).to_dict("records")
    return row | {name: trend[name] for name in trend if name in COLUMNS}


def read(folder: Path, coupling: str, params: str) -> pd.DataFrame:
    """The table of a coupling's points.

    Args:
        folder: the sweep's folder.
        coupling: one of its couplings.
        params: the sweep's params file, for the message.

    Raises:
        fedmi.study.results.MissingResults: if it is missing; the message says what makes it.
    """
    path = folder / f"{coupling}.csv"
    if not path.exists():
        raise MissingResults(
            f'there is no {path}: run the notebook 10_sweep_rates with params = "{params}" and '
            f'coupling = "{coupling}" first, or `make sweep SCALE={folder.parents[1].name}`'
        )
    return tables.read_csv(path)


def words(table: pd.DataFrame) -> str:
    """The map in plain words, as Markdown, every number out of the table.

    Args:
        table: rows of `trend_row`, of one task.
    """
    # So many points, each tested for itself: a point counts where it would among all of them.
    limit = bonferroni_limit(len(table))
    lines = [
        f"Learning rate x batch size, {table.n.min()} seeds, {len(table)} points: last less first "
        f"iteration of the Gaussian reading, in bits. A point counts as rising or falling beyond "
        f"{limit:.1f} standard errors (Bonferroni, 5 % for all points together).",
        "",
        "| coupling | points | rise | fall | open | smallest | largest |",
        "|---|---|---|---|---|---|---|",
    ]
    for coupling, rows in table.groupby("coupling", sort=False):
        told = rows[rows.rise_bits.notna() & ~rows.infinite.fillna(False).astype(bool)]
        if told.empty:
            lines.append(f"| `{coupling}` | {len(rows)} | 0 | 0 | {len(rows)} | | |")
            continue
        z = told.rise_bits / told.rise_se
        up, down = (z > limit).sum(), (z < -limit).sum()
        low, high = told.loc[told.rise_bits.idxmin()], told.loc[told.rise_bits.idxmax()]
        lines.append(
            f"| `{coupling}` | {len(rows)} | {up} | {down} | {len(rows) - up - down} "
            f"| {_point(low)} | {_point(high)} |"
        )
    return "\n".join(lines) + "\n"


def _point(row: pd.Series) -> str:
    return (
        f"{row.rise_bits:+.2f} ± {1.96 * row.rise_se:.2f} "
        f"(rate {row.learning_rate:g}, batch {row.batch_size})"
    )
