import dataclasses
import json
import os

import numpy as np
import pytest
import xarray as xr
import zarr

import fedmi
from fedmi import provenance, store
from tests import tiny

pytestmark = pytest.mark.usefixtures("quickly_compiled")

SETTINGS = dict(checkpoints=[1, 2, 4], tile=16)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "samples.zarr"
    fedmi.sample(tiny.task, seeds=40, store=path, **SETTINGS)
    return path


def test_a_dataset_has_the_dimensions_of_the_contract(path):
    samples = store.open_existing(path).dataset(40)
    assert samples.theta.dims == ("seed", "client", "iteration", "parameter")
    assert samples.theta.shape == (40, 3, 3, 12)
    assert samples.metric.dims == ("seed", "client", "step")
    assert samples.theta.dtype == samples.metric.dtype == np.float32
    assert samples.iteration.values.tolist() == [1, 2, 4]
    assert samples.step.values.tolist() == [1, 2, 3, 4]


def test_the_store_is_plain_zarr_for_xarray(path):
    plain = xr.open_zarr(path, consolidated=False)
    np.testing.assert_array_equal(plain.theta, store.open_existing(path).dataset(40).theta)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        (dict(coupling="null"), "scopes.source: shared in the store, client asked for"),
        (dict(root_seed=1), "root_seed: 0 in the store, 1 asked for"),
        (dict(clients=2), "clients: 3 in the store, 2 asked for"),
        (dict(checkpoints=[4]), r"checkpoints: \[1, 2, 4\] in the store, \[4\] asked for"),
        (dict(tile=8), "tile: 16 in the store, 8 asked for"),
        (dict(task=tiny.make(learning_rate=0.5)), "learning_rate: 0.25 in the store, 0.5"),
    ],
)
def test_other_parameters_are_refused_with_the_difference(path, changes, difference):
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    arguments = dict(task=tiny.task, seeds=60, store=path, **SETTINGS) | changes
    with pytest.raises(store.StoreError, match=difference):
        fedmi.sample(**arguments)
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


def test_an_older_schema_is_refused(path):
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["attributes"][store.ATTRIBUTE]["schema"] = 0
    (path / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(store.StoreError, match="is of schema 0.*writes schema 1"):
        fedmi.sample(tiny.task, seeds=40, store=path, **SETTINGS)


@pytest.mark.parametrize("what", ["empty folder", "other files", "torn metadata", "a file"])
def test_what_is_no_store_is_refused_and_left_alone(tmp_path, what):
    path = tmp_path / "notes"
    if what == "a file":
        path.write_text("my notes")
    else:
        path.mkdir()
        if what == "other files":
            (path / "notes.txt").write_text("my notes")
        if what == "torn metadata":
            (path / "zarr.json").write_text('{"zarr_format": 3, "node_ty')
    with pytest.raises(store.StoreError, match="is not a store of fedmi's samples"):
        fedmi.sample(tiny.task, seeds=4, store=path)
    assert path.exists()


def test_a_missing_store_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no store at .*gone.zarr"):
        store.open_existing(tmp_path / "gone.zarr")


def test_a_store_with_a_tile_that_does_not_count_is_not_whole(path):
    samples = store.open_existing(path)
    samples._group["completed"][1] = 0  # as a crash between shard and entry leaves it
    assert samples.pending(40) == [1]
    assert samples.seeds() == 16
    with pytest.raises(store.StoreError, match="holds 16 of 40 seeds"):
        samples.dataset(40)
    again = fedmi.sample(tiny.task, seeds=40, store=path, **SETTINGS)
    fresh = fedmi.sample(tiny.task, seeds=40, **SETTINGS)
    np.testing.assert_array_equal(again.theta, fresh.theta)


def test_a_store_grown_but_not_filled_keeps_what_it_had(path):
    store.open_existing(path).grow(100)  # as a crash between growing and the first shard leaves it
    assert store.open_existing(path).seeds() == 40
    assert store.open_existing(path).pending(100) == [2, 3, 4, 5, 6]
    assert store.open_existing(path).dataset(40).sizes["seed"] == 40


def test_a_tail_of_a_tile_is_whole_for_its_own_seeds_only(path):
    samples = store.open_existing(path)
    assert samples.pending(40) == []
    assert samples.pending(41) == [2]


def test_drafts_that_a_crash_left_are_cleared(tmp_path):
    old, young = (tmp_path / f".samples.zarr.{name}.draft" for name in ("0123", "4567"))
    for draft in (old, young):
        draft.mkdir()
    os.utime(old, (0, 0))
    fedmi.sample(tiny.task, seeds=4, store=tmp_path / "samples.zarr", **SETTINGS)
    # Another process may be at work on a young one.
    assert {p.name for p in tmp_path.iterdir()} == {"samples.zarr", young.name}


def test_a_store_that_another_process_makes_meanwhile_is_used(tmp_path, monkeypatch):
    path = tmp_path / "samples.zarr"
    lay_out = store._lay_out

    def and_so_does_another(*arguments):
        if not path.exists():
            path.mkdir()
            lay_out(zarr.storage.LocalStore(path), *arguments[1:])
        return lay_out(*arguments)

    monkeypatch.setattr(store, "_lay_out", and_so_does_another)
    made = fedmi.sample(tiny.task, seeds=4, store=path, **SETTINGS)
    assert made.sizes["seed"] == 4
    assert [p.name for p in tmp_path.iterdir()] == ["samples.zarr"]


def test_extending_under_other_versions_warns_and_is_recorded(path, monkeypatch):
    true = provenance.versions()
    monkeypatch.setattr(provenance, "versions", lambda: true | {"jax": "99.0"})
    with pytest.warns(UserWarning, match=f"jax {true['jax']} -> 99.0"):
        fedmi.sample(tiny.task, seeds=60, store=path, **SETTINGS)
    history = store.open_existing(path).history
    assert [run["versions"]["jax"] for run in history] == [true["jax"], "99.0"]
    assert [run["seeds"] for run in history] == [40, 60]


def test_two_stores_of_the_same_parameters_have_the_same_hash(path):
    mine = store.open_existing(path).dataset(40).attrs["hash"]
    other = fedmi.sample(tiny.task, seeds=4, **SETTINGS).attrs["hash"]
    third = fedmi.sample(tiny.task, seeds=4, root_seed=1, **SETTINGS).attrs["hash"]
    assert mine == other != third


def test_a_store_killed_while_it_made_room_is_mended(path):
    group = store.open_existing(path)._group
    group["theta"].resize((100, *group["theta"].shape[1:]))
    assert store.open_existing(path).dataset(40).sizes["seed"] == 40


def test_what_a_killed_write_left_is_cleared_where_this_one_writes(path):
    left = [path / "theta" / "c" / str(tile) / "0" / "0" / "0.0123.partial" for tile in (3, 4)] + [
        path / "completed" / "c" / f"{tile}.0123.partial" for tile in (3, 4)
    ]
    for partial in left:
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(b"half")
    fedmi.sample(tiny.task, seeds=64, store=path, **SETTINGS)
    # Tile 4 may be another writer's at the moment.
    assert [partial.exists() for partial in left] == [False, True, False, True]


def test_options_are_compared_as_json_keeps_them(tmp_path):
    task = dataclasses.replace(tiny.task, options={"range": (0, 1)})
    for seeds in (4, 8):
        fedmi.sample(task, seeds=seeds, store=tmp_path / "a.zarr", **SETTINGS)
    strange = dataclasses.replace(tiny.task, options={"range": {0, 1}})
    with pytest.raises(ValueError, match="options: .* cannot be written as JSON"):
        fedmi.sample(strange, seeds=4, store=tmp_path / "b.zarr")
    assert not list(tmp_path.glob(".b*"))
