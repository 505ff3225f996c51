"""The workflow on a real Slurm: two nodes on this machine, one of which is killed.

What runs is `make study PROFILE=slurm`, in a folder laid out as the project; what comes out is
held against `make study`. That is done with two tiny studies (`-k tiny`, some minutes on two idle
cores) and with the quick ones (`-k quick`, several times that).
"""

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr

from fedmi.sampling.store import open_existing
from tests.killing import bytes_of
from tests.slurm import cluster as slurm

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        bool(slurm.missing()),
        reason=f"no {', '.join(slurm.missing())} here (Debian's packages slurm-wlm and munge)",
    ),
]

# Large enough to be killed in the middle of sampling, and small in all that follows.
TINY = dict(
    task="tests.tiny:make",
    options=dict(learning_rate=0.25),
    seeds=40_000,
    tile=256,
    blocks=4,
    checkpoints=[1, 4],
    estimators=["gaussian"],
    calibration_draws=0,
)

# The quick studies are sampled in as many blocks, and so estimated by checkpoints.
BLOCKS = 4

# A job has one CPU, as a node has, blocks are jobs of their own, and Slurm is asked often.
FLAGS = (
    "--max-threads 1 --latency-wait 5 --slurm-init-seconds-before-status-checks 5"
    " --group-components layouts=1 sampling=1 estimation=1"
)


def lay_out(folder):
    """Makes a folder that is the project as far as `make` can tell, but has no results."""
    (folder / ".venv").mkdir(parents=True)  # with a lock of its own
    for scale in ("tiny", "quick"):
        (folder / "params" / scale).mkdir(parents=True)
    shared = ["Makefile", "pyproject.toml", "requirements.lock"]
    shared += ["fedmi", "notebooks", "tests", "workflow"]
    shared += [f".venv/{path.name}" for path in (ROOT / ".venv").iterdir()]
    for name in shared:
        if name != ".venv/study.lock":
            (folder / name).symlink_to(ROOT / name)
    for name, coupling in {"sharing": "shared-source", "sharing-null": "null"}.items():
        params = folder / "params" / "tiny" / f"{name}.yaml"
        params.write_text(yaml.safe_dump(TINY | dict(coupling=coupling)))
    for name in ("signal", "signal-null", "digits", "digits-null"):
        quick = yaml.safe_load((ROOT / "params" / "quick" / f"{name}.yaml").read_text())
        params = folder / "params" / "quick" / f"{name}.yaml"
        params.write_text(yaml.safe_dump(quick | dict(blocks=BLOCKS)))


def study(folder, scale, cluster, *variables):
    """Starts `make study`; what it prints is in study.log, run after run."""
    # Sums of a matrix product depend on how many threads take part in it.
    environment = os.environ | cluster | dict(OPENBLAS_NUM_THREADS="1")
    # The number of devices is the command's to choose, and so are make's variables.
    for name in ("JAX_NUM_CPU_DEVICES", "MAKEFLAGS"):
        environment.pop(name, None)
    with open(folder / "study.log", "ab") as log:
        return subprocess.Popen(
            ["make", "study", f"SCALE={scale}", *variables],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )


def finished_shards(folder, scale):
    """The shards of all tiles that are complete: which file each is, and when it was written."""
    shards = {}
    for store in (folder / "results" / scale).glob("*/samples.zarr"):
        group = zarr.open_group(store, mode="r")
        for tile in np.flatnonzero(group["completed"][:]):
            for path in store.glob(f"*/c/{tile}/**/*"):
                if path.is_file():
                    shards[path] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return shards


def contents(folder, scale):
    """Every table, and every file of the stores' arrays."""
    results = folder / "results" / scale
    tables = {path.relative_to(results): path.read_bytes() for path in results.rglob("*.csv")}
    for store in results.glob("*/samples.zarr"):
        files = bytes_of(store).items()
        tables |= {store.relative_to(results) / path: content for path, content in files}
    return tables


def sampling_on(cluster, node):
    """The processes on a node that sample."""
    return [
        process
        for process in cluster.running_on(node)
        if any(name in slurm.command(process) for name in ("01_sample", "fedmi sample"))
    ]


@pytest.fixture(scope="module")
def cluster():
    with tempfile.TemporaryDirectory(prefix="fedmi-slurm-") as folder:
        cluster = slurm.Cluster(folder)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="module", params=["tiny", "quick"])
def local(request, tmp_path_factory):
    """A scale, and what its studies come to without Slurm."""
    folder = tmp_path_factory.mktemp("local")
    lay_out(folder)
    run = study(folder, request.param, {})
    assert run.wait() == 0, (folder / "study.log").read_text()
    return request.param, contents(folder, request.param)


def test_a_study_goes_on_after_its_node_was_killed(cluster, local, tmp_path):
    scale, expected = local
    lay_out(tmp_path)
    log = tmp_path / "study.log"

    def start():
        flags = f"SNAKEFLAGS={FLAGS} --retries 0"
        return study(tmp_path, scale, cluster.environment, "PROFILE=slurm", flags)

    def node_in_the_middle():
        assert run.poll() is None, log.read_text()
        sampling = [node for node in slurm.NODES if sampling_on(cluster, node)]
        return sampling[0] if sampling and finished_shards(tmp_path, scale) else None

    run = start()
    node = slurm.wait_until(node_in_the_middle, "the middle of sampling", seconds=600)
    job = slurm.environment(sampling_on(cluster, node)[-1])
    cluster.kill_node(node)
    before = finished_shards(tmp_path, scale)
    slurm.wait_until(lambda: cluster.is_down(node), "Slurm notices", seconds=120)
    cluster.start_node(node)
    slurm.wait_until(lambda: cluster.is_up(node), "the node is back", seconds=60)
    assert run.wait() != 0, log.read_text()

    assert start().wait() == 0, log.read_text()
    after = finished_shards(tmp_path, scale)
    assert {path: after.get(path) for path in before} == before
    found = contents(tmp_path, scale)
    assert found.keys() == expected.keys()
    assert [path for path in found if found[path] != expected[path]] == []

    # No tile was finished by two runs; one run alone, the killed one, left tiles to another.
    killed = 0
    for store in (tmp_path / "results" / scale).glob("*/samples.zarr"):
        samples = open_existing(store)
        tiles = np.count_nonzero(zarr.open_group(store, mode="r")["completed"][:])
        lost = [run for run in samples.history if run["end"] is None]
        finished = sum(run["tiles"] for run in samples.history) - sum(run["tiles"] for run in lost)
        assert finished == tiles or (lost and finished < tiles)
        assert tiles - finished <= sum(run["tiles"] for run in lost)
        killed += len(lost)
    assert killed == 1

    # What has to stand before JAX is imported stood, and was the job's own.
    assert job["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert job["JAX_NUM_CPU_DEVICES"] == "1"
