"""Chooses the default among the readings of the signal task's network, by a rule.

A reading is allowed if it has the paper's 394 parameters and does not train chaotically; of those
the one is taken whose fresh mean squared error is the lowest, at the learning rate that is the best
on other seeds. No mutual information is looked at. Every seed has a download of its own.

    python -m benchmarks.readings       writes figures/signal-readings.csv and -rates.csv
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from fedmi import sample
from fedmi.sampling import chaos
from fedmi.sampling.design import Design
from fedmi.sampling.replay import held_out_metrics
from fedmi.sampling.sampler import finite
from fedmi.study import results, ridge
from fedmi.tasks import get
from fedmi.tasks.signal import Reading
from fedmi.tasks.task import Task

PARAMETERS = 394
RATES = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5)
JUDGING, TUNING = 0, 1
"""Root seeds."""
OF = dict(clients=2, coupling="independent")


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


def at_rate(reading: str, rate: float, seeds: int) -> dict:
    """A row of the table of rates."""
    task = get("signal", reading=reading, learning_rate=rate)
    tuned = fresh_error(task, seeds=seeds, root_seed=TUNING)
    return dict(reading=reading, learning_rate=rate) | tuned


def judged(reading: str, rate: float, seeds: int, perturbed: int) -> dict:
    """A row of the table of readings, at the rate that was found."""
    task = get("signal", reading=reading, learning_rate=rate)
    design = replace(Design.of(task, **OF), root_seed=JUDGING)
    growth = chaos.table(chaos.perturbed(design, seeds=perturbed)).iloc[-1].drop("iteration")
    return (
        dict(reading=reading, parameters=task.parameter_count, learning_rate=rate, seeds=seeds)
        | fresh_error(task, seeds=seeds, root_seed=JUDGING)
        | growth.to_dict()
    )


def choose(table: pd.DataFrame) -> pd.DataFrame:
    """The table with which readings are allowed, and which is the default."""
    allowed = (table.parameters == PARAMETERS) & (table.growth_median <= chaos.LARGEST_GROWTH)
    best = table.fresh_mse.where(allowed).idxmin()
    return table.assign(allowed=allowed, default=table.index == best)


def main() -> None:
    """Tunes, judges, chooses, and writes both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--tuning-seeds", type=int, default=256)
    parser.add_argument("--perturbed-seeds", type=int, default=chaos.SEEDS)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--target", type=Path, default=Path("figures"))
    given = parser.parse_args()
    readings = get_args(Reading)
    with ProcessPoolExecutor(given.workers, get_context("spawn")) as pool:
        points = [(reading, rate) for reading in readings for rate in RATES]
        tuned = pool.map(at_rate, *zip(*points, strict=True), [given.tuning_seeds] * len(points))
        rates = pd.DataFrame(tuned)
        whole = rates.loc[rates.diverged == 0]
        best = whole.loc[whole.groupby("reading").fresh_mse.idxmin()].set_index("reading")
        own = [float(best.learning_rate[reading]) for reading in readings]
        rows = pool.map(
            judged,
            readings,
            own,
            [given.seeds] * len(readings),
            [given.perturbed_seeds] * len(readings),
        )
        table = choose(pd.DataFrame(rows))
    allowed = ridge.errors(Design.of(get("signal"), **OF), seeds=given.tuning_seeds)
    found = {name: float(values.mean()) for name, values in allowed.items()}
    limit = dict(
        reading="ridge regression",
        seeds=given.tuning_seeds,
        fresh_mse=float(np.mean(list(found.values()))),
        shift_mse=found["mse of shift"],
        scale_mse=found["mse of scale"],
    )
    results.write(rates, given.target / "signal-rates.csv")
    written = pd.concat([table, pd.DataFrame([limit])], ignore_index=True)
    print(results.write(written, given.target / "signal-readings.csv").round(4).to_string())


if __name__ == "__main__":
    main()
