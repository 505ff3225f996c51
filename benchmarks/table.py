"""The table: medians and ratios."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from benchmarks.output import render, significant
from benchmarks.runner import Item, Measurement

COLUMNS = [
    "row", "what", "size", "who", "seconds", "fastest", "slowest", "repeats", "rate", "unit",
    "ratio", "meaning", "peak_mib", "method",
]  # fmt: skip


def ratio(item: Item, own: float, base: float) -> tuple[float, str]:
    """How an item compares with its base, and in words.

    Args:
        item: the item.
        own, base: median seconds a unit of both.
    """
    values = {
        "faster": (own / base, "fedmi is {} times as fast"),
        "limit": (base / own, "fedmi takes {} times as long"),
        "above": (own / base, "takes {} times as long as the limit"),
        "repairing": ((own / base - 1) / (item.m or 1), "one re-pairing costs {} of an estimate"),
        "gpu": (base / own, "{} times as fast as on the CPU"),
    }
    value, meaning = values[item.relation]
    return value, meaning.format(significant(value))


def table(
    items: Sequence[Item], measurements: Mapping[str, Measurement], rows: Collection[int]
) -> pd.DataFrame:
    """One line for every row of the table and every item that it needs.

    Args:
        items: what was asked for.
        measurements: name -> measurement.
        rows: the rows of the table.
    """
    lines = [_line(row, i, measurements) for row in sorted(rows) for i in items if row in i.rows]
    return pd.DataFrame(lines, columns=COLUMNS)


def _line(row: int, item: Item, measurements: Mapping[str, Measurement]) -> dict[str, Any]:
    found, base = measurements[item.name], measurements.get(item.base)
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


def page(table: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """figures/performance.md: the machine, the method, and the table."""
    plain = table.astype(object).where(table.notna(), None)
    return render("performance", lines=plain.to_dict("records"), **facts)
