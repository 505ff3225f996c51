"""The points of a multiverse: a study, and every choice that could have been made in its place.

A factor is a choice, for instance of the batch size; its levels are what may be chosen, the study's
own first. A point takes a level of every factor.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import jax
from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt

from fedmi.sampling.design import Design
from fedmi.study import refusals
from fedmi.study.plan import (
    FEWEST_PERMUTATIONS,
    Coupling,
    Distinct,
    Keys,
    OfTask,
    Permutations,
    Plan,
    Seeds,
    check_covariance,
    check_permutations,
)
from fedmi.tasks.task import Task

SHARES = 5
"""Equal shares of the examples of an epoch, after each of which parameters are kept."""
TOGETHER = 24
"""Points that are sampled together at most."""
DEFAULT = "default"
"""The point that takes the study's own level of every factor."""


def _named(names: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in names:
        if not name or not all(c.isalnum() or c in " .-_" for c in name) or name != name.strip():
            raise ValueError(f"{name!r} must be a name of letters, digits, blanks, '.', '-' or '_'")
    return names


class Level(Keys):
    """What a level changes of the study; nothing by default."""

    options: dict[str, Any] = {}
    """Options of the task that are others."""
    rate: PositiveFloat = 1.0
    """What the task's own learning rate is multiplied by."""
    download: NonNegativeInt = 0
    """The number of another download, where all clients of all seeds have the same one. All else
    that is random stays as it is."""
    coupling: Coupling | None = None
    """A coupling in place of the study's."""
    seeds: Seeds | None = None
    """Seeds in place of the study's."""


Levels = Annotated[dict[str, Level], Field(min_length=2), AfterValidator(_named)]


@dataclass(frozen=True)
class Point:
    """One way to make the study.

    Attributes:
        levels: factor -> its level here, of all factors.
        design: all that its samples depend on.
        seeds: how many.
        control: whether the clients share nothing, so that the truth is known.
    """

    levels: Mapping[str, str]
    design: Design
    seeds: int
    control: bool


class Choices(Plan, OfTask):
    """A study, and the choices that could have been made in its place."""

    coupling: Coupling = "shared-source"
    """What the clients of a seed share."""
    seeds: Seeds
    permutations: Permutations = FEWEST_PERMUTATIONS
    neighbours: PositiveInt = 3
    """k of `ksg`."""
    judged_seeds: PositiveInt = 1000
    """Seeds whose networks are evaluated on examples that they have not seen."""
    perturbed_seeds: PositiveInt = 64
    """Seeds trained twice to see how chaotic training is."""
    factors: Annotated[dict[str, Levels], Field(min_length=1), AfterValidator(_named)]
    """Choices, by name, each with its levels; the first is the study's own, and changes nothing.
    Every level is tried with all other factors at their own."""
    crosses: list[dict[str, Distinct[str]]] = []
    """Factors of which levels are tried together, each with each."""
    same_data: list[str] = []
    """Factors that change nothing of the clients' data, which are then made once."""

    PARTS = ("factors", "crosses", "same_data")

    def combinations(self) -> dict[str, dict[str, str]]:
        """The levels of every point, by the point's name: the study's own, first."""
        own = self._own()
        single = [{factor: list(levels)} for factor, levels in self.factors.items()]
        found = {}
        for crossed in [*single, *self.crosses]:
            for levels in product(*crossed.values()):
                changed = dict(zip(crossed, levels, strict=True))
                other = {f: v for f, v in (own | changed).items() if v != own[f]}
                found.setdefault(_name(other), own | other)
        return found

    def points(self) -> dict[str, Point]:
        """All points, by name.

        Raises:
            ValueError: for one that is impossible.
        """
        return {name: self._point(levels) for name, levels in self.combinations().items()}

    def point(self, name: str) -> Point:
        """The point of a name.

        Raises:
            ValueError: if there is none.
        """
        found = self.combinations()
        if name not in found:
            raise ValueError(f"point: {refusals.no_such(name, list(found), 'point')}")
        return self._point(found[name])

    def groups(self) -> dict[str, list[str]]:
        """Points whose clients have the same data, and which are sampled together, by name.

        More than `TOGETHER` are sampled in several groups: one program trains a group, and takes as
        much longer to compile as it has points.
        """
        own = self._own()
        found: dict[str, list[str]] = {}
        for name, levels in self.combinations().items():
            seeds = self._seeds(levels)
            other = {
                factor: level
                for factor, level in levels.items()
                if level != own[factor] and factor not in self.same_data
            }
            found.setdefault(f"{_name(other)}+{seeds}-seeds", []).append(name)
        return {
            group if not at else f"{group}-{1 + at // TOGETHER}": points[at : at + TOGETHER]
            for group, points in found.items()
            for at in range(0, len(points), TOGETHER)
        }

    def changes(self, levels: Mapping[str, str]) -> list[Level]:
        """What levels of factors change, one by one."""
        return [self.factors[factor][level] for factor, level in levels.items()]

    def _own(self) -> dict[str, str]:
        """The study's own level of every factor."""
        return {factor: next(iter(levels)) for factor, levels in self.factors.items()}

    def _seeds(self, levels: Mapping[str, str]) -> int:
        own = [c.seeds for c in self.changes(levels) if c.seeds is not None]
        return min(own, default=self.seeds)

    def _point(self, levels: Mapping[str, str]) -> Point:
        seeds, changes = self._seeds(levels), self.changes(levels)
        options = dict(self.options)
        for change in changes:
            options |= change.options
        task = refusals.make_task(self.task, options)
        for change in changes:
            task = at_rate(task, change.rate)
            task = with_download(task, change.download)
        others = [c.coupling for c in changes if c.coupling is not None]
        design = Design.of(
            task,
            clients=self.clients,
            coupling=others[-1] if others else self.coupling,
            checkpoints=checkpoints(task),
            root_seed=self.root_seed,
        )
        downloads = [change.download for change in changes if change.download]
        init = task.stream("init")
        if downloads and (init is None or design.scopes[init] != "fixed"):
            raise ValueError(
                f"download: {downloads[-1]} is another of the downloads that are the same for all "
                "seeds, but here they are not, or the task draws none"
            )
        return Point(levels, design, seeds, control="shared" not in design.scopes.values())

    def check(self, task: Task) -> None:
        """Refuses points that are impossible, and levels that are not told apart."""
        names = [*self.same_data, *(factor for cross in self.crosses for factor in cross)]
        for name in names:
            if name not in self.factors:
                raise ValueError(f"factors: {refusals.no_such(name, list(self.factors), 'factor')}")
        pairs = ((f, v) for cross in self.crosses for f, levels in cross.items() for v in levels)
        for factor, level in pairs:
            if level not in self.factors[factor]:
                known = list(self.factors[factor])
                raise ValueError(f"crosses.{factor}: {refusals.no_such(level, known, 'level')}")
        for factor, first in self._own().items():
            if self.factors[factor][first] != Level():
                raise ValueError(
                    f"factors.{factor}.{first}: the first level is the study's own, and changes "
                    "nothing; put another before it"
                )
        for name, levels in self.combinations().items():
            try:
                self._point(levels)
            except ValueError as error:
                raise ValueError(f"factors: at the point {name!r}: {error}") from error
        fewest = min(self._seeds(levels) for levels in self.combinations().values())
        check_permutations(self.permutations, fewest)
        check_covariance(fewest, task)


def _name(levels: Mapping[str, str]) -> str:
    """A name for files, of the factors that are not the study's own."""
    parts = [f"{factor}-{level}".replace(" ", "-") for factor, level in levels.items()]
    return "+".join(parts) or DEFAULT


def checkpoints(task: Task) -> list[int]:
    """The first minibatch, and then equal shares of the examples, whatever the batch size.

    Raises:
        ValueError: if minibatches do not divide an epoch so.
    """
    if task.steps % SHARES:
        raise ValueError(
            f"batch_size: {task.batch_size} makes {task.steps} steps, which cannot be divided into "
            f"{SHARES} equal shares of the examples"
        )
    return sorted({1, *range(task.steps // SHARES, task.steps + 1, task.steps // SHARES)})


def at_rate(task: Task, factor: float) -> Task:
    """The task at a multiple of its learning rate."""
    if factor == 1:
        return task
    rate = factor * task.learning_rate
    return replace(task, learning_rate=rate, options=dict(task.options) | dict(learning_rate=rate))


def with_download(task: Task, number: int) -> Task:
    """The task with another download, drawn as its own is; all else that is random stays.

    Args:
        task: with a stream `init`.
        number: of the download; 0 is the task's own.
    """
    stream = task.stream("init")
    if not number or stream is None:
        return task

    def init(keys: Any) -> Any:
        return task.init({**keys, stream: jax.random.fold_in(keys[stream], number)})

    return replace(task, init=init, options=dict(task.options) | dict(download=number))


def laid_out(scale: Path) -> dict[str, dict[str, list[str]]]:
    """The groups of all multiverses of a scale, by the name of the params file, for the workflow.

    Args:
        scale: the folder of params files.
    """
    found = {}
    for path in sorted((scale / "choices").glob("[!.]*.yaml")):
        try:
            found[path.stem] = Choices.model_validate(refusals.read(path)).groups()
        except ValueError:
            continue  # `fedmi.study.params.faults` tells of it
    return found
