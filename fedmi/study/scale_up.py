"""Larger networks and more clients than the paper's: what remains of its questions there.

How two clients depend on each other is read layer by layer (`fedmi.study.layerwise`); what their
mean yields is judged for ever more of them (`fedmi.study.averaging`).
"""

from pathlib import Path

import numpy as np
import pandas as pd

from fedmi.progress import track
from fedmi.sampling.sampler import finite, sample
from fedmi.stats import bonferroni_limit, sign
from fedmi.study.averaging import ALONE, AVERAGING_COLUMNS, POOLED, averaging_rows
from fedmi.study.layerwise import (
    ALL,
    CANONICAL,
    DISTANCE_COLUMNS,
    MI_COLUMNS,
    RANDOM,
    distance_rows,
    mi_rows,
)
from fedmi.study.params import Case, ScaleUp
from fedmi.study.tables import groups


def measure(plan: ScaleUp, case: Case, store: Path) -> dict[str, pd.DataFrame]:
    """The tables "mi", "distances" and "averaging" of a case, sampled first where need be.

    Args:
        plan: the params file.
        case: one of its cases.
        store: of the case's samples.
    """
    study = plan.study(case)
    task = study.make_task()
    samples = finite(sample(**dict(study.sampling(), task=task), store=store))
    readings, distances = [], []
    for iteration in track(study.checkpoints, what="measuring", unit="checkpoint"):
        readings += mi_rows(
            task,
            samples,
            iteration,
            directions=plan.directions,
            among=plan.among,
            permutations=plan.permutations,
        )
        distances += distance_rows(task, samples, iteration)
    averaging = averaging_rows(task, samples, seeds=plan.judged_seeds)
    made = {
        "mi": (readings, MI_COLUMNS),
        "distances": (distances, DISTANCE_COLUMNS),
        "averaging": (averaging, AVERAGING_COLUMNS),
    }
    return {
        name: pd.DataFrame([dict(row, case=case.name) for row in rows], columns=columns)
        for name, (rows, columns) in made.items()
    }


def facts(readings: pd.DataFrame, distances: pd.DataFrame, averaging: pd.DataFrame) -> dict:
    """What the page "scale-up" says.

    Args:
        readings: rows with `MI_COLUMNS`.
        distances: rows with `DISTANCE_COLUMNS`.
        averaging: rows with `AVERAGING_COLUMNS`.
    """
    limit = bonferroni_limit(len(readings[["case", "layer"]].drop_duplicates()))
    euclidean = last(distances.loc[distances.metric == "euclidean"]).set_index(["case", "layer"])
    layers_found = [
        dict(
            case=case,
            layer=layer,
            size=of["size"].iloc[0],
            readings={
                kind: rows.set_index("estimator").to_dict("index")
                for kind, rows in of.groupby("kind")
            },
            **euclidean.loc[(case, layer), ["closer", "closer_se"]],
        )
        for (case, layer), of in last(readings).groupby(["case", "layer"], sort=False)
    ]
    final = last(averaging)
    return dict(
        limit=limit,
        seeds=averaging.seeds.min(),
        kinds=(ALL, RANDOM, CANONICAL),
        layers=layers_found,
        cases=[
            {name: of[name].iloc[0] for name in ("case", "task", "parameters", "clients")}
            | _course(of, limit)
            for _, of in groups(readings, "case")
        ],
        models=final.loc[final.model != ALONE].to_dict("records"),
        gains=[_gain(of) for _, of in groups(final, "case")],
    )


def last(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each case's last iteration."""
    return table.loc[table.iteration == table.groupby("case").iteration.transform("max")]


def _course(of: pd.DataFrame, limit: float) -> dict:
    """Whether the readings of a case's layers in canonical directions rise between its ends."""
    of = of.loc[(of.kind == CANONICAL) & (of.estimator == "gaussian")]
    ends = [of.iteration.min(), of.iteration.max()]
    layers_of: dict[str, list[str]] = {}
    if ends[0] < ends[1]:
        for layer, rows in groups(of, "layer"):
            at = rows.set_index("iteration")
            change, error = np.diff(at.net_bits[ends])[0], np.hypot(*at.net_se[ends])
            layers_of.setdefault(sign(change, error, limit), []).append(layer)
    return dict(first=ends[0], last=ends[1], courses=layers_of)


def _gain(of: pd.DataFrame) -> dict:
    """What the mean of all clients of a case gains, and what share of it that of two.

    The error of the share is as if both erred independently. Where the gain may be chance, or the
    clients are two, there is no share.
    """
    means = of.loc[of.averaged > 0].set_index("averaged")
    clients = int(means.index.to_numpy().max())
    every, two = means.loc[clients], means.loc[2]
    found = dict(
        case=of.case.iloc[0],
        clients=clients,
        every=every.to_dict(),
        pooled=of.loc[of.model == POOLED].iloc[0].to_dict(),
        chance=sign(every.objective_less_alone, every.objective_less_alone_se) == "open",
        share=None,
    )
    if clients > 2 and not found["chance"]:
        share = two.objective_less_alone / every.objective_less_alone
        errors = [two.objective_less_alone_se, share * every.objective_less_alone_se]
        found |= dict(
            share=share,
            share_se=np.hypot(*errors) / abs(every.objective_less_alone),
            quadratic=0.5 / (1 - 1 / clients),
        )
    return found
