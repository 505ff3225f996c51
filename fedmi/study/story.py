"""RESULTS.md: what was found, claim by claim, and which aggregator to use."""

from itertools import groupby
from pathlib import Path

from fedmi.study import claims, results, summary, training
from fedmi.study.figures import figure_names


def facts(published: Path) -> dict:
    """What RESULTS.md says.

    Args:
        published: the published tables.

    Raises:
        FileNotFoundError: if a table is missing.
    """
    traces = claims.facts(published)["traces"]
    of_claims = groupby(traces, key=lambda trace: trace[1]["claim"].name)
    return dict(
        claims=[[dict(of, task=task) for task, of in group] for _, group in of_claims],
        ends=summary.facts(published)["ends"],
        figures={task: figure_names(task) for task in summary.TASKS},
        trainings=_trainings(published),
    )


def _trainings(published: Path) -> list[dict]:
    """What is known of training over many rounds, of every task where it was published."""
    names = sorted(path.name[: -len("-choice.csv")] for path in published.glob("*-choice.csv"))
    return [
        training.facts(
            *(results.read_csv(published / f"{name}{end}.csv") for end in training.TABLES)
        )
        | dict(name=name)
        for name in names
    ]
