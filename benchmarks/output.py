"""Where the tables and pages go, and how they are worded."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

FIGURES = Path(__file__).parents[1] / "figures"


def say(text: str) -> None:
    """Reports progress, apart from the table."""
    print(text, file=sys.stderr, flush=True)


def publish(table: pd.DataFrame, name: str, digits: int = 4) -> None:
    """Prints a table and writes it to figures/, its numbers to so many digits."""
    print(table.to_string(index=False, float_format=f"%.{digits}g"))
    table.to_csv(FIGURES / f"{name}.csv", index=False, float_format=f"%.{digits}g")


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
