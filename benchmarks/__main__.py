"""`python -m benchmarks`: measures everything and writes figures/performance.csv and .md."""

import argparse
import json
from dataclasses import replace
from time import monotonic
from typing import Any

from benchmarks import table
from benchmarks.output import FIGURES
from benchmarks.runner import Group, Item, Measurement, measure, say
from benchmarks.suite import ROWS, TINY, Sizes, suite
from benchmarks.worker import available_cores

LIMIT = 25 * 60
"""Seconds after which nothing is repeated any more, so that the whole ends within 30 minutes."""


def main() -> None:
    """Measures the rows asked for; writes the files if these are all of them at full size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--rows", type=int, nargs="+", choices=ROWS, default=ROWS, help="print these rows only"
    )
    parser.add_argument("--tiny", action="store_true", help="a quick trial; print only")
    given = parser.parse_args()

    started = monotonic()
    facts = find_facts()
    sizes = TINY if given.tiny else Sizes()
    groups = suite(sizes, cores=facts["cores"], gpu=bool(facts["gpu"]), rows=given.rows)
    found: dict[str, Measurement] = {}
    for group in groups:
        elapsed = monotonic() - started
        say(f"{elapsed / 60:.1f} min: {group.title}")
        found |= measure(replace(group, seconds=min(group.seconds, LIMIT - elapsed)))
    items = [item for group in groups for item in group.items]
    lines = table.table(items, found, given.rows)
    page = table.page(lines, facts | dict(minutes=(monotonic() - started) / 60))
    print(page)
    if not given.tiny and set(given.rows) == set(ROWS):
        lines.to_csv(FIGURES / "performance.csv", index=False)
        (FIGURES / "performance.md").write_text(page)


def find_facts() -> dict[str, Any]:
    """The machine and the versions."""
    item = Item(name="facts", function="benchmarks.facts:facts", repeats=1, gpu=True)
    found = measure(Group("facts", (item,), 60))["facts"]
    if found.error:
        raise SystemExit(f"benchmarks: {found.error}")
    return json.loads(found.note) | dict(cores=available_cores())


if __name__ == "__main__":
    main()
