"""The notebooks as sources, and what comes out of them: the workflow runs them on a tiny study."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
import yaml

from tests import tiny

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMS = dict(
    task="tests.tiny:make",
    options=dict(learning_rate=0.25),
    coupling="shared-source",
    seeds=600,
    tile=256,
    checkpoints=[1, 2, 4],
)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_clean_short_and_has_its_parameters(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count is None and not cell.outputs for cell in code)
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert tagged[0].source.startswith('params: str = "params/quick/signal.yaml"')
    trees = [ast.parse(cell.source) for cell in code]
    functions = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
    assert not any(isinstance(node, functions) for tree in trees for node in ast.walk(tree))
    assert sum(len(cell.source.splitlines()) for cell in code) <= 150


def snakemake(folder, *arguments):
    return subprocess.run(
        [
            BIN / "snakemake", "--snakefile",
            ROOT / "workflow" / "Snakefile", "--cores", "2", "--config", "scale=tiny",
            "--directory", folder, "--rerun-incomplete", "--keep-going", *arguments,
        ],
        env=os.environ | dict(PYTHONPATH=str(ROOT), PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}"),
        capture_output=True,
        text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder laid out as the project, in which the workflow has run: one good study, one bad."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "notebooks").symlink_to(ROOT / "notebooks")
    (folder / "params" / "tiny").mkdir(parents=True)
    (folder / "params" / "tiny" / "good.yaml").write_text(yaml.safe_dump(PARAMS))
    bad = PARAMS | dict(options=dict(learning_rate="1e-3"))
    (folder / "params" / "tiny" / "bad.yaml").write_text(yaml.safe_dump(bad))
    return folder, snakemake(folder)


def test_the_estimates_of_mutual_information_are_right(run):
    mi = pd.read_csv(run[0] / "results" / "tiny" / "good" / "mi.csv")
    assert len(mi) == 2 * 3 * 3
    gaussian = mi[mi.estimator == "gaussian"]
    truth = gaussian.iteration.map(lambda iteration: tiny.mi_bits(tiny.task, iteration))
    # Nine intervals of 95 %, of three dependent pairs: one may miss, by little.
    inside = (gaussian.low < truth) & (truth < gaussian.high)
    assert inside.sum() >= 8
    assert ((gaussian.net_bits - truth).abs() < 0.15 * truth).all()
    assert (gaussian.z > 10).all()
    assert (gaussian.p_value == 1 / 21).all()
    ksg = mi[mi.estimator == "ksg"]
    assert (ksg.z > 5).all()
    assert (ksg.net_bits < ksg.ceiling_bits).all()
    assert (ksg.net_bits.to_numpy() < truth.to_numpy()).all()  # it sees less than there is
    assert (mi.n == 600).all() and (mi.excluded == 0).all()
    assert (mi.task == "tiny").all() and (mi.coupling == "shared-source").all()


def test_the_distances_are_right(run):
    table = pd.read_csv(run[0] / "results" / "tiny" / "good" / "distances.csv")
    assert len(table) == 3 * 3 * 3
    ratio = table.distance / table.unmatched
    expected = table.iteration.map(lambda i: (1 - tiny.correlation(tiny.task, i)) ** 0.5)
    assert ((ratio / expected - 1).abs() < 0.05).all()


def test_the_learning_is_right(run):
    table = pd.read_csv(run[0] / "results" / "tiny" / "good" / "learning.csv")
    # At iteration 0 theta is 0 and the loss (|s|^2 + |noise|^2) / 2 = (12 + 12 * 4) / 2 on average.
    start = table[table.iteration == 0]
    assert set(start.metric) == {"distance", "held-out distance"}
    assert ((start.low < 30.5) & (start.high > 29.5)).all()
    falls = table.sort_values("iteration").groupby(["client", "metric"])["mean"]
    assert falls.apply(lambda mean: mean.is_monotonic_decreasing).all()


def test_the_manifest_says_what_was_sampled(run):
    manifest = json.loads((run[0] / "results" / "tiny" / "good" / "manifest.json").read_text())
    assert manifest["seeds"] == 600
    assert manifest["non_finite_seeds"] == 0
    assert manifest["parameters"]["options"]["learning_rate"] == 0.25
    assert manifest["parameters"]["scopes"]["source"] == "shared"
    assert manifest["history"][0]["end"]


def test_the_figures_are_there(run):
    drawn = {path.name for path in (run[0] / "results" / "tiny" / "figures").iterdir()}
    for name in ("good-mi", "good-distances"):
        assert {f"{name}.png", f"{name}.svg", f"{name}.csv"} <= drawn


def test_a_failed_notebook_says_where_its_copy_is_and_spares_the_others(run):
    folder, done = run
    assert done.returncode != 0
    copy = "results/tiny/bad/01_sample.ipynb"
    assert f"The notebook failed. Its executed copy, with the error in it: {copy}" in done.stderr
    errors = [
        output.evalue
        for cell in nbformat.read(folder / copy, as_version=4).cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "error"
    ]
    assert len(errors) == 1
    assert "bad.yaml: learning_rate: '1e-3' is not a finite number" in errors[0]
    assert "YAML takes 1e-3 for text" in errors[0]
    assert not (folder / "results" / "tiny" / "bad" / "samples.zarr").exists()


def test_what_is_done_is_not_done_again(run):
    planned = snakemake(run[0], "--dry-run", "results/tiny/good/figures.json")
    assert "Nothing to be done" in planned.stdout + planned.stderr


@pytest.mark.parametrize("path", NOTEBOOKS[1:], ids=lambda path: path.stem)
def test_without_samples_a_notebook_says_which_command_makes_them(path, tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="make study SCALE=quick"):
        papermill.execute_notebook(
            path,
            tmp_path / "out.ipynb",
            parameters=dict(results=str(tmp_path)),
            kernel_name="python3",
            cwd=tmp_path,
            progress_bar=False,
        )
