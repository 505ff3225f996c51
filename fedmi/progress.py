"""Progress as the reader sees it best: a bar where somebody watches, plain lines in batch."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 10.0


def track(
    items: Iterable[Item], *, what: str, unit: str, total: int | None = None
) -> Iterator[Item]:
    """Passes items on and shows how far it has got.

    In JupyterLab and in a terminal that is tqdm's bar; elsewhere, as under papermill, a line with
    the time, printed at the start, every ten seconds and at the end.

    Args:
        items: what is worked on.
        what: what is being done, for the bar or the lines.
        unit: what one item is called.
        total: how many there are, where `len(items)` does not say.
    """
    total = len(items) if isinstance(items, Sized) else total
    # Jupyter's server names the notebook to the kernels that it starts; papermill does not.
    in_jupyter = "JPY_SESSION_NAME" in os.environ
    if in_jupyter or sys.stderr.isatty():
        from tqdm.auto import tqdm

        yield from tqdm(items, total=total, desc=what, unit=unit)
        return
    start = told = time.monotonic()
    print(f"{what}: {total} {unit}s to do", flush=True)
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - told > SECONDS_BETWEEN_LINES or done == total:
            print(f"{what}: {done} of {total} {unit}s after {now - start:.1f} s", flush=True)
            told = now
