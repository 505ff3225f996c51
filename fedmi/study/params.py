"""The parameters of a study: a YAML file, checked whole before anything runs."""

import contextlib
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TypeVar, overload

from pydantic import ValidationError

from fedmi.study import refusals
from fedmi.study.kinds import Aggregation, Bench, Case, Rounds, ScaleUp
from fedmi.study.paths import check_given, find, project, results_of
from fedmi.study.plan import Plan, Sampling, Study
from fedmi.study.points import Choices
from fedmi.study.refusals import ParamsError
from fedmi.study.settings import Training
from fedmi.tasks.task import check_outputs

__all__ = [
    "Aggregation", "Bench", "Case", "Choices", "KINDS", "ParamsError", "Plan", "Rounds", "Sampling",
    "ScaleUp", "Study", "Training", "check_given", "faults", "find", "load", "results_of",
]  # fmt: skip

KINDS: dict[str, type[Plan]] = {
    "aggregation": Aggregation,
    "choices": Choices,
    "estimators": Bench,
    "rounds": Rounds,
    "scale_up": ScaleUp,
    "training": Training,
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
    except ValidationError as error:
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
