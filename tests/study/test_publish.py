"""What is drawn is entered, published and drawn anew, and titles tell figures apart."""

import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from fedmi.sampling import provenance
from fedmi.study import figures, origins, publish, results

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "figures"
ENTRIES = {entry.name: entry for entry in publish.read(FIGURES / publish.PUBLISHED)}

BENCHMARKS = {
    "coverage.csv", "performance.csv", "performance.md", "proposition-size.csv", "signal-rates.csv",
    "signal-readings.csv",
}  # fmt: skip


LAST = {"benchmarks.json", "targets.csv", "verify.csv", "verify.json"}
"""What is written after all else."""


def test_the_published_manifest_tells_of_every_file():
    named = {
        publish.PUBLISHED,
        "summary.md",
        "claims.md",
        "claims.csv",
        *BENCHMARKS,
    }
    for entry in ENTRIES.values():
        named |= {*entry.files, *entry.tables.values()}
        for study, samples in entry.samples.items():
            named.add(f"{study}-manifest.json")
            assert results.identity(FIGURES / f"{study}-manifest.json") == samples
    there = {path.name for path in FIGURES.iterdir()}
    assert named <= there <= named | LAST


WORDS = (
    "fedmi/study/templates",
    "fedmi/study/pages.py",
    "fedmi/study/story.py",
    "fedmi/study/summary.py",
    "benchmarks/templates",
)
"""What only words pages and tells them of tables that are there; `make redraw` makes them anew."""


def git(*arguments):
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_every_table_is_of_one_commit_and_nothing_that_makes_them_has_changed_since():
    made = {entry.name: entry.made for entry in ENTRIES.values()}
    made |= {
        path.name: results.read_json(path, dict).get("made")
        for path in FIGURES.glob("*-manifest.json")
    }
    if not all(made.values()):
        pytest.skip("published before manifests told of commits")
    benchmarks = results.read_json(FIGURES / "benchmarks.json", dict)
    made |= {name: dict(of, parts=[]) for name, of in benchmarks.items()}
    origins.check(made)
    (commit,) = origins.commits(made.values())
    if git("cat-file", "-e", f"{commit}^{{commit}}").returncode:
        pytest.skip("the history of this clone does not reach the commit")
    makers = ("fedmi", "notebooks", "params/paper", "workflow", "benchmarks")
    words = [f":(exclude){path}" for path in WORDS]
    changed = git("diff", "--name-only", commit, "HEAD", "--", *makers, *words)
    assert changed.stdout.split() == []


@pytest.fixture(scope="module")
def drawn():
    """By name: the title and the page of every published figure."""
    found = {}
    for entry in ENTRIES.values():
        if entry.files:
            figure, page = entry.draw(FIGURES)
            found[entry.name] = figure.get_suptitle(), page
            plt.close(figure)
    return found


def test_every_title_names_n_and_the_scale_and_where_clients_are_unlike_the_skew(drawn):
    assert set(drawn) == {path.stem for path in FIGURES.glob("*.png")}
    for name, (title, _) in drawn.items():
        assert "N = " in title and "scale “paper”" in title, name
        unlike = "label concentration 0.5" in title or "source skew 0.75" in title
        assert unlike == ("skewed" in name or "aggregation" in name), name
    assert drawn["digits-skewed-mi"][0] != drawn["figure2-digits-mi"][0]
    assert "N = 26,400" in drawn["digits-skewed-mi"][0]


def test_every_title_names_a_coupling_or_its_panels_do(drawn):
    apart = ("aggregation", "couplings", "coverage", "estimators", "rounds", "choices")
    for name, (title, _) in drawn.items():
        assert ("coupling “" in title) != name.startswith(apart), name
    assert "skewed: label concentration 0.5" in drawn["aggregation-digits"][0]


def test_every_page_is_written_anew(drawn):
    pages = {name: page for name, (_, page) in drawn.items() if page is not None}
    assert len(pages) == 19
    for name, page in pages.items():
        assert (FIGURES / f"{name}.md").read_text() == page, name


def test_the_published_calibration_says_that_the_estimators_of_signal_contradict_each_other(drawn):
    assert "the estimators contradict each other" in drawn["signal-calibration"][0]
    assert "the estimators agree: 25.1 to 25.4" in drawn["digits-calibration"][0]
    summary = (FIGURES / "summary.md").read_text()
    assert "36.1 upwards (blind)" not in summary and "| 36.1 upwards |" in summary


DISTANCES = pd.DataFrame(
    [
        dict(task="signal", coupling="null", pair="0-1", iteration=iteration, metric=metric)
        | dict(distance=iteration, unmatched=2 * iteration, distance_se=0.1)
        for iteration in (1, 2)
        for metric in ("euclidean", "manhattan", "chebyshev")
    ]
)


class Run:
    """A run of two studies, of which one is another coupling's, and a kind of its own."""

    def __init__(self, folder):
        self.run, self.target = folder / "paper", folder / "figures"
        self.params = folder / "params"
        (self.params / "paper").mkdir(parents=True)
        for study in ("signal", "signal-independent", "digits"):
            (self.params / "paper" / f"{study}.yaml").touch()

    def sample(self, study, seeds=4):
        made = dict(code=provenance.code(), parts=[])
        manifest = dict(seeds=seeds, hash="ab", made=made)
        results.write_json(self.run / study / "manifest.json", manifest)

    def draw(self, place, name, of=()):
        folder = self.run / place
        results.write(DISTANCES, folder / "distances.csv")
        study = str(self.params / "paper" / "signal.yaml")
        figure, tables = figures.distances(DISTANCES, "N = 4"), {"": "distances.csv"}
        drawing = publish.Drawing("distances", name, figure, tables, "N = 4", "said")
        plt.close(figure)
        return publish.save(folder, drawing, run=self.run, study=study, started=0.0, of=of)

    def publish(self):
        return publish.publish(self.run, self.target, self.params)


CLEAN = dict(commit="1a2b3c4d5e", dirty=False)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "code", lambda: CLEAN)
    return Run(tmp_path)


def test_what_is_drawn_is_saved_and_entered(run):
    run.sample("signal")
    files = run.draw("signal", "figure3", ["signal"])
    names = ["figures/figure3.png", "figures/figure3.svg", "figures/figure3.md"]
    assert files.index.tolist() == [*names, "signal/distances.csv"]
    before = {name: (run.run / name).read_bytes() for name in names[:2]}
    run.draw("signal", "figure3", ["signal"])
    assert {name: (run.run / name).read_bytes() for name in names[:2]} == before
    (entry,) = publish.read(run.run / "signal" / publish.ENTERED)
    assert entry.tables == {"": "signal/distances.csv"}
    assert entry.samples == {"signal": "4 seeds of ab"}
    assert entry.made["code"] == CLEAN and entry.made["parts"] == []
    assert entry.made["params"]["file"] == "params/paper/signal.yaml"
    assert entry.made["seconds"] > 0 and entry.made["versions"]["jax"]
    first, _, last = (run.run / names[2]).read_text().splitlines()
    assert first == "said"
    assert last.startswith("Made from commit `1a2b3c4`, of params/paper/signal.yaml (hash ")


def test_what_was_made_of_changed_files_is_not_published(run, monkeypatch):
    run.sample("signal")
    run.draw("signal", "figure3", ["signal"])
    monkeypatch.setattr(provenance, "code", lambda: CLEAN | dict(dirty=True))
    run.draw("choices/digits", "choices-digits")
    with pytest.raises(
        ValueError, match="^code: choices-digits was made from files that are in no"
    ):
        run.publish()
    assert not run.target.exists()


def test_what_was_made_of_two_commits_is_not_published(run, monkeypatch):
    run.sample("signal")
    run.draw("signal", "figure3", ["signal"])
    results.kept(run.run / "choices" / "digits" / "points" / "a.json", {}, dict)  # half of it
    monkeypatch.setattr(provenance, "code", lambda: dict(commit="9f9f9f9f", dirty=False))
    run.draw("choices/digits", "choices-digits")
    with pytest.raises(ValueError, match="results of 2 commits.*9f9f9f9 made choices-digits"):
        run.publish()


def test_a_finished_run_is_published_and_drawn_anew(run, capsys):
    for study in ("signal", "signal-independent"):
        run.sample(study)
        run.draw(study, f"{study}-distances", [study])
    run.draw("signal/couplings", "beside", ["signal", "signal-independent"])
    run.draw("choices/digits", "choices")
    assert "4 figures' files" in run.publish()
    assert "digits has not been run here" in capsys.readouterr().out
    found = {path.name for path in run.target.iterdir()}
    assert found == {
        publish.PUBLISHED, "signal-manifest.json", "signal-independent-manifest.json",
        "signal-independent-distances.csv",  # drawn in the comparison of couplings alone
        *(
            f"{name}.{ending}"
            for name in ("signal-distances", "beside", "choices")
            for ending in ("csv", "png", "svg", "md")
        ),
    }  # fmt: skip
    pictures = {name: (run.target / name).read_bytes() for name in found if name.endswith("g")}
    (run.target / "beside.png").unlink()
    assert "3 figures drawn anew" in publish.redraw(run.target)
    assert {name: (run.target / name).read_bytes() for name in pictures} == pictures


def test_what_is_of_no_study_is_published_without_any(run):
    run.draw("choices/digits", "choices-digits")
    assert "1 figures' files" in run.publish()
    assert (run.target / "choices-digits.png").exists()


@pytest.mark.slow
def test_what_was_published_of_other_studies_stays(run):
    for study in ("signal", "digits"):
        run.sample(study)
        run.draw(study, f"{study}-distances", [study])
        run.draw(f"{study}/couplings", f"compared-{study}", [study])
    run.publish()
    shutil.rmtree(run.run)
    run.sample("signal", seeds=8)  # and nothing but the distances is drawn of it
    run.draw("signal", "signal-distances", ["signal"])
    run.publish()
    entries = {entry.name: entry.samples for entry in publish.read(run.target / publish.PUBLISHED)}
    assert entries == {
        "signal-distances": {"signal": "8 seeds of ab"},
        "digits-distances": {"digits": "4 seeds of ab"},
        "compared-digits": {"digits": "4 seeds of ab"},
    }


def test_a_comparison_with_the_very_samples_that_were_published_is_published(run):
    run.sample("signal")
    run.draw("signal", "signal-distances", ["signal"])
    run.draw("signal/couplings", "compared-signal", ["signal"])
    run.publish()
    shutil.rmtree(run.run)
    run.sample("digits")
    run.draw("digits", "digits-distances", ["digits"])
    run.sample("signal")  # as it was, to be compared with
    run.draw("signal/readings", "readings", ["signal", "digits"])
    (run.run / "signal" / "manifest.json").unlink()
    run.publish()
    kept = {entry.name for entry in publish.read(run.target / publish.PUBLISHED)}
    assert kept == {"signal-distances", "compared-signal", "digits-distances", "readings"}
    run.sample("signal", seeds=8)
    run.draw("signal/readings", "readings", ["signal", "digits"])
    (run.run / "signal" / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match="no figures of readings from the samples"):
        run.publish()


def test_what_was_not_drawn_since_it_was_sampled_is_not_published(run):
    with pytest.raises(FileNotFoundError, match="make study SCALE=paper"):
        run.publish()
    run.sample("signal")
    with pytest.raises(FileNotFoundError, match="is not finished: there are no figures of signal"):
        run.publish()
    run.draw("signal", "figure3", ["signal"])
    run.draw("signal/couplings", "beside", ["signal"])
    run.publish()
    run.sample("signal", seeds=8)
    run.draw("signal", "figure3", ["signal"])
    with pytest.raises(FileNotFoundError, match="there are no figures of beside from the samples"):
        run.publish()


def test_a_missing_or_torn_manifest_is_named(run):
    run.target.mkdir()
    with pytest.raises(results.MissingResults, match="manifest.json: `make figures` publishes"):
        publish.redraw(run.target)
    (run.target / publish.PUBLISHED).write_text(json.dumps([])[:1])
    with pytest.raises(ValueError, match="manifest.json is empty, cut short or damaged"):
        publish.redraw(run.target)
