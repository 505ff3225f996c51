"""The project's own files hold together."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
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
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + extras["test"] + extras["slurm"]
    assert {normalised(requirement) for requirement in wanted} <= names


def test_conda_takes_its_dependencies_from_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert pip == {"pip": ["--editable .[test]"]}
    # Besides pyproject's own requirements, only what no package of Python's brings.
    assert [normalised(name) for name in conda] == ["python", "pip", "make", "git"]
    assert conda[0] == f"python{PYPROJECT['project']['requires-python']}"


def test_ci_calls_the_readmes_test_command_and_then_the_slow_checks():
    assert "`make test`" in README and "`make check`" in README
    commands = [
        line
        for line in (ROOT / ".ci" / "run").read_text().splitlines()
        if line and not line.startswith(("#", "set ", "cd "))
    ]
    assert commands == ["make test", "exec make check"]


def test_make_knows_every_command_of_the_pages():
    printed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = set(re.findall(r"^make (\S+)", printed.stdout, flags=re.MULTILINE))
    pages = "\n".join(path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")])
    code = re.findall(r"`([^`\n]+)`", pages) + re.findall(r"```sh\n(.*?)```", pages, re.DOTALL)
    named = set(re.findall(r"\bmake ([a-z_]+)", "\n".join(code)))
    assert {"study", "test", "lab"} <= named <= targets


in_own_environment = pytest.mark.skipif(
    Path(sys.prefix) != ROOT / ".venv" or not (ROOT / ".venv" / "ready").exists(),
    reason="make would install into .venv, which these tests do not run in",
)


@in_own_environment
@pytest.mark.parametrize(
    "command", ["make study", "make study SCALE=paper", "make study SCALE=paper PROFILE=slurm"]
)
def test_the_studies_are_planned(command):
    """The workflow itself is run on a tiny study in tests/notebooks.

    Nothing is run here, so that what make runs elsewhere is no obstacle.
    """
    planned = subprocess.run(
        [*command.split(), "SNAKEFLAGS=--dry-run --forceall", "LOCK="],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert planned.returncode == 0, planned.stderr
    output = planned.stdout + planned.stderr
    for rule in ("sample", "estimate_mi", "measure_distances", "draw_figures"):
        assert re.search(rf"^{rule}\s+4$", output, re.MULTILINE)


@pytest.mark.slow
@in_own_environment
def test_studies_of_any_name_run_in_a_folder_of_any_name(tmp_path):
    """In a copy of the project, with blocks, so that every kind of a study's steps is taken."""
    folder = tmp_path / "a b" / "é'x"
    wanted = ["Makefile", "pyproject.toml", "requirements.lock", "environment.yml"]
    wanted += ["fedmi", "notebooks", "tests", "workflow"]
    tracked = subprocess.run(
        ["git", "ls-files", "-z", *wanted], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, tracked.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").mkdir()  # with a lock of its own
    for path in (ROOT / ".venv").iterdir():
        if path.name != "study.lock":
            (folder / ".venv" / path.name).symlink_to(path)
    (folder / ".venv" / "ready").touch()
    params = folder / "params" / "my scale"
    params.mkdir(parents=True)
    names = ("my study", "o'neil")
    for name in names:
        (params / f"{name}.yaml").write_text(
            "task: tests.tiny:make\nseeds: 200\ntile: 64\nblocks: 2\ncheckpoints: [1, 4]\n"
            "estimators: [gaussian]\n"
        )
    done = subprocess.run(
        ["make", "-o", ".venv/ready", "study", "SCALE=my scale"],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "18 of 18 steps done" in done.stderr
    assert "Figures: results/my scale/figures" in done.stdout
    for name in names:
        assert (folder / "results" / "my scale" / name / "figures.json").exists()
        assert (folder / "results" / "my scale" / "figures" / f"{name}-mi.png").exists()


@in_own_environment
def test_the_lab_opens_with_the_right_kernel():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"--no-browser --allow-root --ip=127.0.0.1 --port={port} --ServerApp.token=test"
    lab = subprocess.Popen(
        ["make", "lab", f"LABFLAGS={flags}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def ask(path):
        deadline = time.monotonic() + 60
        while True:
            try:
                url = f"http://127.0.0.1:{port}/api/{path}?token=test"
                with urllib.request.urlopen(url, timeout=20) as reply:
                    return json.load(reply)
            except OSError:
                assert time.monotonic() < deadline and lab.poll() is None
                time.sleep(0.2)

    try:
        specs, listed = ask("kernelspecs"), ask("contents/notebooks")
    finally:
        os.killpg(lab.pid, signal.SIGKILL)
        lab.wait()
    assert specs["default"] == "python3"
    assert "01_sample.ipynb" in {entry["name"] for entry in listed["content"]}
    installed = subprocess.run(
        [ROOT / ".venv" / "bin" / "jupyter", "kernelspec", "list", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    kernel = json.loads(installed.stdout)["kernelspecs"]["python3"]
    assert Path(kernel["resource_dir"]).is_relative_to(ROOT / ".venv")


def test_no_file_carries_a_registry_or_a_path_of_a_machine():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    here = str(ROOT)
    for name in tracked.stdout.splitlines():
        path = ROOT / name
        if path.suffix in (".png", ".gz", ".npz") or not path.is_file():
            continue
        text = path.read_text()
        assert "index-url" not in text.replace('"index-url"', ""), name
        assert here not in text, name


def test_the_workflow_is_linted_formatted_and_short():
    workflow, programs = ROOT / "workflow", Path(sys.executable).parent
    for command in (["snakefmt", "--check", workflow], ["snakemake", "--lint"]):
        done = subprocess.run(
            [programs / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert len((workflow / "Snakefile").read_text().splitlines()) < 200
