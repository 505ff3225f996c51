"""The paper's figures in numbers, and what the readings are worth."""

from pathlib import Path

import pandas as pd

from fedmi.mi.trust.report import sentence
from fedmi.study import conclusions, results, tables
from fedmi.study.figures import figure_names

TASKS = ("signal", "digits")


def facts(folder: Path) -> dict:
    """What the page "summary" says, of what was published.

    Args:
        folder: the published tables.
    """
    return dict(
        ends=[row for task in TASKS for row in _ends(folder, task)],
        nothing=[found for task in TASKS if (found := _of_nothing(folder, task))],
        trust=[found for task in TASKS if (found := _trust(folder, task))],
    )


def _ends(folder: Path, task: str) -> list[dict]:
    """The first and the last checkpoint, means over pairs; `net_se` is that of a single pair."""
    mi, distances = (results.read_csv(folder / f"{name}.csv") for name in figure_names(task))
    mi = tables.first_k(mi).assign(net_se=tables.net_error)
    rows = []
    for at in conclusions.of_distances(distances).values():
        of = mi.loc[mi.iteration == at["iteration"]].groupby("estimator").mean(numeric_only=True)
        rows.append(
            dict(
                task=task,
                re_paired=of.raw_bits["gaussian"] - of.net_bits["gaussian"],
                **at,
                **{name: of.loc[name].to_dict() for name in ("gaussian", "ksg")},
            )
        )
    return rows


def _of_nothing(folder: Path, task: str) -> dict | None:
    """The range of what is read where clients share nothing, None if that was not run."""
    path = folder / f"{figure_names(f'{task}-null')[0]}.csv"
    if not path.exists():
        return None
    net = tables.first_k(results.read_csv(path)).groupby("estimator").net_bits
    return dict(task=task, low=net.min().to_dict(), high=net.max().to_dict())


def _trust(folder: Path, task: str) -> dict | None:
    """What the calibrated readings are worth, None where nothing was calibrated."""
    path = folder / f"{task}-calibration.csv"
    if not path.exists():
        return None
    rows: pd.DataFrame = results.read_csv(path)
    bands = results.read_csv(folder / f"{task}-calibration-bands.csv")
    tops = rows.estimator.map(bands.groupby("estimator").true_bits.max())
    return dict(
        task=task,
        rows=rows.assign(top=tops).to_dict("records"),
        agreement=sentence(rows, bands.true_bits.max()),
    )
