"""`python -m benchmarks.targets`: how long every part of `make paper` takes, and in what memory.

Runs make's targets one after another, as each would be run alone on what the former left, and adds
up the parts of one that was interrupted: started again, it goes on where it stopped. Writes
figures/targets.csv.
"""

import argparse
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic

import pandas as pd
import psutil

from benchmarks.output import say, write
from benchmarks.table import write_page
from fedmi.sampling import provenance

TARGETS = (
    "study couplings readings choices aggregation rounds training "
    "proposition compression scale_up estimators"
).split()
COLUMNS = ["target", "seconds", "parts", "peak_gib", "finished", "hardware", "commit"]


def run(target: str, scale: str) -> tuple[float, float, bool]:
    """Seconds that `make target` took, the most memory of it and its children, its success."""
    started = monotonic()
    process = subprocess.Popen(["make", target, f"SCALE={scale}"])
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(1):
            peak[0] = max(peak[0], memory(process.pid))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        finished = process.wait() == 0
    except KeyboardInterrupt:  # which make hears as well
        process.wait()
        finished = False
    finally:
        done.set()
        watching.join()
    return monotonic() - started, peak[0], finished


def memory(pid: int) -> float:
    """GiB that a process and all below it hold now, what they share counted once."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    total = 0
    for process in family:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / 2**30


def added(table: pd.DataFrame, target: str, part: tuple[float, float, bool]) -> pd.DataFrame:
    """The table with one more part of a target.

    Args:
        table: of `COLUMNS`, a row a target.
        target: whose part it is.
        part: what `run` returned.
    """
    seconds, peak, finished = part
    before = table[table.target == target]
    row = dict(
        target=target,
        seconds=seconds + before.seconds.sum(),
        parts=1 + before.parts.sum(),
        peak_gib=max(peak, before.peak_gib.max()) if len(before) else peak,
        finished=finished,
        hardware=provenance.hardware(),
        commit=provenance.code()["commit"],
    )
    rest = table[table.target != target]
    return pd.DataFrame([*rest.to_dict("records"), row], columns=COLUMNS)


def main() -> None:
    """Runs what is not finished, and writes the table after every target."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.targets", description=__doc__)
    parser.add_argument("--scale", default="paper")
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=TARGETS, metavar="TARGET")
    given = parser.parse_args()
    kept = Path("results", given.scale, "targets.csv")
    kept.parent.mkdir(parents=True, exist_ok=True)
    table = pd.read_csv(kept) if kept.exists() else pd.DataFrame(columns=COLUMNS)
    for target in given.only:
        if (table.target[table.finished == True] == target).any():  # noqa: E712
            say(f"{target}: finished before")
            continue
        part = run(target, given.scale)
        table = added(table, target, part)
        table.to_csv(kept, index=False)
        say(f"{target}: {part[0]:.0f} s")
        if not part[2]:
            sys.exit(f"{target} is not finished; the same command goes on with it")
    if given.scale == "paper" and len(table) == len(TARGETS):
        write(table.round(3).to_csv(index=False), "targets.csv")
        write_page()


if __name__ == "__main__":
    main()
