"""The workflow on a real Slurm: two nodes on this machine, one of which is killed.

What runs is `make study PROFILE=slurm`, in a folder laid out as the project; what comes out is
held against `make study`.
"""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml
import zarr

from tests.slurm import cluster as slurm

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        bool(slurm.missing()),
        reason=f"no {', '.join(slurm.missing())} here (Debian's packages slurm-wlm and munge)",
    ),
]

# Large enough to be killed in the middle of sampling, and small in all that follows.
TINY = dict(
    task="tests.tiny:make",
    options=dict(learning_rate=0.25),
    coupling="shared-source",
    seeds=20_000,
    tile=256,
    checkpoints=[1, 4],
    estimators=["gaussian"],
    calibration_draws=0,
)

# A job has one CPU, as a node has, and Slurm is asked how it fares every few seconds.
FLAGS = "--max-threads 1 --slurm-init-seconds-before-status-checks 5"


def lay_out(folder):
    """Makes a folder that is the project as far as `make` can tell, without its results."""
    apart = {".venv", ".git", ".cache", ".snakemake", "params", "results"}
    for path in ROOT.iterdir():
        if path.name not in apart:
            (folder / path.name).symlink_to(path)
    (folder / ".venv").mkdir()
    for path in (ROOT / ".venv").iterdir():
        (folder / ".venv" / path.name).symlink_to(path)
    (folder / "params").mkdir()
    (folder / "params" / "quick").symlink_to(ROOT / "params" / "quick")
    (folder / "params" / "tiny").mkdir()
    for name, coupling in {"sharing": "shared-source", "sharing-null": "null"}.items():
        path = folder / "params" / "tiny" / f"{name}.yaml"
        path.write_text(yaml.safe_dump(TINY | dict(coupling=coupling)))
    return folder
