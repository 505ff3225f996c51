"""What a tile of each task's samples was, to the bit, and on what it was computed.

`python -m tests.golden` records it anew: only where samples are meant to change.
"""

import hashlib
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

FOLDER = Path(__file__).parent
RECORD = FOLDER / "golden.json"
TILES = {
    "signal": dict(seeds=4, clients=2, checkpoints=[1, 20], tile=4),
    "digits": dict(seeds=4, clients=2, checkpoints=[1, 20], tile=4),
    "lenet": dict(seeds=1, clients=2, checkpoints=[1, 20], tile=1),
}
"""The arguments of `fedmi.sample` for each task; everything else is as by default."""
EVERY = {"signal": 1, "digits": 1, "lenet": 61}
"""Of how many parameters one is kept for comparison within a tolerance."""


def tile_of(task: str) -> xr.Dataset:
    """A task's tile, sampled into memory."""
    import fedmi

    return fedmi.sample(task, **TILES[task])


def hashes(samples: xr.Dataset) -> dict[str, str]:
    """Of theta's and the metric's bytes."""
    return {
        name: hashlib.sha256(np.ascontiguousarray(samples[name].values)).hexdigest()
        for name in ("theta", "metric")
    }


def values(samples: xr.Dataset, task: str) -> dict[str, np.ndarray]:
    """What is kept for comparison within a tolerance."""
    theta = samples.theta.values[..., :: EVERY[task]]
    return dict(theta=theta, metric=samples.metric.values)


def machine() -> dict[str, Any]:
    """What the bits of a tile may depend on: processor, XLA and its flags."""
    return dict(
        processor=platform.machine(),
        **_cpuinfo(),
        cores=os.cpu_count(),
        xla_flags=" ".join(sorted(set(os.environ.get("XLA_FLAGS", "").split()))),
        jaxlib=version("jaxlib"),
    )


def _cpuinfo() -> dict[str, str]:
    """The processor's make and instruction set, where Linux tells them."""
    wanted = ("vendor_id", "cpu family", "model", "flags")
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":")[::2] for line in reversed(lines))
    return {k.strip(): v.strip() for k, v in pairs if k.strip() in wanted}


def record() -> None:
    """Writes the record and the values beside it."""
    found = dict(machine=machine())
    for task in TILES:
        samples = tile_of(task)
        found[task] = hashes(samples)
        np.savez_compressed(FOLDER / f"{task}.npz", **values(samples, task))
    RECORD.write_text(json.dumps(found, indent=2) + "\n")
