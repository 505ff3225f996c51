"""The project's own files hold together."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
README = (ROOT / "README.md").read_text()


def locked():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def normalised(requirement):
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-").replace(".", "-")


def test_the_lock_is_plain_and_covers_every_dependency():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    plain = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+")
    assert all(plain.fullmatch(line) for line in lines if not line.startswith("#"))
    names = {normalised(name) for name in locked()}
    project = PYPROJECT["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    assert {normalised(requirement) for requirement in wanted} <= names


def test_conda_takes_its_dependencies_from_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert pip == {"pip": ["--editable .[test]"]}
    # Besides pyproject's own requirements, only what no package of Python's brings.
    assert [normalised(name) for name in conda] == ["python", "pip", "make", "git"]
    assert conda[0] == f"python{PYPROJECT['project']['requires-python']}"


def test_ci_calls_the_readmes_test_command():
    assert "`make test`" in README
    commands = [
        line
        for line in (ROOT / ".ci" / "run").read_text().splitlines()
        if line and not line.startswith(("#", "set ", "cd "))
    ]
    assert commands == ["exec make test"]


def test_make_knows_every_command_of_the_readme():
    printed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = set(re.findall(r"^make (\S+)", printed.stdout, flags=re.MULTILINE))
    code = re.findall(r"`([^`\n]+)`", README) + re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    named = set(re.findall(r"\bmake ([a-z]+)", "\n".join(code)))
    assert {"study", "test", "lab"} <= named <= targets


@pytest.mark.parametrize("number", range(2))
def test_the_readmes_python_runs(number, tmp_path):
    block = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)[number]
    done = subprocess.run(
        [sys.executable, "-c", block.replace("seeds=1000", f"seeds={(800, 100)[number]}")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    if number == 0:
        assert "Estimate(" in done.stdout
        assert (tmp_path / "my.zarr").is_dir()


def test_no_file_carries_a_registry_or_a_path_of_a_machine():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    here = str(ROOT)
    for name in tracked.stdout.splitlines():
        path = ROOT / name
        if path.suffix in (".png", ".gz") or not path.is_file():
            continue
        text = path.read_text()
        assert "index-url" not in text.replace('"index-url"', ""), name
        assert here not in text, name
