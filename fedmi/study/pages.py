"""Pages: what an analysis found, worded by its template in `fedmi/study/templates/`.

Facts are plain values and rows of tables; a template says which of them a reader sees, and how.
"""

from collections.abc import Iterable, Mapping
from math import floor, isfinite, isnan, log10
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fedmi.stats import Z95


def render(name: str, facts: Mapping[str, Any]) -> str:
    """A page, as Markdown.

    Args:
        name: of its template, without the endings.
        facts: all that the template names.

    Raises:
        jinja2.UndefinedError: if a fact is missing.
    """
    return PAGES.get_template(f"{name}.md.j2").render(facts)


def fixed(value: float, digits: int = 2, signed: bool = False) -> str:
    """A number with so many decimals, and no minus before a zero."""
    if not isfinite(value):
        return "–" if isnan(value) else "infinite"
    return f"{round(value, digits) + 0.0:{'+' if signed else ''}.{digits}f}"


def pm(value: float, error: float, digits: int | None = None, signed: bool = False) -> str:
    """A value ± its 95 % error.

    Args:
        value: the value; a dash stands for nan.
        error: its standard error.
        digits: decimals of both; by default the error has two digits that count.
        signed: whether a value above zero has a plus.
    """
    if not isfinite(value):
        return fixed(value)
    half = Z95 * error
    if digits is None:
        digits = max(0, 1 - floor(log10(half))) if isfinite(half) and half > 0 else 2
        if digits > 5:
            return f"{value:{'+' if signed else ''}.1e} ± {half:.1e}"
    return f"{fixed(value, digits, signed)} ± {fixed(half, digits)}"


def percent(share: float, error: float | None = None, digits: int | None = None) -> str:
    """A share in percent, whole unless it has an error or `digits` are asked for."""
    if not isfinite(share):
        return fixed(share)
    if error is None:
        return f"{fixed(100 * share, digits or 0)} %"
    return f"{pm(100 * share, 100 * error, digits)} %"


def p_value(value: float) -> str:
    """A p-value with two digits, with one where it is below 0.001."""
    return "–" if isnan(value) else f"{value:.2g}" if value >= 0.001 else f"{value:.0e}"


def duration(seconds: float) -> str:
    """A time in seconds, from two minutes on in minutes, from two hours on in hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def thousands(number: int) -> str:
    """A whole number, its thousands apart."""
    return f"{number:,}"


def listed(names: Iterable[object], none: str = "none") -> str:
    """Names as code, with commas; `none` for no name."""
    return ", ".join(f"`{name}`" for name in names) or none


PAGES = Environment(
    loader=PackageLoader("fedmi.study"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
PAGES.filters |= dict(
    fixed=fixed,
    pm=pm,
    percent=percent,
    p=p_value,
    thousands=thousands,
    listed=listed,
    duration=duration,
)
