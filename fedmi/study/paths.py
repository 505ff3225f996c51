"""The paths and other parameters that a notebook or a command is given."""

import ast
import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedmi.sampling.checks import check_local
from fedmi.study.refusals import ParamsError, no_such


def project() -> Path:
    """The nearest folder with a folder `params`, from the working directory upwards.

    Where there is none, it is the working directory itself.
    """
    here = Path.cwd()
    return next((f for f in (here, *here.parents) if (f / "params").is_dir()), here)


def find(path: str | Path) -> Path:
    """A path as the caller meant it: as it stands if it is absolute, else in the project's folder.

    Notebooks run from their own folder in JupyterLab and from any folder below the project under
    papermill; relative paths mean the same in both.
    """
    here = Path.cwd()
    found = (f / path for f in (here, *here.parents) if (f / path).exists())
    return next(found, project() / path)


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
        results = project() / check_local("results", results)
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


PARAMETERS = {"str": (str, "text"), "int": (int, "a whole number")}  # by their annotation


def check_given(names: Mapping[str, Any]) -> float:
    """Refuses what papermill was given and the notebook does not know, or of another type.

    papermill puts what it is given into a cell of its own after the notebook's parameters, and only
    warns of what these do not hold.

    Args:
        names: the notebook's own, `globals()`; with `In`, its cells so far. Its parameters are the
            names that a cell annotates.

    Returns:
        The time, of a clock that only ever goes on, from which on the manifest of what the notebook
        makes counts its seconds.

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
            raise ParamsError(f"{name}: {no_such(name, list(known), 'parameter')}")
    for name, annotation in known.items():
        wanted, words = PARAMETERS.get(annotation, (None, ""))
        if wanted and type(names.get(name)) is not wanted:
            raise ParamsError(
                f"{name}: {names.get(name)!r} is not {words}, such as the notebook's own"
            )
    return time.monotonic()
