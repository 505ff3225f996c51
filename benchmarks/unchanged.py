"""`python -m benchmarks.unchanged`: do the fast layouts change a study's numbers?

Samples the quick studies twice, with fedmi's layouts and with the plain Flax networks in their
place (the same keys, the same steps), estimates from both, and writes by how much the tables
differ to figures/unchanged.csv.
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pandas as pd

import fedmi
from benchmarks.sampling import plain_signal
from fedmi.models.lenet import LeNet
from fedmi.study import params, results, tables
from fedmi.study.params import Study
from fedmi.tasks.augmentation import draw_maps, warp
from fedmi.tasks.augmented_digits import select

FIGURES = Path(__file__).parents[1] / "figures"
STUDIES = ("signal", "digits")
LARGEST = dict.fromkeys(("largest_change", "largest_change_in_perm_sd"), "max")
"""Columns of which the largest is taken over pairs; of the others the mean."""


def plain_task(study: Study) -> fedmi.Task:
    """The study's task with the plain Flax network where fedmi has a layout of its own."""
    task = study.make_task()
    if task.name == "signal":
        return dataclasses.replace(task, loss=plain_signal(**study.options).loss)
    ranges = {name: task.options[name] for name in ("rotation", "zoom", "shift")}

    @jax.custom_batching.sequential_vmap
    def features(lenet, packed, selected, maps):
        images = warp(packed, selected, maps).transpose(2, 0, 1)
        return LeNet().apply({"params": lenet}, images, method="features")

    def data(keys, assets):
        own = select(keys["selection"], len(assets["labels"]), task.examples)
        maps = draw_maps(keys["augmentation"], task.examples, **ranges)
        return {
            "features": features(assets["lenet"], assets["packed"], own, maps),
            "labels": assets["labels"][own],
        }

    return dataclasses.replace(task, data=data)


def estimates(study: Study, task: fedmi.Task) -> pd.DataFrame:
    """What the notebooks 01 to 03 tabulate, one row an estimate or a distance."""
    samples = fedmi.sample(
        task,
        seeds=study.seeds,
        clients=study.clients,
        coupling=study.coupling,
        checkpoints=study.checkpoints,
        root_seed=study.root_seed,
    )
    samples = fedmi.finite(samples)
    rows = []
    for iteration in study.checkpoints:
        for estimator in study.estimators:
            found = tables.mi_rows(
                samples,
                iteration,
                estimator=estimator,
                permutations=study.permutations,
                **study.options_of(estimator),
            )
            rows += [
                dict(
                    what=f"{name}, {estimator}",
                    iteration=iteration,
                    value=row[name],
                    error=row["perm_sd"],
                    n=row["n"],
                )
                for row in found
                for name in ("raw_bits", "net_bits")
            ]
        rows += [
            dict(
                what=f"distance, {row['metric']}",
                iteration=iteration,
                value=row["distance"],
                error=np.nan,
            )
            for row in tables.distance_rows(samples, iteration)
        ]
    return pd.DataFrame(rows)


def compare(name: str) -> pd.DataFrame:
    """By how much both ways of a study differ over its pairs, by quantity and checkpoint."""
    study = params.load(f"params/quick/{name}.yaml")
    fast, plain = (estimates(study, task) for task in (study.make_task(), plain_task(study)))
    if not (fast.n.dropna() == plain.n.dropna()).all():
        raise ValueError(f"{name}: not the same seeds are finite in both ways")
    change = fast.value - plain.value
    table = pd.DataFrame(
        dict(
            what=fast.what,
            iteration=fast.iteration,
            mean_value=plain.value,
            largest_change=change.abs(),
            mean_change=change,
            largest_change_in_perm_sd=(change / plain.error).abs(),
            mean_change_in_perm_sd=change / plain.error,
        )
    )
    grouped = table.groupby(["what", "iteration"], sort=False)
    return (
        grouped.agg(dict.fromkeys(table.columns[2:], "mean") | LARGEST)
        .reset_index()
        .assign(study=name)
    )


def main() -> None:
    """Compares both quick studies and writes the table."""
    table = pd.concat([compare(name) for name in STUDIES])
    table = table[["study", *table.columns.drop("study")]]
    results.write_whole(FIGURES / "unchanged.csv", table.to_csv(index=False, float_format="%.3g"))
    print(table.to_string(index=False))
    net = table[table.what == "net_bits, gaussian"].groupby("study").mean_change_in_perm_sd
    print("Mean signed change of net_bits (Gaussian), in perm_sd:", net.mean().to_dict())


if __name__ == "__main__":
    main()
