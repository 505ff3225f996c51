"""What the README and the pages in docs/ say holds."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import fedmi
from fedmi.stats import Z95
from fedmi.study import gains, methods, outcomes, pages, readings, results, trends
from tests import tiny

ROOT = Path(__file__).parents[1]
TASKS = ("signal", "digits")
README = (ROOT / "README.md").read_text()
PAGES = {path.name: path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
SNIPPETS = {
    f"{name}, {i}": code
    for name, text in PAGES.items()
    if name != "flower.md"  # tests/aggregation/test_flower.py runs these
    for i, code in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
}


def published(name, **where):
    """The rows of a published table whose columns have these values."""
    table = results.read_csv(ROOT / "figures" / f"{name}.csv")
    for column, value in where.items():
        table = table[table[column] == value]
    return table


def test_the_readme_is_a_page():
    lines = README.splitlines()
    assert len(lines) <= 120
    first = [i for i, line in enumerate(lines, start=1) if line.startswith("make ")]
    assert len(first) == 2 and first[-1] <= 40


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    folder = ROOT if name == "README.md" else ROOT / "docs"
    links = re.findall(r"\]\((?!https?:)([^)#]+)", PAGES[name])
    assert links or name == "own-task.md"
    for link in links:
        assert (folder / link).is_file(), link


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_the_python_runs(snippet, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SNIPPETS[snippet].replace("seeds=1000", "seeds=800")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    if snippet.startswith("README"):
        assert "Estimate(" in done.stdout and (tmp_path / "my.zarr").is_dir()


def test_an_aggregator_of_ones_own_is_ten_lines_that_train(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", PAGES["own-aggregator.md"], re.DOTALL)
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 10
    (tmp_path / "an_aggregator_of_mine.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    given = dict(seeds=4, checkpoints=[4])
    second, third = (
        fedmi.sample(tiny.task, rounds=n, aggregator="an_aggregator_of_mine:momentum", **given)
        for n in (2, 3)
    )
    mean = second.theta.sel(iteration=4).mean("client").values
    expected = mean + 0.9 * second.download.values  # from the origin, so that it is the first step
    np.testing.assert_allclose(third.download.values, expected, rtol=1e-4, atol=1e-5)


def test_every_notebook_is_linked_once():
    linked = re.findall(r"\(notebooks/([\w.]+)\)", README)
    assert sorted(linked) == sorted(path.name for path in ROOT.glob("notebooks/*.ipynb"))


def test_the_extras_that_are_named_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    of_jax = importlib.metadata.metadata("jax").get_all("Provides-Extra")
    for package, extra in re.findall(r'"([\w.]+)\[(\w+)\]"', "".join(PAGES.values())):
        assert extra in (of_jax if package == "jax" else extras)
    assert re.findall(r'"jax\[(\w+)\]"', PAGES["clusters.md"]) == [extras["gpu"][0][4:-1]]


def trends_of(task):
    return trends.trends(published(f"couplings-{task}")).set_index("coupling")


def test_what_is_read_on_digits():
    trend = trends_of("digits").loc["shared-source"]
    for bits, error in ((trend.first_bits, trend.first_se), (trend.last_bits, trend.last_se)):
        assert f"{bits:.2f} ± {Z95 * error:.2f}" in README
    mi = published("figure2-digits-mi", estimator="gaussian")
    last = mi[mi.iteration == mi.iteration.max()]
    assert f"reads {(last.raw_bits - last.net_bits).mean():.2f} bits" in README


def test_how_much_closer_clients_are():
    trend = trends_of("digits").loc["shared-source"]
    assert f"end {trend.closer_last:.1%} closer".replace("%", " %") in README
    assert f"at first it was {trend.closer_first:.1%}".replace("%", " %") in README


def test_under_what_coupling_the_reading_rises():
    found = trends_of("digits")
    assert len(found) == 6 and "Of six ways" in README
    assert found.index[found.rises == "holds"].tolist() == ["shared-source"]
    assert "rises under `shared-source` alone" in README


@pytest.mark.parametrize(
    ("setting", "method", "said"),
    [
        ("shared-source", methods.STEP, "along the mean gains {} on `digits`"),
        ("shared-source", methods.FURTHER, "that simply train as much longer ({})"),
        ("shared-source", methods.ALONE, "a client alone is {} above the mean"),
        ("skewed", "Fisher mean", "their Fisher information gains {}"),
    ],
)
def test_what_averaging_yields(setting, method, said):
    rows = published("aggregation-digits", setting=setting)
    last = rows[rows.iteration == rows.iteration.max()]
    share, error = gains.share_of_fall(last, method)
    assert said.format(pages.percent(abs(share), error, 1)) in " ".join(README.split())
    best = gains.gains(last)
    assert best["any"]["method"] == method or setting == "shared-source"


def best_way(task, setting):
    (row,) = published(f"training-{task}-choice", setting=setting).itertuples()
    return row


def test_what_is_gained_over_many_rounds():
    flat = " ".join(README.split())
    for setting, way, said in (
        ("unlike", "SCAFFOLD", "(SCAFFOLD) have gained {:.1f} ± {:.1f} points"),
        ("alike", "FedAdagrad", "where clients are alike the best way gains {:.2f} ± {:.2f}."),
        ("far point", "geometric median", "medians hold: {:.0f} ± {:.0f} points"),
    ):
        row = best_way("digits", setting)
        assert row.way == way
        assert said.format(100 * row.gain, 100 * Z95 * row.gain_se) in flat
    row = best_way("signal", "unlike")
    assert row.way == "FedExP"
    assert f"takes {row.gain:.3f} ± {Z95 * row.gain_se:.3f} off the squared error" in flat


def test_what_is_read_on_signal():
    trend = trends_of("signal").loc["shared-source"]
    first, last = (
        f"{bits:.2f} ± {Z95 * error:.2f}"
        for bits, error in ((trend.first_bits, trend.first_se), (trend.last_bits, trend.last_se))
    )
    rise = f"{trend.distance_rise:.3f} ± {Z95 * trend.distance_rise_se:.3f}"
    flat = " ".join(README.split())
    assert trend.rises == trend.distance_rises == "holds"
    assert (
        "the reading rises with the distance, as the paper has it.** "
        f"It goes from {first} to {last}" in flat
    )
    assert (
        f"bits, and the distance rises by {rise}. "
        f"Still clients end {trend.closer_last:.1%}".replace("%", " %")
        in flat
    )


def test_in_how_many_of_all_choices_claims_hold():
    tried = {task: published(f"choices-{task}-outcomes", control=False) for task in TASKS}
    found = {
        (task, claim): outcomes.shares(rows.outcome)
        for task, judged in tried.items()
        for claim, rows in judged.groupby("claim")
    }
    told = {key: of["holds"] + of["open"] + of["fails"] for key, of in found.items()}
    flat = " ".join(README.split())
    assert (told["digits", "above_zero"], told["signal", "above_zero"]) == (34, 53)
    assert all(found[task, "above_zero"]["holds"] == told[task, "above_zero"] for task in TASKS)
    assert "it is above zero in all 34, and in all 53 for `signal`" in flat
    assert sum(told[task, "not_closer_by_others"] for task in TASKS) == 87
    assert not any(found[task, "not_closer_by_others"]["holds"] for task in TASKS)
    assert "in this comparison, holds in 0 of these 87 ways" in flat
    for task in TASKS:
        share = found[task, "rises"]["holds"] / told[task, "rises"]
        assert f"rises in {share:.0%}".replace("%", " % of the ") + str(told[task, "rises"]) in flat
    of_rise = tried["digits"].loc[tried["digits"].claim == "rises"]
    assert list(outcomes.deciding(of_rise)) == ["coupling"]
    turned = outcomes.changed(tried["signal"])
    assert len(turned) == 6 and sum(bool(of["otherwise"]) for of in turned.values()) == 5
    assert sum(not of["same"] for of in turned.values()) == 2
    assert "six verdicts five are turned by some way or other, two of them by all" in flat


SIGNAL = published("signal-readings").set_index(["source", "reading"])


def test_how_chaotic_the_readings_of_signal_are():
    growth = SIGNAL.growth_median["client"]
    flat = " ".join(README.split())
    assert f"{growth['chaotic']:,.0f} times as large" in flat
    assert f"the default only {growth['vector']:.2f} times" in flat


def test_in_which_readings_mi_and_distance_rise():
    facts = readings.facts(published("readings-signal"))
    assert facts["chaotic"] == ["chaotic"] and len(facts["stable"]) == 4
    assert all(rising == facts["stable"] for rising in facts["rise"].values())
    assert facts["closer"] == facts["stable"]
    assert max(row["null"] for row in facts["rows"]) < 5
    assert "of the four whose training is not chaotic all read so" in " ".join(README.split())


def test_the_page_of_the_signal_task_holds_its_table():
    """A row a reading: rate, error, seeds below 1, errors of shift and scale, growth."""
    page = PAGES["signal.md"]
    for reading, row in SIGNAL.loc["client"].iterrows():
        errors = f"| {row.shift_mse:.2f} | {row.scale_mse:.2f} |"
        if reading == "ridge regression":
            assert f"| ridge regression | | {row.fresh_mse:.2f} | {errors} |" in page
            continue
        fresh = f"{row.fresh_mse:.3f} ± {Z95 * row.fresh_mse_se:.3f} | {row.share_below_1:.0%}"
        growth = f"{row.growth_median:,.{0 if row.growth_median > 100 else 2}f}"
        line = f"| `{reading}` | {row.learning_rate:g} | {fresh} {errors} {growth} |"
        assert line.replace("%", " %") in page, line
    flat = " ".join(page.split())
    example = SIGNAL.loc["example"]
    assert f"{example.shift_mse['ridge regression']:.2f} by ridge regression" in flat
    assert f"{example.shift_mse['vector']:.2f} by the default network" in flat


@pytest.mark.slow
def test_the_rules_are_drawn_as_they_are():
    """Every target, and what leads to it, at the paper's size, where studies have blocks."""
    studies = "study couplings readings proposition compression"
    targets = f"{studies} choices aggregation rounds training scale_up estimators"
    workflow = ["--snakefile", ROOT / "workflow" / "Snakefile", "--directory", ROOT, "--cores", "1"]
    done = subprocess.run(
        [
            Path(sys.executable).parent / "snakemake",
            *targets.split(),
            *("--config", "scale=paper", *workflow, "--rulegraph", "mermaid-js"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", done.stdout))
    edges = re.findall(r"(id\d+) --> (id\d+)", done.stdout)
    (drawn,) = re.findall(r"flowchart TB\n(.*?)```", PAGES["clusters.md"], re.DOTALL)
    assert {tuple(line.split(" --> ")) for line in drawn.replace("    ", "").splitlines()} == {
        (names[a], names[b]) for a, b in edges
    }


def test_what_counts_as_replicated_follows_from_the_verdicts():
    claims = results.read_csv(ROOT / "figures" / "claims.csv")
    rows = re.findall(
        r"^\| ([^|]+) \| (\w+) \| (\w+) \| ([^|]+) \|$", PAGES["deviations.md"], re.MULTILINE
    )
    assert len(rows) == claims.claim.nunique()
    for (_, signal, digits, counts), (_, of) in zip(
        rows, claims.groupby("claim", sort=False), strict=True
    ):
        outcome = of.set_index("task").outcome
        assert (signal, digits) == (outcome["signal"], outcome["digits"])
        held = [signal, digits].count("holds")
        told = of[["points_holds", "points_open", "points_fails"]].sum(axis=1)
        most = (of.points_holds >= told / 2)[of.points_holds.notna()].all()
        right = {2: "replicated" if most else "in part", 1: "in part", 0: "not replicated"}[held]
        assert counts.startswith(right)
