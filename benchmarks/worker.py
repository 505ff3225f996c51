"""A process with an environment of its own, which does one piece of work whenever it is asked."""

import importlib
import os
import re
import resource
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

from benchmarks.work import Work


class Worker:
    """The parent's side. Whoever makes one closes it.

    Args:
        function: `module:function`, which returns a `benchmarks.work.Work`.
        arguments: of that function.
        environment: variables that the process has beside its parent's.

    Attributes:
        ready: the work's `units`, `unit` and `note`, once it is set up.
    """

    def __init__(self, function: str, arguments: dict, environment: Mapping[str, str]):
        # Never forked: the environment has to be there before JAX and BLAS are loaded. The process
        # starts when it is first given something.
        self.pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        with patch.dict(os.environ, environment):
            self.ready: Future[dict[str, Any]] = self.pool.submit(_set_up, function, arguments)

    def run(self) -> Future[dict[str, Any]]:
        """Asks for one run: `seconds`, the `peak_mib` so far, and what the work itself tells."""
        return self.pool.submit(_run)

    def close(self) -> None:
        """Ends the process."""
        self.pool.shutdown()


_work: list[Work] = []
"""In the worker's process: what it was set up for."""


def _set_up(function: str, arguments: dict) -> dict[str, Any]:
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the parent's output is the table's alone
    module, name = function.split(":")
    work = getattr(importlib.import_module(module), name)(**arguments)
    _work.append(work)
    return dict(units=work.units, unit=work.unit, note=work.note)


def _run() -> dict[str, Any]:
    (work,) = _work
    started = perf_counter()
    outcome = work.run()
    own = dict(seconds=perf_counter() - started, peak_mib=peak_mib())
    return own | (outcome if isinstance(outcome, dict) else {})


def peak_mib() -> float:
    """The largest resident memory that this process has had so far, its parent's not counted."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 2**10
    except (OSError, TypeError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
