"""Checks that several functions make of their arguments."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np


class Plain:
    """Of an error whose message is all that its reader needs: a notebook shows no traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


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


def check_local(name: str, path: Any) -> Path:
    """A path on this machine, "~" being the user's own, refused where it is another's address.

    `Path` makes "s3:/bucket" of "s3://bucket", so that either is taken for an address.

    Raises:
        ValueError: naming the argument, and what would be right.
    """
    given = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(given, str) or not given.strip() or "\0" in given:
        raise ValueError(f"{name}: {path!r} is no path; give that of a folder on this machine")
    if "://" in given or re.match(r"\s*(\w[\w+.@-]+:+)+/", given):
        raise ValueError(
            f"{name}: {given!r} is an address and no path on this machine; give that of a local "
            "folder (one of a bucket or server that is mounted will do)"
        )
    return Path(given).expanduser()
