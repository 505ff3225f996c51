"""The benchmarks' arithmetic and bookkeeping; nothing here looks at how long anything takes."""

import io
import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import output, worker
from benchmarks.peers_scipy import ksg_bits
from benchmarks.runner import Group, Item, Measurement, measure
from benchmarks.suite import ROWS, TINY, Sizes, suite
from benchmarks.table import COLUMNS, page, table
from fedmi import mi

FACTS = dict(
    hardware="abacus",
    cores=2,
    gpu="",
    commit=dict(commit="abc", dirty=True),
    when="today",
    versions={"jax": "1", "numpy": "2"},
    threads=["blas"],
    minutes=3.2,
)


def item(name, **more):
    return Item(**dict(name=name, rows=(1,), function="benchmarks.work:Work") | more)


def line_of(relation, own, base, **more):
    items = [item("base"), item("own", relation=relation, base="base", **more)]
    return table(items, {"own": own, "base": base}, [1]).iloc[1]


@pytest.mark.parametrize("size", [Sizes(), TINY])
@pytest.mark.parametrize("cores", [1, 2])
def test_every_comparison_is_measured_together(size, cores):
    for rows in [ROWS, *((row,) for row in ROWS)]:
        groups = suite(size, cores=cores, gpu=True, rows=rows)
        items = [item for group in groups for item in group.items]
        names = [item.name for item in items]
        assert len(set(names)) == len(names)
        assert {row for item in items for row in item.rows} >= set(rows)
        for item in items:
            json.dumps(item.arguments)
            assert bool(item.relation) == bool(item.base)
            assert not item.base or item.base in names, item.name


def test_ratios_are_between_medians_a_unit():
    slow = Measurement([5.0, 4.0, 30.0], units=2)  # 2.5 s a unit
    fast = Measurement([1.0], units=10)  # 0.1 s a unit
    assert line_of("faster", slow, fast).ratio == pytest.approx(25)
    assert line_of("faster", slow, fast).meaning == "fedmi is 25.0 times as fast"
    assert line_of("limit", fast, slow).ratio == pytest.approx(25)
    assert line_of("above", slow, fast).ratio == pytest.approx(25)
    assert line_of("gpu", fast, slow).ratio == pytest.approx(25)
    with_null = line_of("repairing", Measurement([6.0]), Measurement([5.0]), m=4)
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
    assert [output.size(x) for x in (1, 2.3e7, 3e16)] == ["1.0 B", "23 MB", "30 PB"]


def test_the_page_holds_the_whole_table():
    measured = {"a": Measurement([1.0, 3.0], 6, "images", "by hand", 100), "b": Measurement()}
    lines = table([item("a"), item("b")], measured, [1])
    assert list(lines) == COLUMNS
    text = page(lines, FACTS)
    assert "abacus; 2 cores" in text and "GPU: none" in text and "abc, with changes" in text
    assert "Versions: jax 1, numpy 2." in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and len({line.count("|") for line in rows}) == 1
    assert "| 2.00 s (2: 1.00 to 3.00) | 3.00 images/s |" in rows[2]
    assert "| not measured |" in rows[3]


def test_the_published_page_is_that_of_the_published_table():
    text = page(pd.read_csv(output.FIGURES / "performance.csv"), FACTS)
    published = (output.FIGURES / "performance.md").read_text()
    at = "Each item ran in a process of its own"
    assert published[published.index(at) :] == text[text.index(at) :]


def test_a_worker_answers_each_order():
    answers = io.StringIO()
    arguments = dict(n=40, d=2)
    serve = worker.serve
    serve("benchmarks.estimation", "covariance", arguments, io.StringIO("run\nrun\n"), answers)
    ready, *runs = map(json.loads, answers.getvalue().splitlines())
    assert ready["unit"] == "estimates" and len(runs) == 2
    assert all(run["seconds"] > 0 and run["peak_mib"] > 1 for run in runs)


def test_failures_stay_with_their_item():
    broken = item("broken", function="benchmarks.no_such_module:run")
    refused = item("refused", function="benchmarks.work:Work")
    measured = measure(Group("g", (broken, refused), 1))
    assert measured["broken"].error == "benchmarks.no_such_module is not installed"
    assert measured["refused"].error.startswith("failed: TypeError")


def test_only_gpu_items_may_use_a_gpu():
    assert item("a", devices=3).environment() == dict(JAX_PLATFORMS="cpu", JAX_NUM_CPU_DEVICES="3")
    assert item("a", gpu=True).environment()["JAX_PLATFORMS"] == ""


def test_more_cores_than_there_are_are_refused():
    with pytest.raises(ValueError, match="cores: 100000 are needed"), worker.pinned(100_000):
        pass


def test_the_trees_estimate_what_fedmi_does():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3))
    y = x + rng.standard_normal((200, 3))
    assert ksg_bits(x, y) == pytest.approx(mi.ksg(x, y, metric="chebyshev").bits, abs=1e-9)
