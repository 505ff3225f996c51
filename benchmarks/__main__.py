"""`python -m benchmarks`: measures everything and writes figures/performance.csv and .md."""

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from time import monotonic

from benchmarks import table
from benchmarks.runner import Measurement, measure
from benchmarks.suite import ROWS, TINY, Group, Item, Sizes, suite

FIGURES = Path(__file__).parents[1] / "figures"

LIMIT = 25 * 60
"""Seconds after which nothing is repeated any more, so that the whole ends within 30 minutes."""

METHOD = """\
Each item ran in a process of its own and was set up there (data, compilation, one warm-up), which
is not timed. The items of a group then took turns; times are medians of these repeats (number:
fastest to slowest). All had all cores: XLA, NumPy's BLAS and SciPy through threads; fedmi's sampler
and features through one JAX device a core; PyTorch through whichever number of threads was quicker.
Peak memory is the process's largest resident memory, set-up included. A ratio is taken between
times a unit (a training, an image, an estimate), so that items of different sizes compare.

Sampling: 3 clients a seed, coupling `shared-source`, one epoch, six checkpoints, data included;
tiles are independent and equal, so that a rate at a few tiles is that of the whole study.
Estimators: three clients of independent normal float32 samples. "Nearly singular": their standard
deviations fall over eight decades, so that directions below rounding are dropped and correlations
are taken from orthonormal bases, the slower and more precise way. One re-pairing: the time with m
of them less the time without, over m and over the time without; all N samples (and query points)
are used in both. Limits: what is left of the work if everything but the products that an exact
method cannot do without were free."""


def main() -> None:
    """Measures the rows asked for; writes the files if these are all of them at full size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--rows", type=int, nargs="+", choices=ROWS, default=ROWS, help="print these rows only"
    )
    parser.add_argument("--tiny", action="store_true", help="a quick trial; print only")
    arguments = parser.parse_args()

    started = monotonic()
    cores = available_cores()
    facts = find_facts() | dict(cores=cores)
    sizes = TINY if arguments.tiny else Sizes()
    groups = suite(sizes, cores=cores, gpu=bool(facts["gpu"]), rows=arguments.rows)
    measurements: dict[str, Measurement] = {}
    for group in groups:
        elapsed = monotonic() - started
        say(f"{elapsed / 60:.1f} min: {group.title}")
        group = replace(group, seconds=min(group.seconds, LIMIT - elapsed))
        measurements |= measure(group, say)
    items = [item for group in groups for item in group.items]
    lines = table.lines(items, measurements, arguments.rows)
    if not facts["gpu"]:
        lines.append(table.no_gpu())
    facts["minutes"] = (monotonic() - started) / 60
    page = table.markdown(lines, facts, METHOD)
    print(page)
    if not arguments.tiny and set(arguments.rows) == set(ROWS):
        FIGURES.mkdir(exist_ok=True)
        table.write_csv(lines, FIGURES / "performance.csv")
        (FIGURES / "performance.md").write_text(page)
        say(f"Written: {FIGURES / 'performance.csv'} and performance.md")


def available_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_facts() -> dict:
    """The machine and the versions."""
    item = Item(
        name="facts",
        rows=ROWS,
        what="",
        size="",
        who="",
        function="benchmarks.facts:facts",
        repeats=1,
        gpu=True,
    )
    facts = measure(Group("facts", (item,), 60), lambda _: None)["facts"]
    if facts.error:
        raise SystemExit(f"benchmarks: {facts.error}")
    return json.loads(facts.note)


def say(text: str) -> None:
    """Reports progress, apart from the table."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
