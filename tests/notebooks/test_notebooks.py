"""The notebooks as sources, and what comes out of them: the workflow runs them on a tiny study."""

import ast
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
import yaml
from matplotlib.figure import Figure

import fedmi
from fedmi.sampling import replay, store
from fedmi.scopes import COUPLINGS
from fedmi.study import figures, params, publish, readings, results, tables, trends
from fedmi.tasks.signal import READINGS
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
CHOICES = dict(
    task="tests.tiny:make",
    options=dict(examples=20),
    seeds=400,
    judged_seeds=100,
    perturbed_seeds=4,
    factors={
        "rate": {"full": {}, "half": {"rate": 0.5}},
        "coupling": {"source": {}, "unshared": {"coupling": "independent"}},
    },
    same_data=["rate"],
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
TRAINING = dict(
    task="tests.tiny:make",
    clients=3,
    participants=3,
    rounds=2,
    judged=[0, 1, 2],
    judged_seeds=400,
    tuning_seeds=2,
    ways=["shrunken mean", "tests.study.test_training:stay"],
    along_seeds=400,
    settings=[dict(name="first"), dict(name="skewed", fewest_examples=4)],
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
    given = re.match(r'study: str = "(params/quick/.*\.yaml)"', tagged[0].source)
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

    One of its studies is good, and the samples of one are not what they should be.
    """
    folder = tmp_path_factory.mktemp("project")
    (folder / "notebooks").symlink_to(ROOT / "notebooks")
    store = folder / "results" / "tiny" / "bad" / "samples.zarr"
    store.parent.mkdir(parents=True)
    store.write_text("no store")
    for name, entries in {
        "good": PARAMS,
        "bad": PARAMS,
        "choices/all": CHOICES,
        "estimators/laws": BENCH,
        "aggregation/ways": AGGREGATION,
        "rounds/later": ROUNDS,
        "training/many": TRAINING,
        "scale_up/larger": SCALE_UP,
    }.items():
        path = folder / "params" / "tiny" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(entries))
    return folder, snakemake(folder, "study")


@pytest.fixture(scope="module")
def all_run(run):
    """The same folder, in which all other notebooks have run as well."""
    folder, _ = run
    done = snakemake(folder, "couplings")
    engine.run("05_calibrate_estimators", folder, "estimators/laws")
    engine.run("06_compare_aggregators", folder, "aggregation/ways")
    engine.run("07_test_proposition", folder, "good")
    engine.run("08_scale_up", folder, "scale_up/larger")
    chosen = snakemake(folder, "choices")
    assert chosen.returncode == 0, chosen.stderr
    engine.run("12_compress_uploads", folder, "good")
    engine.run("13_follow_rounds", folder, "rounds/later")
    engine.run("14_train_for_many_rounds", folder, "training/many")
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
    for name in ("good-mi", "good-distances", "good-calibration"):
        assert {f"{name}.png", f"{name}.svg"} <= drawn
    assert not [name for name in drawn if name.endswith(".csv")]


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


@pytest.mark.slow
def test_the_site_is_made_without_warnings_and_shows_what_was_executed(all_run, tmp_path):
    pytest.importorskip("sphinx", reason="Sphinx is not installed")
    pytest.importorskip("myst_nb", reason="MyST-NB is not installed")
    results = all_run[0] / "results" / "tiny"
    made = subprocess.run(
        [
            sys.executable, "-m", "workflow.make_site", "--results", results,
            "--into", tmp_path / "site", "--tree", tmp_path / "tree",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert made.returncode == 0 and "WARNING" not in made.stderr, made.stderr
    pages = tmp_path / "site"
    assert "Run it yourself" in (pages / "index.html").read_text()
    for name in ("02_estimate_mi", "03_measure_distances", "04_draw_figures"):
        assert "_images/" in (pages / "notebooks" / f"{name}.html").read_text()
    assert (pages / "notebooks" / "14_train_for_many_rounds.html").is_file()
    reference = (pages / "api" / "mi.html").read_text()
    assert "fedmi.mi.ksg" in reference and "Kraskov" in reference


@pytest.mark.slow
def test_the_figures_of_the_others_are_there(all_run):
    drawn = {path.name for path in (all_run[0] / "results" / "tiny" / "figures").iterdir()}
    for name in (
        "choices-all", "estimators-laws", "aggregation-ways", "aggregation-ways-landscape",
        "rounds-later", "proposition-good", "compression-good", "scale-up-larger",
        "training-many",
    ):  # fmt: skip
        assert {f"{name}.png", f"{name}.svg"} <= drawn


@pytest.mark.slow
def test_the_choices_find_the_known_rise(all_run):
    folder = all_run[0] / "results" / "tiny" / "choices" / "all"
    found = results.read_csv(folder / "outcomes.csv")
    rises = found.loc[found.claim == "rises"].set_index("point")
    for name, rate in (("default", 0.25), ("rate-half", 0.125)):
        task = tiny.make(learning_rate=rate, examples=20)
        truth = tiny.mi_bits(task, 5) - tiny.mi_bits(task, 1)
        assert abs(rises.effect[name] - truth) < 3 * rises.error[name]
        assert rises.outcome[name] == "holds"
    assert rises.control.to_dict() == {
        "default": False, "rate-half": False, "coupling-unshared": True,
    }  # fmt: skip
    text = (all_run[0] / "results" / "tiny" / "figures" / "choices-all.md").read_text()
    assert "\n2 ways to make the study of `tiny`" in text
    assert "| MI rises (Gaussian formula) | 0.1 bits | +" in text


@pytest.mark.slow
def test_estimators_are_held_against_the_truth(all_run):
    table = pd.read_csv(all_run[0] / "results" / "tiny" / "estimators" / "laws" / "readings.csv")
    assert len(table) == 2 * 2 * 4 * 2
    normal = table[table.family.isin(["few directions", "all directions"]) & (table.n == 400)]
    error = (normal.net_bits - normal.true_bits).abs().groupby(normal.estimator).max()
    assert error["gaussian"] < 0.3
    assert error["ksg"] > 0.5  # neighbours miss dependence as strong as this in one direction


@pytest.mark.slow
def test_averaging_gains_what_it_must(all_run):
    """Of F the mean saves half of what the clients are apart from it, on a quadratic."""
    table = pd.read_csv(all_run[0] / "results" / "tiny" / "aggregation" / "ways" / "methods.csv")
    weights = tiny.task.learning_rate * (1 - tiny.task.learning_rate) ** np.arange(4)
    own = tiny.NOISE**2 / tiny.task.batch_size * np.sum(weights**2)  # variance of a client's
    row = table[(table.iteration == 4) & (table.method == "each client alone")].iloc[0]
    assert row.seeds == row.fitting_seeds == 256
    expected = tiny.SIZE * own / 3
    assert abs(row.objective_less_mean - expected) < 4 * row.objective_less_mean_se
    text = (all_run[0] / "results" / "tiny" / "figures" / "aggregation-ways.md").read_text()
    assert "| `shared-source` | 4 | +" in text


@pytest.mark.slow
def test_later_rounds_share_their_download(all_run):
    table = pd.read_csv(all_run[0] / "results" / "tiny" / "rounds" / "later" / "rounds.csv")
    at = table.set_index(["round", "what", "iteration"])
    truth = tiny.mi_bits(tiny.task, 4)
    for what in ("parameters", "updates"):
        first = at.loc[1, what, 4]
        assert abs(first.net_bits - truth) < 4 * first.net_se
    assert at.net_bits[2, "parameters", 1] > at.net_bits[2, "updates", 1] + 10


@pytest.mark.slow
def test_no_aggregator_beats_the_mean_of_parabolas_that_are_alike(all_run):
    folder = all_run[0] / "results" / "tiny"
    choice = pd.read_csv(folder / "training" / "many" / "choice.csv").set_index("setting")
    assert set(choice.index) == {"first", "skewed"}
    table = pd.read_csv(folder / "training" / "many" / "training.csv")
    last = table[(table["round"] == 2) & (table.setting == "first")].set_index("way")
    # Whoever stays at the origin has E|x|^2 / 2 to the end; the mean comes nearer.
    stayed = (1 + tiny.NOISE**2) * tiny.SIZE / 2
    name = "tests.study.test_training:stay"
    assert abs(last.value[name] - stayed) < 4 * last.value_se[name]
    assert last.gain[name] < -4 * last.gain_se[name]
    assert abs(choice.gain["first"]) < 0.02 * choice.rise["first"] + 3 * choice.gain_se["first"]
    text = (folder / "figures" / "training-many.md").read_text()
    assert "Nothing gains enough to matter" in text and "| first | 1 |" in text


@pytest.mark.slow
def test_more_clients_gain_more(all_run):
    drawn = all_run[0] / "results" / "tiny" / "figures"
    measured = all_run[0] / "results" / "tiny" / "scale_up" / "larger"
    table = pd.read_csv(measured / "averaging.csv").set_index(["case", "averaged"])
    weights = 0.25 * 0.75 ** np.arange(4)
    own = tiny.SIZE * tiny.NOISE**2 / tiny.task.batch_size * np.sum(weights**2)
    for case, averaged in (("tiny-2", 2), ("tiny-10", 2), ("tiny-10", 10)):
        row = table.loc[case, averaged]
        gain = (1 - 1 / averaged) * own / 2
        assert abs(row.objective_less_alone + gain) < 4 * row.objective_less_alone_se
    readings = pd.read_csv(measured / "mi.csv").set_index(["kind", "estimator"])
    for row in readings.loc["random", "gaussian"].itertuples():
        assert abs(row.net_bits - tiny.mi_bits(tiny.task, 4) / 2) < 4 * row.net_se
    text = (drawn / "scale-up-larger.md").read_text()
    assert "where a quadratic F would make it 56 %" in text


@pytest.mark.slow
def test_an_additive_model_is_not_rejected(all_run):
    drawn = all_run[0] / "results" / "tiny" / "figures"
    tested = all_run[0] / "results" / "tiny" / "good" / "proposition"
    tests = pd.read_csv(tested / "tests.csv")
    assert set(tests.iteration) == {1, 2, 4}
    assert (tests.p_holm > 0.05).all()
    assert "The additive model is not rejected" in (drawn / "proposition-good.md").read_text()
    # The shared variance is that of the source, 12 times (1 - 0.75^k)^2.
    parts = pd.read_csv(tested / "decomposition.csv")
    expected = tiny.SIZE * (1 - 0.75**parts.iteration) ** 2
    assert ((parts.shared - expected).abs() < 4 * parts.shared_se).all()


@pytest.mark.slow
def test_what_side_information_saves_is_the_mutual_information(all_run):
    table = pd.read_csv(
        all_run[0] / "results" / "tiny" / "good" / "compression" / "compression.csv"
    )
    row = table[(table.iteration == 4) & (table.channel == "noise")].iloc[-1]
    truth = tiny.mi_bits(tiny.task, 4) / tiny.SIZE  # bits a parameter
    assert abs(row.mi_one - truth) < 0.15 * truth
    assert 0 < row.saved_one < row.saved_others < 1


@pytest.fixture(scope="module")
def coupled(tmp_path_factory):
    """A folder with the tables of all couplings, and their comparison.

    They are made here: 18 runs of the notebooks before it would take long for no more.

    Only two couplings are sampled, one without and one with dependence, and stand for the others.
    """
    project = tmp_path_factory.mktemp("coupled")
    (project / "params" / "tiny").mkdir(parents=True)
    (project / "params" / "tiny" / "good.yaml").write_text(yaml.safe_dump(PARAMS))
    folder = project / "results" / "tiny"
    sampled = {}
    for coupling in ("null", "shared-source"):
        place = folder / trends.study_of("good", coupling)
        samples = fedmi.finite(
            fedmi.sample(
                tiny.task, seeds=600, coupling=coupling, checkpoints=[1, 2, 4], tile=64,
                store=place / "samples.zarr",
            )
        )  # fmt: skip
        results.write_manifest(place, samples, excluded=0, stability=tiny.STABILITY, made=tiny.MADE)
        rows = [
            row
            for i in (1, 4)
            for row in tables.mi_rows(samples, i, estimator="gaussian", permutations=20)
        ]
        apart = [row for i in (1, 4) for row in tables.distance_rows(samples, i)]
        sampled[coupling] = tables.with_family_p(rows), apart
    for coupling in COUPLINGS:
        stands_for = "shared-source" if coupling.startswith("shared") else "null"
        place = folder / trends.study_of("good", coupling)
        if coupling not in sampled:
            place.mkdir()
            beside = folder / trends.study_of("good", stands_for) / results.MANIFEST
            shutil.copyfile(beside, place / results.MANIFEST)
        for name, columns, rows in zip(
            ("mi", "distances"),
            (tables.MI_COLUMNS, tables.DISTANCE_COLUMNS),
            sampled[stands_for],
            strict=True,
        ):
            named = [row | dict(coupling=coupling) for row in rows]
            results.write(named, place / f"{name}.csv", columns)
    engine.run("09_compare_couplings", project, "good")
    return project


@pytest.fixture(scope="module")
def read(coupled):
    """The same folder with the tables of all readings, and their comparison.

    All readings have the tables of one task, but what grows in one of them grows much.
    """
    run = coupled / "results" / "tiny"
    for study, stands_for in zip(readings.studies("good"), 5 * ["good", "good-null"], strict=True):
        place = run / study
        if study != stands_for:
            shutil.copytree(run / stands_for, place, ignore=shutil.ignore_patterns("samples.zarr"))
        kind = study.removeprefix("good-").removesuffix("-null")
        growth = 1e5 if kind == "chaotic" else 0.3
        samples = store.open_existing(run / stands_for / "samples.zarr").dataset(600)
        held_out = replay.held_out_metrics(tiny.task, samples, seeds=200)
        rows = tables.learning_rows(samples, "distance", held_out)
        results.write(rows, place / "learning.csv", tables.LEARNING_COLUMNS)
        told = tiny.STABILITY.assign(growth_median=growth)
        results.write(pd.concat([told.assign(iteration=1), told]), place / "stability.csv")
        mi = results.read_csv(place / "mi.csv")
        both = pd.concat([mi, mi.assign(estimator="ksg", k=3)])
        results.write(both, place / "mi.csv", tables.MI_COLUMNS)
        manifest = results.read_json(place / results.MANIFEST, dict)
        manifest["stability"]["chaotic"] = growth > 10
        results.write_json(place / results.MANIFEST, manifest)
    engine.run("10_compare_readings", coupled, "good")
    return run


@pytest.mark.slow
def test_readings_are_compared(read):
    table = results.read_csv(read / "good" / "readings" / "readings.csv")
    assert list(table.reading.unique()) == list(READINGS)
    at = table.set_index(["reading", "quantity", "iteration"])
    for reading in READINGS:
        for quantity in ("gaussian", "ksg"):
            for iteration in (1, 4):
                row = at.loc[reading, quantity, iteration]
                truth = tiny.mi_bits(tiny.task, iteration)
                assert abs(row.value - truth) < 5 * row.se
                nothing = at.loc[reading, f"null {quantity}", iteration]
                assert abs(nothing.value) < 5 * nothing.se
        # The loss on fresh data is half of twelve squares: noise, and what is not learned yet.
        fresh = at.loc[reading, "fresh", 0]
        assert abs(fresh.value - tiny.SIZE * (1 + tiny.NOISE**2) / 2) < 5 * fresh.se
    growth = table.loc[table.quantity == "growth"].groupby("reading").value.max()
    assert growth["chaotic"] == 1e5 and growth["vector"] == 0.3
    assert table.loc[table.chaotic, "reading"].unique().tolist() == ["chaotic"]
    text = (read / "figures" / "readings-good.md").read_text()
    assert "| `chaotic` (chaotic training) |" in text
    assert (
        "Of the 4 others the Gaussian reading rises in `vector`, `frames`, `lstm`, `sequence`"
        in text
    )
    (entry,) = publish.read(read / "good" / "readings" / publish.ENTERED)
    assert set(entry.samples) == set(readings.studies("good"))


def test_couplings_are_compared(coupled):
    folder = coupled / "results" / "tiny"
    table = results.read_csv(folder / "good" / "couplings" / "couplings.csv")
    found = trends.trends(table).set_index("coupling")
    assert list(found.index) == list(COUPLINGS)
    truth = tiny.mi_bits(tiny.task, 4) - tiny.mi_bits(tiny.task, 1)
    for name in ("shared-source", "shared-source-order"):
        assert found.above_zero[name] == found.rises[name] == "holds"
        assert abs(found.rise_bits[name] - truth) < 3 * found.rise_se[name]
    for name in ("null", "independent"):
        assert abs(found.rise_bits[name]) < 3 * found.rise_se[name]
    text = (folder / "figures" / "couplings-good.md").read_text()
    assert text.count("| `") == 6
    # A tiny task's examples are alike: the order that they are seen in cannot matter.
    assert "growing overlap of the data seen explains nothing here" in text


def test_the_run_says_which_step_of_which_study_runs(run):
    said = run[1].stderr
    steps = re.findall(r"^\[(\d)/4\] (\w+: .*) \.\.\. \(log (.*)\)$", said, re.MULTILINE)
    assert [number for number, _, _ in steps] == list("123")
    assert {(step, log) for _, step, log in steps} == {
        (f"{study}: {step}", f"results/tiny/{study}/{log}.log")
        for study, step, log in (
            ("good", "01 sample", "01_sample"),
            (
                "good",
                "02 estimate mi, 03 measure distances, 04 draw figures",
                "04_draw_figures",
            ),
            ("bad", "01 sample", "01_sample"),
        )
    }
    ended = re.findall(r"^\[\d/4\] (\w+: .*): (\w+) in (?:\d+ min )?\d+ s, (\d) left$", said, re.M)
    assert sorted(left for _, _, left in ended) == list("123")
    assert {step for step, how, _ in ended if how == "FAILED"} == {"bad: 01 sample"}
    assert re.search(r"^2 of 4 steps done in (\d+ min )?\d+ s\n", said, re.MULTILINE)
    assert "FAILED: bad: 01 sample (see results/tiny/bad/01_sample.ipynb, results/" in said
    assert "Not run, as they need what failed: 1" in said
    assert "jobid" not in said and "rule " not in said


def test_a_failed_notebook_says_where_its_copy_is_and_spares_the_others(run):
    folder, done = run
    assert done.returncode == 1
    copy = "results/tiny/bad/01_sample.ipynb"
    assert f"The notebook failed. Its executed copy, with the error in it: {copy}" in done.stderr
    (error,) = outputs(nbformat.read(folder / copy, as_version=4), "error")
    assert error.ename == "StoreError"
    assert f"{error.ename}: {error.evalue}" in done.stderr  # the end of its log
    assert error.traceback == [f"{error.ename}: {error.evalue}"]


def outputs(notebook, kind):
    """All outputs of one kind in an executed notebook."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [each for cell in cells for each in cell.outputs if each.output_type == kind]


def drawn_by(name):
    """How many figures a notebook makes: a call in its source each, and none in a loop."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    trees = [ast.parse(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    assert not [
        node
        for loop in nodes
        if isinstance(loop, ast.For | ast.comprehension)
        for node in ast.walk(loop)
        if is_figure(node)
    ]
    return sum(map(is_figure, nodes))


def is_figure(node):
    """Whether a piece of a notebook's source calls one of the functions that make a figure."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "figures"
        and inspect.signature(getattr(figures, node.func.attr)).return_annotation is Figure
    )


def assert_it_reads_as_a_document(name, executed):
    """Every figure is seen, none after the table that it shows; the last word is what was found."""
    shown = [
        each.data
        for cell in executed.cells
        if cell.cell_type == "code"
        for each in cell.outputs
        if each.output_type in ("display_data", "execute_result")
    ]
    pictures = [i for i, data in enumerate(shown) if "image/png" in data]
    tables = [i for i, data in enumerate(shown) if "|---|" in data.get("text/markdown", "")]
    assert len(pictures) == drawn_by(name)
    assert not pictures or all(i > pictures[0] for i in tables)
    said = shown[-1]["text/markdown"]
    assert said.startswith("**What was found.** ")
    assert re.search(r"\d", said)
    assert "nan" not in said


@pytest.mark.parametrize(
    "name", ["01_sample", "02_estimate_mi", "03_measure_distances", "04_draw_figures"]
)
def test_the_executed_copies_read_as_documents(run, name):
    copy = run[0] / "results" / "tiny" / "good" / f"{name}.ipynb"
    assert_it_reads_as_a_document(name, nbformat.read(copy, as_version=4))
    assert drawn_by(name) == {
        "02_estimate_mi": 2,
        "03_measure_distances": 1,
        "04_draw_figures": 3,
    }.get(name, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "study"),
    [
        ("05_calibrate_estimators", "estimators/laws"),
        ("06_compare_aggregators", "aggregation/ways"),
        ("07_test_proposition", "good"),
        ("08_scale_up", "scale_up/larger"),
        ("11_compare_choices", "choices/all"),
        ("12_compress_uploads", "good"),
        ("13_follow_rounds", "rounds/later"),
        ("14_train_for_many_rounds", "training/many"),
    ],
)
def test_other_notebooks_read_as_documents_when_a_kernel_runs_them(
    all_run, name, study, monkeypatch
):
    """On what the fixture has left, most of which is not computed again."""
    monkeypatch.delenv("MPLBACKEND")
    assert_it_reads_as_a_document(name, engine.run(name, all_run[0], study, engine=None))
    assert drawn_by(name) == {"06_compare_aggregators": 2}.get(name, 1)


@pytest.mark.slow
def test_the_comparison_of_couplings_reads_as_a_document_when_a_kernel_runs_it(
    coupled, monkeypatch
):
    monkeypatch.delenv("MPLBACKEND")
    name = "09_compare_couplings"
    assert drawn_by(name) == 1
    assert_it_reads_as_a_document(name, engine.run(name, coupled, "good", engine=None))


def test_a_kernel_refuses_a_misspelt_parameter_in_one_line(tmp_path):
    with pytest.raises(
        papermill.PapermillExecutionError, match="no such parameter; did you mean study"
    ):
        engine.run("03_measure_distances", tmp_path, "good", engine=None, stdy="mine.yaml")
    copy = nbformat.read(tmp_path / "03_measure_distances.ipynb", as_version=4)
    (error,) = [each for each in outputs(copy, "error") if each.traceback]
    (line,) = error.traceback
    assert line.startswith("ParamsError: stdy: no such parameter; did you mean study?")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_refuses_parameters_that_it_does_not_know(path, tmp_path):
    with pytest.raises(params.ParamsError, match="stdy: no such parameter; did you mean study"):
        engine.run(path.stem, tmp_path, "good", stdy="mine.yaml")


def studies(folder, **entries):
    """Lays a folder out as the project, with these params files of the scale `tiny`."""
    (folder / "notebooks").symlink_to(ROOT / "notebooks")
    for name, of in entries.items():
        path = folder / "params" / "tiny" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(of if isinstance(of, str) else yaml.safe_dump(of))


def test_nothing_runs_before_every_params_file_is_sound(tmp_path):
    bad = {
        "bad": PARAMS | dict(options=dict(learning_rate="1e-3")),
        "worse": "[",
        "choices/all": "",
    }
    studies(tmp_path, good=PARAMS, **bad)
    (tmp_path / "params" / "tiny" / "._good.yaml").write_bytes(b"\xff")
    (tmp_path / "params" / "tiny" / "mine.yml").write_text("")
    done = snakemake(tmp_path, "study")
    assert done.returncode == 1
    for name in bad:
        assert f"params/tiny/{name}.yaml: " in done.stderr
    assert "learning_rate: '1e-3' is not a finite number" in done.stderr
    assert "YAML takes 1e-3 for text" in done.stderr
    assert "Traceback" not in done.stderr and ", line 1, in" not in done.stderr
    assert "._good" not in done.stderr
    assert "params/tiny/mine.yml is not read, as params files end in .yaml" in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_the_sound_ones_run_if_asked_and_the_others_are_told(tmp_path):
    studies(tmp_path, bad="[", good=PARAMS)
    keep = ("--config", "scale=tiny", "keep=true")
    planned = snakemake(tmp_path, "study", "--dry-run", *keep)
    assert planned.returncode == 0
    assert "04 draw figures" in planned.stderr and "bad: " not in planned.stderr
    (tmp_path / "params" / "tiny" / "good.yaml").unlink()
    done = snakemake(tmp_path, "study", *keep)
    assert done.returncode == 1
    assert "FAILED: params files that cannot be used are left out" in done.stderr
    assert "params/tiny/bad.yaml: not a YAML file" in done.stderr


@pytest.mark.slow
def test_any_name_and_place_reaches_the_shell_whole(tmp_path):
    folder = tmp_path / "a b" / "é'x$"
    folder.mkdir(parents=True)
    names = ["my study", "o'neil", '$(id) & ; # % "*?', "-r", "{a}"]
    studies(folder, **dict.fromkeys(names[:-1], PARAMS | dict(blocks=2)))
    studies_of_kinds = {
        "choices": CHOICES, "estimators": BENCH, "aggregation": AGGREGATION, "rounds": ROUNDS,
        "scale_up": SCALE_UP, "training": TRAINING,
    }  # fmt: skip
    for kind, entries in studies_of_kinds.items():
        path = folder / "params" / "tiny" / kind / "o'neil.yaml"
        path.parent.mkdir()
        path.write_text(yaml.safe_dump(entries))
    done = snakemake(
        folder, "study", "proposition", "compression", *studies_of_kinds, "--dry-run", "-p",
        "--nocolor",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    commands = re.findall(r"^Shell command: (env .*|python .*)$", done.stdout, re.MULTILINE)
    assert len(commands) == len(names[:-1]) * (1 + 2 + 3 + 2 + 2) + 6 + 2 + 3
    read = set()
    for command in commands:
        words = shlex.split(command)
        read |= {word for word in words if word.startswith("$PWD/params/")}
        assert words.count("$PWD/results") == 1
        assert words[-3:] == [">", words[-2], "2>&1"] and words[-2].endswith(".log")
    assert read == {f"$PWD/params/tiny/{name}.yaml" for name in names[:-1]} | {
        f"$PWD/params/tiny/{kind}/o'neil.yaml" for kind in studies_of_kinds
    }


@pytest.mark.slow
def test_a_study_of_every_coupling_is_left_to_their_comparison(tmp_path):
    def planned(*targets):
        done = snakemake(tmp_path, "--dry-run", *targets)
        assert done.returncode == 0, done.stderr
        counts = re.findall(r"^(\w+)\s+(\d+)$", done.stdout + done.stderr, re.MULTILINE)
        return {name: int(count) for name, count in counts}

    names = [trends.study_of("good", coupling) for coupling in COUPLINGS.keys() - {"null"}]
    studies(tmp_path, **dict.fromkeys(names, PARAMS))
    assert planned("study")["sample"] == 5  # no null: nothing to compare with
    for name in ("good-null", "mine-shared-init"):
        (tmp_path / "params" / "tiny" / f"{name}.yaml").write_text(yaml.safe_dump(PARAMS))
    assert planned("study")["sample"] == 3
    jobs = planned("couplings")
    assert (jobs["sample"], jobs["estimate_and_draw"], jobs["follow_up"]) == (6, 6, 1)


def test_what_is_done_is_not_done_again(run):
    planned = snakemake(run[0], "--dry-run", "results/tiny/good/figures.json")
    assert "Nothing to be done" in planned.stdout + planned.stderr


@pytest.mark.slow
def test_a_new_time_stamp_alone_makes_nothing_anew(all_run):
    point = all_run[0] / "results" / "tiny" / "choices" / "all" / "points" / "default.json"
    kept = point.read_text()
    marked = kept.replace('"task": "tiny"', '"task": "as it was"')
    assert marked != kept
    point.write_text(marked)
    (all_run[0] / "params" / "tiny" / "choices" / "all.yaml").touch()
    done = snakemake(all_run[0], str(point.relative_to(all_run[0])))
    assert done.returncode == 0, done.stderr
    assert point.read_text() == marked
    point.write_text(kept)


@pytest.mark.parametrize(
    "name",
    [
        "02_estimate_mi", "03_measure_distances", "04_draw_figures", "09_compare_couplings",
        "07_test_proposition", "12_compress_uploads",
    ],
)  # fmt: skip
def test_without_what_comes_before_a_notebook_says_which_command_makes_it(name, tmp_path, capsys):
    """The cells are run here, without a kernel, as nothing but the error matters."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    names = {}
    with pytest.raises(FileNotFoundError, match="make [a-z]+ SCALE=quick") as caught:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                exec(cell.source, names)
            if "parameters" in cell.metadata.get("tags", []):
                names["results_folder"] = str(tmp_path)
    assert capsys.readouterr().out == ""
    (line,) = caught.value._render_traceback_()  # what JupyterLab shows of it
    assert "\n" not in line and "make " in line
