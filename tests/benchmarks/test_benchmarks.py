"""The benchmarks' arithmetic and bookkeeping; nothing here looks at how long anything takes."""

import csv
import io
import json

import jax
import numpy as np
import pandas as pd
import pytest

from benchmarks import scale_up, table, unchanged, worker
from benchmarks.__main__ import METHOD
from benchmarks.peers_scipy import ksg_bits
from benchmarks.runner import Measurement, environment, measure
from benchmarks.suite import ROWS, TINY, Group, Item, Sizes, suite
from fedmi import mi, tasks
from fedmi.study import params


def item(name, **more):
    values = dict(rows=(1,), what="w", size="s", who=name, function="benchmarks.work:Work")
    return Item(name=name, **values | more)


def line_of(relation, own, base, **more):
    items = [item("base"), item("own", relation=relation, base="base", **more)]
    return table.lines(items, {"own": own, "base": base}, [1])[1]


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
            # In row 6 nothing is compared, so that what another row compares may come without.
            assert not item.base or item.base in names or rows == (6,), item.name


def test_every_series_has_a_quarter_a_half_and_the_whole():
    items = [i for g in suite(Sizes(), cores=2) for i in g.items if i.n and 6 in i.rows]
    sizes = {}
    for i in items:
        sizes.setdefault(i.name.split("/")[0], []).append(i.n)
    assert len(sizes) == 11
    for values in sizes.values():
        assert sorted(n / max(values) for n in values) == [0.25, 0.5, 1]


def test_exponent_of_a_power_law():
    sizes = np.array([100, 200, 400])
    assert table.exponent(sizes, 3e-4 * sizes**1.7) == pytest.approx(1.7)


def test_ratios_are_between_medians_a_unit():
    slow = Measurement([5.0, 4.0, 30.0], units=2)  # 2.5 s a unit
    fast = Measurement([1.0], units=10)  # 0.1 s a unit
    assert line_of("faster", slow, fast)["ratio"] == pytest.approx(25)
    assert line_of("faster", slow, fast)["meaning"] == "fedmi is 25.0 times as fast"
    assert line_of("limit", fast, slow)["ratio"] == pytest.approx(25)
    assert line_of("above", slow, fast)["ratio"] == pytest.approx(25)
    assert line_of("gpu", fast, slow)["ratio"] == pytest.approx(25)
    with_null = line_of("repairing", Measurement([6.0]), Measurement([5.0]), m=4)
    assert with_null["ratio"] == pytest.approx(0.05)
    assert with_null["meaning"] == "one re-pairing costs 0.0500 of an estimate"


def test_what_could_not_be_measured_says_so():
    missing = Measurement(error="torch is not installed")
    line = line_of("faster", missing, Measurement([1.0]))
    assert (line["meaning"], line["ratio"], line["seconds"]) == ("torch is not installed", "", "")
    assert line_of("faster", Measurement([1.0]), missing)["ratio"] == ""


def test_growth_fits_one_exponent_a_series():
    items = [item(f"series/{n}", rows=(6,), n=n) for n in (4, 1, 2)] + [item("alone/1", n=1)]
    measurements = {f"series/{n}": Measurement([0.5 * n**2]) for n in (1, 2, 4)}
    lines = table.growth(items, measurements | {"alone/1": Measurement([1.0])})
    assert [line["seconds"] for line in lines] == [0.5, 2, 8, "", 1]
    assert [line["ratio"] for line in lines] == ["", "", "", pytest.approx(2), ""]
    assert (lines[3]["what"], lines[3]["size"]) == ("series: growth", "1, 2, 4")


def test_numbers_are_written_without_exponents():
    shown = [table.significant(x) for x in (1234567.0, 12.345, 0.012345, -0.5, 0, "")]
    assert shown == ["1,234,567", "12.3", "0.0123", "-0.500", "0", ""]


def test_files_hold_the_whole_table(tmp_path):
    measurements = {"a": Measurement([1.0, 3.0], 6, "images", "by hand", 100)}
    lines = table.lines([item("a")], measurements, [1])
    table.write_csv(lines, tmp_path / "t.csv")
    (row,) = csv.DictReader((tmp_path / "t.csv").open())
    assert tuple(row) == table.COLUMNS
    assert (float(row["seconds"]), float(row["rate"]), row["method"]) == (2, 3, "by hand")
    facts = dict(
        hardware="abacus",
        cores=2,
        gpu="",
        commit=dict(commit="abc", dirty=True),
        when="today",
        versions={"jax": "1"},
        threads=["blas"],
        minutes=3.2,
    )
    page = table.markdown(lines, facts, METHOD)
    assert "abacus; 2 cores" in page and "GPU: none" in page and "abc, with changes" in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len(rows) == 3 and len({line.count("|") for line in rows}) == 1
    assert "| 2.00 s (2: 1.00 to 3.00) | 3.00 images/s |" in rows[2]


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
    measured = measure(Group("g", (broken, refused), 1), lambda _: None)
    assert measured["broken"].error == "benchmarks.no_such_module is not installed"
    assert measured["refused"].error.startswith("failed: TypeError")


def test_only_gpu_items_may_use_a_gpu():
    assert environment(item("a", devices=3))["JAX_PLATFORMS"] == "cpu"
    assert environment(item("a", devices=3))["JAX_NUM_CPU_DEVICES"] == "3"
    assert "JAX_PLATFORMS" not in environment(item("a", gpu=True))


def test_the_trees_estimate_what_fedmi_does():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3))
    y = x + rng.standard_normal((200, 3))
    assert ksg_bits(x, y) == pytest.approx(mi.ksg(x, y, metric="chebyshev").bits, abs=1e-9)


def test_unchanged_finds_changes_and_their_sign(monkeypatch):
    values = iter([1.0, 2.0, 3.0, 1.0, 2.5, 2.0])  # three pairs, the fast way first

    def three_pairs(study, task):
        return pd.DataFrame(
            dict(what="net_bits, ksg", iteration=1, value=next(values), error=0.5, n=10)
            for _ in range(3)
        )

    monkeypatch.setattr(unchanged, "estimates", three_pairs)
    (row,) = unchanged.compare("digits").to_dict("records")
    assert row["largest_change"] == 1.0
    assert row["largest_change_in_perm_sd"] == 2.0
    assert row["mean_change"] == pytest.approx(0.5 / 3)
    assert row["study"] == "digits"


def test_the_plain_digits_have_the_same_labels_and_nearly_the_same_features():
    study = params.load("params/quick/digits.yaml")
    fast, plain = study.make_task(), unchanged.plain_task(study)
    keys = dict(zip(fast.streams, jax.random.split(jax.random.key(0), 4), strict=True))
    assets = fast.assets()
    one, other = (jax.jit(task.data)(keys, assets) for task in (fast, plain))
    np.testing.assert_array_equal(one["labels"], other["labels"])
    np.testing.assert_allclose(one["features"], other["features"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", scale_up.CASES, ids=lambda case: case.task)
def test_sampling_at_scale_is_held_against_loops_on_the_same_cores(case):
    items = scale_up.items(case, 40, cores=2)
    assert tasks.get(case.task).parameter_count == case.parameters
    measured = {
        item.name: Measurement(seconds=[2.0, 4.0, 3.0], units=units, peak_mib=2048)
        for item, units in zip(items, (120, 30, 60), strict=True)
    }
    own, loop, loops = scale_up.rows(case, 40, 2, measured, Group("", items, 1))
    assert [own["fedmi_is_faster"], loop["fedmi_is_faster"], loops["fedmi_is_faster"]] == [1, 4, 2]
    assert (own["trainings_per_second"], own["peak_gib"], own["clients"]) == (40, 2, case.clients)
    assert set(own) == set(scale_up.COLUMNS)
    measured[items[1].name].error = "failed"
    with pytest.raises(SystemExit, match="loop: failed"):
        scale_up.rows(case, 40, 2, measured, Group("", items, 1))
