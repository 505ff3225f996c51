"""The store of samples: a zarr group that grows by whole tiles and says what it holds.

A tile of seeds is one shard of each array and is written at once; only then is the number of its
seeds entered in the array `completed`. What a crash leaves behind is therefore either a tile that
counts or one that does not, and sampling goes on with those that do not.
"""

import hashlib
import json
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

SCHEMA = 1
ATTRIBUTE = "fedmi"  # the group's one attribute; everything else lies inside it
RUNS = "runs"
DRAFT_SECONDS = 3600  # an older draft of a store is nobody's any more


class StoreError(ValueError):
    """A store that cannot be used as asked: of other parameters, of another schema, or no store."""


class SampleStore:
    """A zarr group of samples on disk (or in memory, where `path` is None).

    Attributes:
        path: the folder, None for a store in memory.
        tile: seeds a tile.
        parameters: what the samples depend on, the number of seeds apart.
    """

    def __init__(self, group: zarr.Group, path: Path | None) -> None:
        self._group = group
        self.path = path
        self.parameters: dict[str, Any] = self._record["parameters"]
        self.tile: int = self.parameters["tile"]
        self._per_seed = per_seed(self.parameters)

    @property
    def _record(self) -> dict[str, Any]:
        return self._group.attrs[ATTRIBUTE]

    @property
    def history(self) -> list[dict[str, Any]]:
        """One entry for each run that added seeds: what ran, on what, from when to when."""
        runs = self._group.get(RUNS)  # which stores of before have not, and reading makes none
        entries = [] if runs is None else [dict(run.attrs) for _, run in runs.groups()]
        return sorted([*self._record["history"], *entries], key=lambda entry: entry["start"])

    @property
    def _place(self) -> str:
        return "the store in memory" if self.path is None else f"the store {self.path}"

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(
                error.errno,
                f"{self._place}: cannot {doing} ({error.strerror or error}); what was stored "
                "before is whole: make room or mend the folder, and run the same command to go on",
            ) from error

    def clear_partial_files(self, tiles: Iterable[int]) -> None:
        """Removes what a killed run left of files of some tiles that it had not finished writing.

        Other tiles may have a writer of their own at the moment.
        """
        if self.path is None:
            return
        for tile in tiles:
            for place in (f"*/c/{tile}/**/*.partial", f"*/c/{tile}.*.partial"):
                for partial in self.path.glob(place):
                    partial.unlink(missing_ok=True)

    def grow(self, seeds: int) -> None:
        """Makes room for at least so many seeds; what is stored stays as it is.

        Raises:
            OSError: as `write` does.
        """
        tiles = -(-seeds // self.tile)
        with self._explained(f"make room for {seeds} seeds"):
            for name in self._per_seed:
                array = self._group[name]
                if array.shape[0] < seeds:
                    array.resize((seeds, *array.shape[1:]))
            if self._group["completed"].shape[0] < tiles:
                self._group["completed"].resize((tiles,))

    def pending(self, seeds: int) -> list[int]:
        """The tiles, by index, that do not yet hold all of their seeds below `seeds`."""
        firsts = np.arange(0, seeds, self.tile)
        wanted = np.minimum(self.tile, seeds - firsts)
        completed = np.zeros(len(firsts), dtype=np.int64)
        stored = self._group["completed"][: len(firsts)]
        completed[: len(stored)] = stored
        return np.flatnonzero(completed < wanted).tolist()

    def write(self, tile: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes a tile's seeds from its first on, and then enters how many they are.

        Raises:
            OSError: if the disk is full or the folder cannot be written; what was stored before
                stays whole.
        """
        first = tile * self.tile
        count = len(arrays["theta"])
        with self._explained(f"write seeds {first} to {first + count - 1}"):
            for name in self._per_seed:
                self._group[name][first : first + count] = arrays[name]
            self._group["completed"][tile] = count

    def record(self, entry: Mapping[str, Any]) -> None:
        """Adds an entry to the history, in place of what was recorded of the same run."""
        with self._explained("record the run"):
            runs = self._group.require_group(RUNS)
            # A group a run, each of which one writer writes.
            runs.create_group(entry["run"], overwrite=True, attributes=dict(entry))

    def seeds(self) -> int:
        """How many seeds are stored from the first on without a gap."""
        completed = self._group["completed"][:]
        short = np.flatnonzero(completed < self.tile)
        if len(short) == 0:
            return len(completed) * self.tile
        return int(short[0] * self.tile + completed[short[0]])

    def dataset(self, seeds: int) -> xr.Dataset:
        """The first `seeds` seeds, opened lazily.

        Raises:
            StoreError: if fewer are stored.
        """
        if self.seeds() < seeds:
            raise StoreError(
                f"{self._place} holds {self.seeds()} of {seeds} seeds: sampling has not finished; "
                "run the same command again to go on"
            )
        data = xr.open_zarr(self._group.store, consolidated=False, chunks=None)
        data = data.drop_vars("completed").isel(seed=slice(seeds))
        data = data.assign_coords(seed=np.arange(seeds))
        data.attrs = {**self.parameters, "hash": fingerprint(self.parameters)}
        return data


def per_seed(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """The arrays whose first axis counts the seeds."""
    federated = parameters.get("rounds", 1) > 1  # before, all seeds download what `init` makes
    return ("theta", "metric", "clipped", *(["download"] if federated else []))


def fingerprint(parameters: Mapping[str, Any]) -> str:
    """A short hash of what the samples depend on."""
    text = json.dumps(parameters, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def create(
    path: Path | None, parameters: Mapping[str, Any], *, steps: int, size: int
) -> SampleStore:
    """A new store without seeds, or the one that another process has made at the same time.

    It is laid out beside its place and then renamed, so that no half-made store is ever found
    there.

    Args:
        path: the folder, which must not exist; None for a store in memory.
        parameters: what the samples depend on, in JSON's types; `tile`, `clients` and
            `checkpoints` among them are sizes of the arrays.
        steps: SGD steps an epoch.
        size: parameters a client.

    Raises:
        OSError: if the folder cannot be made.
    """
    if path is None:
        return SampleStore(_lay_out(zarr.storage.MemoryStore(), parameters, steps, size), None)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for abandoned in path.parent.glob(f".{path.name}.*.draft"):
            if time.time() - abandoned.stat().st_mtime > DRAFT_SECONDS:
                shutil.rmtree(abandoned, ignore_errors=True)
        _lay_out(zarr.storage.LocalStore(draft), parameters, steps, size)
        with suppress(FileExistsError):
            _rename(draft, path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"store: {path} cannot be made ({error.strerror or error}); name a folder that can be "
            "written, on a disk with room",
        ) from error
    return open_existing(path)


def _rename(draft: Path, path: Path) -> None:
    """Puts a draft in its place.

    Raises:
        FileExistsError: if another store has come there; the draft is gone.
    """
    try:
        os.rename(draft, path)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        if path.exists():
            raise FileExistsError(path) from None
        raise


def _lay_out(
    store: zarr.abc.store.Store, parameters: Mapping[str, Any], steps: int, size: int
) -> zarr.Group:
    group = zarr.create_group(store)
    tile, clients = parameters["tile"], parameters["clients"]
    kept = len(parameters["checkpoints"])

    def array(name, dtype, fill, dimensions, shape, chunks, shards=None):
        group.create_array(
            name,
            dtype=dtype,
            fill_value=fill,
            dimension_names=dimensions,
            shape=shape,
            chunks=chunks,
            shards=shards,
        )

    # Estimates read one client at one checkpoint over all seeds: that is what a chunk holds of a
    # tile. A shard holds the tile.
    array(
        "theta", "float32", np.nan, ("seed", "client", "iteration", "parameter"),
        (0, clients, kept, size), (tile, 1, 1, size), (tile, clients, kept, size),
    )  # fmt: skip
    array(
        "metric", "float32", np.nan, ("seed", "client", "step"),
        (0, clients, steps), (tile, clients, steps),
    )  # fmt: skip
    array("clipped", "int32", 0, ("seed", "client"), (0, clients), (tile, clients))
    if "download" in per_seed(parameters):
        array("download", "float32", np.nan, ("seed", "parameter"), (0, size), (tile, size))
    array("completed", "int32", 0, ("tile",), (0,), (1,))
    for name, values in (
        ("client", range(clients)),
        ("iteration", parameters["checkpoints"]),
        ("step", range(1, steps + 1)),
    ):
        group.create_array(name, data=np.asarray(values, np.int64), dimension_names=(name,))
    group.attrs[ATTRIBUTE] = {
        "schema": SCHEMA,
        "parameters": dict(parameters),
        "history": [],
    }
    return group


def open_existing(path: Path) -> SampleStore:
    """The store in a folder.

    Raises:
        FileNotFoundError: if there is no such folder.
        StoreError: if the folder is no store of samples, or one of another schema.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no store at {path}")
    try:
        group = zarr.open_group(path, mode="r+")
        record = group.attrs[ATTRIBUTE]
    except (FileNotFoundError, FileExistsError, NotADirectoryError, KeyError, ValueError) as error:
        raise StoreError(
            f"{path} is not a store of fedmi's samples; name another folder, or remove it"
        ) from error
    if record.get("schema") != SCHEMA:
        raise StoreError(
            f"the store {path} is of schema {record.get('schema')}, this fedmi writes schema "
            f"{SCHEMA}: name another folder, or remove it and sample again"
        )
    samples = SampleStore(group, path)
    # A run killed while it made room may have left one array larger than another.
    samples.grow(max(group[name].shape[0] for name in per_seed(samples.parameters)))
    return samples


def check_parameters(store: SampleStore, parameters: Mapping[str, Any]) -> None:
    """Refuses a store whose samples are not those that the parameters ask for.

    Raises:
        StoreError: naming every parameter that differs, with both values.
    """
    old, new = _flatten(store.parameters), _flatten(parameters)
    differences = [
        f"  {name}: {old.get(name, 'absent')} in the store, {new.get(name, 'absent')} asked for"
        for name in sorted(old.keys() | new.keys())
        if old.get(name, "absent") != new.get(name, "absent")
    ]
    if differences:
        raise StoreError(
            f"the store {store.path} holds samples of other parameters:\n"
            + "\n".join(differences)
            + "\nname another folder, or remove this one to sample it anew"
        )


def warn_of_versions(store: SampleStore, versions: Mapping[str, str]) -> None:
    """Warns if a store is extended under other versions of the packages than it was made with."""
    if not store.history:
        return
    made_with = store.history[-1]["versions"]
    changed = [
        f"{name} {made_with.get(name, 'absent')} -> {versions.get(name, 'absent')}"
        for name in sorted(made_with.keys() | versions.keys())
        if made_with.get(name) != versions.get(name)
    ]
    if changed:
        warnings.warn(
            f"the store {store.path} is extended under other versions than it was made with: "
            f"{', '.join(changed)}; its history records both",
            stacklevel=3,
        )


def _flatten(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {name: value}
    return {
        inner: leaf
        for key, part in value.items()
        for inner, leaf in _flatten(part, f"{name}.{key}" if name else str(key)).items()
    }
