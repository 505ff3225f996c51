"""Where the tables and pages go, and how they are worded."""

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from fedmi.sampling import provenance
from fedmi.study import results

FIGURES = Path(__file__).parents[1] / "figures"
MANIFEST = "benchmarks.json"
"""In figures/: table -> how it was made."""
STARTED = time.monotonic()


def say(text: str) -> None:
    """Reports progress, apart from the table."""
    print(text, file=sys.stderr, flush=True)


def publish(table: pd.DataFrame, name: str, digits: int = 4) -> None:
    """Prints a table and writes it to figures/, its numbers to so many digits."""
    print(table.to_string(index=False, float_format=f"%.{digits}g"))
    write(table.to_csv(index=False, float_format=f"%.{digits}g"), f"{name}.csv")


def write(content: str, name: str, target: Path = FIGURES, **more: object) -> None:
    """Writes a table's file, and down how it was made.

    Args:
        content: of the file.
        name: of the file.
        target: the folder.
        **more: is written down besides.
    """
    results.write_whole(target / name, content)
    made = provenance.made(None, time.monotonic() - STARTED) | more
    results.write_json(target / MANIFEST, dict(sorted((manifest(target) | {name: made}).items())))


def manifest(target: Path = FIGURES) -> dict[str, dict]:
    """By table: how it was made, where that was written down."""
    path = target / MANIFEST
    return results.read_json(path, dict) if path.exists() else {}


def render(name: str, **facts: object) -> str:
    """The page of a template in `benchmarks/templates/`."""
    return PAGES.get_template(f"{name}.md.j2").render(facts)


def significant(value: float, digits: int = 3) -> str:
    """A number to so many digits, without an exponent."""
    if value == 0:
        return "0"
    decimals = max(digits - 1 - int(np.floor(np.log10(abs(value)))), 0)
    return f"{value:,.{decimals}f}"


PAGES = Environment(
    loader=PackageLoader("benchmarks"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
PAGES.filters |= dict(significant=significant)
