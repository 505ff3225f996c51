"""Blocks of seeds and checkpoints as processes of their own, side by side."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import fedmi
from fedmi.__main__ import main
from fedmi.sampling import sampler, store
from fedmi.sampling.design import Design
from fedmi.study import params, results, tables
from tests import tiny
from tests.killing import bytes_of

pytestmark = pytest.mark.usefixtures("quickly_compiled")

ROOT = Path(__file__).parents[1]
STUDY = dict(task="tests.tiny:make", seeds=600, tile=16, checkpoints=[1, 2, 4], blocks=3)

# Writes down every file that is opened for writing or renamed into its place.
WATCHED = """
import os, sys
written = open(sys.argv.pop(1), "w")
def watch(event, arguments):
    if event == "os.rename":
        print(os.fspath(arguments[1]), file=written, flush=True)
    elif event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        print(os.fspath(arguments[0]), file=written, flush=True)
sys.addaudithook(watch)
from fedmi.__main__ import main
main(["sample", *sys.argv[1:]])
"""


def write_study(folder, **changes):
    path = folder / "params" / "few" / "one.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(STUDY | changes))
    return [str(path), "--results", str(folder / "results")], folder / "results" / "few" / "one"


def start(*command, **environment):
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(child):
    said, _ = child.communicate(timeout=240)
    assert child.returncode == 0, said


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The store of the study, sampled in one go."""
    path = tmp_path_factory.mktemp("whole") / "samples.zarr"
    fedmi.sample(tiny.task, seeds=600, tile=16, checkpoints=[1, 2, 4], store=path)
    return path


@pytest.mark.slow
def test_blocks_at_once_touch_no_shard_of_each_other_s(tmp_path, whole):
    """Three processes, none of which finds the store made."""
    given, folder = write_study(tmp_path)
    logs = [tmp_path / f"{block}.log" for block in range(3)]
    children = [
        start("-c", WATCHED, str(log), *given, "--block", str(block))
        for block, log in enumerate(logs)
    ]
    for child in children:
        finished(child)
    inside = f"{folder / 'samples.zarr'}/"
    shards = [
        {
            line
            for line in log.read_text().splitlines()
            if line.startswith(inside) and "/c/" in line and not line.endswith(".partial")
        }
        for log in logs
    ]
    # 38 tiles of theta, metric, clipped and completed, in equal parts.
    assert [len(found) for found in shards] == [4 * 13, 4 * 13, 4 * 12]
    assert len(set.union(*shards)) == 4 * 38
    assert bytes_of(folder / "samples.zarr") == bytes_of(whole)
    history = store.open_existing(folder / "samples.zarr").history
    assert sorted(run["block"] for run in history) == [[0, 3], [1, 3], [2, 3]]
    assert sum(run["tiles"] for run in history) == 38
    for block in range(3):
        left = json.loads((folder / "blocks" / f"{block}.json").read_text())
        assert left["block"] == [block, 3]


@pytest.mark.slow
def test_processes_share_one_job_out(tmp_path, whole):
    """Two of two devices each, as `srun -n 2` starts them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    join = "import sys, jax; jax.distributed.initialize(sys.argv.pop(1), 2, int(sys.argv.pop(1)))\n"
    given, folder = write_study(tmp_path)
    command = join + "from fedmi.__main__ import main; main(['sample', *sys.argv[1:]])"
    children = [
        start("-c", command, address, str(process), *given, JAX_NUM_CPU_DEVICES="2")
        for process in range(2)
    ]
    for child in children:
        finished(child)
    assert bytes_of(folder / "samples.zarr") == bytes_of(whole)
    history = store.open_existing(folder / "samples.zarr").history
    assert [run["tiles"] for run in history] == [19, 19]
    assert all(len(run["devices"]) == 2 for run in history)


@pytest.mark.slow
def test_four_devices_of_one_process_leave_the_same_bytes(tmp_path, whole):
    given, folder = write_study(tmp_path)
    finished(start("-m", "fedmi", "sample", *given, JAX_NUM_CPU_DEVICES="4"))
    assert bytes_of(folder / "samples.zarr") == bytes_of(whole)
    assert len(store.open_existing(folder / "samples.zarr").history[0]["devices"]) == 4


def test_a_laid_out_store_is_empty(tmp_path):
    given, folder = write_study(tmp_path)
    main(["sample", *given, "--lay-out"])
    assert store.open_existing(folder / "samples.zarr").pending(600) == list(range(38))
    assert json.loads((folder / "blocks" / "laid_out.json").read_text())["block"] is None
    main(["sample", *given, "--block", "1"])
    pending = store.open_existing(folder / "samples.zarr").pending(600)
    assert pending == [*range(13), *range(26, 38)]


def test_checkpoints_are_estimated_apart_and_kept(tmp_path, monkeypatch):
    given, folder = write_study(tmp_path, seeds=64, blocks=1)
    main(["sample", *given])
    samples = fedmi.finite(store.open_existing(folder / "samples.zarr").dataset(64))
    results.write_manifest(folder, samples, excluded=0, stability=tiny.STABILITY, made=tiny.MADE)
    main(["estimate", *given, "--checkpoint", "2"])
    study = params.load(given[0])
    expected = [
        row
        for name in ("gaussian", "ksg")
        for row in tables.mi_rows(
            samples, 2, estimator=name, permutations=20, **study.options_of(name)
        )
    ]
    monkeypatch.setattr(tables, "mi_rows", lambda *_, **__: pytest.fail("estimated again"))
    rows = tables.checkpoint_rows(study, samples, folder, 2)
    columns = tables.MI_COLUMNS[:-1]
    pd.testing.assert_frame_equal(
        pd.DataFrame(rows)[columns], pd.DataFrame(expected)[columns], check_exact=True
    )
    for row, known in zip(rows, expected, strict=True):
        np.testing.assert_array_equal(row["permuted"], known["permuted"])
    # Of other options, or of fewer seeds, it is not what is asked for.
    other = study.model_copy(update=dict(permutations=21))
    for asked, of in ((other, samples), (study, samples.isel(seed=slice(60)))):
        with pytest.raises(pytest.fail.Exception, match="estimated again"):
            tables.checkpoint_rows(asked, of, folder, 2)
    (folder / "manifest.json").write_text("")
    with pytest.raises(ValueError, match="manifest.json is empty, cut short or damaged"):
        results.samples_of(folder, given[0])
    with pytest.raises(ValueError, match="checkpoint: 3 is none of the study's"):
        tables.checkpoint_rows(study, samples, folder, 3)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ((3, 3), "block: 3 is not from 0 to 2, of 3 blocks"),
        ((-1, 3), "block: -1 is below 0"),
        ((0, 0), "block: 0 is below 1"),
        ((0.5, 2), "block: 0.5 is not a whole number"),
    ],
)
def test_impossible_blocks_are_refused(block, message):
    with pytest.raises(ValueError, match=message):
        sampler.sample_block(Design.of(tiny.task), seeds=4, block=block)


@pytest.mark.parametrize("results", ["s3://bucket/results", "gs://b", "file:///tmp/x", "", "/f"])
def test_results_that_are_no_local_folder_are_refused(tmp_path, results):
    if results == "/f":
        results = str(tmp_path / "file")
        (tmp_path / "file").write_text("not a folder")
    given, _ = write_study(tmp_path)
    before = set(ROOT.iterdir())
    with pytest.raises(SystemExit, match="^ParamsError: results: .*folder"):
        main(["sample", given[0], "--results", results])
    assert set(ROOT.iterdir()) == before


def test_a_refusal_is_one_message(tmp_path):
    given, _ = write_study(tmp_path)
    child = start("-m", "fedmi", "sample", *given, "--block", "3")
    said, _ = child.communicate(timeout=240)
    assert child.returncode == 1
    assert said.splitlines()[-1] == "ValueError: block: 3 is not from 0 to 2, of 3 blocks"


@pytest.mark.parametrize(("seeds", "count"), [(1, 3), (600, 3), (601, 7), (16, 1)])
def test_blocks_are_all_tiles_in_near_equal_parts(seeds, count):
    parts = [sampler.tiles_of(seeds, 16, (block, count)) for block in range(count)]
    assert sum(parts, []) == list(range(-(-seeds // 16)))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
