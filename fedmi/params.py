"""The parameters of a study: a YAML file, checked whole before anything runs."""

import difflib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
import yaml

from fedmi import scopes, tasks
from fedmi.tasks.base import Task

PROJECT = Path(__file__).resolve().parents[1]  # the clone, as the package is installed editable

Estimator = Literal["gaussian", "gaussian_copula", "ksg"]
FEWEST_PERMUTATIONS = 20


class ParamsError(ValueError):
    """A params file that cannot be used, with the file, the key and what would be right."""


class Study(pydantic.BaseModel):
    """What one study does: its task, what the clients share, its size, and its estimators.

    Attributes:
        task: "signal", "digits" or "package.module:attribute".
        options: arguments of the task (its learning rate, for one).
        coupling: a named coupling, or a mapping stream -> scope.
        clients: number of clients Q.
        seeds: number of repetitions N.
        checkpoints: the iterations whose parameters are kept.
        root_seed: the seed of all randomness.
        tile: seeds computed at once (see `fedmi.sample`); memory grows with it.
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


def find(path: str | Path) -> Path:
    """A path as the caller meant it: as it stands if it is absolute, else in the project's folder.

    Notebooks run from their own folder in JupyterLab and from any folder under papermill; relative
    paths mean the same in both.
    """
    return PROJECT / path


def results_of(params: str | Path, results: str | Path = "results") -> Path:
    """The folder of a study's results: results/<scale>/<study>, after the params file's own place.

    Args:
        params: the params file, params/<scale>/<study>.yaml.
        results: the folder of all results.
    """
    path = find(params)
    return find(results) / path.parent.name / path.stem


class _UniqueKeys(yaml.SafeLoader):
    """YAML's safe loader, but a key given twice is an error, not the second value in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice; keep one", node.start_mark
                )
        return super().construct_mapping(node, deep)


def load(path: str | Path) -> Study:
    """Reads and checks a params file.

    Raises:
        ParamsError: naming the file, the key, what was wrong and what would be right.
    """
    path = find(path)
    try:
        entries = yaml.load(path.read_text(), Loader=_UniqueKeys)
    except FileNotFoundError:
        others = sorted(str(p.relative_to(PROJECT)) for p in (PROJECT / "params").rglob("*.yaml"))
        raise ParamsError(f"{path}: no such params file; there are: {', '.join(others)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not a YAML file: {error}") from error
    if not isinstance(entries, Mapping):
        raise ParamsError(f"{path}: must be a mapping of keys to values, such as `task: signal`")
    try:
        study = Study.model_validate(entries)
    except pydantic.ValidationError as error:
        raise ParamsError(_explain(path, error, "", list(Study.model_fields))) from None
    try:
        check(study, study.make_task())
    except pydantic.ValidationError as error:
        raise ParamsError(_explain(path, error, "options.", _options_of(study.task))) from None
    except (TypeError, ValueError) as error:
        hints = [_hint(value) for value in study.options.values()]
        raise ParamsError(f"{path}: {error}" + "".join(hints)) from error
    return study


def _options_of(task: str) -> list[str]:
    """The arguments that a task of fedmi's own takes."""
    return list(inspect.signature(tasks.TASKS[task]).parameters) if task in tasks.TASKS else []


def check(study: Study, task: Task) -> None:
    """Refuses what only the task can tell: checkpoints, coupling and the number of seeds.

    Raises:
        ValueError: naming the key, what was wrong, and what would be right.
    """
    scopes.check_varies(scopes.resolve(study.coupling, task.streams))
    if study.checkpoints != sorted(set(study.checkpoints)):
        raise ValueError(f"checkpoints: {study.checkpoints} must be ascending, without repeats")
    if study.checkpoints[-1] > task.steps:
        raise ValueError(
            f"checkpoints: {study.checkpoints[-1]} is beyond the epoch, which has {task.steps} "
            f"iterations ({task.examples} examples in minibatches of {task.batch_size})"
        )
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


def _explain(path: Path, error: pydantic.ValidationError, prefix: str, known: list[str]) -> str:
    """A validation error, one line a problem: the file, the key, and what would be right."""
    lines = []
    for problem in error.errors():
        key = prefix + ".".join(str(part) for part in problem["loc"])
        text = f"{path}: {key}: {problem['msg']}"
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
            text = f"{path}: {key}: no such key" + (f"; did you mean {near[0]}?" if near else "")
            if known:
                text += f" Known keys: {', '.join(known)}"
        elif problem["type"] != "missing":
            text += f", not {problem['input']!r}"
        lines.append(text + _hint(problem["input"]))
    return "\n".join(lines)


def _hint(value: Any) -> str:
    """What to write in place of a number that YAML takes for text; "" for any other value."""
    if not isinstance(value, str):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    return (
        f"; YAML takes {value} for text: write a number with a dot and without quotes, such as "
        f"{number!r} or 1.0e-3"
    )
