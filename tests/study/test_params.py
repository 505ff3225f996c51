from pathlib import Path

import pytest
import yaml

from fedmi import tasks
from fedmi.scopes import COUPLINGS
from fedmi.study import params, readings
from fedmi.study.trends import study_of
from fedmi.tasks.signal import DEFAULT_READING, READINGS

ROOT = Path(__file__).parents[2]
GOOD = dict(task="tests.tiny:make", seeds=100, checkpoints=[1, 2, 4])


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "quick" / "study.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text if isinstance(text, str) else yaml.safe_dump(text))
        return path

    return write


def test_a_good_file_is_read(write):
    study = params.load(write(GOOD | dict(options=dict(learning_rate=0.5))))
    assert study.clients == 3
    assert study.coupling == "shared-source"
    assert study.make_task().learning_rate == 0.5


@pytest.mark.parametrize(
    "path",
    sorted(ROOT.glob("params/*/*.yaml")),
    ids=lambda p: f"{p.parent.name}-{p.stem}",
)
def test_the_projects_own_studies_are_good(path):
    study = params.load(path)
    task, *rest = path.stem.split("-")
    assert study.task == task
    reading = rest.pop(0) if rest and rest[0] in READINGS else DEFAULT_READING
    coupling = "-".join(rest)
    if task == "signal":
        assert study.options["reading"] == reading
        assert "learning_rate" not in study.options  # which is the reading's
    skewed = coupling == "skewed"
    assert study.coupling == ("shared-source" if skewed else coupling or "shared-source")
    assert ("skew" in study.make_task().streams) == skewed
    assert study.clients == 3
    paper = {"signal": 22_000, "digits": 26_400}[study.task]
    paper = 4_000 if reading == "lstm" else paper  # which trains slowly
    assert study.seeds == paper if path.parent.name == "paper" else study.seeds >= 1000
    assert study.make_task().parameter_count == {"signal": 394, "digits": 850}[study.task]


def test_every_coupling_is_studied_at_each_scale():
    for scale in ("quick", "paper"):
        names = {path.stem for path in (ROOT / "params" / scale).glob("*.yaml")}
        studied = {study_of(task, c) for task in ("signal", "digits") for c in COUPLINGS}
        readings_studied = set(readings.studies("signal"))
        assert names == studied | readings_studied | {"signal-skewed", "digits-skewed"}
        assert len(readings_studied) == 2 * len(READINGS)


@pytest.mark.parametrize("task", ["signal", "digits"])
def test_the_projects_own_comparisons_of_aggregators_and_rounds_are_good(task):
    for scale in ("quick", "paper"):
        plan = params.load(f"params/{scale}/aggregation/{task}.yaml", params.Aggregation)
        skewed = params.load(f"params/{scale}/{task}-skewed.yaml")
        assert plan.study("skewed").options == skewed.options
        assert {"shared-source", "skewed"} <= set(plan.settings)
        rounds = params.load(f"params/{scale}/rounds/{task}.yaml", params.Rounds)
        study = params.load(f"params/{scale}/{task}.yaml")
        assert rounds.options == plan.options == study.options
        if scale == "paper":
            assert set(plan.settings) == {"null", "shared-source", "independent", "skewed"}
            assert plan.judged_seeds >= 10_000 and plan.oracle_seeds >= 1000
            assert rounds.rounds == [1, 2, 5, 10]
            assert len(rounds.studies()) == 4 * len(rounds.couplings)
            assert rounds.studies()["shared-source-5"].rounds == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(rounds=[1, 1]), "rounds: each may be named once"),
        (dict(rounds=[0]), "rounds.0: Input should be greater than 0"),
        (dict(aggregator="best"), "aggregator: unknown name 'best'"),
        (dict(checkpoints=[4]), "checkpoints: .* at least 2 items"),
        (dict(seeds=25), "seeds: 25 cannot carry the covariance"),
    ],
)
def test_bad_rounds_are_refused(tmp_path, changes, message):
    good = dict(
        task="tests.tiny:make", couplings=["null"], rounds=[1, 2], seeds=100, checkpoints=[1, 4]
    )
    path = tmp_path / "rounds.yaml"
    path.write_text(yaml.safe_dump(good))
    plan = params.load(path, params.Rounds)
    assert list(plan.studies()) == ["null-1", "null-2"]
    more = plan.model_copy(update=dict(rounds=[1, 2, 5]))
    longer = plan.model_copy(update=dict(seeds=200))
    assert plan.fingerprint() == more.fingerprint() != longer.fingerprint()
    path.write_text(yaml.safe_dump(good | changes))
    with pytest.raises(params.ParamsError, match=message):
        params.load(path, params.Rounds)


def test_aggregators_are_not_fitted_to_networks_that_are_too_large(tmp_path):
    plan = yaml.safe_load((ROOT / "params/quick/aggregation/digits.yaml").read_text())
    path = tmp_path / "lenet.yaml"
    path.write_text(yaml.safe_dump(plan | dict(task="lenet")))
    with pytest.raises(params.ParamsError, match="task: 'lenet' has 61706 parameters.*most 4096"):
        params.load(path, params.Aggregation)


@pytest.mark.parametrize(("task", "size"), [("signal", 394), ("digits", 850)])
def test_the_projects_own_tests_of_estimators_are_good(task, size):
    for scale in ("quick", "paper"):
        bench = params.load(f"params/{scale}/estimators/{task}.yaml", params.Bench)
        assert bench.dimension == size
        work = bench.work()
        read = {(item["n"], item["estimator"]) for item in work}
        assert {(bench.seeds, name) for name in ("gaussian", "gaussian_copula", "ksg")} <= read
        if scale == "paper":
            study = params.load(f"params/paper/{task}.yaml")
            assert bench.seeds == study.seeds == max(bench.sizes)
            assert min(bench.sizes) == 1000 and (5000, "neural") in read
        unique = {str(item) for item in work}
        assert len(unique) == len(work)


def test_truths_without_zero_are_refused(tmp_path):
    path = tmp_path / "bench.yaml"
    good = dict(dimension=3, seeds=100, truths=[0.0, 1.0], sizes=[100], sizes_truth=1.0)
    path.write_text(yaml.safe_dump(good))
    more = good | dict(draws=2)
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(more))
    prints = [params.load(p, params.Bench).fingerprint() for p in (path, path, other)]
    assert prints[0] == prints[1] != prints[2]
    path.write_text(yaml.safe_dump(good | dict(sizes=[200])))
    with pytest.raises(params.ParamsError, match="sizes: 200 is above the 100 seeds"):
        params.load(path, params.Bench)
    path.write_text(yaml.safe_dump(good | dict(truths=[1.0, 2.0])))
    with pytest.raises(params.ParamsError, match="truths: .* must hold 0"):
        params.load(path, params.Bench)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (GOOD | dict(sedes=5), "sedes: no such key; did you mean seeds"),
        (GOOD | dict(seeds=0), "seeds: Input should be greater than 0, not 0"),
        (GOOD | dict(seeds="many"), "seeds: Input should be a valid integer"),
        (GOOD | dict(seeds=100.5), "seeds: Input should be a valid integer"),
        (GOOD | dict(seeds=True), "seeds: Input should be a valid integer"),
        (GOOD | dict(clients=1), "clients: Input should be greater than or equal to 2"),
        (GOOD | dict(clients=-3), "clients: Input should be greater than or equal to 2"),
        (
            GOOD | dict(checkpoints=[1, 5]),
            "checkpoints: 5 is not an iteration of the epoch",
        ),
        (GOOD | dict(checkpoints=[0, 4]), "checkpoints.0: Input should be greater than 0"),
        (GOOD | dict(checkpoints=[4, 2]), "checkpoints: must be ascending"),
        (GOOD | dict(checkpoints=[]), "checkpoints: List should have at least 1 item"),
        (GOOD | dict(coupling="nil"), "coupling: unknown name 'nil'; known couplings: null, indep"),
        (GOOD | dict(coupling=dict(init="fixed")), "coupling: no scope for the stream 'source'"),
        (GOOD | dict(task="sgnal"), "task: unknown name 'sgnal'; known tasks: signal, digits"),
        (GOOD | dict(task="tests.nowhere:task"), "module 'tests.nowhere' cannot be imported"),
        (GOOD | dict(task="tests.tiny:nothing"), "'tests.tiny' has no 'nothing'"),
        (GOOD | dict(task="tests.tiny:SIZE"), "is a int, neither a fedmi.Task nor a function"),
        (GOOD | dict(task="tests.tiny:task", options=dict(a=1)), "takes no options"),
        (
            GOOD | dict(options=dict(learning_rat=0.5)),
            "options.learning_rat: no such key; did you mean learning_rate. Known keys: learning_r",
        ),
        (
            GOOD | dict(estimators=["gausian"]),
            "estimators.0: Input should be 'gaussian', 'gaussian_copula' or",
        ),
        (GOOD | dict(estimators=["ksg", "ksg"]), "estimators: each may be named once"),
        (GOOD | dict(neighbours=[3, 3]), "neighbours: .* several different"),
        (GOOD | dict(neighbours=[]), "neighbours: .* several different"),
        (GOOD | dict(neighbours=0), "neighbours.*greater than 0"),
        (GOOD | dict(task=".tiny:task"), "module '.tiny' cannot be imported"),
        (GOOD | dict(calibration_draws=1), "calibration_draws: 1 leaves no spread"),
        (
            GOOD | dict(calibration_draws=2, estimators=["ksg"], seeds=25, permutations=20),
            "seeds: 25 cannot .* at least 26, or 0 `calibration_draws`",
        ),
        (GOOD | dict(ties="drop"), "ties: Input should be 'refuse' or 'average'"),
        (GOOD | dict(permutations=5), "permutations: Input should be greater than or equal to 20"),
        (
            GOOD | dict(seeds=25, permutations=20),
            "seeds: 25 cannot carry .* 12 parameters; give at least 26",
        ),
        (
            GOOD | dict(seeds=30, estimators=["ksg"], neighbours=29),
            "neighbours: 29 must be below the number of seeds less one, 29",
        ),
        (GOOD | dict(permutations=100), "permutations: 100 re-pairings need more seeds"),
        (GOOD | dict(root_seed=2**32), "root_seed: Input should be less than 4294967296"),
        (
            GOOD
            | dict(
                coupling=dict(init="fixed", source="client", variation="client", order="client")
            ),
            "coupling: no stream differs between seeds",
        ),
        ("task: signal\nseeds: 1000\nseeds: 2000\n", "the key 'seeds' is given twice"),
        ({"task": "signal"}, "seeds: Field required"),
        (["task", "signal"], "must be a mapping"),
        ("task: [", "not a YAML file: line 1: expected the node content"),
        ("seeds: 2026-13-01", "not a YAML file: month must be in 1..12"),
        ("[" * 5000, "not a YAML file: maximum recursion depth"),
        ("", "must be a mapping"),
    ],
)
def test_a_bad_file_is_refused_with_file_key_and_remedy(write, entries, message):
    path = write(entries)
    with pytest.raises(params.ParamsError, match=message) as caught:
        params.load(path)
    assert str(path) in str(caught.value)


RAISING = """
import sys

class Stop(BaseException):
    pass

def stop():
    raise Stop("enough")

def leave():
    sys.exit("gone")

def divide():
    return 1 / 0

def refuse():
    raise ValueError("not like this")

def __getattr__(name):
    if name == "crash":
        raise RuntimeError("no such luck")
    raise AttributeError(name)
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stop", r"task: '\w+:stop' raises Stop: enough \(\w+.py, line 8\)"),
        ("leave", r"task: '\w+:leave' raises SystemExit: gone \(\w+.py, line 11\)"),
        ("divide", r"task: '\w+:divide' raises ZeroDivisionError: division by zero"),
        ("refuse", r"task: '\w+:refuse' raises ValueError: not like this"),
        ("crash", r"task: '\w+:crash' raises RuntimeError: no such luck"),
        ("nothing", r"task: the module '\w+' has no 'nothing'"),
    ],
)
def test_a_task_that_raises_anything_is_refused(write, tmp_path, monkeypatch, name, message):
    (tmp_path / "raising_when_called.py").write_text(RAISING)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(params.ParamsError, match=message):
        params.load(write(GOOD | dict(task=f"raising_when_called:{name}")))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def task(:", r"SyntaxError: .*line 1"),
        ("raise BaseException('odd')", "BaseException: odd"),
    ],
)
def test_a_module_that_raises_anything_is_refused(write, tmp_path, monkeypatch, source, message):
    (tmp_path / "raising_at_import.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    bad = write(GOOD | dict(task="raising_at_import:task"))
    with pytest.raises(params.ParamsError, match=f"cannot be imported .{message}"):
        params.load(bad)


def test_only_the_user_stops_the_checks(write, tmp_path, monkeypatch):
    (tmp_path / "interrupted.py").write_text("raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        params.load(write(GOOD | dict(task="interrupted:task")))


def test_the_projects_own_scales_are_without_fault():
    for scale in ("quick", "paper"):
        assert params.faults(ROOT / "params" / scale) == {}


def test_every_fault_of_a_scale_is_found(tmp_path, monkeypatch, capsys):
    (tmp_path / "printing.py").write_text("print('hello')\nfrom tests.tiny import make")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    scale = Path("params", "mine")
    good = yaml.safe_dump(GOOD | dict(task="printing:make"))
    left_by_editors = ["._good.yaml", ".#good.yaml", "good.yaml~", "#good.yaml#", "good.yml"]
    for name, text in {
        "good": good,
        "my study": good,
        "o'neil": good,
        "$-;&#%": good,
        "empty": "",
        "list": "- task",
        "choices": good,
        "a{b}": good,
        "a\\b": good,
        "a\nb": good,
        " a": good,
        "choices/choices": "task: signal",
        "rounds/keys": "clints: 3",
        "estimators/none": "",
        "aggregation/none": "",
        "scale_up/none": "",
    }.items():
        path = scale / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (scale / "bytes.yaml").write_bytes(b"task: \xff")
    (scale / "folder.yaml").mkdir()
    (scale / "link.yaml").symlink_to("nowhere")
    for name in (*left_by_editors, ".DS_Store"):
        (scale / name).write_bytes(b"\x00\xff")
    found = params.faults(scale)
    expected = {
        "empty": "must be a mapping",
        "list": "must be a mapping",
        "choices": "is the name of another folder of results; rename",
        "a{b}": "may hold no braces",
        "a\\b": "may hold no braces",
        "a\nb": "may hold no braces",
        " a": "no space at either end",
        "choices/choices": "factors: Field required",
        "rounds/keys": "clints: no such key; did you mean clients?",
        "estimators/none": "must be a mapping",
        "aggregation/none": "must be a mapping",
        "scale_up/none": "must be a mapping",
        "bytes": "save it as such",
        "folder": "is a folder",
        "link": "is a link to what is not there",
    }
    assert found.keys() == {f"params/mine/{name}.yaml" for name in expected}
    for name, words in expected.items():
        path = f"params/mine/{name}.yaml"
        assert found[path].startswith(path) and words in found[path]
    assert capsys.readouterr().out == ""


OWN_TASKS = """
import atexit, os, jax.numpy as jnp
from dataclasses import replace
from tests import tiny

class Mute(Exception):
    def __str__(self):
        raise RuntimeError

def interrupting():
    raise KeyboardInterrupt

def mute():
    raise Mute

def wandering():
    os.chdir("/")
    atexit.register(print, "bye")
    return tiny.task

def options():
    return replace(tiny.task, options=dict(a=float("nan")))

def metric():
    return replace(tiny.task, loss=lambda *a: (tiny.squared_distance(*a)[0], jnp.ones(3)))
"""


def test_no_task_hides_the_faults_of_others(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN_TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    scale = Path("params", "mine")
    scale.mkdir(parents=True)
    expected = {
        "interrupting": "raises KeyboardInterrupt",
        "mute": "raises Mute: (its message cannot be had)",
        "metric": "loss: its metric has the shape (3,)",
        "options": "Out of range float values are not JSON compliant",
        "z": "must be a mapping",
    }
    for name in (*expected, "wandering"):
        text = "" if name == "z" else yaml.safe_dump(GOOD | dict(task=f"own:{name}", options={}))
        (scale / f"{name}.yaml").write_text(text)
    found = params.faults(scale)
    assert found.keys() == {f"params/mine/{name}.yaml" for name in expected}
    for name, words in expected.items():
        assert words in found[f"params/mine/{name}.yaml"]
    assert Path.cwd() == tmp_path


def test_keys_may_be_merged_and_none_is_given_twice(write):
    text = SIGNAL.format("<<: {noise: 0.1}\n  noise: 0.2")
    assert params.load(write(text)).options == dict(noise=0.2)


CELLS = ["", "import json", 'params: str = "a.yaml"\nseeds: int = 5  # of them']


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "parms = 'b'",
            "parms: no such parameter; did you mean params. Known parameters: params, s",
        ),
        ("x = 3", "x: no such parameter. Known parameters: params, seeds"),
        ("params = 5", "params: 5 is not text"),
        ("params = None", "params: None is not text"),
        ("seeds = 2.5", "seeds: 2.5 is not a whole number"),
        ("seeds = True", "seeds: True is not a whole number"),
    ],
)
def test_a_notebook_refuses_parameters_it_does_not_know(given, message):
    names = {"In": [*CELLS, f"# Parameters\n{given}\n", "not Python !"]}
    for cell in names["In"][:-1]:
        exec(cell, names)
    with pytest.raises(params.ParamsError, match=message):
        params.check_given(names)


@pytest.mark.parametrize(
    "cell",
    [
        "# Parameters\nparams = 'b'\nseeds = 3\n",
        "rows = [1]\nk: int = 3",
        "counts: list[int] = []\ncounts[0:0]: list = [1]",
    ],
)
def test_a_notebook_takes_the_parameters_it_knows(cell):
    names = {"In": [*CELLS, cell]}
    for source in names["In"]:
        exec(source, names)
    params.check_given(names)


SIGNAL = "task: signal\nseeds: 1000\ncheckpoints: [20]\noptions:\n  {}\n"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("learning_rate: 1e-3", "options.learning_rate: .*YAML takes 1e-3 for text.*0.001"),
        ("batch_size: 1e1", "options.batch_size: .*YAML takes 1e1 for text: write 10, without"),
        ("learning_rate: -0.1", "options.learning_rate: Input should be greater than 0"),
        ("learning_rat: 0.1", "options.learning_rat: no such key; did you mean learning_rate"),
        ("batch_size: 7", "batch_size: 7 does not divide the 100 examples"),
        ("dropout: 1.0", "options.dropout: Input should be less than 1"),
        ("dropout: 0.001", "dropout: 0.001 is not a multiple of 1/256"),
        ("learning_rate: .inf", "options.learning_rate: Input should be a finite number"),
    ],
)
def test_a_tasks_own_options_are_checked_before_anything_runs(write, option, message):
    with pytest.raises(params.ParamsError, match=message):
        params.load(write(SIGNAL.format(option)))


def test_a_bare_null_is_the_coupling_of_that_name(write):
    text = "task: tests.tiny:task\nseeds: 100\ncheckpoints: [4]\ncoupling: null\n"
    assert params.load(write(text)).coupling == "null"


def test_too_few_seeds_are_enough_for_ksg_alone(write):
    assert params.load(write(GOOD | dict(seeds=25, estimators=["ksg"]))).seeds == 25


def test_a_missing_file_lists_those_there_are():
    with pytest.raises(params.ParamsError, match="no such params file; there are: .*signal.yaml"):
        params.load("params/quick/singal.yaml")


def test_relative_paths_are_the_projects_from_any_folder_below_it(tmp_path, monkeypatch):
    scale, notebooks = tmp_path / "params" / "mine", tmp_path / "notebooks"
    scale.mkdir(parents=True)
    notebooks.mkdir()
    (scale / "x.yaml").write_text(yaml.safe_dump(GOOD))
    for folder in (tmp_path, notebooks, scale):
        monkeypatch.chdir(folder)
        assert params.load("params/mine/x.yaml").seeds == 100
        assert params.results_of("params/mine/x.yaml") == tmp_path / "results" / "mine" / "x"
    with pytest.raises(params.ParamsError, match="no such params file; there are: params/mine/x"):
        params.load("params/mine/y.yaml")


def test_without_a_project_relative_paths_are_the_working_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x.yaml").write_text(yaml.safe_dump(GOOD))
    assert params.load("mine/x.yaml").seeds == 100
    assert params.results_of("mine/x.yaml") == tmp_path / "results" / "mine" / "x"
    with pytest.raises(params.ParamsError, match="no such params file; there are: none"):
        params.load("params/quick/signal.yaml")


def test_results_lie_as_their_params_files_do(tmp_path):
    chosen = params.results_of("params/paper/choices/digits.yaml", tmp_path)
    assert chosen == tmp_path / "paper" / "choices" / "digits"
    assert params.results_of(tmp_path / "mine" / "study.yaml", "/r") == Path("/r/mine/study")


def test_of_several_k_the_first_is_calibrated(write):
    several = params.load(write(GOOD | dict(neighbours=[4, 2], norm="chebyshev", ties="average")))
    assert several.options_of("ksg") == dict(k=[4, 2], metric="chebyshev")
    assert several.options_of("gaussian_copula") == dict(ties="average")
    options = dict(gaussian={}, ksg=dict(k=4, metric="chebyshev"))
    assert several.calibrated_options() == options


def test_get_takes_tasks_names_and_attributes():
    by_name = tasks.get("signal", learning_rate=0.5)
    assert by_name.learning_rate == 0.5
    assert tasks.get(by_name) is by_name
    assert tasks.get("tests.tiny:task").name == "tiny"
    assert tasks.get("tests.tiny:make", batch_size=8).steps == 2
