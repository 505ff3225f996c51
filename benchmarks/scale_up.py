"""`python -m benchmarks.scale_up`: what sampling larger networks, and more clients, costs.

The whole of LeNet at 3 clients, and the task `digits` at 100, each as `fedmi.sample` does it, store
and all, and as a loop over clients in PyTorch. Every item has a process of its own, whose peak
memory is told; compilation is not timed. Writes figures/scale-up-cost.csv.

Like `benchmarks.runner` this does not import JAX, whose memory would count in the items' peaks.
"""

import argparse
import sys
from dataclasses import dataclass

import pandas as pd

from benchmarks.__main__ import FIGURES, available_cores, say
from benchmarks.runner import Measurement, measure
from benchmarks.suite import Group, Item

COLUMNS = [
    "task", "parameters", "clients", "seeds", "who", "trainings", "seconds",
    "trainings_per_second", "fedmi_is_faster", "peak_gib", "cores", "how",
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A study that is sampled.

    Attributes:
        task: by name.
        parameters: of a network.
        clients: of a seed.
        seeds: how many, at full size.
        loop: the item of PyTorch's loop.
        trainings: of that loop.
    """

    task: str
    parameters: int
    clients: int
    seeds: int
    loop: str
    trainings: int


CASES = (
    Case("lenet", 61_706, 3, 2_000, "benchmarks.peers_torch:whole_lenet", 60),
    Case("digits", 850, 100, 1_000, "benchmarks.peers_torch:digits", 200),
)


def items(case: Case, seeds: int, cores: int) -> tuple[Item, ...]:
    """fedmi, one loop with its best number of threads, and a loop of one thread a core."""
    common = dict(rows=(), what=f"{case.task} sampling", size=f"{seeds:,} seeds", repeats=1)
    loop = dict(function=case.loop, **common | dict(repeats=3))
    trainings = dict(trainings=case.trainings)
    if case.task == "digits":
        trainings |= dict(ready=False)
    return (
        Item(
            name=f"{case.task}/fedmi",
            who="fedmi",
            function="benchmarks.sampling:whole_study",
            arguments=dict(task=case.task, seeds=seeds, clients=case.clients),
            devices=cores,
            **common,
        ),
        Item(
            name=f"{case.task}/loop",
            who="PyTorch loop",
            arguments=trainings | dict(threads=[1, cores]),
            **loop,
        ),
        Item(
            name=f"{case.task}/loops",
            who="PyTorch loops, one a core",
            arguments=trainings | dict(threads=[1]),
            copies=cores,
            **loop,
        ),
    )


def rows(
    case: Case, seeds: int, cores: int, measured: dict[str, Measurement], group: Group
) -> list[dict]:
    """The rows of a case; medians of what was repeated."""
    found = []
    for item in group.items:
        m = measured[item.name]
        if m.error:
            raise SystemExit(f"benchmarks: {item.name}: {m.error}")
        seconds = float(pd.Series(m.seconds).median())
        rate = m.units / seconds
        own = rate if not found else found[0]["trainings_per_second"]
        found.append(
            dict(
                task=case.task,
                parameters=case.parameters,
                clients=case.clients,
                seeds=seeds if item.who == "fedmi" else "",
                who=item.who,
                trainings=int(m.units),
                seconds=seconds,
                trainings_per_second=rate,
                fedmi_is_faster=own / rate,
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
    parser.add_argument("--tasks", nargs="+", choices=[c.task for c in CASES], help="print only")
    arguments = parser.parse_args()
    cores = available_cores()
    found = []
    for case in CASES:
        if arguments.tasks and case.task not in arguments.tasks:
            continue
        seeds = arguments.seeds or case.seeds
        group = Group(f"{case.task} sampling", items(case, seeds, cores), seconds=120)
        say(f"{case.task}: {seeds} seeds of {case.clients} clients")
        found += rows(case, seeds, cores, measure(group, say), group)
    table = pd.DataFrame(found, columns=COLUMNS)
    if not arguments.seeds and not arguments.tasks:
        table.to_csv(FIGURES / "scale-up-cost.csv", index=False, float_format="%.4g")
    table.to_string(sys.stdout, index=False, float_format="%.4g")
    print()


if __name__ == "__main__":
    main()
