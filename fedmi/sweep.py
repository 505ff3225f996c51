"""Learning rate against batch size: does the reading of MI rise or fall, and by how much?

A client's data depend on neither, so that they are made once (digits: the features of augmented
images) and every point of the grid trains on them. Each point has a store of its own, of the
samples that `fedmi.sample` would take there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import pandas as pd
import xarray as xr
from scipy.stats import norm

from fedmi import scopes, tables
from fedmi.couplings import coupling_rows, trends
from fedmi.sampling import TILE, check_arguments, describe, fill, grid_sampler, matching
from fedmi.store import open_existing
from fedmi.tasks.base import Task

COLUMNS = [
    "task", "coupling", "learning_rate", "batch_size", "steps", "n", "first_bits", "first_se",
    "last_bits", "last_se", "rise_bits", "rise_se", "smallest_p_family", "distance_rise",
    "distance_rise_se", "closer_first", "closer_last", "above_zero", "rises", "distance_rises",
]  # fmt: skip


def grid(
    task: Task, learning_rates: Sequence[float], batch_sizes: Sequence[int]
) -> dict[str, Task]:
    """The task at every learning rate and batch size, by a name for files.

    Raises:
        ValueError: for a rate or a size that the task cannot have.
    """
    points = {}
    for rate in learning_rates:
        for size in batch_sizes:
            options = dict(task.options) | dict(learning_rate=rate, batch_size=size)
            point = replace(task, learning_rate=rate, batch_size=size, options=options)
            points[f"rate-{rate:g}-batch-{size}"] = point
    return points


def sample_grid(
    points: Mapping[str, Task],
    *,
    seeds: int,
    clients: int,
    coupling: str | Mapping[str, str],
    root_seed: int,
    folder: Path,
) -> dict[str, xr.Dataset]:
    """Samples the first and the last iteration at every point of a grid, on the same data.

    What the folder holds is not computed again.

    Args:
        points: name -> task, as `grid` gives them.
        seeds, clients, coupling, root_seed: see `fedmi.sample`.
        folder: where the stores <name>.zarr are.

    Returns:
        name -> dataset, as `fedmi.sample` returns it.

    Raises:
        ValueError, fedmi.store.StoreError, OSError: as `fedmi.sample` does.
    """
    variants = list(points.values())
    checkpoints = [
        check_arguments(task, seeds, clients, sorted({1, task.steps}), root_seed, TILE)
        for task in variants
    ]
    scope = scopes.resolve(coupling, variants[0].streams)
    scopes.check_varies(scope)
    assets = variants[0].assets()
    stores = []
    for (name, task), kept in zip(points.items(), checkpoints, strict=True):
        path = folder / f"{name}.zarr"
        parameters = describe(
            task, assets, scope, clients=clients, checkpoints=kept, root_seed=root_seed, tile=TILE
        )
        existing = open_existing(path) if path.exists() else None
        stores.append(matching(existing, path, parameters, task))
    pending = sorted(set().union(*(samples.pending(seeds) for samples in stores)))
    if pending:
        sampler = grid_sampler(variants, scope, clients, checkpoints, TILE)
        fill(stores, sampler, jax.random.key(root_seed), assets, seeds, pending)
    return {name: samples.dataset(seeds) for name, samples in zip(points, stores, strict=True)}


def trend_row(samples: xr.Dataset, *, permutations: int) -> dict:
    """The row of a point: first against last iteration, as `fedmi.couplings.trends` tells it.

    Args:
        samples: finite samples of a point.
        permutations: re-pairings of seeds behind the null.

    Raises:
        ValueError: if the samples are not what the Gaussian formula can take.
    """
    estimate = partial(tables.mi_rows, samples, estimator="gaussian", permutations=permutations)
    iterations = samples.iteration.values.tolist()
    mi = pd.DataFrame(tables.with_family_p([row for i in iterations for row in estimate(i)]))
    distances = pd.DataFrame([row for i in iterations for row in tables.distance_rows(samples, i)])
    (row,) = trends(pd.DataFrame(coupling_rows(mi, distances))).to_dict("records")
    attrs = samples.attrs
    row |= dict(
        learning_rate=attrs["learning_rate"],
        batch_size=attrs["batch_size"],
        steps=samples.sizes["step"],
        n=samples.sizes["seed"],
    )
    return {name: row[name] for name in COLUMNS}


def read(folder: Path, coupling: str, params: str) -> pd.DataFrame:
    """The table of a coupling's points.

    Args:
        folder: the sweep's folder.
        coupling: one of its couplings.
        params: the sweep's params file, for the message.

    Raises:
        FileNotFoundError: if it is missing; the message says what makes it.
    """
    path = folder / f"{coupling}.csv"
    if not path.exists():
        raise FileNotFoundError(
            f'there is no {path}: run the notebook 10_sweep_rates with params = "{params}" and '
            f'coupling = "{coupling}" first, or `make sweep SCALE={Path(params).parts[-3]}`'
        )
    return tables.read_csv(path)


def words(table: pd.DataFrame) -> str:
    """The map in plain words, as Markdown, every number out of the table.

    Args:
        table: rows of `trend_row`, of one task.
    """
    # So many points, each tested for itself: a point counts where it would among all of them.
    limit = limit_of(len(table))
    lines = [
        f"Learning rate x batch size, {table.n.min()} seeds, {len(table)} points: last less first "
        f"iteration of the Gaussian reading, in bits. A point counts as rising or falling beyond "
        f"{limit:.1f} standard errors (Bonferroni, 5 % for all points together).",
        "",
        "| coupling | points | rise | fall | open | smallest | largest |",
        "|---|---|---|---|---|---|---|",
    ]
    for coupling, rows in table.groupby("coupling", sort=False):
        z = rows.rise_bits / rows.rise_se
        low, high = rows.loc[rows.rise_bits.idxmin()], rows.loc[rows.rise_bits.idxmax()]
        lines.append(
            f"| `{coupling}` | {len(rows)} | {(z > limit).sum()} | {(z < -limit).sum()} "
            f"| {(z.abs() <= limit).sum()} | {_point(low)} | {_point(high)} |"
        )
    return "\n".join(lines) + "\n"


def limit_of(points: int) -> float:
    """How many standard errors are beyond chance at any of so many points."""
    return float(norm.isf(0.025 / points))


def _point(row: pd.Series) -> str:
    return (
        f"{row.rise_bits:+.2f} ± {1.96 * row.rise_se:.2f} "
        f"(rate {row.learning_rate:g}, batch {row.batch_size})"
    )
