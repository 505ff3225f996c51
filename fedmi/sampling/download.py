"""What clients start from: where all seeds and clients download the same, it is computed once.

Drawing a network's first parameters takes more of a program than training it does. What differs
neither between seeds nor between clients is therefore drawn by a program of its own, and given to
the others, which are then the same whatever it is.
"""

from collections.abc import Sequence
from dataclasses import replace

import jax

from fedmi.sampling.design import Design
from fedmi.sampling.programs import Program, compiled, streams_read
from fedmi.tasks.task import Assets, Params

Constants = tuple[Assets, Sequence[Params | None]]
"""What a program of several designs is given beside its seeds: assets, and each one's download."""


def constants(designs: Sequence[Design], assets: Assets) -> Constants:
    """The constants of designs that have the same data, and these assets."""
    return assets, [fixed(design) for design in designs]


def fixed(design: Design) -> Params | None:
    """What all clients of all seeds download; None where it may differ."""
    task = design.task
    read = streams_read(task.init, task.streams)
    if any(design.scopes[stream] != "fixed" for stream in read):
        return None
    program = Program(task.init, ("download", task.identity))
    return compiled(program, design.keys(seed=0, client=0))


def starting(designs: Sequence[Design], downloads: Sequence[Params | None]) -> list[Design]:
    """The designs, whose clients start from what is given.

    Args:
        designs: as `constants` takes them.
        downloads: of each, as `constants` gives them; what is None is drawn.
    """
    return [
        design if given is None else replace(design, task=replace(design.task, init=_always(given)))
        for design, given in zip(designs, downloads, strict=True)
    ]


def _always(given: Params):
    return lambda keys: jax.tree.map(lambda leaf: leaf, given)
