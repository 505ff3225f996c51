"""What is published can be made again, and a change of code or numbers is found, by its row."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import fedmi
from fedmi import mi
from fedmi.__main__ import main
from fedmi.sampling import chaos, provenance
from fedmi.study import params, publish, results, verify
from tests import tiny

pytestmark = pytest.mark.usefixtures("quickly_compiled")

ROOT = Path(__file__).parents[2]
PARAMS = dict(
    task="tests.tiny:make", coupling="shared-source", seeds=400, tile=256, checkpoints=[1, 4]
)


def sampled(run, folder, name, **other):
    """Leaves of a study what verifying it takes: its params file, store and manifest."""
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(PARAMS | other))
    plan = params.load(path)
    samples = fedmi.sample(**plan.sampling(), store=run / name / "samples.zarr")
    stability = chaos.table(chaos.perturbed(plan.design(), seeds=64))
    results.write_manifest(
        run / name,
        samples,
        excluded=0,
        stability=stability,
        made=tiny.MADE | dict(arithmetic=provenance.arithmetic()),
    )


ELSEWHERE = dict(
    OPENBLAS_CORETYPE="Haswell",
    OPENBLAS_NUM_THREADS="1",
    XLA_FLAGS="--xla_cpu_max_isa=AVX2",
)


class Published:
    def __init__(self, folder):
        self.target, self.params = folder / "figures", folder / "params" / "paper"
        self.run = folder / "results" / "paper"

    def verify(self, *only):
        return verify.verify(self.target, self.params, only, workers=1)


class Here:
    """A pool of no processes, where what a test changes is seen."""

    def __init__(self, *arguments, **options): ...
    def __enter__(self):
        return self

    def __exit__(self, *error): ...

    map = staticmethod(map)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    found = Published(tmp_path_factory.mktemp("made"))
    sampled(found.run, found.params, "one")
    sampled(found.run, found.params, "other", coupling="independent")
    results.write(pd.DataFrame(dict(a=[1.5, 2.5])), found.target / "figure.csv")
    entry = publish.Entry("distances", "figure", "", {}, {"": "figure.csv"}, [], {})
    results.write_json(found.target / publish.PUBLISHED, [asdict(entry)])
    assert "2 studies" in verify.publish(found.run, found.target, found.params)
    return found.target.parent


@pytest.fixture
def published(made, tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "ProcessPoolExecutor", Here)
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return Published(tmp_path)


def failing(table):
    return table.loc[table.verdict != "holds"]


def test_what_was_published_is_made_again(published):
    table = published.verify()
    assert (table.verdict == "holds").all()
    assert set(table.study) == {"one", "other"}
    one = table[table.study == "one"].set_index(["what", "of", "iteration"])
    assert one.loc[("samples", "to the last digit", 4), "verdict"] == "holds"
    asked = {"MI, gaussian", "MI, ksg", "distance, euclidean", "F", "learning"}
    assert asked <= set(table.what)
    truth = tiny.mi_bits(tiny.task, 4)
    assert abs(one.published["MI, gaussian", "0-1", 4] - truth) < 1.5
    assert {"mean", "coordinate median", "each client alone"} <= set(table.of[table.what == "F"])
    rank = results.read_csv(published.target / verify.READINGS)
    assert (rank.loc[rank.what == "MI, gaussian", "rank"] == 2 * tiny.SIZE).all()


def test_readings_are_held_to_a_small_part_of_what_they_are(published):
    rows = results.read_csv(published.target / verify.READINGS)
    rows = rows[~rows.what.isin(["learning"])]
    assert (rows.tolerance > 0).all()
    assert (rows.tolerance < 1e-3 * np.maximum(rows.value.abs(), 0.1)).all()


def test_another_learning_rate_is_found(published):
    path = published.params / "one.yaml"
    path.write_text(yaml.safe_dump(PARAMS | dict(options=dict(learning_rate=0.26))))
    table = published.verify("one")
    assert {"samples", "distance, euclidean", "MI, gaussian", "F"} <= set(failing(table).what)
    assert set(table.study) == {"one"}


def test_another_constant_of_an_estimator_is_found(published, monkeypatch):
    monkeypatch.setitem(verify.ESTIMATORS, "ksg", lambda x, y, k, **of: mi.ksg(x, y, k=k + 1, **of))
    table = published.verify("one")
    assert set(failing(table).what) == {"MI, ksg"}
    said = verify.worded(table)
    assert "Different:" in said and "MI, ksg" in said.split("Different:")[1]


def test_a_published_number_that_was_changed_is_found(published):
    path = published.target / verify.READINGS
    rows = results.read_csv(path)
    at = rows.index[(rows.study == "other") & (rows.what == "distance, manhattan")][0]
    rows.loc[at, "value"] *= 1.001
    results.write(rows.astype({"rank": "Int64"}), path)
    (row,) = failing(published.verify()).to_dict("records")
    assert (row["study"], row["what"]) == ("other", "distance, manhattan")


def test_a_published_table_that_was_changed_is_found(published):
    results.write(pd.DataFrame(dict(a=[1.5, 2.6])), published.target / "figure.csv")
    (row,) = failing(published.verify()).to_dict("records")
    assert (row["study"], row["what"]) == ("figure.csv", "the table")
    (published.target / "figure.csv").unlink()
    assert len(failing(published.verify())) == 1


def test_a_rank_that_differs_is_told(published):
    path = published.target / verify.READINGS
    rows = results.read_csv(path)
    results.write(rows.assign(**{"rank": (rows["rank"] - 1).astype("Int64")}), path)
    assert f"fails: rank {2 * tiny.SIZE} instead of {2 * tiny.SIZE - 1}" in set(
        failing(published.verify("one")).verdict
    )


def test_on_another_processor_nine_of_ten_seeds_are_as_near_as_chaos_allows(published, monkeypatch):
    monkeypatch.setattr(provenance, "arithmetic", lambda: "another")
    rows = published.verify()
    of_samples = rows[rows.what == "samples"]
    assert set(of_samples.of) == {"nine of ten within"}
    assert (rows.verdict == "holds").all()
    path = published.target / verify.RECORD
    record = json.loads(path.read_text())
    for entry in record["studies"].values():
        entry["numbers"] = [number + 3 * entry["apart"] for number in entry["numbers"]]
    results.write_json(path, record)
    assert set(failing(published.verify()).what) == {"samples"}


def test_the_differences_that_are_tried_keep_what_training_keeps():
    draw = np.random.default_rng(0)
    theta = draw.standard_normal((300, 2, 1, 6)).astype(np.float32)
    theta[..., 0] = 1.0  # never moves
    theta[..., 5] = -theta[..., 1:5].sum(axis=-1)  # a sum that training keeps
    (noise, *_) = verify.differences(theta, 0.01, 0.1)
    lengths = np.linalg.norm(noise, axis=-1)
    near = np.isclose(lengths, 0.01, rtol=1e-4)
    # Of 600 clients 540 are expected, with a standard deviation of 7.3.
    assert abs(near.sum() - 540) < 30
    np.testing.assert_allclose(lengths[~near], 0.1, rtol=1e-4)
    assert (noise[..., 0] == 0).all()
    assert np.abs(noise[..., 1:].sum(axis=-1)).max() < 1e-5


def test_the_numbers_are_as_far_apart_as_trainings():
    draw = np.random.default_rng(1)
    theta = draw.standard_normal((256, 1, 1, 500))
    off = draw.standard_normal(theta.shape)
    off *= 0.1 / np.linalg.norm(off, axis=-1, keepdims=True)
    found = np.subtract(verify.numbers(theta + off), verify.numbers(theta))
    # The standard deviation of 256 normal values is known to 1 / sqrt(2 * 256).
    assert abs(found.std() / 0.1 - 1) < 4 / np.sqrt(512)


def test_one_study_is_published_beside_another(published):
    before = results.read_csv(published.target / verify.READINGS)
    for name in ("one", "other"):
        (published.run / name / results.MANIFEST).rename(published.run / f"{name}.json")
    (published.run / "one.json").rename(published.run / "one" / results.MANIFEST)
    verify.publish(published.run, published.target, published.params)
    pd.testing.assert_frame_equal(results.read_csv(published.target / verify.READINGS), before)
    (published.params / "other.yaml").unlink()
    verify.publish(published.run, published.target, published.params)
    assert set(results.read_csv(published.target / verify.READINGS).study) == {"one"}


def test_where_nothing_was_sampled_nothing_is_written(published, tmp_path):
    said = verify.publish(tmp_path / "nowhere", tmp_path / "target", published.params)
    assert "no study" in said and not (tmp_path / "target").exists()


def test_a_study_that_was_not_published_is_refused(published):
    with pytest.raises(ValueError, match="^studies: third were not published; known are one, oth"):
        published.verify("third")


def test_the_command_exits_with_1_where_something_differs(published, capsys):
    arguments = ["verify", str(published.target), "--params", str(published.params)]
    main(arguments)
    assert "distance, euclidean" in capsys.readouterr().out
    (published.target / "figure.csv").write_text("a\n")
    with pytest.raises(SystemExit, match="1 of .* differ from what was published"):
        main(arguments)
    with pytest.raises(SystemExit, match="MissingResults: there is no"):
        main(["verify", str(published.target / "nowhere")])


@pytest.mark.slow
@pytest.mark.parametrize("machine", [{}, ELSEWHERE], ids=["here", "elsewhere"])
def test_the_published_studies_are_made_again(machine):
    """One of each task; `make verify` does them all."""
    if not (ROOT / "figures" / verify.RECORD).exists():
        pytest.skip("nothing was published to be verified")
    command = [sys.executable, "-m", "fedmi", "verify", "figures", "signal", "digits-null"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | machine, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
