"""What a measured item is inside its process, and the choice of the best of several ways."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Work:
    """An item that is ready to be timed: compiled, warmed up, its data in place.

    Attributes:
        run: does the work once; a dict that it returns is answered beside its wall time or, where
            it has `seconds`, in the place of it.
        units: how many things one run makes.
        unit: what these are.
        note: how the work is done, for the table.
    """

    run: Callable[[], object]
    units: float = 1
    unit: str = ""
    note: str = ""


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = perf_counter()
    run()
    return perf_counter() - started


def best(ways: Mapping[Name, Callable[[], object]]) -> Name:
    """The name of the quickest of several ways, each warmed up and then taken twice."""
    for run in ways.values():
        run()
    times = {name: min(seconds(run), seconds(run)) for name, run in ways.items()}
    return min(times, key=times.get)
