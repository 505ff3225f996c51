"""Runs items: one process each, whose device count, threads and peak memory are its own.

All items of a group are set up one after the other, untimed. Then they take turns, so that a
machine that slows down or speeds up does so for all of them. This module does not import JAX: the
parent's memory would count in its children's peaks.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from benchmarks.suite import Group, Item


@dataclass
class Measurement:
    """What was measured of an item.

    Attributes:
        seconds: wall time of each run.
        units, unit: how many of what one run makes, over all copies of the process.
        note: how it is done.
        peak_mib: largest resident memory, summed over copies; set-up and warm-up included.
        error: why there is no measurement, else empty.
    """

    seconds: list[float] = field(default_factory=list)
    units: float = 1
    unit: str = ""
    note: str = ""
    peak_mib: float = 0
    error: str = ""


class Failed(RuntimeError):
    """A worker that cannot do its item."""


class Worker:
    """One process of an item."""

    def __init__(self, item: Item):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", item.function, json.dumps(item.arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment(item),
        )

    def order(self) -> None:
        """Asks for one run."""
        try:
            self.process.stdin.write("run\n")
            self.process.stdin.flush()
        except OSError as error:
            raise Failed(f"failed: the process has ended ({error})") from error

    def answer(self) -> dict[str, Any]:
        """Waits for the next answer."""
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


def environment(item: Item) -> dict[str, str]:
    """The item's environment: a GPU or so many CPU devices."""
    variables = dict(os.environ, JAX_NUM_CPU_DEVICES=str(item.devices))
    variables.pop("JAX_PLATFORMS", None)
    return variables if item.gpu else variables | {"JAX_PLATFORMS": "cpu"}


def measure(group: Group, say: Any = print) -> dict[str, Measurement]:
    """Sets up all items of a group, then runs them in turns.

    Each item is run `item.repeats` times; after the first round another one begins only if it
    should end within `group.seconds`.

    Args:
        group: what to measure together.
        say: is told what happens.

    Returns:
        name -> measurement, with `error` set for what could not be measured.
    """
    measurements = {item.name: Measurement() for item in group.items}
    workers: dict[str, list[Worker]] = {}
    try:
        for item in group.items:
            started = monotonic()
            workers[item.name] = [Worker(item) for _ in range(item.copies)]
            _set_up(workers[item.name], measurements[item.name])
            outcome = measurements[item.name].error or "ready"
            say(f"  {item.name}: {outcome} after {monotonic() - started:.0f} s")
        started = monotonic()
        for turn in range(max(item.repeats for item in group.items)):
            due = [
                item
                for item in group.items
                if turn < item.repeats and not measurements[item.name].error
            ]
            expected = sum(measurements[item.name].seconds[-1] for item in due) if turn else 0
            if turn and monotonic() + expected > started + group.seconds:
                break
            for item in due:
                measurement = measurements[item.name]
                _run(workers[item.name], measurement)
                taken = measurement.error or f"{measurement.seconds[-1]:.3f} s"
                say(f"  {item.name}: {taken}")
    finally:
        for copies in workers.values():
            for worker in copies:
                worker.close()
    return measurements


def _set_up(workers: Sequence[Worker], measurement: Measurement) -> None:
    try:
        answers = [worker.answer() for worker in workers]
    except Failed as error:
        measurement.error = str(error)
        return
    measurement.units = sum(answer["units"] for answer in answers)
    measurement.unit = answers[0]["unit"]
    measurement.note = answers[0]["note"]


def _run(workers: Sequence[Worker], measurement: Measurement) -> None:
    """Runs all copies at once; the slowest one counts."""
    try:
        for worker in workers:
            worker.order()
        answers = [worker.answer() for worker in workers]
    except Failed as error:
        measurement.error = str(error)
        return
    measurement.seconds.append(max(answer["seconds"] for answer in answers))
    measurement.peak_mib = sum(answer["peak_mib"] for answer in answers)
    measurement.note = answers[0].get("note") or measurement.note
