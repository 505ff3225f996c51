"""Runs items that are compared: one process each, with devices, threads and memory of its own.

All items of a group are set up one after the other, untimed. Then they take turns, so that a
machine that slows down or speeds up does so for all of them.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from statistics import median
from time import monotonic
from typing import Any, Literal

from benchmarks.output import say
from benchmarks.worker import Worker

Relation = Literal["faster", "limit", "above", "repairing"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Item:
    """One thing that is timed in a process of its own.

    Attributes:
        rows: the rows of the table that need it.
        what, size, who: what is done, how much of it, and by whom.
        function: `module:function`, which returns a `benchmarks.work.Work`.
        arguments: of that function.
        base: the item that it is compared with, one of its group.
        relation: what its ratio to `base` says: "faster", by how much the base beats it; "limit",
            how many times as long as this the base takes; "above", how many times as long as the
            base it takes itself; "repairing", the price of one of its `permutations` relative to
            the base, which has none.
        repeats: how often it is run at most.
        devices: CPU devices that JAX sees.
        copies: how many processes do the same at once.
    """

    rows: tuple[int, ...]
    what: str
    size: str = ""
    who: str = "fedmi"
    function: str
    arguments: dict[str, Any] = field(default_factory=dict)
    base: "Item | None" = None
    relation: Relation = "faster"
    repeats: int = 5
    devices: int = 1
    copies: int = 1


@dataclass(frozen=True)
class Group:
    """Items that take turns.

    Attributes:
        items: in the order of each round.
        seconds: after the first round no other begins that would end later than this.
    """

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


def measure(group: Group) -> dict[Item, Measurement]:
    """Sets up all items of a group, then runs them in turns.

    Each item is run `item.repeats` times; after the first round another one begins only if it
    should end within `group.seconds`.

    Returns:
        item -> measurement, with `error` set for what could not be measured.
    """
    found = {item: Measurement() for item in group.items}
    workers: dict[Item, list[Worker]] = {}
    try:
        for item in group.items:
            started = monotonic()
            # No GPU: one would be compared with the others' processor cores.
            environment = dict(JAX_PLATFORMS="cpu", JAX_NUM_CPU_DEVICES=str(item.devices))
            workers[item] = [
                Worker(item.function, item.arguments, environment) for _ in range(item.copies)
            ]
            _set_up(workers[item], found[item])
            outcome = found[item].error or f"ready after {monotonic() - started:.0f} s"
            say(f"  {item.what}, {item.size}, {item.who}: {outcome}")
        started = monotonic()
        for turn in range(max(item.repeats for item in group.items)):
            due = [i for i in group.items if turn < i.repeats and not found[i].error]
            expected = sum(found[item].seconds[-1] for item in due) if turn else 0
            if turn and monotonic() + expected > started + group.seconds:
                break
            for item in due:
                _run(workers[item], found[item])
    finally:
        for copies in workers.values():
            for worker in copies:
                worker.close()
    return found


def _set_up(workers: Sequence[Worker], measurement: Measurement) -> None:
    answers = _answers([worker.ready for worker in workers], measurement)
    if answers:
        measurement.units = sum(answer["units"] for answer in answers)
        measurement.unit = answers[0]["unit"]
        measurement.note = answers[0]["note"]


def _run(workers: Sequence[Worker], measurement: Measurement) -> None:
    """Runs all copies at once; the slowest one counts."""
    answers = _answers([worker.run() for worker in workers], measurement)
    if answers:
        measurement.seconds.append(max(answer["seconds"] for answer in answers))
        measurement.peak_mib = sum(answer["peak_mib"] for answer in answers)
        measurement.note = answers[0].get("note", measurement.note)


def _answers(asked: Sequence[Future], measurement: Measurement) -> list[dict[str, Any]]:
    """What all copies answer; nothing, and the error noted, where one of them fails."""
    try:
        return [answer.result() for answer in asked]
    except ModuleNotFoundError as error:
        measurement.error = f"{error.name} is not installed"
    except Exception as error:  # whatever it is, the other items are measured
        measurement.error = f"failed: {type(error).__name__}: {error}"
    return []
