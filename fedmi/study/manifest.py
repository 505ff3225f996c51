"""The manifest of a study: written last, so that where it stands, sampling is complete."""

import json
import resource
import sys
from pathlib import Path
from typing import Any

import xarray as xr

from fedmi.sampling import store
from fedmi.sampling.sampler import finite
from fedmi.study import params as study_params
from fedmi.study.results import MissingResults
from fedmi.study.tables import read_json, write_whole


def write(folder: Path, samples: xr.Dataset, *, excluded: int) -> dict[str, Any]:
    """Writes `manifest.json` beside `samples.zarr`: what the samples are, and how they were made.

    Args:
        folder: the study's folder, with the finished store in it.
        samples: all of the study's samples, non-finite seeds included.
        excluded: how many of the seeds are not finite.

    Returns:
        What was written.
    """
    parameters = dict(samples.attrs)
    manifest = dict(
        seeds=samples.sizes["seed"],
        non_finite_seeds=excluded,
        clipped_seeds=int((samples.clipped > 0).any("client").sum()),
        clipped_steps_share=float(samples.clipped.mean() / samples.sizes["step"]),
        hash=parameters.pop("hash"),
        parameters=parameters,
        history=store.open_existing(folder / "samples.zarr").history,
        peak_memory_gib=round(peak_memory_gib(), 2),
    )
    text = json.dumps(manifest, indent=2) + "\n"
    write_whole(folder / "manifest.json", lambda draft: draft.write_text(text))
    return manifest


def peak_memory_gib() -> float:
    """The most memory that this process has held, in GiB."""
    unit = 2**30 if sys.platform == "darwin" else 2**20  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def samples_of(folder: Path, params: str) -> xr.Dataset:
    """The finite samples of a study that has been sampled.

    Args:
        folder: the study's folder.
        params: the study's params file.

    Raises:
        fedmi.study.params.ParamsError: if that cannot be used.
        fedmi.study.results.MissingResults: if there are none; the message says which command makes
        them.
        ValueError: if the manifest is damaged.
        fedmi.sampling.store.StoreError: if sampling has not finished, the store is damaged, or the
            params file has been changed since.
    """
    path = folder / "manifest.json"
    if not path.exists():
        raise MissingResults(
            f"there are no finished samples in {folder}: run the notebook 01_sample with params = "
            f'"{params}" first, or `make study SCALE={Path(params).parent.name}` for all studies '
            "(`make couplings` for those of all couplings, `make proposition` for unlike clients)"
        )
    seeds = read_json(path, dict)["seeds"]
    samples = store.open_existing(folder / "samples.zarr")
    # Only what the params file says: the assets (images, weights) need not be had to estimate.
    study = study_params.load(params)
    asked = study.design().describe(
        assets=samples.parameters["assets"], tile=study.tile or samples.tile
    )
    store.check_parameters(samples, asked)
    return finite(samples.dataset(seeds))
