"""What a study leaves: whole files, tables, what is kept half-way, and the manifest of samples."""

import contextlib
import io
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from fedmi.sampling import chaos, provenance, store
from fedmi.sampling.checks import Plain
from fedmi.sampling.sampler import finite
from fedmi.study import params
from fedmi.tasks.task import plain

MANIFEST = "manifest.json"
LEVELS = "by "
"""Before a factor's name: a column of names, also where these look like numbers."""


class MissingResults(Plain, FileNotFoundError):
    """What a notebook works on has not been made yet; the message says what makes it."""


def made_by(notebook: str, study: str) -> str:
    """How to make what is missing, for the message of `MissingResults`.

    Args:
        notebook: the notebook that makes it.
        study: the path of the study's params file.
    """
    return (
        f'run the notebook {notebook} with study = "{study}" first, or '
        f"`make study SCALE={Path(study).parent.name}` for all studies (`make couplings` for those "
        "of all couplings, `make proposition` for unlike clients)"
    )


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file beside its place and then renames it, so that it is never torn.

    Raises:
        OSError: if it cannot be written; what was there before stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    draft.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON whole or not at all: tables as their rows, NumPy's arrays as lists."""
    text = json.dumps(value, default=_plain, indent=1, ensure_ascii=False)
    write_whole(path, text + "\n")


def _plain(value: Any) -> Any:
    return value.to_dict("records") if isinstance(value, pd.DataFrame) else plain(value)


def write(
    rows: pd.DataFrame | Sequence[Mapping[str, Any]], path: Path, columns: list[str] | None = None
) -> pd.DataFrame:
    """Writes a table, of these columns alone if any are named, whole or not at all; returns it."""
    table = pd.DataFrame(rows, columns=columns)
    write_whole(path, table.to_csv(index=False))
    return table


def read_csv(path: Path, how: str = "run first the notebook that makes it") -> pd.DataFrame:
    """A table as it was written: a coupling is called null, which is no missing value.

    Args:
        path: of the table.
        how: says what makes it (`made_by`).

    Raises:
        MissingResults: if it is not there.
        ValueError: if it is empty or cut short.
    """
    if not path.exists():
        raise MissingResults(f"there is no {path}: {how}")
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n") or "\0" in text:
        raise ValueError(_torn(path))
    try:
        columns = pd.read_csv(io.StringIO(text), nrows=0).columns
        names = {column: str for column in columns if column.startswith(LEVELS)}
        return pd.read_csv(io.StringIO(text), keep_default_na=False, na_values=[""], dtype=names)
    except ValueError as error:
        raise ValueError(_torn(path)) from error


def read_json(path: Path, kind: type) -> Any:
    """What a JSON file holds, a list or a mapping.

    Raises:
        ValueError: if it is empty, cut short or of another kind.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(_torn(path)) from error
    if not isinstance(found, kind):
        raise ValueError(_torn(path))
    return found


def _torn(path: Path) -> str:
    return f"{path} is empty, cut short or damaged; remove it and run again what makes it"


def kept(path: Path, basis: Any, make: Callable[[], Any]) -> Any:
    """What a file keeps; it is made where there is none, it is torn, or its basis was another.

    Args:
        path: a JSON file, say of a part of a table.
        basis: all that its content depends on, as JSON has it.
        make: makes the content: a table or its rows, or whatever else `write_json` can write.

    Returns:
        The content as JSON gives it back, whether it has just been made or not.
    """
    basis = json.loads(json.dumps(basis, default=plain))
    try:
        found = read_json(path, dict)
    except (FileNotFoundError, ValueError):
        found = {}
    if found.get("basis") != basis:
        code = provenance.code()
        write_json(path, dict(basis=basis, code=code, content=make()))
        found = read_json(path, dict)
    return found["content"]


def made(study: str, started: float, folder: Path) -> dict[str, Any]:
    """What a manifest says of how a notebook's results were made.

    Args:
        study: the path of the params file.
        started: what `fedmi.study.params.check_given` returned.
        folder: of the results.

    Returns:
        `fedmi.sampling.provenance.made`, and `parts`, from which codes all that is kept in the
        folder was made: these can have been made before, and their seconds do not count.
    """
    seconds = time.monotonic() - started
    return provenance.made(params.find(study), seconds) | dict(parts=codes(folder))


def codes(folder: Path) -> list[dict[str, Any]]:
    """From which codes (`fedmi.sampling.provenance.code`) was made what a folder keeps.

    That is, what `kept` wrote and what stores hold, in folders below it as well. What is half made
    tells nothing yet.
    """
    found = []
    for place, folders, files in os.walk(folder):
        stores = {name for name in folders if name.endswith(".zarr")}
        folders[:] = [name for name in folders if name not in stores]
        for name in stores:
            with contextlib.suppress(store.StoreError):
                found += [entry.get("code") for entry in store.history_of(Path(place, name))]
        for name in files:
            if name.endswith(".json"):
                with contextlib.suppress(ValueError):
                    found.append(read_json(Path(place, name), dict).get("code"))
    distinct = {json.dumps(code, sort_keys=True) for code in found if code}
    return [json.loads(code) for code in sorted(distinct)]


def write_manifest(
    folder: Path,
    samples: xr.Dataset,
    *,
    excluded: int,
    stability: pd.DataFrame,
    made: Mapping[str, Any],
) -> dict[str, Any]:
    """Writes what a study's samples are and how they were made: last, so that they are complete.

    Args:
        folder: the study's folder, with the finished samples.zarr in it.
        samples: all of the study's samples, non-finite seeds included.
        excluded: how many of the seeds are not finite.
        stability: the table of `fedmi.sampling.chaos`, whose last row is written.
        made: what `made` returned.

    Returns:
        What was written.
    """
    parameters = dict(samples.attrs)
    manifest = dict(
        seeds=samples.sizes["seed"],
        non_finite_seeds=excluded,
        clipped_seeds=int((samples.clipped > 0).any("client").sum()),
        clipped_steps_share=float(samples.clipped.mean() / samples.sizes["step"]),
        stability=stability.iloc[-1].to_dict() | dict(chaotic=chaos.is_chaotic(stability)),
        hash=parameters.pop("hash"),
        parameters=parameters,
        history=store.open_existing(folder / "samples.zarr").history,
        peak_memory_gib=round(peak_memory_gib(), 2),
        made=made,
    )
    write_json(folder / MANIFEST, manifest)
    return manifest


def peak_memory_gib() -> float:
    """The most memory that this process has held, in GiB."""
    unit = 2**30 if sys.platform == "darwin" else 2**20  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def identity(manifest: Path) -> str:
    """Which samples a manifest tells of: how many seeds, of what hash."""
    found = read_json(manifest, dict)
    return f"{found['seeds']} seeds of {found['hash']}"


def samples_of(folder: Path, study: str) -> xr.Dataset:
    """The finite samples of a study that has been sampled.

    Args:
        folder: the study's folder.
        study: the path of its params file.

    Raises:
        fedmi.study.params.ParamsError: if the params file cannot be used.
        MissingResults: if there are no samples; the message says what makes them.
        ValueError: if the manifest is damaged.
        fedmi.sampling.store.StoreError: if sampling has not finished, the store is damaged, or the
            params file has been changed since.
    """
    path = folder / MANIFEST
    if not path.exists():
        how = made_by("01_sample", study)
        raise MissingResults(f"there are no finished samples in {folder}: {how}")
    seeds = read_json(path, dict)["seeds"]
    samples = store.open_existing(folder / "samples.zarr")
    # Only what the params file says: the assets (images, weights) need not be had to estimate.
    plan = params.load(study)
    asked = plan.design().describe(
        assets=samples.parameters["assets"], tile=plan.tile or samples.tile
    )
    store.check_parameters(samples, asked)
    return finite(samples.dataset(seeds))
