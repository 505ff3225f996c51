"""The table: medians, ratios and exponents of growth, as CSV and as Markdown."""

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.runner import Measurement
from benchmarks.suite import Item

COLUMNS = (
    "row",
    "what",
    "size",
    "who",
    "seconds",
    "fastest",
    "slowest",
    "repeats",
    "rate",
    "unit",
    "ratio",
    "meaning",
    "peak_mib",
    "method",
)

Line = dict[str, Any]


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The slope of log seconds over log size, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def ratio(item: Item, own: float, base: float) -> tuple[float, str]:
    """How an item compares with its base, and in words.

    Args:
        item: the item.
        own, base: median seconds a unit of both.
    """
    if item.relation == "faster":
        return own / base, "fedmi is {} times as fast"
    if item.relation == "limit":
        return base / own, "fedmi takes {} times as long"
    if item.relation == "above":
        return own / base, "takes {} times as long as the limit"
    if item.relation == "repairing":
        return (own - base) / item.m / base, "one re-pairing costs {} of an estimate"
    if item.relation == "gpu":
        return base / own, "{} times as fast as on the CPU"
    raise ValueError(f"relation: {item.relation!r} has no ratio")


def lines(
    items: Sequence[Item], measurements: Mapping[str, Measurement], rows: Collection[int]
) -> list[Line]:
    """The table's lines, in the order of the rows.

    Args:
        items: what was asked for.
        measurements: name -> measurement.
        rows: the rows of the table.
    """
    table = []
    for row in sorted(rows):
        own = [item for item in items if row in item.rows]
        if row == 6:
            table += growth(own, measurements)
        else:
            table += [_line(row, item, measurements) for item in own]
    return table


def growth(items: Sequence[Item], measurements: Mapping[str, Measurement]) -> list[Line]:
    """For every series of items that differ in N alone: its lines, then the fitted exponent."""
    series: dict[str, list[Item]] = {}
    for item in items:
        series.setdefault(item.name.split("/")[0], []).append(item)
    table = []
    for name, members in series.items():
        members.sort(key=lambda item: item.n)
        # What other rows compare is not compared again.
        table += [_line(6, replace(item, base=""), measurements) for item in members]
        measured = [item for item in members if measurements[item.name].seconds]
        if len(measured) > 1:
            table.append(_exponent_line(name, measured, measurements))
    return table


def no_gpu() -> Line:
    """The line that stands for the rows of a GPU where there is none."""
    return dict.fromkeys(COLUMNS, "") | dict(
        row="GPU",
        what="sampling and estimation at the paper's size",
        who="fedmi on the GPU",
        meaning="there was no GPU",
    )


def _exponent_line(
    name: str, items: Sequence[Item], measurements: Mapping[str, Measurement]
) -> Line:
    sizes = [item.n for item in items]
    seconds = [median(measurements[item.name].seconds) for item in items]
    value = exponent(sizes, seconds)
    return dict.fromkeys(COLUMNS, "") | dict(
        row=6,
        what=f"{name}: growth",
        size=", ".join(f"{n:,}" for n in sizes),
        who="fedmi",
        ratio=value,
        meaning=f"time grows as N^{value:.2f}",
        method="least squares of log median time over log N",
    )


def _line(row: int, item: Item, measurements: Mapping[str, Measurement]) -> Line:
    measurement = measurements[item.name]
    line = dict.fromkeys(COLUMNS, "") | dict(
        row=row, what=item.what, size=item.size, who=item.who, method=measurement.note
    )
    if item.copies > 1:
        line["method"] += f", in each of {item.copies} processes"
    if measurement.error or not measurement.seconds:
        return line | dict(meaning=measurement.error or "not measured")
    typical = median(measurement.seconds)
    line |= dict(
        seconds=typical,
        fastest=min(measurement.seconds),
        slowest=max(measurement.seconds),
        repeats=len(measurement.seconds),
        rate=measurement.units / typical,
        unit=measurement.unit,
        peak_mib=measurement.peak_mib,
    )
    base = measurements.get(item.base)
    if base is None or not base.seconds:
        return line
    value, meaning = ratio(item, typical / measurement.units, median(base.seconds) / base.units)
    return line | dict(ratio=value, meaning=meaning.format(significant(value)))


def significant(value: float | str, digits: int = 3) -> str:
    """A number to so many digits, without an exponent; text as it is."""
    if isinstance(value, str):
        return value
    if value == 0:
        return "0"
    decimals = max(digits - 1 - int(np.floor(np.log10(abs(value)))), 0)
    return f"{value:,.{decimals}f}"


def write_csv(table: Sequence[Line], path: Path) -> None:
    """Writes every column at full precision."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def markdown(table: Sequence[Line], facts: Mapping[str, Any], method: str) -> str:
    """The page: the machine, the method, and the table."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    commit = facts["commit"]["commit"] or "no commit"
    dirty = ", with changes" if facts["commit"]["dirty"] else ""
    header = ["Row", "What", "Size", "Who", "Median time", "Rate", "Ratio", "Peak memory", "Method"]
    body = [
        [
            str(line["row"]),
            line["what"],
            line["size"],
            line["who"],
            _time(line),
            f"{significant(line['rate'])} {line['unit']}/s" if line["unit"] else "",
            line["meaning"],
            f"{line['peak_mib']:,.0f} MiB" if line["peak_mib"] else "",
            line["method"],
        ]
        for line in table
    ]
    cells = [header, ["---"] * len(header), *body]
    return "\n".join(
        [
            "# Performance",
            "",
            f"Machine: {facts['hardware']}; {facts['cores']} cores used. GPU: "
            f"{facts['gpu'] or 'none on this machine, so that no row was run on one'}.",
            "",
            f"Versions: {versions}. BLAS of NumPy: {'; '.join(facts['threads']) or 'unknown'}.",
            "",
            f"Taken at {facts['when']} in one run of {facts['minutes']:.0f} minutes, at commit "
            f"{commit}{dirty}.",
            "",
            method,
            "",
            *("| " + " | ".join(row) + " |" for row in cells),
            "",
        ]
    )


EXCERPT = (
    ("signal sampling", "", "PyTorch loop"),
    ("LeNet features", "", "PyTorch"),
    ("KSG, three pairs", "d = 850", "SciPy's k-d trees"),
)
"""What, part of the size, and against whom: the rows that the README shows."""


def excerpt(path: Path) -> str:
    """Three rows of a written table, as Markdown: fedmi's rate, and a peer's.

    Args:
        path: performance.csv.
    """
    with path.open(newline="") as file:
        table = list(csv.DictReader(file))
    text = ["| what | fedmi | against | ratio |", "|---|---|---|---|"]
    for what, size, who in EXCERPT:
        rows = [line for line in table if line["what"] == what and size in line["size"]]
        own = next(line for line in rows if line["who"] == "fedmi")
        peer = next(line for line in rows if line["who"] == who)
        part = f", {own['size']}" if size else ""
        rates = [
            f"{significant(float(line['rate']))} {line['unit']}/s"
            if float(line["rate"]) >= 1
            else f"{significant(float(line['seconds']))} s"
            for line in (own, peer)
        ]
        text.append(
            f"| {what}{part} | {rates[0]} | {who}: {rates[1]} "
            f"| {significant(float(peer['ratio']), 2)} times |"
        )
    return "\n".join(text) + "\n"


def _time(line: Line) -> str:
    if line["seconds"] == "":
        return ""
    spread = f"{significant(line['fastest'])} to {significant(line['slowest'])}"
    count = line["repeats"]
    return f"{significant(line['seconds'])} s" + (f" ({count}: {spread})" if count > 1 else " (1)")
