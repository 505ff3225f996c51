"""The project's own files hold together."""

import ast
import importlib.metadata
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
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def locked():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def normalised(requirement):
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-").replace(".", "-")


CARD = "jax flax optax numpy scipy matplotlib seaborn papermill jupyterlab".split()
"""The packages that whoever clones the project is promised."""


def required(*extras):
    """Names of the requirements of the library and of these extras."""
    project = PYPROJECT["project"]
    optional = project["optional-dependencies"]
    wanted = project["dependencies"] + [name for extra in extras for name in optional[extra]]
    return {normalised(requirement) for requirement in wanted}


def test_the_lock_is_plain_and_holds_what_is_installed_with_all_that_it_needs():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    plain = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+")
    assert all(plain.fullmatch(line) for line in lines)
    pinned = {normalised(name): version for name, version in locked().items()}
    dev = {normalised(requirement) for requirement in PYPROJECT["dependency-groups"]["dev"]}
    pending, seen = required("study", "test", "slurm") | dev, set()
    while pending - seen:
        name = (pending - seen).pop()
        seen.add(name)
        found = importlib.metadata.distribution(name)
        assert pinned[name] == found.version, name
        needs = map(Requirement, found.requires or ())
        pending |= {
            normalised(need.name)
            for need in needs
            if need.marker is None or need.marker.evaluate({"extra": ""})
        }


def test_the_library_requires_what_it_imports_and_the_study_its_extra():
    brought = importlib.metadata.packages_distributions()

    def imported(paths, anywhere):
        nodes = [
            node
            for path in paths
            for tree in [ast.parse(path.read_text())]
            for node in (ast.walk(tree) if anywhere else tree.body)
        ]
        names = {n.module for n in nodes if isinstance(n, ast.ImportFrom)}
        names |= {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
        roots = {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"fedmi"}
        return {normalised(brought[root][0]) for root in roots - {"pydantic_core"}}  # pydantic's

    study = {*(ROOT / "fedmi" / "study").rglob("*.py"), ROOT / "fedmi" / "__main__.py"}
    library = set((ROOT / "fedmi").rglob("*.py")) - study
    by_jax = {"filelock"}  # for the bound on the programs that it keeps
    own = required() - by_jax
    assert imported(library, anywhere=False) <= own <= imported(library, anywhere=True)
    assert imported(library | study, anywhere=True) <= required("study")


def test_whoever_clones_has_the_packages_of_the_card():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    (line,) = pip["pip"]
    extras = re.fullmatch(r"--editable \.\[(.*)\]", line)[1].split(",")
    assert set(CARD) <= required(*extras)
    assert f'--editable ".[{",".join(extras)}]"' in MAKEFILE
    # Besides pyproject's own requirements, only what no package of Python's brings.
    assert [normalised(name) for name in conda] == ["python", "pip", "make", "git"]
    assert conda[0] == f"python{PYPROJECT['project']['requires-python']}"


def test_pre_commit_checks_with_the_locked_ruff():
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["rev"] == f"v{locked()['ruff']}"


def test_github_runs_what_ci_runs():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "check.yml").read_text())
    assert workflow["jobs"]["check"]["steps"][-1] == {"run": ".ci/run"}
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.slow
def test_a_set_up_says_what_it_does_and_why_it_fails(tmp_path):
    """Whatever pip thinks of its own configuration."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy2(ROOT / name, tmp_path / name)
    done = subprocess.run(
        # Called by make itself, as `make check` calls the tests, it would name its folder besides.
        ["make", "--no-print-directory", "setup", f"PYTHON={sys.executable}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/no/such/folder"},
    )
    making, installing = done.stdout.splitlines()
    assert making.startswith("Making .venv") and f"{len(locked())} packages" in installing
    assert done.returncode and not (tmp_path / ".venv" / "ready").exists()
    assert "No matching distribution" in done.stderr and "WARNING" not in done.stderr


def test_a_codechecker_finds_what_the_manifest_names():
    checked = yaml.safe_load((ROOT / "codecheck.yml").read_text())
    assert checked["paper"]["reference"] == "https://doi.org/10.3390/e22030314"
    for entry in checked["manifest"]:
        assert (ROOT / entry["file"]).exists(), entry["file"]
    makefile = (ROOT / "Makefile").read_text()
    said = checked["summary"] + " ".join(entry["comment"] for entry in checked["manifest"])
    for target in set(re.findall(r"\bmake ([a-z]+)", said)):
        assert re.search(rf"^(.* )?{target}( .*)?:", makefile, re.MULTILINE), target


def test_the_citation_is_complete():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == PYPROJECT["project"]["version"]
    assert {"title", "authors", "abstract", "keywords", "license", "references"} <= set(cited)
    assert "10.3390/e22030314" in [each["doi"] for each in cited["references"]]


def test_ci_calls_the_readmes_test_command_and_then_the_slow_checks():
    assert "`make test`" in README and "`make check`" in README
    commands = [
        line
        for line in (ROOT / ".ci" / "run").read_text().splitlines()
        if line and not line.startswith(("#", "set ", "cd "))
    ]
    assert commands == ["make test", "make check", "exec make test-browser"]


def test_make_knows_every_command_of_the_pages():
    printed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = set(re.findall(r"^make (\S+)", printed.stdout, flags=re.MULTILINE))
    pages = "\n".join(path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")])
    code = re.findall(r"`([^`\n]+)`", pages) + re.findall(r"```sh\n(.*?)```", pages, re.DOTALL)
    named = set(re.findall(r"\bmake ([a-z_-]+)", "\n".join(code)))
    assert {"study", "test", "lab"} <= named <= targets


in_own_environment = pytest.mark.skipif(
    Path(sys.prefix) != ROOT / ".venv" or not (ROOT / ".venv" / "ready").exists(),
    reason="make would install into .venv, which these tests do not run in",
)


@in_own_environment
@pytest.mark.parametrize(
    "command",
    [
        "make study",
        pytest.param("make study SCALE=paper", marks=pytest.mark.slow),
        pytest.param("make study SCALE=paper PROFILE=slurm", marks=pytest.mark.slow),
    ],
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
    for rule in ("sample", "estimate_and_draw"):
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
    assert "14 of 14 steps done" in done.stderr
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


def test_the_workflow_is_short():
    assert len((ROOT / "workflow" / "Snakefile").read_text().splitlines()) < 200
