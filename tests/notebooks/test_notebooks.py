"""The notebooks as sources, and what comes out of them: the workflow runs them on a tiny study."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml

import fedmi
from fedmi import couplings, tables
from fedmi.scopes import COUPLINGS
from tests import tiny
from tests.notebooks import engine

pytestmark = pytest.mark.usefixtures("quickly_compiled")

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
    calibration_draws=2,
)
SWEEP = dict(
    task="tests.tiny:make",
    couplings=["shared-source"],
    learning_rates=[0.125, 0.25],
    batch_sizes=[4],
    seeds=600,
)
BENCH = dict(
    dimension=3,
    seeds=400,
    truths=[0.0, 2.0],
    sizes=[200, 400],
    sizes_truth=2.0,
    estimators=["gaussian", "ksg"],
)
AGGREGATION = dict(
    task="tests.tiny:make",
    settings=["shared-source"],
    checkpoints=[4],
    fitting_seeds=256,
    judged_seeds=256,
    oracle_seeds=256,
)
ROUNDS = dict(
    task="tests.tiny:make",
    couplings=["shared-source"],
    rounds=[1, 2],
    seeds=600,
    checkpoints=[1, 4],
)
SCALE_UP = dict(
    cases=[
        dict(
            name=f"tiny-{clients}",
            task="tests.tiny:make",
            clients=clients,
            seeds=400,
            checkpoints=[4],
        )
        for clients in (2, 10)
    ],
    directions=6,
    among=12,
    judged_seeds=256,
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
    given = re.match(r'params: str = "(params/quick/.*\.yaml)"', tagged[0].source)
    assert (ROOT / given[1]).exists()
    trees = [ast.parse(cell.source) for cell in code]
    functions = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
    assert not any(isinstance(node, functions) for tree in trees for node in ast.walk(tree))
    assert sum(len(cell.source.splitlines()) for cell in code) <= 150


def snakemake(folder, *arguments):
    return subprocess.run(
        [
            BIN / "snakemake", "--snakefile",
            ROOT / "workflow" / "Snakefile", "--cores", "2",
            "--directory", folder, "--config", "scale=tiny", "--rerun-incomplete", "--keep-going",
            *arguments,
        ],
        env=os.environ
        | dict(
            PYTHONPATH=str(ROOT),
            PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}",
        ),
        capture_output=True,
        text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder laid out as the project, in which the workflow and all notebooks have run.

    One of its studies is good, and one is bad.
    """
    folder = tmp_path_factory.mktemp("project")
    (folder / "notebooks").symlink_to(ROOT / "notebooks")
    for name, entries in {
        "good": PARAMS,
        "bad": PARAMS | dict(options=dict(learning_rate="1e-3")),
        "sweep/grid": SWEEP,
        "estimators/laws": BENCH,
        "aggregation/ways": AGGREGATION,
        "rounds/later": ROUNDS,
        "scale_up/larger": SCALE_UP,
    }.items():
        path = folder / "params" / "tiny" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(entries))
    done = snakemake(folder, "study", "couplings")
    engine.run("05_calibrate_estimators", folder, "estimators/laws")
    engine.run("06_compare_aggregators", folder, "aggregation/ways")
    engine.run("07_test_proposition", folder, "good")
    engine.run("08_scale_up", folder, "scale_up/larger")
    engine.run("10_sweep_rates", folder, "sweep/grid", coupling="shared-source")
    engine.run("11_map_sweep", folder, "sweep/grid")
    engine.run("12_compress_uploads", folder, "good")
    engine.run("13_follow_rounds", folder, "rounds/later")
    return folder, done


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
    for name in (
        "good-mi", "good-distances", "good-calibration", "sweep-grid", "estimators-laws",
        "aggregation-ways", "aggregation-ways-landscape", "rounds-later", "proposition-good",
        "compression-good",
    ):  # fmt: skip
        assert {f"{name}.png", f"{name}.svg", f"{name}.csv"} <= drawn
    assert {"scale-up-larger.png", "scale-up-larger.svg", "scale-up-larger-mi.csv"} <= drawn


def test_the_reading_is_calibrated(run):
    study = run[0] / "results" / "tiny" / "good"
    trust = pd.read_csv(study / "trust.csv").set_index("estimator")
    truth = tiny.mi_bits(tiny.task, 4)
    assert (trust.truth_low < truth).all() and (truth < trust.truth_high).all()
    assert (trust.iteration == 4).all() and (trust.pair == "0-1").all()
    mi = pd.read_csv(study / "mi.csv")
    assert (mi.p_family == 1 / 21).all()
    null = pd.read_csv(study / "null.csv").groupby(["estimator", "pair", "iteration"]).bits
    means = mi.set_index(["estimator", "pair", "iteration"]).perm_bits.sort_index()
    assert ((null.mean() - means).abs() < 1e-9).all() and (null.count() == 20).all()


def test_the_sweep_finds_the_known_rise(run):
    table = pd.read_csv(run[0] / "results" / "tiny" / "figures" / "sweep-grid.csv")
    assert table.learning_rate.tolist() == [0.125, 0.25]
    for row in table.itertuples():
        task = tiny.make(learning_rate=row.learning_rate)
        truth = tiny.mi_bits(task, 4) - tiny.mi_bits(task, 1)
        assert abs(row.rise_bits - truth) < 3 * row.rise_se
    text = (run[0] / "results" / "tiny" / "figures" / "sweep-grid.md").read_text()
    assert "| `shared-source` | 2 | 2 | 0 | 0 |" in text


def test_estimators_are_held_against_the_truth(run):
    table = pd.read_csv(run[0] / "results" / "tiny" / "figures" / "estimators-laws.csv")
    assert len(table) == 2 * 2 * 4 * 2
    normal = table[table.family.isin(["few directions", "all directions"]) & (table.n == 400)]
    error = (normal.net_bits - normal.true_bits).abs().groupby(normal.estimator).max()
    assert error["gaussian"] < 0.3
    assert error["ksg"] > 0.5  # neighbours miss dependence as strong as this in one direction


def test_averaging_gains_what_it_must(run):
    """Of F the mean saves half of what the clients are apart from it, on a quadratic."""
    table = pd.read_csv(run[0] / "results" / "tiny" / "figures" / "aggregation-ways.csv")
    weights = tiny.task.learning_rate * (1 - tiny.task.learning_rate) ** np.arange(4)
    own = tiny.NOISE**2 / tiny.task.batch_size * np.sum(weights**2)  # variance of a client's
    row = table[(table.iteration == 4) & (table.method == "each client alone")].iloc[0]
    assert row.seeds == row.fitting_seeds == 256
    expected = tiny.SIZE * own / 3
    assert abs(row.objective_less_mean - expected) < 4 * row.objective_less_mean_se
    text = (run[0] / "results" / "tiny" / "figures" / "aggregation-ways.md").read_text()
    assert "- `shared-source`: at iteration 4 a client alone is +" in text


def test_later_rounds_share_their_download(run):
    table = pd.read_csv(run[0] / "results" / "tiny" / "figures" / "rounds-later.csv")
    at = table.set_index(["round", "what", "iteration"])
    truth = tiny.mi_bits(tiny.task, 4)
    for what in ("parameters", "updates"):
        first = at.loc[1, what, 4]
        assert abs(first.net_bits - truth) < 4 * first.net_se
    assert at.net_bits[2, "parameters", 1] > at.net_bits[2, "updates", 1] + 10


def test_more_clients_gain_more(run):
    drawn = run[0] / "results" / "tiny" / "figures"
    table = pd.read_csv(drawn / "scale-up-larger-averaging.csv").set_index(["case", "averaged"])
    weights = 0.25 * 0.75 ** np.arange(4)
    own = tiny.SIZE * tiny.NOISE**2 / tiny.task.batch_size * np.sum(weights**2)
    for case, averaged in (("tiny-2", 2), ("tiny-10", 2), ("tiny-10", 10)):
        row = table.loc[case, averaged]
        gain = (1 - 1 / averaged) * own / 2
        assert abs(row.objective_less_alone + gain) < 4 * row.objective_less_alone_se
    readings = pd.read_csv(drawn / "scale-up-larger-mi.csv").set_index(["kind", "estimator"])
    for row in readings.loc["random", "gaussian"].itertuples():
        assert abs(row.net_bits - tiny.mi_bits(tiny.task, 4) / 2) < 4 * row.net_se
    text = (drawn / "scale-up-larger.md").read_text()
    assert "where a quadratic F would make it 56 %" in text


def test_an_additive_model_is_not_rejected(run):
    drawn = run[0] / "results" / "tiny" / "figures"
    tests = pd.read_csv(drawn / "proposition-good.csv")
    assert set(tests.iteration) == {1, 2, 4}
    assert (tests.p_holm > 0.05).all()
    assert "The additive model is not rejected" in (drawn / "proposition-good.md").read_text()
    # The shared variance is that of the source, 12 times (1 - 0.75^k)^2.
    parts = pd.read_csv(drawn / "proposition-good-decomposition.csv")
    expected = tiny.SIZE * (1 - 0.75**parts.iteration) ** 2
    assert ((parts.shared - expected).abs() < 4 * parts.shared_se).all()


def test_what_side_information_saves_is_the_mutual_information(run):
    table = pd.read_csv(run[0] / "results" / "tiny" / "figures" / "compression-good.csv")
    row = table[(table.iteration == 4) & (table.channel == "noise")].iloc[-1]
    truth = tiny.mi_bits(tiny.task, 4) / tiny.SIZE  # bits a parameter
    assert abs(row.mi_one - truth) < 0.15 * truth
    assert 0 < row.saved_one < row.saved_others < 1


def test_couplings_are_compared(tmp_path):
    """From tables made here: 18 runs of the notebooks before it would take long for no more.

    Only two couplings are sampled, one without and one with dependence, and stand for the others.
    """
    folder = tmp_path / "results" / "tiny"
    sampled = {}
    for coupling in ("null", "shared-source"):
        samples = fedmi.finite(
            fedmi.sample(tiny.task, seeds=600, coupling=coupling, checkpoints=[1, 2, 4], tile=64)
        )
        rows = [
            row
            for i in (1, 4)
            for row in tables.mi_rows(samples, i, estimator="gaussian", permutations=20)
        ]
        apart = [row for i in (1, 4) for row in tables.distance_rows(samples, i)]
        sampled[coupling] = tables.with_family_p(rows), apart
    for coupling in COUPLINGS:
        stands_for = "shared-source" if coupling.startswith("shared") else "null"
        place = folder / couplings.study_of("good", coupling)
        for name, columns, rows in zip(
            ("mi", "distances"),
            (tables.MI_COLUMNS, tables.DISTANCE_COLUMNS),
            sampled[stands_for],
            strict=True,
        ):
            named = [row | dict(coupling=coupling) for row in rows]
            tables.write(named, columns, place / f"{name}.csv")
    engine.run("09_compare_couplings", tmp_path, "good")
    trends = pd.read_csv(
        folder / "figures" / "couplings-good-trends.csv", keep_default_na=False
    ).set_index("coupling")
    assert list(trends.index) == list(COUPLINGS)
    truth = tiny.mi_bits(tiny.task, 4) - tiny.mi_bits(tiny.task, 1)
    for name in ("shared-source", "shared-source-order"):
        assert trends.above_zero[name] == trends.rises[name] == "yes"
        assert abs(trends.rise_bits[name] - truth) < 3 * trends.rise_se[name]
    for name in ("null", "independent"):
        assert abs(trends.rise_bits[name]) < 3 * trends.rise_se[name]
    text = (folder / "figures" / "couplings-good.md").read_text()
    assert text.count("| `") == 6
    # A tiny task's examples are alike: the order that they are seen in cannot matter.
    assert "growing overlap explains nothing here" in text


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


def test_a_study_of_every_coupling_is_left_to_their_comparison(tmp_path):
    def planned(*targets):
        done = snakemake(tmp_path, "--dry-run", *targets)
        assert done.returncode == 0, done.stderr
        counts = re.findall(r"^(\w+)\s+(\d+)$", done.stdout + done.stderr, re.MULTILINE)
        return {name: int(count) for name, count in counts}

    folder = tmp_path / "params" / "tiny"
    folder.mkdir(parents=True)
    for coupling in COUPLINGS.keys() - {"null"}:
        (folder / f"{couplings.study_of('good', coupling)}.yaml").touch()
    assert planned("study")["sample"] == 5  # no null: nothing to compare with
    (folder / "good-null.yaml").touch()
    (folder / "mine-shared-init.yaml").touch()
    assert planned("study")["sample"] == 3
    jobs = planned("couplings")
    assert (jobs["sample"], jobs["draw_figures"], jobs["compare_couplings"]) == (6, 6, 1)


def test_what_is_done_is_not_done_again(run):
    planned = snakemake(run[0], "--dry-run", "results/tiny/good/figures.json")
    assert "Nothing to be done" in planned.stdout + planned.stderr


@pytest.mark.parametrize(
    "name",
    [
        "02_estimate_mi", "03_measure_distances", "04_draw_figures", "09_compare_couplings",
        "07_test_proposition", "11_map_sweep", "12_compress_uploads",
    ],
)  # fmt: skip
def test_without_what_comes_before_a_notebook_says_which_command_makes_it(name, tmp_path):
    """The cells are run here, without a kernel, as nothing but the error matters."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    names = {}
    with pytest.raises(FileNotFoundError, match="make [a-z]+ SCALE=quick"):
        for cell in notebook.cells:
            if cell.cell_type == "code":
                exec(cell.source, names)
            if "parameters" in cell.metadata.get("tags", []):
                names["results"] = str(tmp_path)
