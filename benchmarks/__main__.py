"""`python -m benchmarks`: measures everything and writes figures/performance.csv and .md."""

import argparse
import importlib.metadata
from dataclasses import replace
from time import monotonic
from typing import Any

from threadpoolctl import threadpool_info

from benchmarks import table
from benchmarks.output import say, write
from benchmarks.runner import Item, Measurement, measure
from benchmarks.suite import ROWS, TINY, Sizes, suite
from fedmi import devices
from fedmi.sampling import provenance

LIMIT = 10 * 60
"""Seconds after which nothing is repeated any more, so that the whole ends within 15 minutes."""


def main() -> None:
    """Measures the rows asked for; writes the files if these are all of them at full size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--rows", type=int, nargs="+", choices=ROWS, default=ROWS, help="print these rows only"
    )
    parser.add_argument("--tiny", action="store_true", help="a quick trial; print only")
    given = parser.parse_args()

    started = monotonic()
    facts = machine()
    measured: dict[Item, Measurement] = {}
    for group in suite(TINY if given.tiny else Sizes(), cores=facts["cores"]):
        if not any({*item.rows} & {*given.rows} for item in group.items):
            continue
        elapsed = monotonic() - started
        say(f"after {elapsed / 60:.1f} min:")
        measured |= measure(replace(group, seconds=min(group.seconds, LIMIT - elapsed)))
    lines = table.table(measured)
    lines = lines[lines.row.isin(given.rows)]
    facts |= dict(minutes=(monotonic() - started) / 60)
    print(table.page(lines, facts))
    if not given.tiny and set(given.rows) == set(ROWS):
        write(lines.to_csv(index=False), "performance.csv", machine=facts)
        table.write_page()


def machine() -> dict[str, Any]:
    """The machine and the versions, as the page tells them."""
    try:
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        torch = "not installed"
    return dict(
        hardware=provenance.hardware(),
        cores=devices.cores(),
        commit=provenance.code(),
        when=provenance.now(),
        versions=provenance.versions() | {"torch": torch},
        threads=[
            f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads"
            for pool in threadpool_info()
            if pool["user_api"] == "blas"
        ],
    )


if __name__ == "__main__":
    main()
