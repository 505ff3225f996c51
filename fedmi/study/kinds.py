"""The plans beside the studies: rounds, aggregators, larger networks and estimators."""

from typing import Annotated, Any, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from fedmi import scopes
from fedmi.mi.trust import bench
from fedmi.sampling.design import Design
from fedmi.sampling.server import MEAN
from fedmi.study import refusals
from fedmi.study.plan import (
    FEWEST_PERMUTATIONS,
    Aggregator,
    Checkpoints,
    Distinct,
    Estimator,
    Norm,
    OfTask,
    Permutations,
    Plan,
    Sampling,
    Seeds,
    Several,
    Two,
    check_covariance,
    check_permutations,
)
from fedmi.tasks.task import Task

MOST_FITTED = 4096
"""Parameters of a network that aggregators can be fitted to. What they are fitted on is held in
memory, too: fitting_seeds x checkpoints x (clients + 1) x parameters, in float32."""
MOST_AMONG = 64
SKEWED = "skewed"


class Rounds(Plan, OfTask):
    """One study within several rounds of federated learning, read by the Gaussian formula."""

    couplings: Distinct[str]
    """Named couplings, each a run of its own."""
    seeds: Seeds
    permutations: Permutations = FEWEST_PERMUTATIONS
    rounds: Distinct[PositiveInt]
    """The rounds whose epochs are sampled."""
    aggregator: Aggregator = MEAN
    checkpoints: Annotated[Checkpoints, Field(min_length=2)]

    PARTS = ("couplings", "rounds")

    def studies(self) -> dict[str, Sampling]:
        """The samples of each round under each coupling, by a name for files."""
        shared = self.model_dump(exclude={"couplings", "rounds", "permutations"})
        return {
            f"{coupling}-{number}": Sampling(coupling=coupling, rounds=number, **shared)
            for coupling in self.couplings
            for number in self.rounds
        }

    def check(self, task: Task) -> None:
        """Refuses couplings and rounds that the task cannot have, and too few seeds."""
        self.studies()
        for coupling in self.couplings:
            scopes.check_varies(scopes.resolve(coupling, task.streams))
        check_permutations(self.permutations, self.seeds)
        check_covariance(self.seeds, task)


class Aggregation(Plan, OfTask):
    """A comparison of aggregators on one task."""

    skew: dict[str, Any] = {}
    """Further options of the task in the setting `skewed`, which make its clients unlike."""
    settings: Distinct[str]
    """Named couplings, and `skewed`: `shared-source` with clients unlike each other."""
    clients: Annotated[int, Field(ge=3)] = 3
    """The number of clients, Q."""
    checkpoints: Checkpoints
    fitting_seeds: Annotated[int, Field(ge=16)]
    """Seeds on which is fitted what aggregators have to learn."""
    judged_seeds: Two
    """Other seeds, on which aggregators are judged."""
    oracle_seeds: Two
    """How many of the judged seeds are searched for the best that was possible."""
    held_out_examples: PositiveInt | None = None
    """Examples of each client to judge on; by default all that the task has."""

    PARTS = ("settings",)

    def study(self, setting: str) -> Sampling:
        """The samples of all seeds that a setting needs."""
        skewed = setting == SKEWED
        return Sampling(
            options=self.options | (self.skew if skewed else {}),
            coupling="shared-source" if skewed else setting,
            seeds=self.fitting_seeds + self.judged_seeds,
            **self.model_dump(include={"task", "clients", "checkpoints", "root_seed"}),
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

    name: Annotated[str, Field(pattern=r"^[\w-]+$")]
    """What tables, figures and files call the case."""
    clients: Two
    """The number of clients, Q."""
    seeds: Seeds
    checkpoints: Checkpoints

    def check(self, task: Task) -> None:
        """Refuses checkpoints beyond the epoch, and a task without data to judge on."""
        Design.of(task, clients=self.clients, checkpoints=self.checkpoints)
        _check_held_out(self.task, task)


class ScaleUp(Plan):
    """Studies of ever larger networks and ever more clients."""

    cases: Several[Case]
    """The networks and numbers of clients."""
    coupling: str = "shared-source"
    """A named coupling."""
    directions: PositiveInt = 32
    """Directions of each layer in which mutual information is read."""
    among: Annotated[int, Field(ge=1, le=MOST_AMONG)] = MOST_AMONG
    """How many principal components of a layer canonical directions are looked for in."""
    judged_seeds: Two
    """Seeds of each case, on which means of clients are judged."""
    permutations: Permutations = FEWEST_PERMUTATIONS

    PARTS = ("cases",)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if len({case.name for case in self.cases}) < len(self.cases):
            raise ValueError("cases: each needs a name of its own")
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
        check_permutations(self.permutations, case.seeds)
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

    dimension: PositiveInt
    """The number of a client's parameters."""
    seeds: Annotated[int, Field(ge=100)]
    """The number of samples, N."""
    truths: Annotated[list[NonNegativeFloat], Field(min_length=2)]
    """True mutual information in bits, 0 among them."""
    sizes: Several[Annotated[int, Field(ge=100)]]
    """Numbers of samples from which `sizes_truth` bits and 0 are read."""
    sizes_truth: PositiveFloat
    """The true mutual information in bits at each of `sizes`."""
    draws: PositiveInt = 1
    """Data sets of each law."""
    estimators: list[Estimator] = ["gaussian", "gaussian_copula", "ksg"]
    """What estimates mutual information."""
    neighbours: PositiveInt = 3
    """k of `ksg`."""
    norm: Norm = "euclidean"
    permutations: PositiveInt = 4
    """Re-pairings behind the null of every reading; of the neural bound, one."""
    neural_seeds: NonNegativeInt = 0
    """Samples for the neural bound, 0 to leave it out."""
    neural_truths: list[NonNegativeFloat] = []
    """True mutual information in bits, for the neural bound."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if 0 not in self.truths:
            raise ValueError(f"truths: {self.truths} must hold 0, what nothing shared reads")
        if max(self.sizes) > self.seeds:
            raise ValueError(f"sizes: {max(self.sizes)} is above the {self.seeds} seeds")
        return self

    def work(self) -> list[dict[str, Any]]:
        """The arguments of `fedmi.mi.trust.bench.reading`, for each reading, short ones first."""
        asked = [(n, truth) for n in self.sizes for truth in (0.0, self.sizes_truth)]
        items = [
            (family, n, truth, draw, estimator)
            for n, truth in [*asked, *((self.seeds, truth) for truth in self.truths)]
            for family in bench.FAMILIES
            for draw in range(self.draws)
            for estimator in self.estimators
        ]
        if self.neural_seeds:
            neural = [(self.neural_seeds, truth, 0, "neural") for truth in self.neural_truths]
            items += [(family, *of) for of in neural for family in bench.FAMILIES]
        return [
            dict(
                family=family,
                dimension=self.dimension,
                n=n,
                mi_bits=truth,
                draw=draw,
                estimator=estimator,
                options=dict(k=self.neighbours, metric=self.norm) if estimator == "ksg" else {},
                permutations=1 if estimator == "neural" else self.permutations,
            )
            for family, n, truth, draw, estimator in dict.fromkeys(items)  # each once
        ]


def _check_held_out(name: str, task: Task) -> None:
    if task.held_out is None:
        raise ValueError(f"task: {name!r} has no held-out data to judge on")
