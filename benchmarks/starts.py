"""What a person waits for: a first call, and `make study` step by step."""

import json
import os
import re
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter

from benchmarks.work import Work

ROOT = Path(__file__).parents[1]

TWICE = """
import json, sys, time
started = time.perf_counter()
import fedmi
taken = []
for _ in range(2):
    fedmi.sample(sys.argv[1], seeds=int(sys.argv[2]))
    taken.append(time.perf_counter() - started)
    started = time.perf_counter()
print(json.dumps(taken))
"""

STEP = re.compile(r"\] (?P<what>.*): done in (?:(?P<minutes>\d+) min )?(?P<seconds>\d+) s")


def sampling(*, task: str, seeds: int, call: str) -> Work:
    """`fedmi.sample` of a task in a new process, the import of fedmi included.

    Args:
        task: its name.
        seeds: how many.
        call: "first", with an empty cache; "again", the same call in that process; or "cached",
            the first one where another process has left its programs.
    """
    folder = tempfile.TemporaryDirectory()

    def run() -> dict[str, float]:
        if call != "cached":
            _forget(Path(folder.name))
        return dict(seconds=_sampled(task, seeds, folder.name)[call == "again"])

    if call == "cached":
        _sampled(task, seeds, folder.name)
    return Work(run, 1, "calls", "in a new process")


def _sampled(task: str, seeds: int, cache: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", TWICE, task, str(seeds)],
        env=_with_cache(cache),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def _with_cache(folder: str) -> dict[str, str]:
    """The environment of a process that keeps its programs in a folder, not where this one does."""
    unset = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPI")}
    return unset | dict(FEDMI_CACHE=folder)


def _forget(folder: Path) -> None:
    """Empties a folder of compiled programs; data that are made once, as LeNet's, stay."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def study(*, scale: str, cores: int) -> Work:
    """`make study` of a scale in an empty folder with empty caches, told by step."""
    return Work(partial(_study, scale, cores), 1, "studies", "make study, nothing cached")


def _study(scale: str, cores: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name in ("notebooks", "params"):
            (place / name).symlink_to(ROOT / name)
        started = perf_counter()
        done = subprocess.run(
            [
                Path(sys.executable).parent / "snakemake", "study", "--snakefile",
                ROOT / "workflow" / "Snakefile", "--cores", str(cores), "--directory", place,
                "--workflow-profile", ROOT / "workflow" / "profiles" / "default",
                "--config", f"scale={scale}",
            ],
            env=_with_cache(str(place / "cache"))
            | dict(
                JAX_NUM_CPU_DEVICES=str(cores),
                PYTHONPATH=str(ROOT),
                PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            ),
            capture_output=True,
            text=True,
        )  # fmt: skip
        seconds = perf_counter() - started
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    steps = [
        f"{step['what']} {60 * int(step['minutes'] or 0) + int(step['seconds'])} s"
        for step in STEP.finditer(done.stderr)
    ]
    return dict(seconds=seconds, note="; ".join(steps))
