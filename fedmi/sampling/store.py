"""The store of samples: a zarr group that grows by whole tiles and says what it holds.

A tile of seeds is one shard of each array and is written at once; only then is the number of its
seeds entered in the array `completed`. What a crash leaves behind is therefore either a tile that
counts or one that does not, and sampling goes on with those that do not.

Every chunk is written, and ends with a checksum: so what is missing, cut or altered is told from
samples. Sampling computes such a tile again; reading refuses it.
"""

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from xarray.backends import BackendArray
from xarray.core import indexing
from zarr.storage import MemoryStore

from fedmi.sampling import layout
from fedmi.sampling.layout import StoreError, array_of, fingerprint, per_seed, record_of
from fedmi.sampling.shards import shard_is_whole

RUNS = "runs"


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
        self.parameters: dict[str, Any] = record_of(group)["parameters"]
        self.tile: int = self.parameters["tile"]
        self._per_seed = per_seed(self.parameters)
        self._arrays = {name: self.array(name) for name in self._per_seed}

    @property
    def history(self) -> list[dict[str, Any]]:
        """One entry for each run that added seeds: what ran, on what, from when to when.

        A store in memory keeps none. An entry that cannot be read is left out, with a warning.
        """
        entries = []
        for file in [] if self.path is None else self.path.glob(f"{RUNS}/*/zarr.json"):
            try:
                entry = json.loads(file.read_text())["attributes"]
                entries.append((entry["start"], entry["run"], entry["versions"], entry))
            except (OSError, ValueError, LookupError, TypeError) as error:
                warnings.warn(
                    f"{file} is damaged ({error!r}): what this run did is not known", stacklevel=2
                )
        return [entry for *_, entry in sorted(entries, key=lambda found: found[:2])]

    def array(self, name: str) -> zarr.Array:
        """One of the store's arrays."""
        return array_of(self._group, name)

    @property
    def place(self) -> str:
        """The store in words."""
        return "the store in memory" if self.path is None else f"the store {self.path}"

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(
                error.errno,
                f"{self.place}: cannot {doing} ({error.strerror or error}); what was stored "
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
                for unfinished in self.path.glob(place):
                    unfinished.unlink(missing_ok=True)

    def grow(self, seeds: int) -> None:
        """Makes room for at least so many seeds; what is stored stays as it is.

        Raises:
            OSError: as `write` does.
        """
        tiles = -(-seeds // self.tile)
        with self._explained(f"make room for {seeds} seeds"):
            for name in self._per_seed:
                array = self.array(name)
                if array.shape[0] < seeds:
                    array.resize((seeds, *array.shape[1:]))
            completed = self.array("completed")
            if completed.shape[0] < tiles:
                completed.resize((tiles,))

    def pending(self, seeds: int, among: Iterable[int] | None = None) -> list[int]:
        """The tiles, by index, that do not yet hold all of their seeds below `seeds`.

        Those with files that are missing or damaged do not, and a warning names them. To know,
        every file of the tiles is read: about a second a GiB.

        Args:
            seeds: how many the store shall hold.
            among: the tiles that are asked about; by default all.
        """
        completed = self._completed()
        lacking, damaged = [], []
        for tile in range(-(-seeds // self.tile)) if among is None else among:
            wanted = min(self.tile, seeds - tile * self.tile)
            if tile >= len(completed) or completed[tile] < wanted:
                lacking.append(tile)
            elif not all(self.is_whole(name, tile) for name in self._per_seed):
                damaged.append(tile)
        if damaged:
            warnings.warn(
                f"{self.place}: files of {self.named(damaged)} are missing or damaged; these "
                "seeds are computed again",
                stacklevel=2,
            )
        return sorted(lacking + damaged)

    def _completed(self) -> np.ndarray:
        """How many seeds of each tile are stored; none where the entry is missing or damaged."""
        entries = self.array("completed")
        with suppress(ValueError):  # zarr's, where a checksum does not agree
            return np.asarray(entries[:])
        return np.array([self._count(tile) for tile in range(entries.size)])

    def _count(self, tile: int) -> int:
        """The same of one tile."""
        with suppress(ValueError):
            return int(np.asarray(self.array("completed")[tile]))
        return 0

    def named(self, tiles: Iterable[int]) -> str:
        """Tiles in words."""
        return ", ".join(
            f"tile {tile} (seeds {tile * self.tile} to {(tile + 1) * self.tile - 1})"
            for tile in tiles
        )

    def is_whole(self, name: str, tile: int, *, thorough: bool = True) -> bool:
        """Whether a tile's shard of an array is there and as it was written.

        Args:
            name: of the array.
            tile: by index.
            thorough: whether every chunk is held against its checksum; else only the shard's index
                is, which tells what is missing or cut short, but not what was altered in a chunk.
        """
        if self.path is None:
            return True
        return shard_is_whole(*self._shard(self.path, name, tile), thorough=thorough)

    def _shard(self, folder: Path, name: str, tile: int) -> tuple[Path, int]:
        """The file of a tile's shard of an array, and the number of its chunks."""
        array = self._arrays[name]
        file = folder.joinpath(name, "c", str(tile), *["0"] * (array.ndim - 1))
        return file, prod(array.shards or array.chunks) // prod(array.chunks)

    def write(self, tile: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes a tile's seeds from its first on, and then enters how many they are.

        Raises:
            OSError: if the disk is full or the folder cannot be written; what was stored before
                stays whole.
        """
        first = tile * self.tile
        count = len(arrays["theta"])
        with (
            self._explained(f"write seeds {first} to {first + count - 1}"),
            zarr.config.set({"array.write_empty_chunks": True}),
        ):
            completed = self.array("completed")
            if self._count(tile) and not all(self.is_whole(name, tile) for name in self._per_seed):
                completed[tile] = 0  # there may have been more seeds than these
            for name in self._per_seed:
                self._remove_torn(name, tile)
                self.array(name)[first : first + count] = arrays[name]
            completed[tile] = count

    def _remove_torn(self, name: str, tile: int) -> None:
        """Removes what is left of a shard, which zarr could not add seeds to.

        Where there is none, another process may be about to write it: nothing is removed then.
        """
        if self.path is None:
            return
        file, chunks = self._shard(self.path, name, tile)
        if file.exists() and not shard_is_whole(file, chunks, thorough=True):
            file.unlink(missing_ok=True)

    def record(self, entry: Mapping[str, Any]) -> None:
        """Adds an entry to the history, in place of what was recorded of the same run."""
        if self.path is None:
            return
        with self._explained("record the run"):
            try:
                runs = self._group.require_group(RUNS)
            except ValueError:  # of a file that says no more than that this is a group
                (self.path / RUNS / "zarr.json").unlink()
                runs = self._group.require_group(RUNS)
            # A group a run, each of which one writer writes.
            runs.create_group(entry["run"], overwrite=True, attributes=dict(entry))

    def seeds(self) -> int:
        """How many seeds are stored from the first on without a gap."""
        completed = self._completed()
        short = np.flatnonzero(completed < self.tile)
        if len(short) == 0:
            return len(completed) * self.tile
        return int(short[0] * self.tile + completed[short[0]])

    def dataset(self, seeds: int) -> xr.Dataset:
        """The first `seeds` seeds, opened lazily.

        What is read of it and proves to be missing or damaged raises StoreError.

        Raises:
            StoreError: if fewer are stored.
        """
        if self.seeds() < seeds:
            raise StoreError(
                f"{self.place} holds {self.seeds()} of {seeds} seeds: sampling has not finished; "
                "run the same command again to go on"
            )
        return xr.Dataset(
            {name: _Stored(self, name).variable()[:seeds] for name in self._per_seed},
            coords=layout.coordinates(self.parameters) | dict(seed=np.arange(seeds)),
            attrs=self.parameters | dict(hash=fingerprint(self.parameters)),
        )


class _Stored(BackendArray):
    """An array of a store as xarray reads it, where it is asked for."""

    def __init__(self, samples: SampleStore, name: str) -> None:
        self._samples = samples
        self._name = name
        self._array = samples.array(name)
        self.shape = self._array.shape
        self.dtype = self._array.dtype

    def variable(self) -> xr.Variable:
        """The array with the names of its dimensions, still to be read."""
        lazy = indexing.CopyOnWriteArray(  # made for this, whatever xarray's annotation says
            indexing.LazilyIndexedArray(self)  # pyright: ignore[reportArgumentType]
        )
        return xr.Variable(("seed", *self._samples._per_seed[self._name]), lazy)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[int | slice | np.ndarray, ...]) -> np.ndarray:
        """What is asked for, of each axis.

        Raises:
            StoreError: where it is missing or damaged.
        """
        tiles = np.unique(np.arange(self.shape[0])[key[0]] // self._samples.tile).tolist()
        try:
            self._refuse_unless_whole(tiles, thorough=False)
            return np.asarray(self._array.oindex[key])
        except StoreError:
            raise
        except Exception as error:  # zarr has none of its own for a chunk that it cannot decode
            self._refuse_unless_whole(tiles, thorough=True, cause=error)
        # Another process has written more seeds to a tile while this one read it.
        return np.asarray(self._array.oindex[key])

    def _refuse_unless_whole(
        self, tiles: list[int], *, thorough: bool, cause: Exception | None = None
    ) -> None:
        whole = partial(self._samples.is_whole, self._name, thorough=thorough)
        damaged = [tile for tile in tiles if not whole(tile)]
        if damaged:
            raise StoreError(
                f"{self._samples.place}: {self._name} of {self._samples.named(damaged)} is missing "
                "or damaged; sample again with the same arguments (`fedmi.sample`, or the "
                "notebook 01_sample): only what is damaged is computed"
            ) from cause


def create(path: Path | None, parameters: Mapping[str, Any]) -> SampleStore:
    """A new store without seeds, or the one that another process has made at the same time.

    Args:
        path: the folder, which must not exist; None for a store in memory.
        parameters: what the samples depend on (`fedmi.sampling.design.Design.describe`).

    Raises:
        OSError: if the folder cannot be made.
    """
    if path is None:
        return SampleStore(layout.lay_out(MemoryStore(), parameters), None)
    layout.create(path, parameters)
    return open_existing(path)


def open_existing(path: Path) -> SampleStore:
    """The store in a folder.

    Raises:
        FileNotFoundError: if there is no such folder.
        StoreError: if the folder is no store of samples, one of another schema, or one that cannot
            be read for damage.
    """
    group = layout.open_group(path)
    samples = SampleStore(group, path)
    # A run killed while it made room may have left one array larger than another.
    samples.grow(max(samples.array(name).shape[0] for name in per_seed(samples.parameters)))
    return samples


def history_of(path: Path) -> list[dict[str, Any]]:
    """The history of the store in a folder, which is only read; raises as `open_existing` does."""
    return SampleStore(layout.open_group(path), path).history


def existing(path: Path | None) -> SampleStore | None:
    """The store in a folder, None where there is none."""
    return open_existing(path) if path is not None and path.exists() else None


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
