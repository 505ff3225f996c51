import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import fedmi
from fedmi import progress, scopes
from fedmi.sampling import sampler
from fedmi.sampling.checks import check_local
from tests import tiny
from tests.killing import bytes_of, kill_after

pytestmark = pytest.mark.usefixtures("quickly_compiled")

ROOT = Path(__file__).parents[2]
# The same wherever it serves, so that most tests share one compiled program.
SETTINGS = dict(checkpoints=[1, 2, 4], tile=64)


def plain_epoch(task, keys, assets=()):
    """One client's epoch, a step at a time, without scan or vmap."""
    params = task.init(keys)
    data = task.data(keys, assets)
    order = jax.random.permutation(keys[task.stream("order")], task.examples)
    thetas, metrics = [], []
    for step in range(task.steps):
        chosen = order[step * task.batch_size : (step + 1) * task.batch_size]
        batch = jax.tree.map(lambda a, chosen=chosen: a[chosen], data)
        dropout = task.stream("dropout")
        key = None if dropout is None else jax.random.fold_in(keys[dropout], step)
        (_, metric), gradient = jax.value_and_grad(task.loss, has_aux=True)(params, batch, key)
        norm = optax.tree.norm(gradient)
        scale = 1.0 if task.clip_norm is None else np.minimum(1.0, task.clip_norm / norm)
        params = jax.tree.map(
            lambda p, g, s=scale: p - task.learning_rate * s * g, params, gradient
        )
        thetas.append(np.asarray(ravel_pytree(params)[0]))
        metrics.append(float(metric))
    return np.stack(thetas), np.array(metrics)


@pytest.mark.parametrize("coupling", ["null", "independent", "shared-source"])
def test_the_sampler_is_the_plain_epoch_of_every_client_of_every_seed(coupling):
    samples = fedmi.sample(tiny.task, seeds=70, coupling=coupling, **SETTINGS)
    resolved = scopes.resolve(coupling, tiny.task.streams)
    for seed, client in ((0, 0), (5, 2), (69, 1)):
        keys = scopes.client_keys(jax.random.key(0), resolved, seed=seed, client=client)
        theta, metric = plain_epoch(tiny.task, keys)
        got = samples.isel(seed=seed, client=client)
        np.testing.assert_allclose(got.theta, theta[[0, 1, 3]], rtol=0, atol=tiny.ROUNDING)
        np.testing.assert_allclose(got.metric, metric, rtol=tiny.METRIC_ROUNDING)


def test_the_law_of_the_samples_is_the_known_one():
    samples = fedmi.sample(tiny.task, seeds=4000, **SETTINGS)
    theta = samples.theta.values
    for kept, iteration in enumerate([1, 2, 4]):
        x, y = theta[:, 0, kept], theta[:, 2, kept]
        found = np.mean(x * y) / np.sqrt(np.mean(x**2) * np.mean(y**2))
        expected = tiny.correlation(tiny.task, iteration)
        error = (1 - expected**2) / np.sqrt(x.size)
        assert abs(found - expected) < 4.5 * error


@pytest.mark.parametrize("coupling", ["null", "independent"])
def test_without_a_shared_stream_clients_are_uncorrelated(coupling):
    samples = fedmi.sample(tiny.task, seeds=4000, coupling=coupling, **SETTINGS)
    theta = samples.theta.values[:, :, -1]
    theta = theta - theta.mean(axis=0)
    x, y = theta[:, 0], theta[:, 1]
    found = np.mean(x * y) / np.sqrt(np.mean(x**2) * np.mean(y**2))
    assert abs(found) < 4.5 / np.sqrt(x.size)
    assert theta.std() > 0.1


def test_what_clients_share_wholly_is_the_same_at_all_of_them():
    everything_shared = dict.fromkeys(tiny.task.streams, "shared")
    samples = fedmi.sample(tiny.task, seeds=8, coupling=everything_shared, **SETTINGS)
    theta = samples.theta.values
    np.testing.assert_array_equal(theta[:, 0], theta[:, 1])
    assert len(np.unique(theta[:, 0, 0, 0])) == 8


def test_fewer_seeds_are_a_prefix_of_more(tmp_path):
    short = fedmi.sample(tiny.task, seeds=500, store=tmp_path / "a.zarr", **SETTINGS)
    whole = fedmi.sample(tiny.task, seeds=1000, store=tmp_path / "b.zarr", **SETTINGS)
    for name in ("theta", "metric", "clipped"):
        np.testing.assert_array_equal(short[name], whole[name][:500])
    grown = fedmi.sample(tiny.task, seeds=1000, store=tmp_path / "a.zarr", **SETTINGS)
    for name in ("theta", "metric", "clipped"):
        np.testing.assert_array_equal(grown[name], whole[name])


def test_stored_seeds_are_not_computed_again(tmp_path, monkeypatch):
    first = fedmi.sample(tiny.task, seeds=100, store=tmp_path / "a.zarr", **SETTINGS)
    monkeypatch.setattr(sampler, "compute_tiles", lambda *_, **__: pytest.fail("sampled again"))
    again = fedmi.sample(tiny.task, seeds=100, store=tmp_path / "a.zarr", **SETTINGS)
    np.testing.assert_array_equal(first.theta, again.theta)
    fewer = fedmi.sample(tiny.task, seeds=70, store=tmp_path / "a.zarr", **SETTINGS)
    np.testing.assert_array_equal(fewer.theta, first.theta[:70])


CHILD = """
import sys, fedmi
from tests import tiny
fedmi.sample(tiny.task, seeds=1000, checkpoints=[1, 2, 4], tile=16, store=sys.argv[1])
"""


def run_child_here(store):
    return fedmi.sample(tiny.task, seeds=1000, checkpoints=[1, 2, 4], tile=16, store=store)


def start(store, devices=1):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(store)],
        cwd=ROOT,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)},
        stdout=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_killed_and_resumed_sampling_leaves_the_same_bytes(tmp_path):
    whole, torn, two = (tmp_path / name for name in ("whole.zarr", "torn.zarr", "two.zarr"))
    run_child_here(whole)
    # Killed at three moments of its life: soon after the first shard, and twice later.
    for shards in (1, 9, 30):
        kill_after(start(torn), torn, "theta", shards, seconds=60)
    with pytest.raises(ValueError, match="of 1000 seeds: sampling has not finished"):
        fedmi.sampling.store.open_existing(torn).dataset(1000)
    run_child_here(torn)
    assert bytes_of(torn) == bytes_of(whole)
    history = fedmi.sampling.store.open_existing(torn).history
    assert [run["end"] is None for run in history[-2:]] == [True, False]
    # Two devices share the tiles out between them; the bytes do not tell.
    assert start(two, devices=2).wait() == 0
    assert bytes_of(two) == bytes_of(whole)
    for store, devices in ((whole, 1), (two, 2)):
        assert len(fedmi.sampling.store.open_existing(store).history[0]["devices"]) == devices


def test_a_full_disk_is_a_clear_error_and_the_store_goes_on(tmp_path):
    limited = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))  # no file may grow beyond 4 kB
{CHILD}"""
    store = tmp_path / "full.zarr"
    failed = subprocess.run(
        [sys.executable, "-c", limited, str(store)],
        cwd=ROOT,
        env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"},
        capture_output=True,
        text=True,
    )
    assert failed.returncode != 0
    assert "cannot write seeds 0 to 15" in failed.stderr
    assert "run the same command to go on" in failed.stderr
    samples = fedmi.sample(tiny.task, seeds=100, checkpoints=[1, 2, 4], tile=16, store=store)
    fresh = fedmi.sample(tiny.task, seeds=100, checkpoints=[1, 2, 4], tile=16)
    np.testing.assert_array_equal(samples.theta, fresh.theta)


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="cannot be made.*name a folder that can be written"):
        fedmi.sample(tiny.task, seeds=4, store=tmp_path / "file" / "a.zarr")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(seeds=0), "seeds: 0 is below 1"),
        (dict(seeds=10.0), "seeds: 10.0 is not a whole number"),
        (dict(seeds=True), "seeds: True is not a whole number"),
        (dict(clients=1), "clients: 1 is below 2"),
        (dict(root_seed=-1), "root_seed: -1 is below 0"),
        (dict(root_seed=2**32), "root_seed: .* is not below"),
        (dict(tile=0), "tile: 0 is below 1"),
        (dict(checkpoints=[5]), "checkpoints: 5 is not an iteration of the epoch.*1 to 4"),
        (dict(checkpoints=[0, 1]), "checkpoints: 0 is not an iteration"),
        (dict(checkpoints=[True, 2]), "checkpoints: True is not an iteration"),
        (dict(checkpoints=[2, 1]), "checkpoints: .* must be ascending"),
        (dict(checkpoints=[]), "checkpoints: .* at least one"),
        (dict(coupling="none"), "coupling: unknown name 'none'"),
        (dict(task="sginal"), "task: unknown name 'sginal'; known tasks: signal, digits"),
        (dict(checkpoints=4.5), "checkpoints: 4.5 is not an iteration"),
        (dict(coupling=None), "coupling: None is neither a name nor a mapping"),
        (dict(examples=5), "examples: 1 numbers for 3 clients"),
        (dict(aggregator=len), "aggregator: .* is no name"),
    ],
)
def test_impossible_arguments_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        fedmi.sample(**dict(task=tiny.task, seeds=10) | changes)


@pytest.mark.parametrize(
    "address",
    [
        "s3://bucket/a.zarr", "gs://bucket/a.zarr", "https://host/a.zarr", "file:///tmp/a.zarr",
        "memory://a", "simplecache::s3://bucket/a", Path("s3://bucket/a.zarr"), "", " ", 5, b"a",
        " s3://bucket/a", "./s3://bucket/a", "me@host:/a.zarr", "a\0b",
    ],
)  # fmt: skip
def test_a_store_that_is_no_local_folder_is_refused(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="^store: .* folder"):
        fedmi.sample(tiny.task, seeds=4, store=address, **SETTINGS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("local", ["a.zarr", "C:/a.zarr", "b/12:30 a.zarr", "s3/a:b//c.zarr"])
def test_local_paths_are_taken_as_they_stand(local):
    assert check_local("store", local) == Path(local)
    assert check_local("store", "~/a.zarr") == Path.home() / "a.zarr"


def test_a_store_keeps_the_tile_it_was_made_with(tmp_path):
    made = fedmi.sample(tiny.task, seeds=10, store=tmp_path / "a.zarr", **SETTINGS)
    settings = dict(SETTINGS, tile=None)
    grown = fedmi.sample(tiny.task, seeds=70, store=tmp_path / "a.zarr", **settings)
    assert grown.attrs["tile"] == made.attrs["tile"] == 64


def test_seeds_that_are_all_the_same_are_refused():
    with pytest.raises(ValueError, match="no stream differs between seeds"):
        fedmi.sample(tiny.task, seeds=4, coupling=dict.fromkeys(tiny.task.streams, "client"))


def test_non_finite_seeds_are_counted_and_dropped(capsys):
    samples = fedmi.sample(tiny.task, seeds=20, **SETTINGS).load()
    samples.theta[3, 1, 0, 5] = np.nan
    samples.metric[7, 0, 2] = np.inf
    good = fedmi.finite(samples)
    assert good.attrs["excluded"] == 2
    assert good.seed.values.tolist() == [s for s in range(20) if s not in (3, 7)]
    assert "2 of 20 seeds are not finite" in capsys.readouterr().err
    assert fedmi.finite(good).sizes["seed"] == 18


def test_a_download_that_is_not_finite_counts_too():
    samples = fedmi.sample(tiny.task, seeds=20, rounds=2, **SETTINGS).load()
    samples.download[5, 3] = np.nan
    assert fedmi.finite(samples).attrs["excluded"] == 1
    assert fedmi.finite(samples.isel(seed=slice(0))).sizes["seed"] == 0


def test_a_diverging_task_is_sampled_whole_and_then_dropped():
    wild = tiny.make(learning_rate=1e30)
    samples = fedmi.sample(wild, seeds=10, **SETTINGS)
    assert samples.sizes["seed"] == 10
    assert fedmi.finite(samples).attrs["excluded"] == 10


def test_clipping_bounds_the_step_and_is_counted():
    clipped = fedmi.Task(
        **{name: getattr(tiny.task, name) for name in tiny.task.__dataclass_fields__}
        | dict(clip_norm=0.5)
    )
    samples = fedmi.sample(clipped, seeds=30, **SETTINGS)
    step = np.diff(samples.theta.values, axis=2)[:, :, 0]
    lengths = np.linalg.norm(step, axis=-1)
    # The parameters are up to 4 steps long, so that rounding the 12 of them at both ends moves a
    # step by up to 4 sqrt(12) = 14 eps of its length; norms and scaling add a few.
    assert lengths.max() <= clipped.learning_rate * 0.5 * (1 + 30 * np.finfo(np.float32).eps)
    assert (samples.clipped > 0).all()
    assert (fedmi.sample(tiny.task, seeds=30, **SETTINGS).clipped == 0).all()


def test_provenance_says_what_the_samples_are(tmp_path):
    samples = fedmi.sample(tiny.task, seeds=10, store=tmp_path / "a.zarr", **SETTINGS)
    assert samples.attrs["coupling"] == "shared-source"
    assert samples.attrs["scopes"]["source"] == "shared"
    assert samples.attrs["generator"] == scopes.GENERATOR == "threefry2x32"
    assert samples.attrs["options"]["learning_rate"] == 0.25
    (run,) = fedmi.sampling.store.open_existing(tmp_path / "a.zarr").history
    assert run["versions"]["jax"] == jax.__version__
    assert run["start"] <= run["end"]
    assert json.dumps(run)


def test_progress_in_batch_is_plain_lines(capsys, monkeypatch):
    monkeypatch.setattr(progress, "is_watched", lambda: False)
    fedmi.sample(tiny.task, seeds=140, **SETTINGS)
    assert "sampling: 3 of 3 tiles after" in capsys.readouterr().err


def test_what_is_kept_is_told(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(progress, "is_watched", lambda: False)
    for seeds in (64, 140):
        fedmi.sample(tiny.task, seeds=seeds, store=tmp_path / "a.zarr", **SETTINGS)
    first, _, more = capsys.readouterr().err.partition("sampling: 1 of 1 tiles")
    assert "kept" not in first and "sampling: 1 of 3 tiles kept" in more


def test_progress_where_somebody_watches_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(progress, "is_watched", lambda: True)
    fedmi.sample(tiny.task, seeds=140, **SETTINGS)
    shown = capsys.readouterr()
    assert "3/3" in shown.err
    assert not shown.out


@pytest.mark.parametrize("examples", [15, 17])
def test_data_of_another_length_are_refused(examples):
    wrong = dataclasses.replace(
        tiny.task,
        data=lambda keys, assets: tiny.points(keys["source"], keys["variation"], examples),
    )
    with pytest.raises(ValueError, match="data: .*must count the 16 examples"):
        fedmi.sample(wrong, seeds=4, **SETTINGS)
