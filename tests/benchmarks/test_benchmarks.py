"""The benchmarks' arithmetic and bookkeeping; nothing here looks at how long anything takes."""

import os
import re

import numpy as np
import pandas as pd
import pytest

import fedmi
from benchmarks import federation, output, peers_neighbours, sampling, starts, targets
from benchmarks.runner import Group, Item, Measurement, measure
from benchmarks.suite import ROWS, TINY, Sizes, suite
from benchmarks.table import COLUMNS, page, table
from fedmi import mi

FACTS = dict(
    hardware="abacus",
    cores=2,
    commit=dict(commit="abc", dirty=True),
    when="today",
    versions={"jax": "1", "numpy": "2"},
    threads=["blas"],
    minutes=3.2,
)


def item(function="benchmarks.work:Work", **more):
    return Item(rows=(1,), what="counting", function=function, **more)


def line_of(relation, own, base, **more):
    other = item()
    return table({other: base, item(relation=relation, base=other, **more): own}).iloc[1]


@pytest.mark.parametrize("size", [Sizes(), TINY])
@pytest.mark.parametrize("cores", [1, 2])
def test_every_comparison_is_measured_together(size, cores):
    groups = suite(size, cores=cores)
    assert {row for group in groups for item in group.items for row in item.rows} == {*ROWS}
    for group in groups:
        assert all(item.base in group.items for item in group.items if item.base)
        shown = [(item.what, item.size, item.who) for item in group.items]
        assert len(set(shown)) == len(shown)


def test_the_published_table_is_of_these_items():
    published = pd.read_csv(output.FIGURES / "performance.csv")
    items = [item for group in suite(Sizes(), cores=2) for item in group.items]
    named = ["row", "what", "size", "who"]
    now = table({item: Measurement() for item in items})[named]
    pd.testing.assert_frame_equal(published[named], now)


def test_ratios_are_between_medians_a_unit():
    slow = Measurement([5.0, 4.0, 30.0], units=2)  # 2.5 s a unit
    fast = Measurement([1.0], units=10)  # 0.1 s a unit
    assert line_of("faster", slow, fast).ratio == pytest.approx(25)
    assert line_of("faster", slow, fast).meaning == "fedmi is 25.0 times as fast"
    assert line_of("limit", fast, slow).ratio == pytest.approx(25)
    assert line_of("above", slow, fast).ratio == pytest.approx(25)
    five, six = Measurement([5.0]), Measurement([6.0])
    with_null = line_of("repairing", six, five, arguments=dict(permutations=4))
    assert with_null.ratio == pytest.approx(0.05)
    assert with_null.meaning == "one re-pairing costs 0.0500 of an estimate"


def test_what_could_not_be_measured_says_so():
    missing = Measurement(error="torch is not installed")
    line = line_of("faster", missing, Measurement([1.0]))
    assert line.meaning == "torch is not installed"
    assert np.isnan(line.ratio) and np.isnan(line.seconds)
    assert np.isnan(line_of("faster", Measurement([1.0]), missing).ratio)


def test_numbers_are_written_without_exponents():
    shown = [output.significant(x) for x in (1234567.0, 12.345, 0.012345, -0.5, 0)]
    assert shown == ["1,234,567", "12.3", "0.0123", "-0.500", "0"]


def test_the_page_holds_the_whole_table(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.table.FIGURES", tmp_path)
    lines = table({item(): Measurement([1.0, 3.0], 6, "images", "by hand"), item(): Measurement()})
    assert list(lines) == COLUMNS
    text = page(lines, FACTS)
    assert "abacus; 2 cores" in text and "abc, with changes" in text
    assert "Versions: jax 1, numpy 2." in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and len({line.count("|") for line in rows}) == 1
    assert "| 2.00 s (2: 1.00 to 3.00) | 3.00 images/s |" in rows[2]
    assert "| not measured |" in rows[3]


def test_the_page_holds_the_targets_that_were_timed(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.table.FIGURES", tmp_path)
    timed = pd.DataFrame(columns=targets.COLUMNS)
    timed = targets.added(timed, "study", (3600.0, 2.0, True))
    timed = targets.added(timed, "choices", (1800.0, 1.0, True))
    timed.to_csv(tmp_path / "targets.csv", index=False)
    text = page(table({item(): Measurement([1.0])}), FACTS)
    text = text[text.index("## The targets of `make paper`") :]
    assert "1.5 hours, and 2.0 GiB at most" in text
    rows = [line.split(" | ")[:4] for line in text.splitlines() if line.startswith("| `make")]
    assert rows == [
        ["| `make study`", "60.0", "1", "2.0 GiB"],
        ["| `make choices`", "30.0", "1", "1.0 GiB"],
    ]


def test_the_published_page_is_that_of_the_published_table():
    text = page(pd.read_csv(output.FIGURES / "performance.csv"), FACTS)
    published = (output.FIGURES / "performance.md").read_text()
    at = "Each item ran in a process of its own"
    assert published[published.index(at) :] == text[text.index(at) :]


@pytest.mark.slow
def test_copies_run_at_once_and_failures_stay_with_their_item():
    covariance = item("benchmarks.estimation:covariance", arguments=dict(n=40, d=2), copies=2)
    broken = item("benchmarks.no_such_module:run")
    refused = item()
    measured = measure(Group((covariance, broken, refused), 60))
    found = measured[covariance]
    assert (found.units, found.unit, found.error) == (2, "estimates", "")
    assert len(found.seconds) == 5 and min(found.seconds) > 0 and found.peak_mib > 1
    assert measured[broken].error == "benchmarks.no_such_module is not installed"
    assert measured[refused].error.startswith("failed: TypeError")


@pytest.mark.parametrize("way", ["euclidean", "chebyshev"])
def test_peers_estimate_what_fedmi_does(way):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3))
    y = x + rng.standard_normal((200, 3))
    own = mi.ksg(x, y, metric=way).bits
    assert peers_neighbours.WAYS[way](x, y) == pytest.approx(own, abs=1e-9)


def test_both_federations_learn():
    """From the same law of clients, so that what is timed is the same work."""
    samples = fedmi.sample(federation.MADE, seeds=2, clients=10, rounds=5)
    assert float(samples.metric.mean()) < 0.1 * federation.WIDTH  # the variance of what is told
    federation.by_jax(seeds=2, first=True).run()


def test_tiles_are_computed_as_sample_computes_them():
    work = sampling.tiles(task="tests.tiny:make", seeds=5, tile=4)
    work.run()
    assert (work.units, work.unit) == (15, "trainings") and work.note.startswith("2 tiles of 4")


def test_steps_of_a_study_are_read_from_what_it_says():
    said = (
        "[1/4] digits: 01 sample: done in 1 min 18 s, 3 left\n[2/4] a: 04 draw: done in 5 s, 2 left"
    )
    found = [step.groupdict() for step in starts.STEP.finditer(said)]
    assert found == [
        dict(what="digits: 01 sample", minutes="1", seconds="18"),
        dict(what="a: 04 draw", minutes=None, seconds="5"),
    ]


def test_parts_of_a_target_add_up():
    table = pd.DataFrame(columns=targets.COLUMNS)
    table = targets.added(table, "study", (60.0, 2.0, False))
    table = targets.added(table, "choices", (10.0, 1.0, True))
    table = targets.added(table, "study", (30.0, 1.5, True)).set_index("target")
    assert table.seconds.to_dict() == dict(choices=10.0, study=90.0)
    assert table.loc["study", ["parts", "peak_gib", "finished"]].tolist() == [2, 2.0, True]
    assert targets.memory(os.getpid()) > 0.05


def test_the_targets_are_those_that_make_paper_has():
    makefile = (output.FIGURES.parent / "Makefile").read_text()
    made = re.search(r"^(study .*): \$\(READY\)\n\t@\$\(LOCK\)", makefile, re.MULTILINE)[1].split()
    assert set(targets.TARGETS) == {*made} - {"everything"}
