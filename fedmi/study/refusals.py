"""Why a params file is refused: the file, the key, what was wrong, and what would be right."""

import contextlib
import difflib
import inspect
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, LiteralString, cast, get_args

import pydantic
import yaml
from pydantic_core import InitErrorDetails, PydanticCustomError

from fedmi import tasks
from fedmi.sampling.checks import Plain
from fedmi.tasks.task import Task

PACKAGE = Path(__file__).parents[1]


class ParamsError(Plain, ValueError):
    """A params file that cannot be used, with the file, the key and what would be right."""


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


def read(path: Path) -> Mapping[str, Any]:
    """What a params file says, unchecked.

    Raises:
        ParamsError: if it cannot be read, or is no mapping.
        FileNotFoundError: if there is none.
    """
    try:
        entries = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except FileNotFoundError:
        if path.is_symlink():
            raise ParamsError(f"{path}: is a link to what is not there; remove it") from None
        raise
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


def explain(error: pydantic.ValidationError, model: type[pydantic.BaseModel]) -> list[str]:
    """A validation error of a model, one line a problem: the key, and what would be right."""
    return [_told(problem, _keys_at(model, problem["loc"])) for problem in error.errors()]


def _told(problem: Mapping[str, Any], known: Sequence[str]) -> str:
    loc, value, kind = problem["loc"], problem["input"], problem["type"]
    key = ".".join(map(str, loc))
    own = problem.get("ctx", {}).get("error")  # of a validator of fedmi's
    if own and (not loc or isinstance(loc[-1], int)):  # of a whole model: it names the key itself
        return f"{key}.{own}" if loc else str(own)
    if kind == "extra_forbidden":
        return f"{key}: {no_such(str(loc[-1]), known)}"
    refused = "" if kind == "missing" else f", not {value!r}"
    return f"{key}: {own or problem['msg']}{refused}{hint(value, whole=kind.startswith('int'))}"


def _keys_at(model: type[pydantic.BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The keys that a params file may have where one of its keys, loc, stands."""
    for part in loc[:-1]:
        if isinstance(part, str) and part in model.model_fields:
            inner = get_args(model.model_fields[part].annotation)
            model = next((a for a in inner if hasattr(a, "model_fields")), model)
    return list(model.model_fields)


def make_task(task: str, options: Mapping[str, Any]) -> Task:
    """`fedmi.tasks.get`, with the options' faults as those of the key `options`.

    Raises:
        ValueError: for options that the task does not know or refuses.
        Exception: whatever making it raises.
    """
    known = _options_of(task)
    for name in options:
        if known and name not in known:
            raise ValueError(f"options.{name}: {no_such(name, known)}")
    try:
        return tasks.get(task, **options)
    except pydantic.ValidationError as error:
        problems = [
            InitErrorDetails(
                # One of pydantic's own types, which it hands out as any text.
                type=PydanticCustomError(
                    cast(LiteralString, of["type"]), "{msg}", dict(msg=of["msg"])
                ),
                loc=("options", *of["loc"]),
                input=of["input"],
            )
            for of in error.errors()
        ]
        raise pydantic.ValidationError.from_exception_data(error.title, problems) from None


def _options_of(task: str) -> list[str]:
    """The arguments that a task takes by name; none where it takes any, or is made already."""
    made = tasks.TASKS[task] if task in tasks.TASKS else tasks.attribute(task)
    try:
        parameters = inspect.signature(made).parameters.values()
    except (TypeError, ValueError):  # no function, or one that is compiled and says nothing
        return []
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return [] if open_ended else [parameter.name for parameter in parameters]


@contextlib.contextmanager
def telling(task: str, options: Mapping[str, Any], where: str = "") -> Iterator[None]:
    """Tells what a task of the user's raises, which may be anything, as a ValueError.

    Args:
        task, options: as the params file names them.
        where: the key that these stand below, with a dot behind it.
    """
    try:
        yield
    except (KeyboardInterrupt, pydantic.ValidationError):
        raise
    except BaseException as error:  # SystemExit included
        hints = "".join(hint(value) for value in options.values())
        raise ValueError(where + _said(error, task) + hints) from error


def _said(error: BaseException, task: str) -> str:
    """What an error says; where fedmi did not raise it itself, also which task it comes from."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, ValueError) and Path(last.filename).is_relative_to(PACKAGE):
        return str(error)
    return (
        f"task: {task!r} raises {type(error).__name__}: {message(error)} "
        f"({Path(last.filename).name}, line {last.lineno})"
    )


def message(error: BaseException) -> str:
    """What an error says, if it can say it."""
    try:
        return str(error)
    except Exception:
        return "(its message cannot be had)"


def no_such(name: str, known: Sequence[str], what: str = "key") -> str:
    """That a name is not known, and which ones are."""
    near = difflib.get_close_matches(name, known, n=1)
    text = f"no such {what}" + (f"; did you mean {near[0]}?" if near else ".")
    return text + (f" Known {what}s: {', '.join(known)}" if known else "")


def hint(value: Any, whole: bool = False) -> str:
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
