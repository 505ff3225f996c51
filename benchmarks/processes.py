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

from benchmarks.__main__ import FIGURES
from fedmi.sampling import store
from fedmi.study import results

COLUMNS = ["processes", "seeds", "seconds", "times_one"]
FIRST = 4  # one part of so many is taken off
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
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
        free.close()
        place = Path(folder) / "samples.zarr"
        given = [str(place), address, str(processes)]
        children = [
            subprocess.Popen(
                [sys.executable, "-c", CHILD, *given, str(index), str(seeds)],
                env=os.environ | dict(JAX_NUM_CPU_DEVICES="1", OPENBLAS_NUM_THREADS="1"),
                stdout=subprocess.DEVNULL,
            )
            for index in range(processes)
        ]
        if any([child.wait() for child in children]):
            raise RuntimeError(f"sampling by {processes} processes failed")
        return max(run["seconds"] for run in store.open_existing(place).history)


def table(seeds: int, repeats: int) -> pd.DataFrame:
    """Of each number of processes the least seconds, and how many times as fast it is as one."""
    first = seeds // FIRST
    times = {count: ([], []) for count in (1, 2)}
    for _ in range(repeats):
        for count, (few, whole) in times.items():
            few.append(sampled_in(count, first))
            whole.append(sampled_in(count, seeds))
    filling = {count: min(whole) for count, (_, whole) in times.items()}
    compiled = {count: filling[count] - min(few) for count, (few, _) in times.items()}
    rows = [
        (count, filled, seconds[count], seconds[1] / seconds[count])
        for filled, seconds in ((seeds, filling), (seeds - first, compiled))
        for count in seconds
    ]
    return pd.DataFrame(rows, columns=COLUMNS).round(3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=22_000)
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args()
    made = table(given.seeds, given.repeats)
    print(made.to_string(index=False))
    results.write_whole(FIGURES / "processes.csv", made.to_csv(index=False))
