"""The tidy tables that figures are drawn from: one row an estimate, a distance or a mean."""

import zlib
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from fedmi import distance, mi
from fedmi.mi.trust.report import COLUMNS as REPORT_COLUMNS
from fedmi.mi.trust.report import Report
from fedmi.sampling import chaos
from fedmi.scopes import root_key
from fedmi.stats import Z95, family_p_values, mean_and_error, sign
from fedmi.study import results
from fedmi.study.pages import render
from fedmi.study.params import Study
from fedmi.tasks.task import Task

MI_COLUMNS = [
    "task", "coupling", "pair", "iteration", "estimator", "net_bits", "bits", "raw_bits",
    "finite_bits", "shared_directions", "null_bits", "null_sd", "perm_bits", "perm_sd",
    "permutations", "z", "p_value", "p_fit", "p_wilks", "low", "high", "ceiling_bits", "n",
    "excluded", "rank_x", "rank_y", "metric", "k", "p_family",
]  # fmt: skip
NULL_COLUMNS = ["task", "coupling", "pair", "iteration", "estimator", "k", "repairing", "bits"]
TRUST_COLUMNS = ["task", "coupling", "pair", "iteration", *REPORT_COLUMNS]
DISTANCE_COLUMNS = [
    "task", "coupling", "pair", "iteration", "metric", "distance", "unmatched", "distance_se",
]  # fmt: skip
LEARNING_COLUMNS = ["task", "coupling", "client", "iteration", "metric", "mean", "low", "high"]

REPAIRINGS = 4  # behind an unmatched distance, a mean over so many times N seeds
HELD_OUT = "held-out "  # before a metric's name: taken on data that the client has not trained on
RIDGE = "ridge regression, "  # likewise: on the same data, of a model fitted to the client's own


def mi_rows(
    samples: xr.Dataset, iteration: int, *, estimator: str, permutations: int, **options
) -> list[dict]:
    """The rows of `mi.csv` for every pair of clients at one checkpoint.

    Args:
        samples: finite samples (`fedmi.finite`), which are read one checkpoint at a time.
        iteration: the checkpoint.
        estimator: "gaussian" or "ksg".
        permutations: re-pairings of seeds behind the null.
        **options: of the estimator.

    Returns:
        The columns of `MI_COLUMNS` but the last (see `with_family_p`), and beside them
        `rounding_bits`, by how much the precision of the computation moves the estimate, and
        `permuted`, the estimate over re-paired seeds (`fedmi.mi.result.PairEstimate`).

    Raises:
        ValueError: if the samples are not what the estimator can take.
    """
    # Seeds are re-paired alike at every checkpoint: what is read there can then be compared, and
    # taken together (`with_family_p`).
    key = root_key(samples.attrs["root_seed"])
    pairs = mi.pairwise(
        [
            samples.theta.sel(client=client, iteration=iteration).values
            for client in samples.client.values
        ],
        estimator=estimator,
        permutations=permutations,
        key=jax.random.fold_in(key, zlib.crc32(estimator.encode())),
        **options,
    )
    return [
        dict(origin(samples), iteration=iteration, excluded=samples.attrs["excluded"])
        | pair.row()
        | dict(rounding_bits=pair.rounding_bits, permuted=pair.permuted)
        for pair in pairs
    ]


def checkpoint_rows(study: Study, samples: xr.Dataset, folder: Path, iteration: int) -> list[dict]:
    """The rows of `mi_rows` of all of a study's estimators at a checkpoint, made once and kept.

    A checkpoint's estimates depend on no other's: they can be made in jobs of their own, and a
    notebook that was interrupted goes on where it stopped.

    Args:
        study: the study.
        samples: its finite samples.
        folder: of its results, which keeps them in mi/<iteration>.json.
        iteration: the checkpoint.

    Raises:
        ValueError: if it is none of the study's checkpoints, or the samples are not what an
            estimator can take.
    """
    if iteration not in study.checkpoints:
        raise ValueError(f"checkpoint: {iteration} is none of the study's, {study.checkpoints}")
    options = {name: study.options_of(name) for name in study.estimators}
    basis = dict(
        samples=samples.attrs["hash"],
        seeds=samples.sizes["seed"],
        excluded=samples.attrs["excluded"],
        permutations={name: study.permutations_of(name) for name in options},
        estimators=options,
    )

    def make() -> list[dict]:
        return [
            row
            for name, of in options.items()
            for row in mi_rows(
                samples,
                iteration,
                estimator=name,
                permutations=study.permutations_of(name),
                **of,
            )
        ]

    return results.kept(folder / "mi" / f"{iteration}.json", basis, make)


def with_family_p(rows: list[dict]) -> list[dict]:
    """The rows of `mi.csv` with the column `p_family`.

    It is the p-value adjusted for all pairs and checkpoints of an estimator (of a k): see
    `fedmi.stats`. 0.05 there means that the whole family had a chance of 5 % of reading as much
    anywhere.

    Args:
        rows: all rows of a study, as `mi_rows` makes them.
    """
    families: dict[tuple, list[dict]] = {}
    for row in rows:
        families.setdefault((row["estimator"], str(row["k"])), []).append(row)
    adjusted = []
    for family in families.values():
        bits, permuted = (np.array([row[name] for row in family]) for name in ("bits", "permuted"))
        values = family_p_values(bits, permuted)
        adjusted += [row | dict(p_family=p) for row, p in zip(family, values, strict=True)]
    return adjusted


def null_rows(rows: list[dict]) -> list[dict]:
    """The rows of `null.csv`: what each estimate of `mi_rows` reads for every re-pairing."""
    return [
        {name: row[name] for name in NULL_COLUMNS[:6]} | dict(repairing=s, bits=bits)
        for row in rows
        for s, bits in enumerate(row["permuted"], start=1)
    ]


def trust_rows(samples: xr.Dataset, iteration: int, found: Report) -> list[dict]:
    """The rows of `trust.csv`: what the estimates of clients 0 and 1 at a checkpoint are worth."""
    where = dict(origin(samples), pair="0-1", iteration=iteration)
    return [where | row for row in found.table.to_dict("records")]


def first_k(mi: pd.DataFrame) -> pd.DataFrame:
    """The table mi.csv without the rows of any but the first k, where KSG was asked for several."""
    ks = mi.k[mi.estimator == "ksg"]
    return mi.drop(ks.index[ks != ks.iloc[0]]) if len(ks) else mi


def mean_of(name: str, values: ArrayLike) -> dict[str, float]:
    """Two columns: the mean of independent values, and its standard error as `<name>_se`."""
    mean, error = mean_and_error(values)
    return {name: mean, f"{name}_se": error}


def net_error(of: Mapping[str, Any] | pd.DataFrame):
    """The standard error of `net_bits`: of the estimate, and of the mean over its re-pairings.

    Args:
        of: a row with the columns of `MI_COLUMNS`, or a table of them.
    """
    sampling = (of["high"] - of["low"]) / (2 * Z95)
    sampling = np.where(np.isfinite(sampling), sampling, of["perm_sd"])
    return np.hypot(sampling, of["perm_sd"] / np.sqrt(of["permutations"]))


def mi_means(mi: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What every estimator reads at every checkpoint, means over pairs.

    Args:
        mi: rows of mi.csv, of one study; of several k those of the first count.

    Returns:
        Estimator -> by iteration: `net_bits`, which is of the part on the directions that are not
        shared where the whole reads infinity; its standard error `net_se`, a mean too, as if the
        pairs, which share clients, erred alike; `shared_directions`; whether any pair's reading is
        `infinite`; and the smallest `p_family`.
    """
    mi = first_k(mi)
    mi = mi.assign(
        infinite=np.isinf(mi.bits),
        net_bits=mi.finite_bits - mi.perm_bits,
        net_se=net_error(mi),
    )
    means = dict.fromkeys(("net_bits", "net_se", "shared_directions"), "mean")
    how = means | dict(infinite="any", p_family="min")
    return {name: rows.groupby("iteration").agg(how) for name, rows in groups(mi, "estimator")}


def groups(table: pd.DataFrame, name: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each coupling, layer, ..., in the order in which the table first has them.

    Args:
        table: a table.
        name: of a column (or a level of the index) of words.
    """
    for word, rows in table.groupby(name, sort=False):
        yield str(word), rows


def distance_rows(samples: xr.Dataset, iteration: int) -> list[dict]:
    """The rows of `distances.csv` for every pair of clients at one checkpoint.

    `unmatched` is the same distance between clients of different seeds: what two clients are apart
    that have nothing in common but the law they are drawn from. `distance_se` is the standard error
    of the mean over seeds.
    """
    key = jax.random.fold_in(root_key(samples.attrs["root_seed"]), iteration)
    theta = samples.theta.sel(iteration=iteration).values
    rows = []
    for metric in distance.METRICS:
        for a, b in combinations(range(samples.sizes["client"]), 2):
            x, y = theta[:, a], theta[:, b]
            apart, error = distance.mean_and_error(x, y, metric=metric)
            unmatched = distance.unmatched(x, y, metric=metric, m=REPAIRINGS, key=key)
            rows.append(
                dict(
                    origin(samples),
                    pair=f"{a}-{b}",
                    iteration=iteration,
                    metric=metric,
                    distance=apart,
                    unmatched=unmatched,
                    distance_se=error,
                )
            )
    return rows


def learning_rows(
    samples: xr.Dataset,
    metric: str,
    held_out: xr.Dataset | None = None,
    ridge: xr.Dataset | None = None,
) -> list[dict]:
    """The rows of `learning.csv`: the metric's mean over seeds with its 95 % interval.

    Args:
        samples: finite samples. The metric of step s is taken on a minibatch before the step that
            uses it, so that it belongs to iteration s - 1.
        metric: what the metric is called.
        held_out: the metric on held-out data and what it is the mean of, if there are any
            (`fedmi.sampling.replay.held_out_metrics`).
        ridge: what ridge regression makes of the same data (`fedmi.study.ridge.errors`).
    """
    during = samples.metric.rename(step="iteration")
    during = during.assign_coords(iteration=during.iteration - 1)
    rows = list(_means(during, samples, metric))
    for before, found in ((HELD_OUT, held_out), (RIDGE, ridge)):
        for name, values in ({} if found is None else found).items():
            rows += _means(values, samples, f"{before}{name}")
    return rows


def compare_with_rounding(stability: pd.DataFrame) -> str:
    """Whether training is chaotic: a sentence, as Markdown.

    Args:
        stability: the table of `fedmi.sampling.chaos`.
    """
    last = stability.iloc[-1].to_dict()
    return render("stability", last | dict(chaotic=chaos.is_chaotic(stability)))


def compare_with_baseline(task: Task, learning: pd.DataFrame) -> str:
    """Whether the trained networks beat the best constant prediction: a sentence, as Markdown.

    Args:
        task: the task, with its baseline.
        learning: the table learning.csv, with rows on held-out data.
    """
    fresh = learning.loc[learning.metric == HELD_OUT + task.metric]
    last = fresh.loc[fresh.iteration == fresh.iteration.max()]
    mean = last["mean"].mean()
    # The clients of a seed may share their data; the mean of their errors bounds that of their mean
    # whatever they share.
    error = (last.high - last.low).mean() / (2 * Z95)
    beats = None
    if task.baseline is not None:
        gain = (mean - task.baseline) * (1 if task.larger_is_better else -1)
        beats = sign(gain, error)
    facts = dict(
        iteration=last.iteration.iloc[0],
        metric=task.metric,
        mean=mean,
        error=error,
        baseline=task.baseline,
        beats=beats,
    )
    return render("baseline", facts)


def _means(values: xr.DataArray, samples: xr.Dataset, metric: str) -> Iterator[dict]:
    mean = values.mean("seed", dtype=np.float64)
    half = Z95 * values.std("seed", ddof=1, dtype=np.float64) / np.sqrt(values.sizes["seed"])
    for client in samples.client.values:
        for iteration in values.iteration.values:
            centre = float(mean.sel(iteration=iteration)[client])
            width = float(half.sel(iteration=iteration)[client])
            yield dict(
                origin(samples),
                client=client,
                iteration=iteration,
                metric=metric,
                mean=centre,
                low=centre - width,
                high=centre + width,
            )


def origin(samples: xr.Dataset) -> dict[str, str]:
    """The task and the coupling of a row."""
    return dict(task=samples.attrs["task"], coupling=samples.attrs["coupling"])
