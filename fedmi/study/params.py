"""The parameters of a study: a YAML file, checked whole before anything runs."""

import contextlib
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, overload

import numpy as np
import pydantic
from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from fedmi import scopes
from fedmi.mi.trust import bench
from fedmi.sampling import rounds as federated_rounds
from fedmi.sampling.store import fingerprint
from fedmi.study import refusals
from fedmi.study.paths import check_given, find, project, results_of
from fedmi.study.refusals import ParamsError
from fedmi.tasks.task import Task, check_outputs

__all__ = [
    "Aggregation", "Bench", "Case", "KINDS", "ParamsError", "Plan", "Rounds", "Sampling", "ScaleUp",
    "Study", "Sweep", "check_given", "faults", "find", "load", "results_of",
]  # fmt: skip

FEWEST_PERMUTATIONS = 20
MOST_FITTED = 4096
"""Parameters of a network that aggregators can be fitted to. What they are fitted on is held in
memory, too: fitting_seeds x checkpoints x (clients + 1) x parameters, in float32."""
MOST_AMONG = 64
SKEWED = "skewed"


def _each_once(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("each may be named once")
    return values


def _ascending(values: list[int]) -> list[int]:
    if values != sorted(set(values)):
        raise ValueError("must be ascending, without repeats")
    return values


Estimator = Literal["gaussian", "gaussian_copula", "ksg"]
Norm = Annotated[
    Literal["euclidean", "chebyshev"], Field(description="The norm of `ksg` within each client.")
]
Coupling = Annotated[
    str | dict[str, str],
    Field(description="What the clients of a seed share: a named coupling, or stream: scope."),
]
Couplings = Annotated[
    list[str],
    Field(min_length=1, description="Named couplings, each a run of its own."),
    AfterValidator(_each_once),
]
Checkpoints = Annotated[
    list[PositiveInt],
    Field(min_length=1, description="The iterations whose parameters are kept."),
    AfterValidator(_ascending),
]
Seeds = Annotated[PositiveInt, Field(description="How often the experiment is repeated, N.")]
Aggregator = Annotated[
    str,
    Field(
        description="What makes one model of the clients' after a round: "
        f"{', '.join(federated_rounds.AGGREGATORS)}, or your own `package.module:attribute`."
    ),
]
Permutations = Annotated[
    int, Field(ge=FEWEST_PERMUTATIONS, description="Re-pairings of seeds behind every null.")
]


class Keys(pydantic.BaseModel):
    """The keys of a mapping in a params file: no others, and nothing is converted."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)


class OfTask(Keys):
    """What trains: a task, and how many clients train it."""

    task: str = Field(
        description="`signal`, `digits`, `lenet`, or your own `package.module:attribute`."
    )
    options: dict[str, Any] = Field(
        default={}, description="Arguments of the task, such as its `learning_rate`."
    )
    clients: int = Field(default=3, ge=2, description="The number of clients, Q.")

    def make_task(self) -> Task:
        """The task with its options."""
        return refusals.make_task(self.task, self.options)

    @pydantic.model_validator(mode="after")
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

    root_seed: int = Field(default=0, ge=0, lt=2**32, description="The seed of all randomness.")

    PARTS: ClassVar[frozenset[str]] = frozenset()
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
    seeds: Seeds
    checkpoints: Checkpoints
    tile: PositiveInt | None = Field(
        default=None, description="Seeds computed at once; memory grows with it."
    )
    rounds: PositiveInt = Field(
        default=1, description="Rounds of federated learning, of which the last one is sampled."
    )
    aggregator: Aggregator = federated_rounds.MEAN
    examples: list[PositiveInt] | None = Field(
        default=None, description="Training examples of each client; all that the task has."
    )

    @pydantic.field_validator("coupling", mode="before")
    @classmethod
    def _null_is_a_name(cls, value: Any) -> Any:
        # YAML reads `coupling: null`, without quotes, as no value at all; only one thing can be
        # meant.
        return "null" if value is None else value

    def sampling(self) -> dict[str, Any]:
        """The arguments of `fedmi.sample`, but the store."""
        others = Sampling.model_fields.keys() - {"task", "options"}
        return dict(task=self.make_task()) | self.model_dump(include=others)

    def federated(self, task: Task) -> dict[str, Any]:
        """What its samples depend on besides one epoch (`fedmi.sampling.rounds.describe`)."""
        return federated_rounds.describe(
            task, self.clients, self.rounds, self.aggregator, self.examples
        )

    def check(self, task: Task) -> None:
        """Refuses a coupling, checkpoints, rounds or examples that the task cannot have."""
        scopes.check_varies(scopes.resolve(self.coupling, task.streams))
        self.federated(task)
        _check_checkpoints(self.checkpoints, task)


class Study(Sampling):
    """One study: samples of clients, and estimates of what these have in common."""

    blocks: PositiveInt = Field(
        default=1,
        description="Jobs that the workflow divides sampling into; from two on every checkpoint's "
        "estimates are a job, too. They are worth it where each takes some minutes, or has a "
        "machine to itself.",
    )
    estimators: Annotated[list[Estimator], AfterValidator(_each_once)] = Field(
        default=["gaussian", "ksg"], min_length=1, description="Of mutual information."
    )
    permutations: Permutations = FEWEST_PERMUTATIONS
    neighbours: PositiveInt | list[PositiveInt] = Field(
        default=3, description="k of `ksg`, or several, of which figures show the first."
    )
    norm: Norm = "euclidean"
    ties: Literal["refuse", "average"] = Field(
        default="refuse", description="What `gaussian_copula` does where two values are equal."
    )
    calibration_draws: int = Field(
        default=0,
        ge=0,
        description="Surrogates at each true value behind the calibration of one pair's estimates "
        "at the last checkpoint, at least 2; 0 for none.",
    )

    @pydantic.field_validator("neighbours")
    @classmethod
    def _one_or_several(cls, value: int | list[int]) -> int | list[int]:
        if value == [] or len(np.unique(value)) < np.size(value):
            raise ValueError("must be one number or several different")
        return value

    @pydantic.field_validator("calibration_draws")
    @classmethod
    def _with_a_spread(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one leaves no spread; give at least 2, or 0 for none")
        return value

    def check(self, task: Task) -> None:
        """Refuses what `Sampling` does, and estimates that so many seeds cannot give."""
        super().check(task)
        _check_permutations(self.permutations, self.seeds)
        covariance = [name for name in self.estimators if name.startswith("gaussian")]
        if covariance:
            left_out = f", or leave `{'` and `'.join(covariance)}` out of the estimators"
            _check_covariance(self.seeds, task, left_out)
        least = _fewest_seeds(task)
        if self.calibration_draws and self.seeds < least:
            raise ValueError(
                f"calibration_draws: {self.seeds} seeds are too few for surrogates of "
                f"{task.parameter_count} parameters; give at least {least} seeds, or 0 draws"
            )
        most = int(np.max(self.neighbours))
        if "ksg" in self.estimators and most >= self.seeds - 1:
            raise ValueError(
                f"neighbours: {most} must be below the number of seeds less one, {self.seeds - 1}"
            )

    def options_of(self, estimator: Estimator) -> dict[str, Any]:
        """The arguments that an estimator of mutual information takes from the study."""
        options: dict[str, dict[str, Any]] = {
            "ksg": dict(k=self.neighbours, metric=self.norm),
            "gaussian_copula": dict(ties=self.ties),
        }
        return options.get(estimator, {})

    def calibrated_options(self) -> dict[str, dict[str, Any]]:
        """The same by estimator, of several k the first, which figures show, alone."""
        first = self.model_copy(update=dict(neighbours=int(np.atleast_1d(self.neighbours)[0])))
        return {estimator: first.options_of(estimator) for estimator in self.estimators}


class Sweep(Plan, OfTask):
    """One study at many learning rates and batch sizes; the task's options leave these out."""

    couplings: Couplings
    learning_rates: Annotated[list[PositiveFloat], AfterValidator(_each_once)] = Field(
        min_length=1, description="One side of the grid."
    )
    batch_sizes: Annotated[list[PositiveInt], AfterValidator(_each_once)] = Field(
        min_length=1, description="The other side of the grid."
    )
    seeds: Seeds
    permutations: Permutations = FEWEST_PERMUTATIONS

    PARTS = frozenset({"couplings", "learning_rates", "batch_sizes"})

    def make_task(self) -> Task:
        """The task at the first point of the grid."""
        first = dict(learning_rate=self.learning_rates[0], batch_size=self.batch_sizes[0])
        return refusals.make_task(self.task, self.options | first)

    def points(self) -> dict[str, Task]:
        """The task at every point of the grid, by a name for files."""
        task = self.make_task()
        return {
            f"rate-{rate:g}-batch-{size}": replace(
                task,
                learning_rate=rate,
                batch_size=size,
                options=dict(task.options) | dict(learning_rate=rate, batch_size=size),
            )
            for rate in self.learning_rates
            for size in self.batch_sizes
        }

    def check(self, task: Task) -> None:
        """Refuses points without a first and a last step, couplings and too few seeds."""
        for option in {"learning_rate", "batch_size"} & set(self.options):
            raise ValueError(f"options: {option} is what the sweep goes through; leave it out")
        for point in self.points().values():
            if point.steps < 2:
                raise ValueError(
                    f"batch_sizes: {point.batch_size} makes one step of an epoch, which has no "
                    "first and last"
                )
        for coupling in self.couplings:
            scopes.check_varies(scopes.resolve(coupling, task.streams))
        _check_permutations(self.permutations, self.seeds)
        _check_covariance(self.seeds, task)


class Rounds(Plan, OfTask):
    """One study within several rounds of federated learning."""

    couplings: Couplings
    rounds: Annotated[list[PositiveInt], AfterValidator(_each_once)] = Field(
        min_length=1, description="The rounds whose epochs are sampled."
    )
    aggregator: Aggregator = federated_rounds.MEAN
    seeds: Seeds
    checkpoints: Annotated[Checkpoints, Field(min_length=2)]
    permutations: Permutations = FEWEST_PERMUTATIONS

    PARTS = frozenset({"couplings", "rounds"})

    def studies(self) -> dict[str, Sampling]:
        """The samples of each round under each coupling, by a name for files."""
        shared = self.model_dump(exclude={"couplings", "rounds", "permutations"})
        return {
            f"{coupling}-{number}": Sampling(coupling=coupling, rounds=number, **shared)
            for coupling in self.couplings
            for number in self.rounds
        }

    def check(self, task: Task) -> None:
        """Refuses what `Sampling` does of each round, and too few seeds."""
        self.studies()
        _check_permutations(self.permutations, self.seeds)
        _check_covariance(self.seeds, task)


class Aggregation(Plan, OfTask):
    """A comparison of aggregators on one task."""

    skew: dict[str, Any] = Field(
        default={},
        description=f"Further options of the task in the setting `{SKEWED}`, which make its "
        "clients unlike each other.",
    )
    settings: Annotated[list[str], AfterValidator(_each_once)] = Field(
        min_length=1,
        description=f"Named couplings, and `{SKEWED}`: `shared-source` with clients unlike each "
        "other.",
    )
    clients: int = Field(default=3, ge=3, description="The number of clients, Q.")
    checkpoints: Checkpoints
    fitting_seeds: int = Field(
        ge=16, description="Seeds on which is fitted what aggregators have to learn."
    )
    judged_seeds: int = Field(ge=2, description="Other seeds, on which aggregators are judged.")
    oracle_seeds: int = Field(
        ge=2,
        description="How many of the judged seeds are searched for the best that was possible.",
    )
    held_out_examples: PositiveInt | None = Field(
        default=None, description="Of each client, to judge on; all that the task has."
    )

    PARTS = frozenset({"settings"})

    def study(self, setting: str) -> Sampling:
        """The samples of all seeds that a setting needs."""
        skewed = setting == SKEWED
        return Sampling(
            task=self.task,
            options=self.options | (self.skew if skewed else {}),
            coupling="shared-source" if skewed else setting,
            clients=self.clients,
            seeds=self.fitting_seeds + self.judged_seeds,
            checkpoints=self.checkpoints,
            root_seed=self.root_seed,
        )

    def check(self, task: Task) -> None:
        """Refuses more searched seeds than judged ones, and tasks that cannot be judged on."""
        if self.oracle_seeds > self.judged_seeds:
            raise ValueError(
                f"oracle_seeds: {self.oracle_seeds} is above the {self.judged_seeds} judged seeds"
            )
        if SKEWED in self.settings and not self.skew:
            raise ValueError(
                f"skew: the setting `{SKEWED}` needs the options that make clients unlike"
            )
        for setting in self.settings:
            _check_held_out(self.task, self.study(setting).make_task())
        if task.parameter_count > MOST_FITTED:
            raise ValueError(
                f"task: {self.task!r} has {task.parameter_count} parameters; linear "
                "aggregators are fitted through matrices of that number squared, for at most "
                f"{MOST_FITTED}; `make scale_up` shows what averaging yields in larger networks"
            )


class Case(OfTask):
    """One network and number of clients."""

    name: str = Field(
        pattern=r"^[\w-]+$", description="What tables, figures and files call the case."
    )
    clients: int = Field(ge=2, description="The number of clients, Q.")
    seeds: Seeds
    checkpoints: Checkpoints

    def check(self, task: Task) -> None:
        """Refuses checkpoints beyond the epoch, and a task without data to judge on."""
        _check_checkpoints(self.checkpoints, task)
        _check_held_out(self.task, task)


class ScaleUp(Plan):
    """Studies of ever larger networks and ever more clients."""

    cases: list[Case] = Field(
        min_length=1, description="The networks and numbers of clients, with the keys below."
    )
    coupling: str = Field(default="shared-source", description="A named coupling.")
    directions: PositiveInt = Field(
        default=32, description="Of each layer, in which mutual information is read."
    )
    among: int = Field(
        default=MOST_AMONG,
        ge=1,
        le=MOST_AMONG,
        description="How many principal components of a layer canonical directions are looked "
        "for in.",
    )
    judged_seeds: int = Field(
        ge=2, description="Seeds of each case, on which means of clients are judged."
    )
    permutations: Permutations = FEWEST_PERMUTATIONS

    PARTS = frozenset({"cases"})

    @pydantic.field_validator("cases")
    @classmethod
    def _own_names(cls, value: list[Case]) -> list[Case]:
        if len({case.name for case in value}) < len(value):
            raise ValueError("each needs a name of its own")
        return value

    @pydantic.model_validator(mode="after")
    def _possible(self) -> Self:
        if self.directions > self.among:
            raise ValueError(
                f"directions: {self.directions} is above `among`, {self.among}, the components "
                "that canonical directions lie in"
            )
        for i, case in enumerate(self.cases):
            with refusals.telling(case.task, case.options, f"cases.{i}."):
                self._check(case, case.make_task())
        return self

    def _check(self, case: Case, task: Task) -> None:
        scopes.check_varies(scopes.resolve(self.coupling, task.streams))
        _check_permutations(self.permutations, case.seeds)
        if self.judged_seeds > case.seeds:
            raise ValueError(f"seeds: {case.seeds} are fewer than the {self.judged_seeds} judged")
        least = 4 * min(self.among, task.parameter_count) + 2
        if case.seeds < least:
            raise ValueError(
                f"seeds: {case.seeds} are too few to fit canonical directions among "
                f"{self.among} components on half of them; give at least {least}, or a lower "
                "`among`"
            )

    def study(self, case: Case) -> Sampling:
        """The samples of a case."""
        return Sampling(
            **case.model_dump(exclude={"name"}), coupling=self.coupling, root_seed=self.root_seed
        )


class Bench(Plan):
    """A test of estimators on laws of known mutual information, at the size of a study."""

    dimension: PositiveInt = Field(description="Parameters of a client.")
    seeds: int = Field(ge=100, description="The number of samples, N.")
    truths: list[pydantic.NonNegativeFloat] = Field(
        min_length=2, description="True mutual information in bits, 0 among them."
    )
    sizes: list[Annotated[int, Field(ge=100)]] = Field(
        min_length=1, description="Numbers of samples from which `sizes_truth` bits and 0 are read."
    )
    sizes_truth: PositiveFloat = Field(description="True mutual information in bits.")
    draws: PositiveInt = Field(default=1, description="Data sets of each law.")
    estimators: list[Estimator] = Field(
        default=["gaussian", "gaussian_copula", "ksg"], description="Of mutual information."
    )
    neighbours: PositiveInt = Field(default=3, description="k of `ksg`.")
    norm: Norm = "euclidean"
    permutations: PositiveInt = Field(
        default=4,
        description="Re-pairings behind the null of every reading; of the neural bound, one.",
    )
    neural_seeds: int = Field(
        default=0, ge=0, description="Samples for the neural bound, 0 to leave it out."
    )
    neural_truths: list[pydantic.NonNegativeFloat] = Field(
        default=[], description="True mutual information in bits, for the neural bound."
    )

    @pydantic.model_validator(mode="after")
    def _possible(self) -> Self:
        if 0 not in self.truths:
            raise ValueError(f"truths: {self.truths} must hold 0, what nothing shared reads")
        if max(self.sizes) > self.seeds:
            raise ValueError(f"sizes: {max(self.sizes)} is above the {self.seeds} seeds")
        return self

    def work(self) -> list[dict[str, Any]]:
        """The arguments of `fedmi.mi.trust.bench.reading`, for each reading, short ones first."""
        options = dict(ksg=dict(k=self.neighbours, metric=self.norm))
        items = [
            dict(family=family, n=n, mi_bits=truth, draw=draw, estimator=estimator)
            for n, truths in [
                *((n, [0.0, self.sizes_truth]) for n in self.sizes),
                (self.seeds, self.truths),
            ]
            for truth in truths
            for family in bench.FAMILIES
            for draw in range(self.draws)
            for estimator in self.estimators
        ]
        items += [
            dict(family=family, n=self.neural_seeds, mi_bits=t, draw=0, estimator="neural")
            for t in self.neural_truths
            for family in bench.FAMILIES
            if self.neural_seeds
        ]
        unique = {tuple(item.values()): item for item in items}
        return [
            item
            | dict(dimension=self.dimension, options=options.get(item["estimator"], {}))
            | dict(permutations=1 if item["estimator"] == "neural" else self.permutations)
            for item in unique.values()
        ]


def _check_checkpoints(checkpoints: list[int], task: Task) -> None:
    if checkpoints[-1] > task.steps:
        raise ValueError(
            f"checkpoints: {checkpoints[-1]} is beyond the epoch, which has {task.steps} "
            f"iterations ({task.examples} examples in minibatches of {task.batch_size})"
        )


def _check_permutations(permutations: int, seeds: int) -> None:
    if permutations >= seeds:
        raise ValueError(
            f"permutations: {permutations} re-pairings need more seeds than that, not {seeds}"
        )


def _fewest_seeds(task: Task) -> int:
    """That carry the covariance of two clients."""
    return 2 * task.parameter_count + 2


def _check_covariance(seeds: int, task: Task, otherwise: str = "") -> None:
    least = _fewest_seeds(task)
    if seeds < least:
        raise ValueError(
            f"seeds: {seeds} cannot carry the covariance of two clients of "
            f"{task.parameter_count} parameters; give at least {least}{otherwise}"
        )


def _check_held_out(name: str, task: Task) -> None:
    if task.held_out is None:
        raise ValueError(f"task: {name!r} has no held-out data to judge on")


KINDS: dict[str, type[Plan]] = {
    "aggregation": Aggregation,
    "estimators": Bench,
    "rounds": Rounds,
    "scale_up": ScaleUp,
    "sweep": Sweep,
}
"""The kind of the params files in each folder beside the studies of a scale."""

TAKEN = {"figures", *KINDS}  # folders among the results of studies

AnyPlan = TypeVar("AnyPlan", bound=Plan)


@overload
def load(path: str | Path) -> Study: ...
@overload
def load(path: str | Path, kind: type[AnyPlan]) -> AnyPlan: ...
def load(path: str | Path, kind: type[Plan] = Study) -> Plan:
    """Reads and checks a params file.

    Args:
        path: the file; a relative path is one in the project (`fedmi.study.paths.find`).
        kind: what it should be of.

    Raises:
        ParamsError: naming the file, the key, what was wrong and what would be right.
    """
    path = find(path)
    try:
        entries = refusals.read(path)
    except FileNotFoundError:
        files = (project() / "params").rglob("[!.]*.yaml")
        others = ", ".join(sorted(str(file.relative_to(project())) for file in files))
        raise ParamsError(f"{path}: no such params file; there are: {others or 'none'}") from None
    try:
        return kind.model_validate(entries)
    except pydantic.ValidationError as error:
        lines = refusals.explain(error, kind)
        raise ParamsError("\n".join(f"{path}: {line}" for line in lines)) from error


def faults(scale: Path) -> dict[str, str]:
    """What is wrong with the params files of a scale: its studies, and all others beside them.

    Whatever a task prints meanwhile goes to stderr.

    Args:
        scale: the folder of the studies; files whose name begins with a dot are an editor's.

    Returns:
        By the file's path, as the scale is given: which key is wrong and what would be right, with
        the file's path before it. Empty where all is well.
    """
    found, here = {}, Path.cwd()
    for folder, kind in {"": Study, **KINDS}.items():
        for path in sorted(Path(scale, folder).glob("[!.]*.yaml")):
            print(f"checking {path}", file=sys.stderr)  # the last one, if its task ends all
            try:
                with contextlib.chdir(here), contextlib.redirect_stdout(sys.stderr):
                    _check_file(path, kind)
            except ParamsError as error:
                found[str(path)] = str(error).replace(str(here / path), str(path))
            except BaseException as error:  # such as a KeyboardInterrupt of a task's own
                said = refusals.message(error)
                found[str(path)] = f"{path}: raises {type(error).__name__}: {said}"
    return found


def _check_file(path: Path, kind: type[Plan]) -> None:
    _check_name(path, TAKEN if kind is Study else ())
    plan = load(path.absolute(), kind)
    if isinstance(plan, Study):
        try:
            with refusals.telling(plan.task, plan.options):
                check_outputs(plan.make_task())
        except ValueError as error:
            raise ParamsError(f"{path}: {error}") from error


def _check_name(path: Path, taken: Collection[str]) -> None:
    if path.stem in taken:
        raise ParamsError(f"{path}: {path.stem!r} is the name of another folder of results; rename")
    bad = sorted({c for c in path.stem if c in "{}\\" or not c.isprintable()})
    if bad or path.stem != path.stem.strip():
        raise ParamsError(
            f"{path}: a study's name may hold no braces, backslashes or control characters, and no "
            f"space at either end, as {path.stem!r} does; rename the file"
        )
