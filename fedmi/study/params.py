"""The parameters of a study: a YAML file, checked whole before anything runs."""

import ast
import contextlib
import difflib
import inspect
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import numpy as np
import pydantic
import yaml

from fedmi import tasks
from fedmi.mi.trust import bench
from fedmi.sampling.checks import Plain, check_local
from fedmi.sampling.design import Design
from fedmi.sampling.server import MEAN
from fedmi.sampling.store import fingerprint
from fedmi.tasks.task import Task, check_outputs

PROJECT = Path(__file__).resolve().parents[2]  # the clone, as the package is installed editable

Estimator = Literal["gaussian", "gaussian_copula", "ksg"]
FEWEST_PERMUTATIONS = 20

Model = TypeVar("Model", bound=pydantic.BaseModel)


class ParamsError(Plain, ValueError):
    """A params file that cannot be used, with the file, the key and what would be right."""


class Study(pydantic.BaseModel):
    """What one study does: its task, what the clients share, its size, and its estimators.

    Attributes:
        task: "signal", "digits", "lenet" or "package.module:attribute".
        options: arguments of the task (its learning rate, for one).
        coupling: a named coupling, or a mapping stream -> scope.
        clients: number of clients Q.
        seeds: number of repetitions N.
        checkpoints: the iterations whose parameters are kept.
        root_seed: the seed of all randomness.
        tile: seeds computed at once (see `fedmi.sample`); memory grows with it.
        blocks: jobs that the workflow divides sampling into (see
            `fedmi.sampling.sampler.sample_block`); from two on it also gives every checkpoint's
            estimates a job. They are worth it where each takes some minutes, or has a machine to
            itself.
        rounds, aggregator, examples: of federated learning (see `fedmi.sample`).
        estimators: of mutual information.
        permutations: re-pairings of seeds behind every null.
        neighbours: k of the k-nearest-neighbour estimator, or several, of which figures show the
            first.
        norm: its norm within each client.
        ties: whether the copula's ranks may tie, "refuse" or "average".
        calibration_draws: surrogates at each true value behind the calibration of one pair's
            estimates at the last checkpoint, at least 2; 0 for none.
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)

    task: str
    options: dict[str, Any] = {}
    coupling: str | dict[str, str] = "shared-source"
    clients: int = pydantic.Field(default=3, ge=2)
    seeds: pydantic.PositiveInt
    checkpoints: list[pydantic.PositiveInt] = pydantic.Field(min_length=1)
    root_seed: int = pydantic.Field(default=0, ge=0, lt=2**32)
    tile: pydantic.PositiveInt | None = None
    blocks: pydantic.PositiveInt = 1
    rounds: pydantic.PositiveInt = 1
    aggregator: str = MEAN
    examples: list[pydantic.PositiveInt] | None = None
    estimators: list[Estimator] = pydantic.Field(default=["gaussian", "ksg"], min_length=1)
    permutations: int = pydantic.Field(default=FEWEST_PERMUTATIONS, ge=FEWEST_PERMUTATIONS)
    neighbours: pydantic.PositiveInt | list[pydantic.PositiveInt] = 3
    norm: Literal["euclidean", "chebyshev"] = "euclidean"
    ties: Literal["refuse", "average"] = "refuse"
    calibration_draws: int = pydantic.Field(default=0, ge=0)

    @pydantic.field_validator("coupling", mode="before")
    @classmethod
    def _null_is_a_name(cls, value: Any) -> Any:
        # YAML reads `coupling: null`, without quotes, as no value at all; only one thing can be
        # meant.
        return "null" if value is None else value

    @pydantic.field_validator("estimators")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("each estimator may be named once")
        return value

    def make_task(self) -> Task:
        """The task with its options."""
        return tasks.get(self.task, **self.options)

    def sampling(self) -> dict[str, Any]:
        """The arguments of `fedmi.sample`, but the store."""
        return dict(
            task=self.make_task(),
            seeds=self.seeds,
            clients=self.clients,
            coupling=self.coupling,
            checkpoints=self.checkpoints,
            root_seed=self.root_seed,
            tile=self.tile,
            rounds=self.rounds,
            aggregator=self.aggregator,
            examples=self.examples,
        )

    def design(self) -> Design:
        """All that its samples depend on."""
        arguments = self.sampling()
        del arguments["seeds"], arguments["tile"]
        return Design.of(**arguments)

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


def _each_once(value: list) -> list:
    if len(set(value)) < len(value):
        raise ValueError("each may be named once")
    return value


class Sweep(pydantic.BaseModel):
    """One study at many learning rates and batch sizes.

    Attributes:
        task, options, clients, seeds, root_seed, permutations: as in `Study`; the options without
            learning_rate and batch_size.
        couplings: named couplings, each a run of its own.
        learning_rates, batch_sizes: the grid.
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)

    task: str
    options: dict[str, Any] = {}
    couplings: list[str] = pydantic.Field(min_length=1)
    learning_rates: list[pydantic.PositiveFloat] = pydantic.Field(min_length=1)
    batch_sizes: list[pydantic.PositiveInt] = pydantic.Field(min_length=1)
    clients: int = pydantic.Field(default=3, ge=2)
    seeds: pydantic.PositiveInt
    root_seed: int = pydantic.Field(default=0, ge=0, lt=2**32)
    permutations: int = pydantic.Field(default=FEWEST_PERMUTATIONS, ge=FEWEST_PERMUTATIONS)

    _each_once = pydantic.field_validator("couplings", "learning_rates", "batch_sizes")(_each_once)

    def studies(self) -> list[Study]:
        """The study of each coupling at the first point of the grid."""
        first = dict(learning_rate=self.learning_rates[0], batch_size=self.batch_sizes[0])
        return [
            Study(
                task=self.task,
                options=self.options | first,
                coupling=coupling,
                clients=self.clients,
                seeds=self.seeds,
                checkpoints=[1],
                root_seed=self.root_seed,
                estimators=["gaussian"],
                permutations=self.permutations,
            )
            for coupling in self.couplings
        ]

    def points(self) -> dict[str, Task]:
        """The task at every point of the grid, by a name for files."""
        task = self.studies()[0].make_task()
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

    def fingerprint(self) -> str:
        """A short hash of what a point's row depends on besides the point."""
        return fingerprint(self.model_dump(exclude={"couplings", "learning_rates", "batch_sizes"}))


class Rounds(pydantic.BaseModel):
    """One study within several rounds of federated learning.

    Attributes:
        task, options, clients, seeds, checkpoints, root_seed, aggregator, permutations: as in
            `Study`.
        couplings: named couplings.
        rounds: the rounds whose epochs are sampled.
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)

    task: str
    options: dict[str, Any] = {}
    couplings: list[str] = pydantic.Field(min_length=1)
    rounds: list[pydantic.PositiveInt] = pydantic.Field(min_length=1)
    aggregator: str = MEAN
    clients: int = pydantic.Field(default=3, ge=2)
    seeds: pydantic.PositiveInt
    checkpoints: list[pydantic.PositiveInt] = pydantic.Field(min_length=2)
    root_seed: int = pydantic.Field(default=0, ge=0, lt=2**32)
    permutations: int = pydantic.Field(default=FEWEST_PERMUTATIONS, ge=FEWEST_PERMUTATIONS)

    _each_once = pydantic.field_validator("couplings", "rounds")(_each_once)

    def studies(self) -> dict[str, Study]:
        """The study of each round under each coupling, by a name for files."""
        return {
            f"{coupling}-{number}": Study(
                coupling=coupling,
                rounds=number,
                estimators=["gaussian"],
                **self.model_dump(exclude={"couplings", "rounds"}),
            )
            for coupling in self.couplings
            for number in self.rounds
        }

    def fingerprint(self) -> str:
        """A short hash of what a round's rows depend on besides the coupling and the round."""
        return fingerprint(self.model_dump(exclude={"couplings", "rounds"}))


SKEWED = "skewed"
MOST_FITTED = 4096
"""Parameters of a network that aggregators can be fitted to. What they are fitted on is held in
memory, too: fitting_seeds x checkpoints x (clients + 1) x parameters, in float32."""


class Aggregation(pydantic.BaseModel):
    """A comparison of aggregators on one task.

    Attributes:
        task, options, clients, checkpoints, root_seed: as in `Study`.
        settings: named couplings, and "skewed": the default one with clients unlike each other.
        skew: the further options of the task in that setting.
        fitting_seeds: on which is fitted what aggregators have to learn.
        judged_seeds: on which they are judged.
        oracle_seeds: how many of the judged seeds are searched for the best that was possible.
        held_out_examples: of each client, to judge on; all that the task has by default.
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)

    task: str
    options: dict[str, Any] = {}
    skew: dict[str, Any] = {}
    settings: list[str] = pydantic.Field(min_length=1)
    clients: int = pydantic.Field(default=3, ge=3)
    checkpoints: list[pydantic.PositiveInt] = pydantic.Field(min_length=1)
    fitting_seeds: int = pydantic.Field(ge=16)
    judged_seeds: int = pydantic.Field(ge=2)
    oracle_seeds: int = pydantic.Field(ge=2)
    held_out_examples: pydantic.PositiveInt | None = None
    root_seed: int = pydantic.Field(default=0, ge=0, lt=2**32)

    _each_once = pydantic.field_validator("settings")(_each_once)

    def study(self, setting: str) -> Study:
        """The study of all seeds that a setting needs."""
        skewed = setting == SKEWED
        return Study(
            task=self.task,
            options=self.options | (self.skew if skewed else {}),
            coupling="shared-source" if skewed else setting,
            clients=self.clients,
            seeds=self.fitting_seeds + self.judged_seeds,
            checkpoints=self.checkpoints,
            root_seed=self.root_seed,
            estimators=["ksg"],
            neighbours=1,
            permutations=FEWEST_PERMUTATIONS,
        )

    def fingerprint(self) -> str:
        """A short hash of what a setting's tables depend on besides the setting."""
        return fingerprint(self.model_dump(exclude={"settings"}))


MOST_AMONG = 64


class Case(pydantic.BaseModel):
    """One network and number of clients.

    Attributes:
        name: what tables, figures and files call it.
        task, options, clients, seeds, checkpoints: as in `Study`.
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str = pydantic.Field(pattern=r"^[\w-]+$")
    task: str
    options: dict[str, Any] = {}
    clients: int = pydantic.Field(ge=2)
    seeds: pydantic.PositiveInt
    checkpoints: list[pydantic.PositiveInt] = pydantic.Field(min_length=1)


class ScaleUp(pydantic.BaseModel):
    """Studies of ever larger networks and ever more clients.

    Attributes:
        cases: the networks and numbers of clients.
        coupling: a named coupling.
        directions: of each layer, in which mutual information is read.
        among: how many principal components of a layer canonical directions are looked for in.
        judged_seeds: of each case, on which means of clients are judged.
        root_seed, permutations: as in `Study`.
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)

    cases: list[Case] = pydantic.Field(min_length=1)
    coupling: str = "shared-source"
    directions: pydantic.PositiveInt = 32
    among: int = pydantic.Field(default=MOST_AMONG, ge=1, le=MOST_AMONG)
    judged_seeds: int = pydantic.Field(ge=2)
    root_seed: int = pydantic.Field(default=0, ge=0, lt=2**32)
    permutations: int = pydantic.Field(default=FEWEST_PERMUTATIONS, ge=FEWEST_PERMUTATIONS)

    @pydantic.field_validator("cases")
    @classmethod
    def _own_names(cls, value: list[Case]) -> list[Case]:
        if len({case.name for case in value}) < len(value):
            raise ValueError("each needs a name of its own")
        return value

    def study(self, case: Case) -> Study:
        """The study of a case, of whose layers few directions are read."""
        return Study(
            **case.model_dump(exclude={"name"}),
            coupling=self.coupling,
            root_seed=self.root_seed,
            estimators=["ksg"],
            permutations=self.permutations,
        )

    def fingerprint(self, case: Case) -> str:
        """A short hash of what the tables of a case depend on."""
        return fingerprint(self.model_dump(exclude={"cases"}) | dict(case=case.model_dump()))


class Bench(pydantic.BaseModel):
    """A test of estimators on laws of known MI, at the size of a study.

    Attributes:
        dimension: parameters of a client.
        seeds: number of samples N.
        truths: true MI in bits, 0 among them.
        sizes: numbers of samples from which `sizes_truth` bits (and 0) are read.
        sizes_truth: see there.
        draws: data sets of each law.
        estimators: as in `Study`.
        neighbours, norm: as in `Study`.
        permutations: re-pairings behind the null of every reading (of the neural bound, one).
        neural_seeds: number of samples for the neural bound, 0 to leave it out.
        neural_truths: true MI in bits.
        root_seed: the seed of all randomness.
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)

    dimension: pydantic.PositiveInt
    seeds: int = pydantic.Field(ge=100)
    truths: list[pydantic.NonNegativeFloat] = pydantic.Field(min_length=2)
    sizes: list[Annotated[int, pydantic.Field(ge=100)]] = pydantic.Field(min_length=1)
    sizes_truth: pydantic.PositiveFloat
    draws: pydantic.PositiveInt = 1
    estimators: list[Estimator] = ["gaussian", "gaussian_copula", "ksg"]
    neighbours: pydantic.PositiveInt = 3
    norm: Literal["euclidean", "chebyshev"] = "euclidean"
    permutations: pydantic.PositiveInt = 4
    neural_seeds: int = pydantic.Field(default=0, ge=0)
    neural_truths: list[pydantic.NonNegativeFloat] = []
    root_seed: int = pydantic.Field(default=0, ge=0, lt=2**32)

    def fingerprint(self) -> str:
        """A short hash of these parameters, for the names of what depends on them."""
        return fingerprint(self.model_dump())

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


def find(path: str | Path) -> Path:
    """A path as the caller meant it: as it stands if it is absolute, else in the project's folder.

    Notebooks run from their own folder in JupyterLab and from any folder under papermill; relative
    paths mean the same in both.
    """
    return PROJECT / path


PARAMETERS = {"str": str, "int": int}  # what a notebook's parameters may be annotated with


def check_given(names: Mapping[str, Any]) -> None:
    """Refuses what papermill was given and the notebook does not know, or of another type.

    papermill puts what it is given into a cell of its own after the notebook's parameters, and only
    warns of what these do not hold.

    Args:
        names: the notebook's own, `globals()`; with `In`, its cells so far. Its parameters are the
            names that a cell annotates.

    Raises:
        ParamsError: naming the parameter, and the known ones or what would be right.
    """
    known: dict[str, str] = {}
    given: list[str] = []
    for source in names.get("In", []):
        with contextlib.suppress(SyntaxError):
            body = ast.parse(source).body
            annotated = [node for node in body if isinstance(node, ast.AnnAssign)]
            known |= {ast.unparse(n.target): ast.unparse(n.annotation) for n in annotated}
            if source.startswith("# Parameters\n"):
                assigned = [node for node in body if isinstance(node, ast.Assign)]
                given = [ast.unparse(node.targets[0]) for node in assigned]
    for name in given:
        if name not in known:
            raise ParamsError(f"{name}: {_no_such(name, list(known), 'parameter')}")
    for name, annotation in known.items():
        value = names.get(name)
        if annotation in PARAMETERS and type(value) is not PARAMETERS[annotation]:
            wanted = {"str": "text", "int": "a whole number"}[annotation]
            raise ParamsError(f"{name}: {value!r} is not {wanted}, such as the notebook's own")


def results_of(params: str | Path, results: str | Path = "results") -> Path:
    """The folder of a study's results: results/<scale>/<study>, after the params file's own place.

    Args:
        params: the params file, <scale>/<study>.yaml or, if there is a folder `params` above it,
            whatever lies below that.
        results: the folder of all results.

    Raises:
        ParamsError: if `results` is no folder on this machine.
    """
    try:
        results = find(check_local("results", results))
    except ValueError as error:
        raise ParamsError(str(error)) from None
    if results.is_file():
        raise ParamsError(f"results: {results} is a file; give a folder")
    path = find(params).with_suffix("")
    folders = path.parts[:-1]
    below = len(folders) - 1
    if "params" in folders:
        below = len(folders) - folders[::-1].index("params")
    return results.joinpath(*path.parts[below:])


class _UniqueKeys(yaml.SafeLoader):
    """YAML's safe loader, but a key given twice is an error, not the second value in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        keys = [self.construct_object(key, deep=True) for key in own]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice; keep one", node.start_mark
                )
        return super().construct_mapping(node, deep)


def load(path: str | Path) -> Study:
    """Reads and checks the params file of a study.

    Raises:
        ParamsError: naming the file, the key, what was wrong and what would be right.
    """
    path = find(path)
    return _checked(path, Study, lambda study: check(study, study.make_task()))


def load_sweep(path: str | Path) -> Sweep:
    """Reads and checks the params file of a sweep.

    Raises:
        ParamsError: naming the file, the key, what was wrong and what would be right.
    """

    def check_all(sweep: Sweep) -> None:
        for option in {"learning_rate", "batch_size"} & set(sweep.options):
            raise ValueError(f"options: {option} is what the sweep goes through; leave it out")
        for task in sweep.points().values():
            if task.steps < 2:
                raise ValueError(
                    f"batch_sizes: {task.batch_size} makes one step of an epoch, which has no "
                    "first and last"
                )
        _check_all(sweep.studies())  # the points differ in nothing that is checked here

    return _checked(find(path), Sweep, check_all)


def load_rounds(path: str | Path) -> Rounds:
    """Reads and checks the params file of rounds of federated learning.

    Raises:
        ParamsError: naming the file, the key, what was wrong and what would be right.
    """

    return _checked(find(path), Rounds, lambda plan: _check_all(list(plan.studies().values())))


def load_aggregation(path: str | Path) -> Aggregation:
    """Reads and checks the params file of a comparison of aggregators.

    Raises:
        ParamsError: naming the file, the key, what was wrong and what would be right.
    """

    def check_all(plan: Aggregation) -> None:
        if plan.oracle_seeds > plan.judged_seeds:
            raise ValueError(
                f"oracle_seeds: {plan.oracle_seeds} is above the {plan.judged_seeds} judged seeds"
            )
        if SKEWED in plan.settings and not plan.skew:
            raise ValueError(
                "skew: the setting `skewed` needs the options that make clients unlike"
            )
        for setting in plan.settings:
            study = plan.study(setting)
            task = study.make_task()
            if task.held_out is None:
                raise ValueError(f"task: {plan.task!r} has no held-out data to judge on")
            if task.parameter_count > MOST_FITTED:
                raise ValueError(
                    f"task: {plan.task!r} has {task.parameter_count} parameters; linear "
                    "aggregators are fitted through matrices of that number squared, for at most "
                    f"{MOST_FITTED}; `make scale_up` shows what averaging yields in larger networks"
                )
            check(study, task)

    return _checked(find(path), Aggregation, check_all)


def load_scale_up(path: str | Path) -> ScaleUp:
    """Reads and checks the params file of larger networks and more clients.

    Raises:
        ParamsError: naming the file, the key, what was wrong and what would be right.
    """
    path = find(path)

    def check_case(plan: ScaleUp, case: Case) -> None:
        study = plan.study(case)
        task = study.make_task()
        check(study, task)
        if task.held_out is None:
            raise ValueError(f"task: {case.task!r} has no held-out data to judge on")
        if plan.judged_seeds > case.seeds:
            raise ValueError(f"seeds: {case.seeds} are fewer than the {plan.judged_seeds} judged")
        least = 4 * min(plan.among, task.parameter_count) + 2
        if case.seeds < least:
            raise ValueError(
                f"seeds: {case.seeds} are too few to fit canonical directions among "
                f"{plan.among} components on half of them; give at least {least}, or a lower "
                "`among`"
            )

    def check_all(plan: ScaleUp) -> None:
        if plan.directions > plan.among:
            raise ValueError(
                f"directions: {plan.directions} is above `among`, {plan.among}, the components "
                "that canonical directions lie in"
            )
        for i, case in enumerate(plan.cases):
            with _explained(path, f"cases.{i}.", case.task, case.options):
                check_case(plan, case)

    return _checked(path, ScaleUp, check_all)


def load_bench(path: str | Path) -> Bench:
    """Reads and checks the params file of a test of estimators.

    Raises:
        ParamsError: naming the file, the key, what was wrong and what would be right.
    """

    def check_truths(bench: Bench) -> None:
        if 0 not in bench.truths:
            raise ValueError(f"truths: {bench.truths} must hold 0, what nothing shared reads")
        if max(bench.sizes) > bench.seeds:
            raise ValueError(f"sizes: {max(bench.sizes)} is above the {bench.seeds} seeds")

    return _checked(find(path), Bench, check_truths)


KINDS = {
    "aggregation": load_aggregation,
    "estimators": load_bench,
    "rounds": load_rounds,
    "scale_up": load_scale_up,
    "sweep": load_sweep,
}
"""What loads the params files of each folder beside the studies of a scale."""

TAKEN = {"figures", *KINDS}  # folders among the results of studies


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
    for kind, read in {"": load, **KINDS}.items():
        for path in sorted(Path(scale, kind).glob("[!.]*.yaml")):
            print(f"checking {path}", file=sys.stderr)  # the last one, if its task ends all
            try:
                with contextlib.chdir(here), contextlib.redirect_stdout(sys.stderr):
                    _check_name(path, () if kind else TAKEN)
                    plan = read(path.absolute())
                    if isinstance(plan, Study):
                        with _explained(path.absolute(), "", plan.task, plan.options):
                            check_outputs(plan.make_task())
            except ParamsError as error:
                found[str(path)] = str(error).replace(str(here / path), str(path))
            except BaseException as error:  # such as a KeyboardInterrupt of a task's own
                found[str(path)] = f"{path}: raises {type(error).__name__}: {_message(error)}"
    return found


def _message(error: BaseException) -> str:
    """What an error says, if it can say it."""
    try:
        return str(error)
    except Exception:
        return "(its message cannot be had)"


def _check_name(path: Path, taken: Collection[str]) -> None:
    if path.stem in taken:
        raise ParamsError(f"{path}: {path.stem!r} is the name of another folder of results; rename")
    bad = sorted({c for c in path.stem if c in "{}\\" or not c.isprintable()})
    if bad or path.stem != path.stem.strip():
        raise ParamsError(
            f"{path}: a study's name may hold no braces, backslashes or control characters, and no "
            f"space at either end, as {path.stem!r} does; rename the file"
        )


def _checked(path: Path, model: type[Model], check: Callable[[Model], None]) -> Model:
    entries = _entries(path)
    try:
        loaded = model.model_validate(entries)
    except pydantic.ValidationError as error:
        raise ParamsError(_explain(path, error, "", lambda loc: _keys_at(model, loc))) from None
    with _explained(path, "", getattr(loaded, "task", ""), getattr(loaded, "options", {})):
        check(loaded)
    return loaded


@contextlib.contextmanager
def _explained(path: Path, where: str, task: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Turns what the checks of a task raise into a `ParamsError`.

    Args:
        path: of the params file.
        where: the key that the task's own stand below, with a dot behind it, or "".
        task, options: as the file names them.
    """
    try:
        yield
    except ParamsError:
        raise
    except pydantic.ValidationError as error:
        known = _options_of(task)
        raise ParamsError(_explain(path, error, f"{where}options.", lambda _: known)) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a task of the user's may raise anything, SystemExit included
        hints = "".join(_hint(value) for value in options.values())
        raise ParamsError(f"{path}: {where}{_said(error, task, options)}{hints}") from error


def _said(error: BaseException, task: str, options: Mapping[str, Any]) -> str:
    """What an error says; where fedmi did not raise it itself, also which task it comes from."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    ours = Path(last.filename).is_relative_to(Path(__file__).parents[1])
    if ours and isinstance(error, ValueError):
        return str(error)
    known = _options_of(task) if ours and isinstance(error, TypeError) else []
    unknown = [name for name in options if name not in known] if known else []
    if unknown:
        return f"options.{unknown[0]}: {_no_such(unknown[0], known)}"
    return (
        f"task: {task!r} raises {type(error).__name__}: {_message(error)} "
        f"({Path(last.filename).name}, line {last.lineno})"
    )


def _keys_at(model: type[pydantic.BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The keys that a params file may have where one of its keys, loc, stands."""
    for part in loc[:-1]:
        if isinstance(part, str) and part in model.model_fields:
            inner = get_args(model.model_fields[part].annotation)
            model = next((a for a in inner if hasattr(a, "model_fields")), model)
    return list(model.model_fields)


def _entries(path: Path) -> Mapping[str, Any]:
    """What a params file says, unchecked."""
    try:
        entries = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except FileNotFoundError:
        if path.is_symlink():
            raise ParamsError(f"{path}: is a link to what is not there; remove it") from None
        paths = (PROJECT / "params").rglob("[!.]*.yaml")
        others = sorted(str(path.relative_to(PROJECT)) for path in paths)
        raise ParamsError(f"{path}: no such params file; there are: {', '.join(others)}") from None
    except IsADirectoryError:
        raise ParamsError(f"{path}: is a folder, not a params file; rename or remove it") from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: is not text in UTF-8 ({error}); save it as such") from error
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error})") from error
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ParamsError(f"{path}: not a YAML file: {where}{error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # of a date 2026-13-01, for one
        raise ParamsError(f"{path}: not a YAML file: {error}") from error
    if not isinstance(entries, Mapping):
        raise ParamsError(f"{path}: must be a mapping of keys to values, such as `task: signal`")
    return entries


def _options_of(task: str) -> list[str]:
    """The arguments that a task takes by name; none of one that is made already."""
    made = tasks.TASKS[task] if task in tasks.TASKS else tasks.attribute(task)
    if isinstance(made, Task):
        return []
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    try:
        parameters = inspect.signature(made).parameters.values()
    except ValueError:  # what is compiled need not have one
        return []
    return [parameter.name for parameter in parameters if parameter.kind in named]


def check(study: Study, task: Task) -> None:
    """Refuses what only the task can tell: checkpoints, coupling and the number of seeds.

    Raises:
        ValueError: naming the key, what was wrong, and what would be right.
    """
    study.design()
    if study.permutations >= study.seeds:
        raise ValueError(
            f"permutations: {study.permutations} re-pairings need more seeds than that, not "
            f"{study.seeds}"
        )
    least = 2 * task.parameter_count + 2
    covariance = [name for name in study.estimators if name.startswith("gaussian")]
    if covariance and study.seeds < least:
        raise ValueError(
            f"seeds: {study.seeds} cannot carry the covariance of two clients of "
            f"{task.parameter_count} parameters; give at least {least}, or leave "
            f"`{'` and `'.join(covariance)}` out of the estimators"
        )
    if study.calibration_draws == 1:
        raise ValueError("calibration_draws: 1 leaves no spread; give at least 2, or 0 for none")
    if study.calibration_draws and study.seeds < least:
        raise ValueError(
            f"calibration_draws: {study.seeds} seeds are too few for surrogates of "
            f"{task.parameter_count} parameters; give at least {least} seeds, or 0 draws"
        )
    neighbours = np.atleast_1d(study.neighbours)
    if not len(neighbours) or len(set(neighbours)) < len(neighbours):
        raise ValueError(f"neighbours: {study.neighbours} must be one number or several different")
    if "ksg" in study.estimators and max(neighbours) >= study.seeds - 1:
        raise ValueError(
            f"neighbours: {max(neighbours)} must be below the number of seeds less one, "
            f"{study.seeds - 1}"
        )


def _check_all(studies: Sequence[Study]) -> None:
    """`check` of studies of one task."""
    task = studies[0].make_task()
    for study in studies:
        check(study, task)


def _explain(
    path: Path,
    error: pydantic.ValidationError,
    prefix: str,
    known_at: Callable[[Sequence[str | int]], list[str]],
) -> str:
    """A validation error, one line a problem: the file, the key, and what would be right."""
    lines = []
    for problem in error.errors():
        known = known_at(problem["loc"])
        key = prefix + ".".join(str(part) for part in problem["loc"])
        text = f"{path}: {key}: {problem['msg']}"
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            text = f"{path}: {key}: {_no_such(str(problem['loc'][-1]), known)}"
        elif problem["type"] != "missing":
            text += f", not {problem['input']!r}"
        lines.append(text + _hint(problem["input"], whole=problem["type"].startswith("int")))
    return "\n".join(lines)


def _no_such(name: str, known: Sequence[str], what: str = "key") -> str:
    """That a name is not known, and which ones are."""
    near = difflib.get_close_matches(name, known, n=1)
    text = f"no such {what}" + (f"; did you mean {near[0]}?" if near else ".")
    return text + (f" Known {what}s: {', '.join(known)}" if known else "")


def _hint(value: Any, whole: bool = False) -> str:
    """What to write in place of a number that YAML takes for text; "" for any other value."""
    if not isinstance(value, str):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    if whole and number.is_integer():
        return f"; YAML takes {value} for text: write {number:.0f}, without quotes"
    return (
        f"; YAML takes {value} for text: write a number with a dot and without quotes, such as "
        f"{number!r} or 1.0e-3"
    )
