"""How a store of samples is laid out as a zarr group, and whether a folder holds one.

The group has one attribute, which says what the samples depend on, in the store's own schema, and
the checksum of that. Everything that does not grow with the seeds follows from it, so that whatever
else of the group's metadata was altered is told, too.
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import LocalStore, MemoryStore

from fedmi.sampling.checks import Plain

SCHEMA = 3
ATTRIBUTE = "fedmi"  # the group's one attribute; everything else lies inside it
DRAFT_SECONDS = 3600  # an older draft of a store is nobody's any more
DAMAGE = (AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What zarr and this module raise where metadata are not what they should be."""


class StoreError(Plain, ValueError):
    """A store that cannot be used as asked: of other parameters or schema, damaged, or no store."""


def per_seed(parameters: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The arrays whose first axis counts the seeds, and what their other axes are."""
    arrays = {
        "theta": ("client", "iteration", "parameter"),
        "metric": ("client", "step"),
        "clipped": ("client",),
    }
    if parameters["rounds"] > 1:  # in the first, all seeds download what `init` makes
        arrays["download"] = ("parameter",)
    return arrays


def fingerprint(parameters: Mapping[str, Any]) -> str:
    """A short hash of what the samples depend on."""
    text = json.dumps(parameters, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def coordinates(parameters: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The coordinates that the samples have besides the seeds."""
    return dict(
        client=np.arange(parameters["clients"]),
        iteration=np.array(parameters["checkpoints"], np.int64),
        step=np.arange(1, parameters["steps"] + 1),
    )


def lay_out(store: Store, parameters: Mapping[str, Any]) -> zarr.Group:
    """A group without seeds; a shard of its arrays holds a tile."""
    group = zarr.create_group(store)
    tile, size = parameters["tile"], parameters["parameters"]
    sizes = {name: len(values) for name, values in coordinates(parameters).items()}
    sizes |= dict(parameter=size)
    compressors = (ZstdCodec(), Crc32cCodec())
    for name, dimensions in per_seed(parameters).items():
        shape = tuple(sizes[dimension] for dimension in dimensions)
        counts = name == "clipped"
        group.create_array(
            name,
            dtype="int32" if counts else "float32",
            fill_value=0 if counts else np.nan,
            dimension_names=("seed", *dimensions),
            shape=(0, *shape),
            # Estimates read one client at one checkpoint over all seeds: so chunks of theta hold.
            chunks=(tile, *((1, 1, size) if name == "theta" else shape)),
            shards=(tile, *shape),
            compressors=compressors,
        )
    group.create_array(
        "completed",
        dtype="int32",
        fill_value=0,
        dimension_names=("tile",),
        shape=(0,),
        chunks=(1,),
        compressors=compressors,
    )
    for name, values in coordinates(parameters).items():
        group.create_array(name, data=values, dimension_names=(name,), compressors=compressors)
    group.attrs[ATTRIBUTE] = dict(
        parameters=dict(parameters), schema=SCHEMA, hash=fingerprint(parameters)
    )
    return group


def array_of(group: zarr.Group, name: str) -> zarr.Array:
    """An array of a group.

    Raises:
        KeyError, TypeError: if there is none of that name.
    """
    found = group[name]
    if not isinstance(found, zarr.Array):
        raise TypeError(f"{name} is no array")
    return found


def record_of(group: zarr.Group) -> dict[str, Any]:
    """The group's one attribute.

    Raises:
        KeyError, TypeError: if there is none.
    """
    record = group.attrs[ATTRIBUTE]
    if not isinstance(record, Mapping):
        raise TypeError(f"{ATTRIBUTE} is {record!r}")
    return dict(record)


def create(path: Path, parameters: Mapping[str, Any]) -> None:
    """Lays a store out in a folder, unless another process has done so at the same time.

    It is laid out beside its place and then renamed, so that no half-made store is ever found
    there.

    Raises:
        OSError: if the folder cannot be made.
    """
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for abandoned in path.parent.glob(f".{path.name}.*.draft"):
            if time.time() - abandoned.stat().st_mtime > DRAFT_SECONDS:
                shutil.rmtree(abandoned, ignore_errors=True)
        lay_out(LocalStore(draft), parameters)
        try:
            os.rename(draft, path)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            if not path.exists():
                raise
    except OSError as error:
        raise OSError(
            error.errno,
            f"store: {path} cannot be made ({error.strerror or error}); name a folder that can be "
            "written, on a disk with room",
        ) from error


def open_group(path: Path) -> zarr.Group:
    """The group in a folder, whose metadata are as they were made.

    Raises:
        FileNotFoundError: if there is no such folder.
        StoreError: if the folder is no store of samples, one of another schema, or one that cannot
            be read for damage.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no store at {path}")
    try:
        group = zarr.open_group(path, mode="r+")
        record = record_of(group)
        schema = record.pop("schema")
    except (FileNotFoundError, FileExistsError, NotADirectoryError, *DAMAGE) as error:
        raise StoreError(
            f"{path} is not a store of fedmi's samples, or its zarr.json is damaged ({error}); "
            "name another folder, or remove it"
        ) from error
    if schema != SCHEMA:
        raise StoreError(
            f"the store {path} is of schema {schema}, this fedmi writes schema {SCHEMA}: name "
            "another folder, or remove it and sample again"
        )
    _check_layout(group, record, path)
    # fedmi reads no coordinates, but what reads the store as plain zarr does.
    for name, values in coordinates(record["parameters"]).items():
        array = array_of(group, name)
        with suppress(ValueError):
            if np.array_equal(np.asarray(array[:]), values):
                continue
        array[:] = values
    return group


def _check_layout(group: zarr.Group, record: Mapping[str, Any], path: Path) -> None:
    """Refuses a store whose zarr.json files are not those that it was made with.

    Raises:
        StoreError: naming the first such file.
    """

    def damaged(file: str, error: object) -> StoreError:
        return StoreError(
            f"the store {path} is damaged: {file} is not what it was made with ({error}); put the "
            "file back from a copy, or remove the store and sample again"
        )

    def fixed(array: zarr.Array) -> dict[str, Any]:
        """All that does not change as the store grows."""
        return array.metadata.to_dict() | dict(shape=array.shape[1:])

    if record.get("hash") != fingerprint(record.get("parameters", {})):
        raise damaged("zarr.json", "its attributes have another checksum")
    expected = lay_out(MemoryStore(), record["parameters"])
    for name, array in expected.arrays():
        try:
            found = fixed(array_of(group, name))
        except DAMAGE as error:
            raise damaged(f"{name}/zarr.json", error) from error
        if found != fixed(array):
            raise damaged(f"{name}/zarr.json", "another layout")
