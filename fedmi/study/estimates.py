"""A study's estimates of mutual information, checkpoint by checkpoint, each kept as it is made.

A checkpoint's estimates depend on no other's: they can be made in jobs of their own, and a notebook
that was interrupted goes on where it stopped.
"""

import json
from pathlib import Path
from typing import Any

import xarray as xr

from fedmi.study import tables
from fedmi.study.params import Study
from fedmi.tasks.task import plain


def part_of(folder: Path, iteration: int) -> Path:
    """The file of a checkpoint's estimates in a study's folder."""
    return folder / "mi" / f"{iteration}.json"


def checkpoint_rows(study: Study, samples: xr.Dataset, folder: Path, iteration: int) -> list[dict]:
    """The rows of `fedmi.study.tables.mi_rows` of all estimators at a checkpoint.

    Those that the folder has already, of the same samples and the same options, are read.

    Args:
        study: the study.
        samples: its finite samples.
        folder: of its results.
        iteration: the checkpoint.

    Raises:
        ValueError: if it is none of the study's checkpoints, or the samples are not what an
            estimator can take.
    """
    if iteration not in study.checkpoints:
        raise ValueError(f"checkpoint: {iteration} is none of the study's, {study.checkpoints}")
    path, of = part_of(folder, iteration), _basis(study, samples)
    kept = _kept(path)
    if kept.get("of") != of:
        rows = [
            row
            for estimator in study.estimators
            for row in tables.mi_rows(
                samples,
                iteration,
                estimator=estimator,
                permutations=study.permutations,
                **study.options_of(estimator),
            )
        ]
        text = json.dumps(dict(of=of, rows=rows), default=plain)
        tables.write_whole(path, lambda draft: draft.write_text(text))
        kept = json.loads(text)
    return kept["rows"]


def _kept(path: Path) -> dict[str, Any]:
    """What a checkpoint's file holds, nothing if there is none or it is damaged."""
    try:
        return tables.read_json(path, dict)
    except (FileNotFoundError, ValueError):
        return {}


def _basis(study: Study, samples: xr.Dataset) -> dict[str, Any]:
    """What the estimates depend on."""
    return dict(
        samples=samples.attrs["hash"],
        seeds=samples.sizes["seed"],
        excluded=samples.attrs["excluded"],
        permutations=study.permutations,
        estimators={name: study.options_of(name) for name in study.estimators},
    )
