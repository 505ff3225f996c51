"""A multiverse: every point of it sampled and measured, so that claims can be judged over all.

A repetition may not hang on choices that its authors did not print. What is measured at a point
does not depend on any other, and is kept; clients' data are made once for the points that share
them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from math import nan
from pathlib import Path
from typing import Any

import jax
import pandas as pd
import xarray as xr

from fedmi import distance
from fedmi.progress import tell, track
from fedmi.sampling import chaos, provenance
from fedmi.sampling.design import Design
from fedmi.sampling.programs import streams_read
from fedmi.sampling.replay import held_out_metrics
from fedmi.sampling.sampler import finite, sample_together
from fedmi.sampling.store import open_existing
from fedmi.sampling.tiles import TILE
from fedmi.scopes import root_key
from fedmi.study import results, tables
from fedmi.study.points import Choices, Point

ESTIMATORS = ("gaussian", "ksg")
COLUMNS = [
    "task", "point", "coupling", "control", "n", "non_finite", "chaotic", "growth", "baseline",
    "fresh_download", "fresh_download_se", "fresh", "fresh_se", "iteration", "share",
    *(f"{estimator}{what}" for estimator in ESTIMATORS for what in ("", "_se", "_p_family")),
    "infinite",
    *(f"{metric}{what}" for metric in distance.METRICS for what in ("", "_se", "_unmatched")),
    "why_not",
]  # fmt: skip


def sample_group(plan: Choices, group: str, folder: Path) -> None:
    """Samples the points of a group, on the same data; what the folder holds is not made again.

    Args:
        plan: the multiverse.
        group: a name of `Choices.groups`.
        folder: of its results: samples/<point>.zarr, and groups/<group>.json, written last.

    Raises:
        ValueError: if there is no such group, or its points have not the same data.
    """
    names = plan.groups().get(group)
    if names is None:
        raise ValueError(f"group: {group!r} is none of {', '.join(plan.groups())}")
    points = {name: plan.point(name) for name in names}
    basis = {name: _basis(plan, point) for name, point in points.items()}

    def make() -> list[str]:
        designs = {name: point.design for name, point in points.items()}
        check_same_data(designs)
        stores = [store_of(folder, name) for name in names]
        sample_together(list(designs.values()), stores, seeds=points[names[0]].seeds, tile=TILE)
        return names

    results.kept(folder / "groups" / f"{group}.json", basis, make)


def store_of(folder: Path, point: str) -> Path:
    """Where the samples of a point are."""
    return folder / "samples" / f"{point}.zarr"


def check_same_data(designs: Mapping[str, Design]) -> None:
    """Refuses designs whose clients do not have the same data: drawn by one program, from one seed.

    What they are not drawn from, a design may lack; but a stream has one scope in all of them.

    Raises:
        ValueError: naming one that has others than the first.
    """
    if len(designs) == 1:
        return
    drawn = {name: _drawn_by(design) for name, design in designs.items()}
    first = next(iter(drawn))
    scopes: dict[str, str] = {}
    for name, program in drawn.items():
        own = dict(designs[name].scopes)
        if program != drawn[first] or own | scopes != scopes | own:
            raise ValueError(
                f"same_data: the clients of {name!r} have other data than those of {first!r}, or "
                "streams of other scopes; leave out the factor in which these differ"
            )
        scopes |= own


def _drawn_by(design: Design) -> tuple:
    """All that a client's data follow from: the program that draws them, and what it is given."""
    task, assets = design.task, design.task.assets()
    read = streams_read(task.data, task.streams, assets)
    keys = {stream: root_key(0) for stream in task.streams}
    program = jax.jit(lambda keys, assets: task.data(keys, assets)).lower(keys, assets).as_text()
    scopes = [design.scopes[stream] for stream in read]
    return program, read, scopes, provenance.digest(assets), design.root_seed, design.clients


def measure(plan: Choices, name: str, folder: Path) -> list[dict]:
    """Measures a point that has been sampled; what is kept is not measured again.

    Args:
        plan: the multiverse.
        name: of the point.
        folder: of its results, which keeps the rows in points/<name>.json.

    Returns:
        Rows of `readings`.

    Raises:
        ValueError: if there is no such point.
        FileNotFoundError: if it is not kept, and was not sampled.
    """
    point = plan.point(name)

    def make() -> list[dict]:
        samples = open_existing(store_of(folder, name)).dataset(point.seeds)
        return readings(plan, name, point, finite(samples))

    return results.kept(folder / "points" / f"{name}.json", _basis(plan, point), make)


def _basis(plan: Choices, point: Point) -> dict:
    """All that what is kept of a point depends on."""
    changes = [change.model_dump() for change in plan.changes(point.levels)]
    return dict(plan=plan.fingerprint(), changes=changes)


def readings(plan: Choices, name: str, point: Point, samples: xr.Dataset) -> list[dict]:
    """The rows of a point, one a checkpoint: MI, distances, learning and chaos.

    Args:
        plan: the multiverse.
        name: of the point.
        point: the point.
        samples: its finite samples.

    Returns:
        The columns of `COLUMNS` and the levels of all factors. Where an estimator refuses the
        samples of a checkpoint, `why_not` says why, and its numbers are nan.
    """
    design, last = point.design, point.design.task.steps
    shared = dict.fromkeys(COLUMNS, nan) | dict(
        task=design.task.name,
        point=name,
        coupling=samples.attrs["coupling"],
        control=point.control,
        n=samples.sizes["seed"],
        non_finite=samples.attrs["excluded"],
        baseline=nan if design.task.baseline is None else design.task.baseline,
        **{f"{results.LEVELS}{factor}": level for factor, level in point.levels.items()},
    )
    at_end = replace(design, checkpoints=(last,))
    stability = chaos.table(chaos.perturbed(at_end, seeds=plan.perturbed_seeds))
    shared |= dict(
        growth=stability.growth_median.iloc[-1], chaotic=chaos.is_chaotic(stability), infinite=False
    )
    rows = [dict(shared, iteration=at, share=at / last) for at in design.checkpoints]
    if samples.sizes["seed"] < 2:
        return [row | dict(why_not="fewer than two seeds are finite") for row in rows]
    learnt = _learning(plan, design, samples)
    found = zip(rows, _mi(plan, samples), _apart(samples), strict=True)
    return [row | learnt | mi | apart for row, mi, apart in found]


def _learning(plan: Choices, design: Design, samples: xr.Dataset) -> dict[str, float]:
    """The metric on fresh examples of the download and at the end."""
    task = design.task
    if task.held_out is None:
        return {}
    at_end = samples.isel(iteration=[-1])
    fresh = held_out_metrics(task, at_end, seeds=plan.judged_seeds)[task.metric]
    first, last = (fresh.isel(iteration=i).mean("client") for i in (0, -1))
    return tables.mean_of("fresh_download", first.values) | tables.mean_of("fresh", last.values)


def _mi(plan: Choices, samples: xr.Dataset) -> list[dict]:
    """The net MI by both estimators at every checkpoint, means over pairs.

    Where the Gaussian formula reads infinity, it is of the part on directions that are not shared.
    """
    options: dict[str, dict[str, Any]] = {"gaussian": {}, "ksg": dict(k=plan.neighbours)}
    rows: list[dict] = []
    found: dict[int, dict] = {iteration: {} for iteration in samples.iteration.values.tolist()}
    for iteration, estimator in product(found, ESTIMATORS):
        of, again = options[estimator], plan.permutations
        try:
            rows += tables.mi_rows(
                samples, iteration, estimator=estimator, permutations=again, **of
            )
        except ValueError as error:
            found[iteration]["why_not"] = str(error)
    read = tables.mi_means(pd.DataFrame(tables.with_family_p(rows))) if rows else {}
    for name, means in read.items():
        for iteration, at in means.iterrows():
            row = found[int(str(iteration))]
            row |= {name: at.net_bits, f"{name}_se": at.net_se, f"{name}_p_family": at.p_family}
            row["infinite"] = row.get("infinite", False) or bool(at.infinite)
    return list(found.values())


def _apart(samples: xr.Dataset) -> Iterator[dict]:
    """The three distances at every checkpoint, matched and unmatched, means over pairs."""
    columns = {"": "distance", "_se": "distance_se", "_unmatched": "unmatched"}
    for iteration in samples.iteration.values.tolist():
        found = pd.DataFrame(tables.distance_rows(samples, iteration))
        yield {
            f"{metric}{what}": rows[column].mean()
            for metric, rows in tables.groups(found, "metric")
            for what, column in columns.items()
        }


def run(plan: Choices, folder: Path) -> pd.DataFrame:
    """Samples and measures all points; what is kept is not made again.

    Args:
        plan: the multiverse.
        folder: of its results.

    Returns:
        The rows of all points, in the plan's order.
    """
    for group, names in plan.groups().items():
        tell(f"{len(names)} points on the same data: {group}")
        sample_group(plan, group, folder)
    rows = []
    for name in track(list(plan.combinations()), what="measuring", unit="point"):
        rows += measure(plan, name, folder)
    columns = [*COLUMNS, *(f"{results.LEVELS}{factor}" for factor in plan.factors)]
    return pd.DataFrame(rows, columns=columns)
