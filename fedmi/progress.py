"""Progress as the reader sees it best: a bar where somebody watches, plain lines in batch."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

SECONDS_BETWEEN_LINES = 10.0
SECONDS_UNSAID = 1.0


def track(
    items: Iterable[Item], *, what: str, unit: str, total: int | None = None, kept: int = 0
) -> Iterator[Item]:
    """Passes items on and shows how far it has got.

    Where somebody watches (`is_watched`) that is tqdm's bar; elsewhere, as under papermill, a line
    with the time, printed at the start, every ten seconds and at the end.

    Args:
        items: what is worked on.
        what: what is being done, for the bar or the lines.
        unit: what one item is called.
        total: how many there are, where `len(items)` does not say.
        kept: how many more there were from before.
    """
    total = len(items) if isinstance(items, Sized) else total
    if kept and total is not None:
        tell(f"{what}: {kept} of {kept + total} {unit}s kept")
    if is_watched():
        from tqdm.auto import tqdm

        yield from tqdm(items, total=total, desc=what, unit=unit)
        return
    start = told = time.monotonic()
    tell(f"{what}: {total} {unit}s to do")
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - told > SECONDS_BETWEEN_LINES or done == total:
            tell(f"{what}: {done} of {total} {unit}s after {now - start:.1f} s")
            told = now


def tell(line: str) -> None:
    """Prints a line for a person: below a notebook's cell, else where no program reads results."""
    print(line, file=sys.stdout if _in_notebook() else sys.stderr, flush=True)


def is_watched() -> bool:
    """Whether somebody watches: in a terminal, or in a notebook that runs in no batch."""
    if sys.stderr.isatty():
        return True
    if not _in_notebook():
        return False
    import psutil  # which every kernel has

    try:
        started_by = psutil.Process().parent()
        return started_by is None or not any("papermill" in p for p in started_by.cmdline())
    except psutil.Error:
        return True


def _in_notebook() -> bool:
    return "IPython" in sys.modules and hasattr(sys.modules["IPython"].get_ipython(), "kernel")


@contextmanager
def compiling(what: str) -> Iterator[None]:
    """Says that something is being compiled, where that takes longer than a second, and how long.

    Args:
        what: is being done, as `track` says it.
    """
    start = time.monotonic()
    saying = threading.Timer(SECONDS_UNSAID, tell, [f"{what}: compiling, once"])
    saying.daemon = True
    saying.start()
    try:
        yield
    finally:
        saying.cancel()
    seconds = time.monotonic() - start
    if seconds > SECONDS_UNSAID:
        tell(f"{what}: compiled after {seconds:.1f} s")


def interruptible(function: Callable[[], Result]) -> Result:
    """Calls what does not listen to an interrupt, as a compiler: it goes on, but nobody waits.

    Raises:
        KeyboardInterrupt: at once, if there is one.
    """
    called: Future[Result] = Future()

    def call() -> None:
        try:
            called.set_result(function())
        except BaseException as error:
            called.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return called.result()
