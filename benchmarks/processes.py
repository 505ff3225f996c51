"""`python -m benchmarks.processes`: what a second process on a second core is worth.

`fedmi.sample` of the task `signal` by one process on one core, and by two processes
(`jax.distributed`) on a core each, in turns, every process pinned to its core. What is timed is the
filling of a store, as its own history tells it: all of it, which holds the compilation that every
process does for itself; and less that of one with a quarter of the seeds, which is free of it.
Writes figures/processes.csv.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from benchmarks.output import publish
from fedmi.sampling import store

CHILD = """
import os, sys
place, address, count, index, seeds = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[index]})
import jax
if count > 1:
    jax.distributed.initialize(address, count, index)
import fedmi
fedmi.sample("signal", seeds=seeds, store=place)
"""


def sampled_in(processes: int, seeds: int) -> float:
    """Seconds in which so many processes fill a store; the slowest one's."""
    with tempfile.TemporaryDirectory() as folder:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        place = Path(folder) / "samples.zarr"
        children = [
            subprocess.Popen(
                [sys.executable, "-c", CHILD, place, address, *map(str, (processes, i, seeds))],
                env=os.environ | dict(JAX_NUM_CPU_DEVICES="1", OPENBLAS_NUM_THREADS="1"),
                stdout=subprocess.DEVNULL,
            )
            for i in range(processes)
        ]
        if any([child.wait() for child in children]):
            raise RuntimeError(f"sampling by {processes} processes failed")
        return max(run["seconds"] for run in store.open_existing(place).history)


def table(seeds: int, repeats: int) -> pd.DataFrame:
    """Of each number of processes the least seconds, and how many times as fast it is as one."""
    few, least = seeds // 4, {}
    for count in (1, 2) * repeats:
        for size in (few, seeds):
            taken = sampled_in(count, size)
            least[count, size] = min(taken, least.get((count, size), taken))
    filling = {count: least[count, seeds] for count in (1, 2)}
    compiled = {count: filling[count] - least[count, few] for count in (1, 2)}
    rows = [
        dict(
            processes=count,
            seeds=filled,
            seconds=seconds[count],
            times_one=seconds[1] / seconds[count],
        )
        for filled, seconds in ((seeds, filling), (seeds - few, compiled))
        for count in seconds
    ]
    return pd.DataFrame(rows).round(3)


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processes", description=__doc__)
    parser.add_argument("--seeds", type=int, default=22_000)
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args()
    publish(table(given.seeds, given.repeats), "processes", digits=6)


if __name__ == "__main__":
    main()
