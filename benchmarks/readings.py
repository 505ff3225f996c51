"""Chooses the default among the readings of the signal task's network, by a rule.

A reading is allowed if it has the paper's 394 parameters and does not train chaotically; of those
the one is taken whose fresh mean squared error is the lowest, at the learning rate that is the best
on other seeds. No mutual information is looked at. Every seed has a download of its own.

Beside them stands what the data allow (ridge regression), and both where every example has a source
of its own, from which the shift cannot be told.

    python -m benchmarks.readings       writes figures/signal-readings.csv and -rates.csv
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from benchmarks.output import write
from fedmi import sample
from fedmi.sampling import chaos
from fedmi.sampling.design import Design
from fedmi.sampling.replay import held_out_metrics
from fedmi.sampling.sampler import finite
from fedmi.study import ridge
from fedmi.tasks import get
from fedmi.tasks.signal import DEFAULT_READING, Reading
from fedmi.tasks.task import Task

PARAMETERS = 394
RATES = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5)
JUDGING, TUNING = 0, 1
"""Root seeds."""
OF = dict(clients=2, coupling="independent")
SOURCES = {"client": get_args(Reading), "example": (DEFAULT_READING,)}
"""The readings that are trained on data of each kind."""


def fresh_error(task: Task, *, seeds: int, root_seed: int) -> dict[str, float]:
    """The mean squared error on fresh examples after an epoch, over seeds with a download each."""
    samples = sample(task, seeds=seeds, root_seed=root_seed, **OF)
    whole = finite(samples)
    last = held_out_metrics(task, whole, seeds=seeds).isel(iteration=-1)
    of_seeds = last.mse.mean("client")
    return dict(
        fresh_mse=float(of_seeds.mean()),
        fresh_mse_se=float(of_seeds.std(ddof=1)) / np.sqrt(of_seeds.size),
        share_below_1=float((of_seeds < 1).sum()) / seeds,
        shift_mse=float(last["mse of shift"].mean()),
        scale_mse=float(last["mse of scale"].mean()),
        diverged=int(whole.attrs["excluded"]),
    )


def at_rate(source: str, reading: str, rate: float, seeds: int) -> dict:
    """A row of the table of rates."""
    task = get("signal", source=source, reading=reading, learning_rate=rate)
    tuned = fresh_error(task, seeds=seeds, root_seed=TUNING)
    return dict(source=source, reading=reading, learning_rate=rate) | tuned


def judged(source: str, reading: str, rate: float, seeds: int, perturbed: int) -> dict:
    """A row of the table of readings, at the rate that was found."""
    task = get("signal", source=source, reading=reading, learning_rate=rate)
    design = Design.of(task, root_seed=JUDGING, **OF)
    growth = chaos.table(chaos.perturbed(design, seeds=perturbed)).iloc[-1].drop("iteration")
    row = dict(source=source, reading=reading, parameters=task.parameter_count, learning_rate=rate)
    found = fresh_error(task, seeds=seeds, root_seed=JUDGING)
    return row | dict(seeds=seeds) | found | growth.to_dict()


def allowed(source: str, seeds: int) -> dict:
    """The row of ridge regression."""
    errors = ridge.errors(Design.of(get("signal", source=source), **OF), seeds=seeds)
    shift, scale = (float(errors[f"mse of {target}"].mean()) for target in ("shift", "scale"))
    row = dict(source=source, reading="ridge regression", seeds=seeds)
    return row | dict(fresh_mse=(shift + scale) / 2, shift_mse=shift, scale_mse=scale)


def choose(table: pd.DataFrame) -> pd.DataFrame:
    """The table with which readings are allowed, and which is the default."""
    stable = table.growth_median <= chaos.LARGEST_GROWTH
    may = (table.source == "client") & (table.parameters == PARAMETERS) & stable
    best = table.fresh_mse.where(may).idxmin()
    return table.assign(allowed=may, default=table.index == best)


def main() -> None:
    """Tunes, judges, chooses, and writes both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--tuning-seeds", type=int, default=256)
    parser.add_argument("--perturbed-seeds", type=int, default=chaos.SEEDS)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--target", type=Path, default=Path("figures"))
    given = parser.parse_args()
    variants = [(source, reading) for source, of in SOURCES.items() for reading in of]
    with ProcessPoolExecutor(given.workers, get_context("spawn")) as pool:
        points = [(*variant, rate) for variant in variants for rate in RATES]
        tuned = pool.map(partial(at_rate, seeds=given.tuning_seeds), *zip(*points, strict=True))
        rates = pd.DataFrame(tuned)
        whole = rates.loc[rates.diverged == 0].set_index(["source", "reading", "learning_rate"])
        best = whole.fresh_mse.groupby(["source", "reading"], sort=False).idxmin()
        judge = partial(judged, seeds=given.seeds, perturbed=given.perturbed_seeds)
        table = choose(pd.DataFrame(pool.map(judge, *zip(*best, strict=True))))
    limits = pd.DataFrame([allowed(source, given.tuning_seeds) for source in SOURCES])
    written = pd.concat([table, limits], ignore_index=True)
    for name, of in {"signal-rates": rates, "signal-readings": written}.items():
        write(of.to_csv(index=False), f"{name}.csv", target=given.target)
    print(written.round(4).to_string())


if __name__ == "__main__":
    main()
