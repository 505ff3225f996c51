"""A plan, which is what a params file says and checks itself; a study is the first kind of them."""

from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

from fedmi.sampling.design import Design
from fedmi.sampling.server import AGGREGATORS, MEAN
from fedmi.sampling.store import fingerprint
from fedmi.study import refusals
from fedmi.tasks.task import Task

FEWEST_PERMUTATIONS = 20


def _each_once(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("each may be named once")
    return values


def _ascending(values: list[int]) -> list[int]:
    if values != sorted(set(values)):
        raise ValueError("must be ascending, without repeats")
    return values


T = TypeVar("T")
Several = Annotated[list[T], Field(min_length=1)]
Distinct = Annotated[Several[T], AfterValidator(_each_once)]
Two = Annotated[int, Field(ge=2)]
Estimator = Literal["gaussian", "gaussian_copula", "ksg"]
Coupling = Annotated[
    str | dict[str, str],
    # YAML reads `coupling: null`, without quotes, as no value at all; only one thing can be meant.
    BeforeValidator(lambda value: "null" if value is None else value),
]
Checkpoints = Annotated[
    Several[PositiveInt],
    AfterValidator(_ascending),
    Field(description="The iterations whose parameters are kept."),
]
Seeds = Annotated[PositiveInt, Field(description="How often the experiment is repeated, N.")]
Aggregator = Annotated[
    str,
    Field(
        description="What makes one model of the clients' after a round: "
        f"`{'`, `'.join(AGGREGATORS)}`, or your own `package.module:attribute`."
    ),
]
Permutations = Annotated[
    int, Field(ge=FEWEST_PERMUTATIONS, description="Re-pairings of seeds behind every null.")
]
Norm = Annotated[
    Literal["euclidean", "chebyshev"], Field(description="The norm of `ksg` within each client.")
]


class Keys(BaseModel):
    """The keys of a mapping in a params file: no others, and nothing is converted."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )


class OfTask(Keys):
    """What trains: a task, and how many clients train it."""

    task: str
    """`signal`, `digits`, `lenet`, or your own `package.module:attribute`."""
    options: dict[str, Any] = {}
    """Arguments of the task, such as its `learning_rate`."""
    clients: Two = 3
    """The number of clients, Q."""

    def make_task(self) -> Task:
        """The task with its options."""
        return refusals.make_task(self.task, self.options)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        with refusals.telling(self.task, self.options):
            self.check(self.make_task())
        return self

    def check(self, task: Task) -> None:
        """Refuses what is impossible for the task.

        Raises:
            ValueError: naming the key, what was wrong, and what would be right.
        """


class Plan(Keys):
    """What every kind of params file has."""

    root_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """The seed of all randomness: with the same one all is drawn the same again."""

    PARTS: ClassVar[Collection[str]] = ()
    """The keys that say which parts there are, of which each has results of its own."""

    def fingerprint(self, part: Keys | None = None) -> str:
        """A short hash of what the results depend on, for the names of what is kept.

        Args:
            part: what of the keys in `PARTS` they depend on.
        """
        own = {} if part is None else dict(part=part.model_dump())
        return fingerprint(self.model_dump(exclude=set(self.PARTS)) | own)


class Sampling(Plan, OfTask):
    """Samples of one task under one coupling."""

    coupling: Coupling = "shared-source"
    """What the clients of a seed share: a named coupling, or a scope for every stream."""
    seeds: Seeds
    checkpoints: Checkpoints
    tile: PositiveInt | None = None
    """Seeds computed at once; memory grows with it. It is chosen for the devices by default."""
    rounds: PositiveInt = 1
    """Rounds of federated learning, of which the last is sampled."""
    aggregator: Aggregator = MEAN
    examples: list[PositiveInt] | None = None
    """Training examples of each client; by default all that the task has."""

    def sampling(self) -> dict[str, Any]:
        """The arguments of `fedmi.sample`, but the store."""
        others = Sampling.model_fields.keys() - {"task", "options"}
        return dict(task=self.make_task()) | self.model_dump(include=others)

    def design(self) -> Design:
        """All that its samples depend on."""
        arguments = self.sampling()
        del arguments["seeds"], arguments["tile"]
        return Design.of(**arguments)

    def check(self, task: Task) -> None:
        """Refuses a coupling, checkpoints, rounds or examples that the task cannot have."""
        self.design()


class Study(Sampling):
    """One study: samples of clients, and estimates of what these have in common."""

    blocks: PositiveInt = 1
    """Jobs that the workflow divides sampling into; from two on every checkpoint's estimates are a
    job, too. They are worth it where each takes some minutes, or has a machine to itself."""
    estimators: Distinct[Estimator] = ["gaussian", "ksg"]
    """What estimates mutual information."""
    permutations: Permutations = FEWEST_PERMUTATIONS
    ksg_permutations: Permutations | None = None
    """Re-pairings behind the null of `ksg`, where they are not to be as many: each takes about a
    twentieth of an estimate's time, while those of the Gaussian formula take next to none."""
    neighbours: PositiveInt | list[PositiveInt] = 3
    """k of `ksg`, or several, of which figures show the first."""
    norm: Norm = "euclidean"
    ties: Literal["refuse", "average"] = "refuse"
    """What `gaussian_copula` does where two values are equal."""
    calibration_draws: NonNegativeInt = 0
    """Surrogates at each true value behind the calibration of one pair's estimates at the last
    checkpoint, at least 2; 0 for none."""

    def check(self, task: Task) -> None:
        """Refuses what `Sampling` does, and estimates that so many seeds cannot give."""
        super().check(task)
        check_permutations(max(map(self.permutations_of, self.estimators)), self.seeds)
        covariance = [name for name in self.estimators if name.startswith("gaussian")]
        if covariance:
            left_out = f", or leave `{'` and `'.join(covariance)}` out of the estimators"
            check_covariance(self.seeds, task, left_out)
        if self.calibration_draws:
            check_covariance(self.seeds, task, ", or 0 `calibration_draws`")
        if self.calibration_draws == 1:
            raise ValueError("calibration_draws: 1 leaves no spread; give at least 2, or 0")
        if len(np.unique(self.neighbours)) != np.size(self.neighbours) or self.neighbours == []:
            raise ValueError(f"neighbours: {self.neighbours} must be one or several different")
        most = int(np.max(self.neighbours))
        if "ksg" in self.estimators and most >= self.seeds - 1:
            raise ValueError(
                f"neighbours: {most} must be below the number of seeds less one, {self.seeds - 1}"
            )

    def permutations_of(self, estimator: str) -> int:
        """How many re-pairings an estimator's null rests on."""
        own = self.ksg_permutations if estimator == "ksg" else None
        return self.permutations if own is None else own

    def options_of(self, estimator: Estimator) -> dict[str, Any]:
        """The arguments that an estimator of mutual information takes from the study."""
        options: dict[str, dict[str, Any]] = {
            "ksg": dict(k=self.neighbours, metric=self.norm),
            "gaussian_copula": dict(ties=self.ties),
        }
        return options.get(estimator, {})

    def calibrated_options(self) -> dict[str, dict[str, Any]]:
        """The same by estimator, of several k only the first, which figures show."""
        first = self.model_copy(update=dict(neighbours=int(np.ravel(self.neighbours)[0])))
        return {estimator: first.options_of(estimator) for estimator in self.estimators}


def check_permutations(permutations: int, seeds: int) -> None:
    """Refuses more re-pairings than the seeds give."""
    if permutations >= seeds:
        raise ValueError(
            f"permutations: {permutations} re-pairings need more seeds than that, not {seeds}"
        )


def check_covariance(seeds: int, task: Task, otherwise: str = "") -> None:
    """Refuses too few seeds for the covariance of two clients."""
    least = 2 * task.parameter_count + 2
    if seeds < least:
        raise ValueError(
            f"seeds: {seeds} cannot carry the covariance of two clients of "
            f"{task.parameter_count} parameters; give at least {least}{otherwise}"
        )
