"""Does the code that is checked out make what was published? The first seeds tell.

A full study takes minutes to hours; of its first 2,048 seeds the samples are made again in seconds.
They are compared first, to the last digit where processor and libraries are those that they were
published from. Elsewhere arithmetic rounds otherwise, and how far that may carry a training was
measured when it was sampled (`fedmi.sampling.chaos`): nine of ten trainings may be off by as much
as a millionth in the download makes nine of ten. Then the readings are compared, each with what
differences of that size make of it.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from math import sqrt
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import xarray as xr

from fedmi import aggregation, distance, mi
from fedmi.aggregation import DOWNLOAD, MEAN
from fedmi.mi.whitening import whiten
from fedmi.progress import track
from fedmi.sampling import provenance, replay, sampler, store
from fedmi.stats import mean_and_error
from fedmi.study import params, results
from fedmi.study import publish as publishing
from fedmi.study.methods import ALONE
from fedmi.study.params import Study
from fedmi.study.sizes import FAILS, HOLDS

SEEDS = 2048
NUMBERED = 256
"""Seeds of which a number each is published, by which they are compared on other processors."""
JUDGED = 128
"""Seeds whose clients are aggregated."""
DRAWS = 4
"""Differences that are tried on a reading, to see what they make of it."""
SLACK = 10
"""Times what they make of it is allowed."""

READINGS, RECORD = "verify.csv", "verify.json"
COLUMNS = ["study", "what", "of", "iteration", "value", "rank", "tolerance"]
COMPARED = [*COLUMNS[:4], "published", "again", "tolerance", "verdict"]

Row = dict[str, Any]
Values = dict[tuple[str, str, int], tuple[float, int | None]]
"""(what, of which clients or models, iteration) -> a reading, and the rank that it rests on."""


def readings(plan: Study, samples: xr.Dataset, theta: np.ndarray) -> Values:
    """Everything that is read of samples: MI, distances, and F of some aggregates.

    Args:
        plan: the study.
        samples: its finite first seeds.
        theta: (N, Q, K, t), what `ends` returns of them, or that with differences.
    """
    found: Values = {}
    for k, at in enumerate(sorted({plan.checkpoints[0], plan.checkpoints[-1]})):
        x, y = theta[:, 0, k], theta[:, 1, k]
        for estimator in plan.estimators:
            options = plan.calibrated_options()[estimator]
            estimate = ESTIMATORS[estimator](x, y, **options)
            rank = None if np.isnan(estimate.rank_x) else int(estimate.rank_x + estimate.rank_y)
            found[f"MI, {estimator}", "0-1", at] = float(estimate.finite_bits), rank
        for metric in distance.METRICS:
            apart, _ = distance.mean_and_error(x, y, metric=metric)
            found[f"distance, {metric}", "0-1", at] = apart, None
    return found | _objectives(plan, samples, theta)


def ends(samples: xr.Dataset) -> np.ndarray:
    """(N, Q, K, t): the parameters at the first and the last checkpoint, K being 1 or 2."""
    last = samples.sizes["iteration"] - 1
    theta = samples.theta.isel(iteration=sorted({0, last}))
    return theta.transpose("seed", "client", "iteration", "parameter").values


ESTIMATORS: Mapping[str, Callable[..., Any]] = {
    "gaussian": mi.gaussian,
    "gaussian_copula": mi.gaussian_copula,
    "ksg": mi.ksg,
}


def _objectives(plan: Study, samples: xr.Dataset, theta: np.ndarray) -> Values:
    """F of the download, a client alone and some aggregates at the end, where clients are alike."""
    if plan.rounds > 1 or plan.examples is not None:
        return {}
    uploads = theta[:JUDGED, :, -1]
    models = {ALONE: uploads[:, 0]}
    for name, aggregator in AGGREGATORS.items():
        models[name] = np.asarray(aggregation.over_seeds(aggregator, uploads))
    judge = replay.objectives(plan.make_task(), samples)
    values = judge(samples.seed.values[:JUDGED], np.stack([*models.values()], axis=1))
    names, at = (DOWNLOAD, *models), plan.checkpoints[-1]
    return {("F", n, at): (float(v), None) for n, v in zip(names, values.mean(axis=0), strict=True)}


AGGREGATORS: Mapping[str, Callable[..., jax.Array]] = {
    MEAN: aggregation.weighted_mean,
    "coordinate median": aggregation.coordinate_median,
    "geometric median": aggregation.geometric_median,
}


def learning(samples: xr.Dataset, share: float) -> Iterator[Row]:
    """The metric in training at both ends of the epoch.

    Trainings that differ by a share of the way trained disagree about at most such a share of the
    examples. Their means then differ by the square root of it, in units of the standard error.

    Args:
        samples: finite ones.
        share: by which nine of ten trainings differ (`fedmi.sampling.chaos`).
    """
    for step in (0, -1):
        metric = samples.metric.isel(step=step)
        value, error = mean_and_error(metric.mean("client").values)
        tolerance = SLACK * error * sqrt(min(share, 1.0)) + _rounding(value)
        where = dict(what="learning", of=samples.attrs["metric"], iteration=int(metric.step) - 1)
        yield where | dict(value=value, rank=None, tolerance=tolerance)


def _rounding(value: float) -> float:
    """How far float32 may carry a mean, whatever else agrees."""
    return 8 * float(np.finfo(np.float32).eps) * abs(value)


def measured(plan: Study, samples: xr.Dataset, stability: Mapping[str, float]) -> list[Row]:
    """The rows of `verify.csv` of a study: readings with their tolerances.

    Args:
        plan: the study.
        samples: its finite first seeds.
        stability: `apart_90`, `apart_most` and `share_90` of `fedmi.sampling.chaos`, at the end.
    """
    theta = ends(samples)
    values = readings(plan, samples, theta)
    off = dict.fromkeys(values, 0.0)
    for noise in differences(theta, stability["apart_90"], stability["apart_most"]):
        for name, (value, _) in readings(plan, samples, theta + noise).items():
            off[name] = max(off[name], abs(value - values[name][0]))
    rows = [
        dict(what=what, of=of, iteration=at, value=value, rank=rank)
        | dict(tolerance=SLACK * off[what, of, at] + _rounding(value))
        for (what, of, at), (value, rank) in values.items()
    ]
    return rows + list(learning(samples, stability["share_90"]))


def differences(theta: np.ndarray, apart: float, most: float) -> Iterator[np.ndarray]:
    """Differences as other rounding may make them.

    Rounding keeps what training keeps: parameters that never move, and sums that a gradient does
    not change. So a client's differences lie in the directions in which its parameters vary.

    Args:
        theta: (N, Q, K, t), the parameters.
        apart: the length of the differences, at every checkpoint, of nine clients in ten.
        most: that of all others.

    Yields:
        `DRAWS` arrays (N, Q, K, t), of normal directions.
    """
    draw = np.random.default_rng(0)
    places = list(np.ndindex(theta.shape[1:3]))
    moved = np.any(theta != theta[:, :1], axis=(0, 1))
    axes = {at: _axes(theta[:, *at], moved[at[1]]) for at in places}
    for _ in range(DRAWS):
        noise = np.zeros(theta.shape, np.float32)
        for at in places:
            along = draw.standard_normal((len(theta), axes[at].shape[1]))
            made = along @ axes[at].T
            lengths = np.where(draw.random((len(theta), 1)) < 0.9, apart, most)
            made *= lengths / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-30)
            noise[:, *at] = made
        yield noise


def _axes(columns: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """(t, r): the directions in which (N, t) parameters vary, of those that `moved`."""
    axes = np.zeros((len(moved), 0))
    if moved.any():
        own = whiten(columns[:, moved], "theta").principal.axes
        axes = np.zeros((len(moved), own.shape[1]))
        axes[moved] = own
    return axes


def numbers(theta: np.ndarray) -> list[float]:
    """A number a seed: the sum of a client's last parameters with signs drawn once.

    The numbers of two trainings differ as a normal variable does whose standard deviation is the
    distance between them.

    Args:
        theta: (N, Q, K, t), of which the first seeds and client 0 are taken.
    """
    signs = np.random.default_rng(0).choice([-1.0, 1.0], theta.shape[-1])
    return (theta[:NUMBERED, 0, -1].astype(np.float64) @ signs).tolist()


def record(run: Path, name: str, plan: Study) -> tuple[list[Row], dict[str, Any]]:
    """What is published of a sampled study, for others to compare with.

    Args:
        run: results/<scale>.
        name: of the study.
        plan: the study.

    Returns:
        Rows with `COLUMNS`, and the study's entry in `verify.json`.
    """
    manifest = results.read_json(run / name / results.MANIFEST, dict)
    kept = store.open_existing(run / name / "samples.zarr")
    samples = kept.dataset(min(SEEDS, manifest["seeds"])).compute()
    stability = manifest["stability"]
    rows = [dict(study=name) | row for row in measured(plan, sampler.finite(samples), stability)]
    entry = dict(
        seeds=samples.sizes["seed"],
        tile=kept.tile,
        arithmetic=manifest["made"]["arithmetic"],
        digest=provenance.digest(samples.theta.values),
        apart=stability["apart_90"],
        numbers=numbers(samples.theta.values),
    )
    return rows, entry


def publish(run: Path, target: Path, folder: Path) -> str:
    """Writes `verify.csv` and `verify.json` of all studies that a run holds; the others' stay.

    Args:
        run: results/<scale>.
        target: the folder that is published, its tables in place.
        folder: of the scale's params files.

    Returns:
        What was done, in words.
    """
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    there = [name for name in names if (run / name / results.MANIFEST).exists()]
    before, rows = _published(target) if (target / RECORD).exists() else ({}, pd.DataFrame())
    kept = {name: of for name, of in before.get("studies", {}).items() if name in names}
    of_study = {name: _rows_of(rows, name) for name in kept}
    for name in track(there, what="recording", unit="set"):
        plan = params.load(folder / f"{name}.yaml")
        of_study[name], kept[name] = record(run, name, plan)
    if not of_study:
        return "no study was sampled that could be made again"
    table = pd.DataFrame([row for name in names for row in of_study.get(name, [])])
    results.write(table.astype({"rank": "Int64"}), target / READINGS, COLUMNS)
    written = dict(files=_files(target), studies=dict(sorted(kept.items())))
    results.write_json(target / RECORD, written)
    return f"{READINGS} tells of {len(kept)} studies"


def _files(target: Path) -> dict[str, str]:
    """A hash of every table that figures are drawn from."""
    tables = {
        name
        for entry in publishing.read(target / publishing.PUBLISHED)
        for name in entry.tables.values()
    }
    paths = (target / name for name in sorted(tables))
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in paths
        if path.exists()
    }


def _rows_of(table: pd.DataFrame, name: str) -> list[Row]:
    """A study's rows."""
    own: pd.DataFrame = table.loc[table.study == name]
    return own.to_dict("records")


def _published(target: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    rows = results.read_csv(target / READINGS, "`make figures` publishes what was drawn")
    return results.read_json(target / RECORD, dict), rows


def again(path: Path, entry: Mapping[str, Any], rows: Sequence[Row]) -> list[Row]:
    """Makes a study's first seeds again; rows with `COMPARED`.

    Args:
        path: of its params file.
        entry: of `verify.json`.
        rows: of `verify.csv`, those of the study.
    """
    plan = params.load(path)
    given = plan.sampling() | dict(seeds=entry["seeds"], tile=entry["tile"])
    samples = sampler.sample(**given).compute()
    theta = samples.theta.values
    compared = [dict(study=path.stem, **_samples(theta, plan, entry))]
    finite = sampler.finite(samples)
    values = readings(plan, finite, ends(finite))
    values |= {
        (row["what"], row["of"], row["iteration"]): (row["value"], None)
        for row in learning(finite, 0.0)
    }
    for row in rows:
        value, rank = values.pop((row["what"], row["of"], row["iteration"]), (np.nan, None))
        verdict = HOLDS if abs(value - row["value"]) <= row["tolerance"] else FAILS
        if rank is not None and rank != row["rank"]:
            verdict = f"{FAILS}: rank {rank} instead of {row['rank']:.0f}"
        own = dict(published=row["value"], again=value, tolerance=row["tolerance"])
        compared.append({name: row[name] for name in COLUMNS[:4]} | own | dict(verdict=verdict))
    compared += [
        dict(study=path.stem, what=what, of=of, iteration=at, again=value, verdict=FAILS)
        for (what, of, at), (value, _) in values.items()
    ]
    return compared


def _samples(theta: np.ndarray, plan: Study, entry: Mapping[str, Any]) -> Row:
    """How far samples are from the published ones."""
    where = dict(what="samples", iteration=plan.checkpoints[-1])
    if entry["arithmetic"] == provenance.arithmetic():
        same = entry["digest"] == provenance.digest(theta)
        return where | dict(of="to the last digit", verdict=HOLDS if same else FAILS)
    off = np.abs(np.subtract(numbers(theta), entry["numbers"]))
    # Of normal variables nine of ten lie within 1.64 standard deviations.
    far, allowed = float(np.quantile(off, 0.9)), 2 * entry["apart"]
    verdict = HOLDS if far <= allowed else FAILS
    return where | dict(of="nine of ten within", again=far, tolerance=allowed, verdict=verdict)


def verify(target: Path, folder: Path, only: Sequence[str], workers: int) -> pd.DataFrame:
    """Compares what is published with what the code makes of it now.

    Args:
        target: the folder that is published.
        folder: of the params files.
        only: the studies; all that were published, and the tables, if none is named.
        workers: processes.

    Returns:
        Rows with `COMPARED`, those of tables that were changed among them.

    Raises:
        FileNotFoundError: if nothing was published.
        ValueError: if `only` names a study that was not.
    """
    written, rows = _published(target)
    names = list(only) or list(written["studies"])
    if unknown := set(names) - set(written["studies"]):
        raise ValueError(
            f"studies: {', '.join(sorted(unknown))} were not published; known are "
            f"{', '.join(written['studies'])}"
        )
    jobs = [
        (folder / f"{name}.yaml", written["studies"][name], _rows_of(rows, name)) for name in names
    ]
    found: list[Row] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        made = pool.map(again, *zip(*jobs, strict=True))
        for of_study in track(made, total=len(jobs), what="verifying", unit="set"):
            found += of_study
    return pd.DataFrame(found + ([] if only else _changed(target, written)), columns=COMPARED)


def _changed(target: Path, written: Mapping[str, Any]) -> list[Row]:
    """A row for every table that is not as it was published."""
    now = _files(target)
    return [
        dict(study=name, what="the table", of="to the last byte", verdict=FAILS)
        for name, before in written["files"].items()
        if now.get(name) != before
    ]


def worded(table: pd.DataFrame) -> str:
    """What was compared: a line a study and quantity, and every row that differs in full."""
    off = (table.again - table.published.fillna(0)).abs() / table.tolerance
    table = table.assign(off=off.where(table.tolerance.notna()))
    lines = table.groupby(["study", "what"], sort=False).agg(
        rows=("verdict", "size"),
        off=("off", "max"),
        same=("verdict", lambda verdicts: (verdicts == HOLDS).all()),
    )
    lines = lines.rename(columns={"off": "off, of what is allowed"}).round(3)
    text = lines.reset_index().to_string(index=False, na_rep="")
    differing: pd.DataFrame = table.loc[table.verdict != HOLDS, COMPARED]
    if len(differing):
        text += f"\n\nDifferent:\n{differing.to_string(index=False, na_rep='')}"
    return text
