"""The built wheel by itself: an empty environment, away from the clone, without the extras."""

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OF_EXTRAS = "IPython jupyterlab matplotlib mlxtend papermill seaborn sklearn snakemake".split()

pytestmark = pytest.mark.slow


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked(*paths):
    return filter(None, run("git", "ls-files", "-z", *paths, cwd=ROOT).split("\0"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that nothing of an older build gets into it, nor it into the clone."""
    copy, wheels = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheels")
    for name in tracked("pyproject.toml", "README.md", "LICENSE", "fedmi"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    run(sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--wheel-dir", wheels, copy)
    (built,) = wheels.iterdir()
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """(code) -> what it prints, run elsewhere with what the wheel brings, and nothing else."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "environment", with_pip=True)
    program = folder / "environment" / "bin" / "python"
    # On the path that make names lies the clone, which pip would take for the package.
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    lock = ROOT / "requirements.lock"
    run(program, "-m", "pip", "install", "-qq", "-c", lock, wheel, env=bare)
    return lambda code: run(program, "-c", code, cwd=folder, env=bare)


def test_the_wheel_holds_every_file_of_the_package(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    assert set(tracked("fedmi")) <= held
    assert "fedmi/py.typed" in held
    assert {".npz", ".mplstyle"} <= {Path(name).suffix for name in held}


def test_what_comes_with_an_extra_is_not_there(python):
    code = f"from importlib.util import find_spec; print([n for n in {OF_EXTRAS} if find_spec(n)])"
    assert python(code).strip() == "[]"


def test_the_readmes_python_runs(python):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    printed = python(code)
    assert printed.count("Estimate(") == 2, printed


def test_a_report_on_arrays(python):
    """Two clients, one of them the other plus as much noise: half a bit a component."""
    printed = python(
        "import numpy as np, fedmi\n"
        "x, noise = np.random.default_rng(0).standard_normal((2, 1000, 2))\n"
        "print(*fedmi.mi.report(x, x + noise).table.net_bits)"
    )
    assert [float(bits) for bits in printed.split()] == pytest.approx([1, 1], abs=0.25)


@pytest.mark.parametrize("code", ["import fedmi.study", "import fedmi.study.tables"])
def test_what_needs_the_extra_says_so(python, code):
    said = python(f"try:\n    {code}\nexcept ModuleNotFoundError as error:\n    print(error)")
    assert 'pip install "fedmi[study]"' in said and "matplotlib" in said
