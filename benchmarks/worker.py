"""A process that does one piece of work whenever its parent says so.

    python -m benchmarks.worker MODULE:FUNCTION '{"argument": value}'

The function returns a `benchmarks.work.Work`. One line of JSON is written when it is ready and one
after each run, which a line on standard input asks for. All else that is printed goes to standard
error.
"""

import importlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO


class Failed(RuntimeError):
    """A worker that cannot do its work."""


class Worker:
    """The parent's side. Whoever makes one closes it."""

    def __init__(self, function: str, arguments: dict, environment: Mapping[str, str]):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", function, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, **environment},
        )

    def order(self) -> None:
        """Asks for one run."""
        try:
            self.process.stdin.write("run\n")
            self.process.stdin.flush()
        except OSError as error:
            raise Failed(f"failed: the process has ended ({error})") from error

    def answer(self) -> dict[str, Any]:
        """Waits for the next answer.

        Raises:
            Failed: with the last line that a process printed which has ended instead.
        """
        line = self.process.stdout.readline()
        if line:
            answer = json.loads(line)
            if "error" in answer:
                raise Failed(answer["error"])
            return answer
        code = self.process.wait()
        self.errors.seek(0)
        last = self.errors.read().strip().splitlines()[-1:] or [f"exit status {code}"]
        raise Failed(f"failed: {last[0]}")

    def run(self) -> dict[str, Any]:
        """One run's answer."""
        self.order()
        return self.answer()

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()


@contextmanager
def pinned(cores: int) -> Iterator[None]:
    """Lets what is started meanwhile run on so many cores only, where the system can.

    Raises:
        ValueError: if there are fewer.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    mine = os.sched_getaffinity(0)
    if len(mine) < cores:
        raise ValueError(f"cores: {cores} are needed, this process may use {len(mine)}")
    os.sched_setaffinity(0, sorted(mine)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


def available_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_mib() -> float:
    """The largest resident memory that this process has had so far, its parent's not counted."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 2**10
    except (OSError, TypeError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)


def serve(module: str, function: str, arguments: dict, orders: TextIO, answers: TextIO) -> None:
    """The process's side: sets the work up, then does it once for every line of `orders`."""

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
        own = dict(seconds=perf_counter() - started, peak_mib=peak_mib())
        answer(**own | (outcome if isinstance(outcome, dict) else {}))


if __name__ == "__main__":
    real_output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(*sys.argv[1].split(":"), json.loads(sys.argv[2]), sys.stdin, real_output)
