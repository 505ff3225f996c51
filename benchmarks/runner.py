"""Runs items that are compared: one process each, with devices, threads and memory of its own.

All items of a group are set up one after the other, untimed. Then they take turns, so that a
machine that slows down or speeds up does so for all of them.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from time import monotonic
from typing import Any, Literal

from benchmarks.worker import Failed, Worker

Relation = Literal["", "faster", "limit", "above", "repairing", "gpu"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing that is timed in a process of its own.

    Attributes:
        name: unique.
        rows: the rows of the table that need it.
        what, size, who: what is done, how much of it, and by whom.
        function: `module:function`, which returns a `benchmarks.work.Work`.
        arguments: of that function, of JSON's types.
        relation: what its ratio to `base` says: "faster", by how much the base beats it; "limit",
            how many times as long as this the base takes; "above", how many times as long as the
            base it takes itself; "repairing", the price of one of its `m` re-pairings relative to
            the base, which has none; "gpu", by how much it beats the base.
        base: the name of the item that it is compared with.
        m: re-pairings.
        repeats: how often it is run.
        devices: CPU devices that JAX sees.
        copies: how many processes do the same at once.
        gpu: whether JAX may use a GPU.
    """

    name: str
    rows: tuple[int, ...] = ()
    what: str = ""
    size: str = ""
    who: str = "fedmi"
    function: str
    arguments: dict[str, Any] = field(default_factory=dict)
    relation: Relation = ""
    base: str = ""
    m: int = 0
    repeats: int = 3
    devices: int = 1
    copies: int = 1
    gpu: bool = False

    def environment(self) -> dict[str, str]:
        """That of its process: a GPU, if there is one and it may, or so many CPU devices."""
        devices = {"JAX_NUM_CPU_DEVICES": str(self.devices)}
        return devices | {"JAX_PLATFORMS": "" if self.gpu else "cpu"}


@dataclass(frozen=True)
class Group:
    """Items that take turns.

    Attributes:
        title: for the progress report.
        items: in the order of each round.
        seconds: after the first round no other begins that would end later than this.
    """

    title: str
    items: tuple[Item, ...]
    seconds: float


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

    @property
    def typical(self) -> float:
        """The median of the runs' seconds."""
        return median(self.seconds)


def say(text: str) -> None:
    """Reports progress, apart from the table."""
    print(text, file=sys.stderr, flush=True)


def measure(group: Group) -> dict[str, Measurement]:
    """Sets up all items of a group, then runs them in turns.

    Each item is run `item.repeats` times; after the first round another one begins only if it
    should end within `group.seconds`.

    Returns:
        name -> measurement, with `error` set for what could not be measured.
    """
    found = {item.name: Measurement() for item in group.items}
    workers: dict[str, list[Worker]] = {}
    try:
        for item in group.items:
            started = monotonic()
            workers[item.name] = [
                Worker(item.function, item.arguments, item.environment())
                for _ in range(item.copies)
            ]
            _set_up(workers[item.name], found[item.name])
            outcome = found[item.name].error or "ready"
            say(f"  {item.name}: {outcome} after {monotonic() - started:.0f} s")
        started = monotonic()
        for turn in range(max(item.repeats for item in group.items)):
            due = [i for i in group.items if turn < i.repeats and not found[i.name].error]
            expected = sum(found[item.name].seconds[-1] for item in due) if turn else 0
            if turn and monotonic() + expected > started + group.seconds:
                break
            for item in due:
                _run(workers[item.name], found[item.name])
                taken = found[item.name].error or f"{found[item.name].seconds[-1]:.3f} s"
                say(f"  {item.name}: {taken}")
    finally:
        for copies in workers.values():
            for worker in copies:
                worker.close()
    return found


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
