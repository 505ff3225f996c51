"""Learning tasks, by name or by `package.module:attribute`."""

import importlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fedmi.tasks.digits import digits
from fedmi.tasks.lenet import lenet
from fedmi.tasks.signal import signal
from fedmi.tasks.task import Task, in_json

TASKS: Mapping[str, Callable[..., Task]] = {"signal": signal, "digits": digits, "lenet": lenet}

_MADE: dict[tuple[str, str], Task] = {}

__all__ = ["TASKS", "Task", "attribute", "get"]


def get(task: str | Task, **options: Any) -> Task:
    """The task of a name.

    Args:
        task: "signal", "digits", "lenet", or "package.module:attribute", where the attribute is a
            `Task` or a function that makes one; a `Task` itself is returned as it is.
        **options: arguments of the function that makes the task.

    Raises:
        ValueError: for a name that is not known, a module or attribute that cannot be had, or
            options for a task that takes none. Impossible options raise pydantic's
            ValidationError, a ValueError too, where the function checks them.
    """
    if isinstance(task, str):
        if task in TASKS:
            return _known(task, **options)
        source, made = task, attribute(task)
    else:
        source, made = getattr(task, "name", repr(task)), task
    if isinstance(made, Task):
        if options:
            raise ValueError(
                f"task: {source!r} is made already and takes no options, not {sorted(options)}"
            )
        return made
    if not callable(made):
        raise ValueError(
            f"task: {source!r} is a {type(made).__name__}, neither a fedmi.Task nor a function "
            "that makes one"
        )
    found = made(**options)
    if not isinstance(found, Task):
        raise ValueError(f"task: {source!r} made a {type(found).__name__}, not a fedmi.Task")
    return found


def _known(name: str, **options: Any) -> Task:
    """A task of `TASKS`: the same object for the same options, whose programs are compiled once."""
    made = TASKS[name](**options)
    return _MADE.setdefault((name, json.dumps(in_json(made.options, made))), made)


def attribute(path: str, what: str = "task", known: Iterable[str] = TASKS) -> Any:
    """What "package.module:attribute" names.

    Args:
        path: the name.
        what: what it should be, for messages: the argument's own name.
        known: the names that stand for themselves, for messages.

    Raises:
        ValueError: if it cannot be had.
    """
    module_name, colon, name = path.partition(":")
    if not colon:
        raise ValueError(
            f"{what}: unknown name {path!r}; known {what}s: {', '.join(known)} (or your own as "
            "package.module:attribute)"
        )
    try:
        module = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the user's own code, which may raise SystemExit, too
        raise ValueError(
            f"{what}: {path!r}: the module {module_name!r} cannot be imported "
            f"({type(error).__name__}: {error}); it must raise nothing and lie on the import path "
            "(PYTHONPATH), which `make` extends by the project's folder"
        ) from error
    try:
        return getattr(module, name)
    except AttributeError:
        raise ValueError(f"{what}: the module {module_name!r} has no {name!r}") from None
