import dataclasses
import json
import os
import re
import shutil
import warnings

import google_crc32c
import numpy as np
import pytest
import xarray as xr
import zarr

import fedmi
from fedmi.sampling import layout, provenance, sampler, store
from fedmi.sampling.design import Design
from tests import tiny
from tests.killing import bytes_of

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
    metadata["attributes"][layout.ATTRIBUTE]["schema"] = 0
    (path / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(store.StoreError, match="is of schema 0.*writes schema 3"):
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


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGE = {
    "cut to nothing": lambda data: b"",
    "cut in half": lambda data: data[: len(data) // 2],
    "cut by a byte": lambda data: data[:-1],
    "without its head": lambda data: data[len(data) // 2 :],
    "a bit flipped": flipped,
    "zeros": lambda data: bytes(len(data)),
    "zeros at its end": lambda data: data[: len(data) // 2].ljust(len(data), b"\0"),
}


def damage(file, how):
    if how == "removed":
        file.unlink()
    else:
        file.write_bytes(DAMAGE[how](file.read_bytes()))


def only(folder):
    (file,) = (file for file in folder.rglob("*") if file.is_file())
    return file


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store of the second round, with arrays of every kind: 40 seeds in tiles of 16."""
    path = tmp_path_factory.mktemp("whole") / "samples.zarr"
    fedmi.sample(tiny.task, seeds=40, store=path, rounds=2, **SETTINGS)
    return path


def sample_again(path):
    return fedmi.sample(tiny.task, seeds=40, store=path, rounds=2, **SETTINGS)


ARRAYS = ("theta", "metric", "clipped", "download")


@pytest.mark.parametrize("how", ["removed", *DAMAGE])
@pytest.mark.parametrize("name", ARRAYS)
def test_a_damaged_shard_is_told_and_refused(tmp_path, whole, name, how):
    path = shutil.copytree(whole, tmp_path / "samples.zarr")
    damage(only(path / name / "c" / "1"), how)
    samples = store.open_existing(path).dataset(40)
    named = rf"{name} of tile 1 \(seeds 16 to 31\) is missing or damaged; sample again"
    with pytest.raises(store.StoreError, match=named):
        samples[name].values  # noqa: B018
    sound = store.open_existing(whole).dataset(40)
    for part in (slice(16), slice(32, 40)):
        np.testing.assert_array_equal(samples[name][part], sound[name][part])
    with pytest.warns(UserWarning, match=r"files of tile 1 \(seeds 16 to 31\) are missing or"):
        assert store.open_existing(path).pending(40) == [1]


@pytest.mark.parametrize("how", ["removed", *DAMAGE])
@pytest.mark.parametrize("names", [("theta", "clipped"), ("metric", "download")])
def test_what_is_damaged_is_computed_again(tmp_path, whole, names, how):
    path = shutil.copytree(whole, tmp_path / "samples.zarr")
    for tile, name in zip((0, 2), names, strict=True):
        damage(only(path / name / "c" / str(tile)), how)
    with pytest.warns(UserWarning, match="tile 0 .*tile 2 .*these seeds are computed again"):
        sample_again(path)
    assert bytes_of(path) == bytes_of(whole)
    assert store.open_existing(path).history[-1]["tiles"] == 2


@pytest.mark.parametrize("how", ["removed", *DAMAGE])
def test_a_tile_whose_entry_is_damaged_does_not_count(tmp_path, whole, how):
    path = shutil.copytree(whole, tmp_path / "samples.zarr")
    damage(path / "completed" / "c" / "1", how)
    with pytest.raises(store.StoreError, match="holds 16 of 40 seeds"):
        store.open_existing(path).dataset(40)
    sample_again(path)
    assert bytes_of(path) == bytes_of(whole)


@pytest.mark.parametrize("name", [*ARRAYS, "completed"])
def test_a_folder_of_shards_that_is_gone_is_made_anew(tmp_path, whole, name):
    path = shutil.copytree(whole, tmp_path / "samples.zarr")
    shutil.rmtree(path / name / "c")
    with pytest.raises(store.StoreError, match="tile 0 .*tile 1 .*tile 2|holds 0 of 40 seeds"):
        store.open_existing(path).dataset(40)[name if name in ARRAYS else "theta"].load()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sample_again(path)
    assert bytes_of(path) == bytes_of(whole)


def test_a_chunk_left_out_of_a_shard_is_no_fill_value(tmp_path, whole):
    """As zarr leaves out, by default, a chunk of nothing but fill values."""
    path = shutil.copytree(whole, tmp_path / "samples.zarr")
    file = only(path / "theta" / "c" / "1")
    data = bytearray(file.read_bytes())
    data[-148:-132] = b"\xff" * 16
    data[-4:] = google_crc32c.value(bytes(data[-148:-4])).to_bytes(4, "little")
    file.write_bytes(data)
    with pytest.raises(store.StoreError, match="theta of tile 1"):
        store.open_existing(path).dataset(40).theta.isel(client=0, iteration=0).load()
    with pytest.warns(UserWarning, match="tile 1"):
        sample_again(path)
    assert bytes_of(path) == bytes_of(whole)


def test_seeds_that_diverged_are_stored_as_such(tmp_path, whole):
    """Chunks of nothing but fill values are written, too."""
    path = shutil.copytree(whole, tmp_path / "samples.zarr")
    samples = store.open_existing(path)
    tile = samples.dataset(40).isel(seed=slice(16, 32))
    lost = {name: np.full_like(tile[name], 0 if name == "clipped" else np.nan) for name in ARRAYS}
    samples.write(1, lost)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert samples.pending(40) == []
    found = samples.dataset(40)
    for name, values in lost.items():
        np.testing.assert_array_equal(found[name][16:32], values)


def test_what_a_crash_left_of_a_tile_that_does_not_count_is_written_over(tmp_path, whole):
    path = shutil.copytree(whole, tmp_path / "samples.zarr")
    store.open_existing(path)._group["completed"][1] = 0
    damage(only(path / "theta" / "c" / "1"), "cut in half")
    damage(only(path / "metric" / "c" / "1"), "removed")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it may be another writer's at the moment
        sample_again(path)
    assert bytes_of(path) == bytes_of(whole)


def test_a_damaged_tile_does_not_count_while_it_is_written(tmp_path, whole):
    """Killed in between, it holds fill values where it held seeds."""
    path = shutil.copytree(whole, tmp_path / "samples.zarr")
    samples = store.open_existing(path)
    four = samples.dataset(40).theta[16:20].values
    damage(only(path / "theta" / "c" / "1"), "removed")
    with pytest.raises(KeyError, match="metric"):
        samples.write(1, dict(theta=four))
    with pytest.raises(store.StoreError, match="holds 16 of 40 seeds"):
        samples.dataset(40)
    # Nor does one of which fewer seeds than before are made again.
    damage(only(path / "theta" / "c" / "1"), "cut in half")
    fedmi.sample(tiny.task, seeds=20, store=path, rounds=2, **SETTINGS)
    with pytest.raises(store.StoreError, match="holds 20 of 40 seeds"):
        samples.dataset(40)
    sample_again(path)
    assert bytes_of(path) == bytes_of(whole)


def test_only_the_tiles_asked_for_are_looked_at(tmp_path, whole):
    path = shutil.copytree(whole, tmp_path / "samples.zarr")
    for tile in (0, 2):
        damage(only(path / "metric" / "c" / str(tile)), "a bit flipped")
    samples = store.open_existing(path)
    with pytest.warns(UserWarning, match="tile 2"):
        assert samples.pending(40, [1, 2]) == [2]
    design = Design.of(tiny.task, checkpoints=[1, 2, 4], rounds=2)
    sampler.sample_block(design, seeds=40, store=path, tile=16, block=(1, 3))  # of tile 1 alone
    with pytest.warns(UserWarning, match="tile 0 .*tile 2"):
        assert samples.pending(40) == [0, 2]


def test_a_tile_that_is_written_while_it_is_read_is_read_again(whole):
    """Its index may be of the file before, and its chunks of the one after."""
    stored = store._Stored(store.open_existing(whole), "metric")
    array = stored._array

    class Written:
        @property
        def oindex(self):
            stored._array = array
            raise ValueError("Stored and computed checksum do not match.")

    variable = stored.variable()
    stored._array = Written()
    np.testing.assert_array_equal(variable, array[:])


def _other_size(kind):
    return kind[1] + {"32": "64", "64": "32"}[kind[2]]


TORN = {
    "empty": lambda text: "",
    "half": lambda text: text[: len(text) // 2],
    "another": lambda text: text.replace('"separator": "/"', '"separator": "."'),
    "no array": lambda text: '{"zarr_format": 3, "node_type": "group", "attributes": {}}',
    "of another type": lambda text: re.sub("(float|int)(32|64)", _other_size, text),
}


@pytest.mark.parametrize("how", ["removed", *TORN])
@pytest.mark.parametrize("name", ["theta", "clipped", "completed", "iteration"])
def test_an_array_that_is_not_what_was_made_is_refused(tmp_path, whole, name, how):
    path = shutil.copytree(whole, tmp_path / "samples.zarr")
    file = path / name / "zarr.json"
    text = file.read_text()
    if how == "removed":
        file.unlink()
    else:
        file.write_text(TORN[how](text))
    before = bytes_of(path)
    for use in (store.open_existing, sample_again):
        with pytest.raises(
            store.StoreError, match=f"is damaged: {name}/zarr.json.*remove the store"
        ):
            use(path)
    assert bytes_of(path) == before


@pytest.mark.parametrize(("old", "new"), [("0.25", "0.35"), ('"steps": 4', '"steps": 5')])
def test_attributes_that_were_altered_are_refused(tmp_path, whole, old, new):
    path = shutil.copytree(whole, tmp_path / "samples.zarr")
    text = (path / "zarr.json").read_text()
    assert old in text
    (path / "zarr.json").write_text(text.replace(old, new))
    with pytest.raises(store.StoreError, match="is damaged: zarr.json"):
        store.open_existing(path)


@pytest.mark.parametrize("text", ["null", "5", '"x"', "[" * 100_000])
def test_a_group_of_another_kind_is_refused(tmp_path, whole, text):
    path = shutil.copytree(whole, tmp_path / "samples.zarr")
    (path / "zarr.json").write_text(text)
    with pytest.raises(store.StoreError, match="zarr.json is damaged"):
        store.open_existing(path)


@pytest.mark.parametrize("how", ["removed", *DAMAGE])
def test_coordinates_are_mended(tmp_path, whole, how):
    path = shutil.copytree(whole, tmp_path / "samples.zarr")
    damage(path / "iteration" / "c" / "0", how)
    assert store.open_existing(path).dataset(40).iteration.values.tolist() == [1, 2, 4]
    assert xr.open_zarr(path, consolidated=False).iteration.values.tolist() == [1, 2, 4]


@pytest.mark.parametrize("text", ["", '{"attributes": {"start', "[]", '{"attributes": {}}'])
def test_a_torn_entry_of_the_history_is_told_and_stops_nothing(tmp_path, whole, text):
    path = shutil.copytree(whole, tmp_path / "samples.zarr")
    (entry,) = (path / "runs").glob("*/zarr.json")
    entry.write_text(text)
    (path / "runs" / "zarr.json").write_text(text)
    with pytest.warns(UserWarning, match=f"{entry} is damaged"):
        assert store.open_existing(path).history == []
    with pytest.warns(UserWarning, match=f"{entry} is damaged"):
        fedmi.sample(tiny.task, seeds=60, store=path, rounds=2, **SETTINGS)
    with pytest.warns(UserWarning, match=f"{entry} is damaged"):
        assert [run["seeds"] for run in store.open_existing(path).history] == [60]
    assert store.open_existing(path).dataset(60).sizes["seed"] == 60


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
    lay_out = layout.lay_out

    def and_so_does_another(*arguments):
        if not path.exists():
            path.mkdir()
            lay_out(zarr.storage.LocalStore(path), *arguments[1:])
        return lay_out(*arguments)

    monkeypatch.setattr(layout, "lay_out", and_so_does_another)
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
