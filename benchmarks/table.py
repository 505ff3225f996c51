"""The table of figures/performance.csv and .md: medians and ratios."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from benchmarks.output import FIGURES, manifest, render, significant, write
from benchmarks.runner import Item, Measurement

COLUMNS = [
    "row", "what", "size", "who", "seconds", "fastest", "slowest", "repeats", "rate", "unit",
    "ratio", "meaning", "peak_mib", "method",
]  # fmt: skip


def table(measured: Mapping[Item, Measurement]) -> pd.DataFrame:
    """One line for every row of the table and every item that it needs."""
    rows = sorted({row for item in measured for row in item.rows})
    lines = [_line(row, item, measured) for row in rows for item in measured if row in item.rows]
    return pd.DataFrame(lines, columns=COLUMNS)


def _line(row: int, item: Item, measured: Mapping[Item, Measurement]) -> dict[str, Any]:
    found, base = measured[item], measured[item.base] if item.base else None
    line = dict(row=row, what=item.what, size=item.size, who=item.who, method=found.note)
    if item.copies > 1:
        line["method"] += f", in each of {item.copies} processes"
    if not found.seconds:
        return line | dict(meaning=found.error or "not measured")
    line |= dict(
        seconds=found.typical,
        fastest=min(found.seconds),
        slowest=max(found.seconds),
        repeats=len(found.seconds),
        rate=found.units / found.typical,
        unit=found.unit,
        peak_mib=found.peak_mib,
    )
    if base is None or not base.seconds:
        return line
    value, meaning = ratio(item, found.typical / found.units, base.typical / base.units)
    return line | dict(ratio=value, meaning=meaning)


def ratio(item: Item, own: float, base: float) -> tuple[float, str]:
    """How an item compares with its base, and in words.

    Args:
        item: the item.
        own, base: median seconds a unit of both.
    """
    if item.relation == "faster":
        value, meaning = own / base, "fedmi is {} times as fast"
    elif item.relation == "limit":
        value, meaning = base / own, "fedmi takes {} times as long"
    elif item.relation == "above":
        value, meaning = own / base, "takes {} times as long as the limit"
    else:
        value = (own / base - 1) / item.arguments["permutations"]
        meaning = "one re-pairing costs {} of an estimate"
    return value, meaning.format(significant(value))


def page(table: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """The machine, the method, and the table, as Markdown; and the table of make's targets."""
    plain = table.astype(object).where(table.notna(), None)
    path = FIGURES / "targets.csv"
    targets = pd.read_csv(path) if path.exists() else pd.DataFrame()
    return render("performance", lines=plain.to_dict("records"), targets=targets, **facts)


def write_page() -> None:
    """Writes figures/performance.md from what was measured last, and the targets' times."""
    facts = manifest().get("performance.csv")
    if facts:
        text = page(pd.read_csv(FIGURES / "performance.csv"), facts["machine"])
        write(text, "performance.md")
