"""Checks that several functions make of their arguments."""

from typing import Any

import numpy as np


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, Python's or NumPy's; True and False are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_whole(name: str, value: Any, least: int) -> None:
    """Refuses what is no whole number from a least one on.

    Raises:
        ValueError: naming the argument, and what was wrong.
    """
    if not is_whole(value):
        raise ValueError(f"{name}: {value!r} is not a whole number")
    if value < least:
        raise ValueError(f"{name}: {value} is below {least}")


def plain(value: Any) -> Any:
    """NumPy's numbers and arrays as JSON has them, for `json.dumps(default=plain)`.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{value!r} is no JSON")
