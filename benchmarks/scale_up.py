"""`python -m benchmarks.scale_up`: what sampling larger networks, and more clients, costs.

The whole of LeNet at 3 clients, and the task `digits` at 100, each as `fedmi.sample` does it, store
and all, and as a loop over clients in PyTorch. Every item has a process of its own, whose peak
memory is told; compilation is not timed. Writes figures/scale-up-cost.csv.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from benchmarks.output import publish
from benchmarks.runner import Group, Item, Measurement, measure, say
from benchmarks.worker import available_cores


@dataclass(frozen=True)
class Case:
    """A study that is sampled.

    Attributes:
        task: by name.
        parameters: of a network.
        clients: of a seed.
        seeds: how many, at full size.
        loop: the function of PyTorch's loop.
        arguments: of that loop, the threads apart.
    """

    task: str
    parameters: int
    clients: int
    seeds: int
    loop: str
    arguments: dict[str, Any] = field(hash=False)


CASES = (
    Case("lenet", 61_706, 3, 2_000, "whole_lenet", dict(trainings=60)),
    Case("digits", 850, 100, 1_000, "digits", dict(trainings=200, ready=False)),
)


def items(case: Case, seeds: int, cores: int) -> tuple[Item, ...]:
    """fedmi, one loop with its best number of threads, and a loop of one thread a core."""
    loop = f"benchmarks.peers_torch:{case.loop}"
    return (
        Item(
            name=f"{case.task}/fedmi",
            function="benchmarks.sampling:whole_study",
            arguments=dict(task=case.task, seeds=seeds, clients=case.clients),
            devices=cores,
            repeats=1,
        ),
        Item(
            name=f"{case.task}/loop",
            who="PyTorch loop",
            function=loop,
            arguments=case.arguments | dict(threads=[1, cores]),
        ),
        Item(
            name=f"{case.task}/loops",
            who="PyTorch loops, one a core",
            function=loop,
            arguments=case.arguments | dict(threads=[1]),
            copies=cores,
        ),
    )


def rows(
    case: Case, seeds: int, cores: int, measured: Mapping[str, Measurement]
) -> list[dict[str, Any]]:
    """The rows of a case; medians of what was repeated."""
    own, *_ = measured.values()
    found = []
    for item in items(case, seeds, cores):
        m = measured[item.name]
        if m.error:
            raise SystemExit(f"benchmarks: {item.name}: {m.error}")
        rate = m.units / m.typical
        found.append(
            dict(
                task=case.task,
                parameters=case.parameters,
                clients=case.clients,
                seeds=seeds if item.who == "fedmi" else "",
                who=item.who,
                trainings=int(m.units),
                seconds=m.typical,
                trainings_per_second=rate,
                fedmi_is_faster=own.units / own.typical / rate,
                peak_gib=m.peak_mib / 2**10,
                cores=cores,
                how=m.note,
            )
        )
    return found


def main() -> None:
    """Measures both cases; writes the table if they have their full size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_up", description=__doc__)
    parser.add_argument("--seeds", type=int, help="a trial with so many seeds; print only")
    given = parser.parse_args()
    cores, found = available_cores(), []
    for case in CASES:
        seeds = given.seeds or case.seeds
        say(f"{case.task}: {seeds} seeds of {case.clients} clients")
        group = Group(f"{case.task} sampling", items(case, seeds, cores), seconds=120)
        found += rows(case, seeds, cores, measure(group))
    table = pd.DataFrame(found)
    if given.seeds:
        print(table.to_string(index=False, float_format="%.4g"))
    else:
        publish(table, "scale-up-cost")


if __name__ == "__main__":
    main()
