"""One measured item in a process of its own, which is timed whenever its parent says so.

    python -m benchmarks.worker MODULE:FUNCTION '{"argument": value}'

The function returns a `benchmarks.work.Work`. One line of JSON is written when it is ready and one
after each run, which a line on standard input asks for. All else that is printed goes to standard
error.
"""

import importlib
import json
import os
import resource
import sys
from time import perf_counter
from typing import TextIO


def peak_mib() -> float:
    """The largest resident memory that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def serve(module: str, function: str, arguments: dict, orders: TextIO, answers: TextIO) -> None:
    """Sets the item up, then runs it once for every line of `orders`."""

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        work = getattr(importlib.import_module(module), function)(**arguments)
    except ModuleNotFoundError as error:
        answer(error=f"{error.name} is not installed")
        return
    answer(units=work.units, unit=work.unit, note=work.note)
    for _ in orders:
        started = perf_counter()
        outcome = work.run()
        seconds = perf_counter() - started
        if outcome is None:
            answer(seconds=seconds, peak_mib=peak_mib())
        else:
            answer(seconds=outcome.seconds, note=outcome.note, peak_mib=peak_mib())


if __name__ == "__main__":
    real_output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(*sys.argv[1].split(":"), json.loads(sys.argv[2]), sys.stdin, real_output)
