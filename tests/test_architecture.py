"""The library and the study are kept apart, and dependencies point one way."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import fedmi

PACKAGE = Path(__file__).parents[1] / "fedmi"

FLOORS = {
    1: ("scopes", "stats", "models", "progress", "devices"),
    2: ("tasks", "mi", "distance", "aggregation"),
    3: ("sampling",),
    4: (
        "study.params",
        "study.plan",
        "study.points",
        "study.kinds",
        "study.settings",
        "study.ways",
        "study.refusals",
        "study.paths",
        "study.results",
        "study.pages",
        "study.figures.style",
    ),
    5: ("study",),
    6: (
        "study.findings",
        "study.claims",
        "study.story",
        "study.publish",
        "study.verify",
        "__main__",
    ),
}


def modules():
    """Every module by its name below fedmi, "" for the package itself."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        .removesuffix("__init__")
        .strip(".")
        if path.name == "__init__.py"
        else ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
    }


MODULES = modules()


def imports(name):
    """The modules of fedmi that one imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    below = {full.removeprefix("fedmi.") for full in found if full.startswith("fedmi.")}
    # A package that is named on the way to its module is no import of what it hands on.
    return {module for module in below if module in MODULES} - {name, "study"}


def floor(name):
    """The floor of the longest name in `FLOORS` that a module's begins with."""
    rooms = {room: number for number, of in FLOORS.items() for room in of}
    parts = name.split(".")
    prefixes = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next(rooms[prefix] for prefix in prefixes if prefix in rooms)


def test_at_most_eleven_modules_and_packages_stand_at_the_top():
    top = {name.split(".")[0] for name in MODULES if name and not name.startswith("__")}
    assert len(top) <= 11, sorted(top)


@pytest.mark.parametrize("name", sorted(filter(None, MODULES)))
def test_no_module_stands_on_a_higher_floor(name):
    assert {other for other in imports(name) if floor(other) > floor(name)} == set()


def test_the_library_knows_nothing_of_the_study():
    for name in MODULES:
        if not name.startswith(("study", "__main__")):
            assert not {other for other in imports(name) if other.startswith("study")}, name


def test_no_imports_go_in_a_circle():
    # A package stands for what its __init__ hands on, which its own modules do not need.
    graph = {
        name: {other for other in imports(name) if MODULES[other].name != "__init__.py"}
        for name in MODULES
        if MODULES[name].name != "__init__.py"
    }
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
    ("module", "foreign"),
    [
        ("fedmi.mi", "flax optax fedmi.tasks fedmi.models fedmi.sampling"),
        ("fedmi.distance", "flax optax fedmi.tasks fedmi.models fedmi.sampling"),
        ("fedmi.aggregation", "optax fedmi.tasks fedmi.models fedmi.sampling"),
        ("fedmi", "jax flax pandas fedmi.study"),
        ("fedmi.sampling.sampler", "fedmi.study"),
    ],
)
def test_what_importing_a_module_loads(module, foreign):
    always = "matplotlib seaborn IPython jupyterlab papermill snakemake sklearn mlxtend"
    code = (
        f"import sys, {module}\n"
        f"print([name for name in {(foreign + ' ' + always).split()} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_what_the_package_names_is_there_when_it_is_asked_for():
    code = "import fedmi\nfrom fedmi import *\nprint({*fedmi.__all__} - {*globals(), *dir(fedmi)})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stdout + done.stderr
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fedmi.nothing


def test_no_file_is_too_long_to_take_in():
    lengths = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert {name: lines for name, lines in lengths.items() if lines > 450} == {}
