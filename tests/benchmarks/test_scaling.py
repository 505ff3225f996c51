"""The map of cost: its design, its arithmetic, and the published page against its table."""

from math import prod

import numpy as np
import pandas as pd
import pytest

from benchmarks import scaling, scaling_page, stages
from fedmi import tasks

pytestmark = pytest.mark.usefixtures("quickly_compiled")

PUBLISHED = scaling.FIGURES / "scaling.csv"
TINY = dict(n=48, t=20, q=2, k=1, m=3, devices=1)

FLOPS, BANDWIDTH = 2e11, 2e10
STAGES = [stage for stage in scaling.DESIGNS if stage not in scaling_page.RATES]


@pytest.fixture(scope="module")
def known_table():
    """What `measure` would give if time went as N t Q² K, (1 + m) and 1 / devices."""
    rows = [
        dict(size, stage=stage)
        for stage, design in scaling.DESIGNS.items()
        for size in design.sizes()
    ]
    table = pd.DataFrame(rows).assign(
        compile_seconds=2.0, repeats=3, machine="a machine", memory=24e9, commit="c" * 40,
        taken="2026-01-02T03:04:05+00:00",
    )  # fmt: skip
    numbers = table.n * table.t * table.q * 4.0
    times = {
        "float32 product": 2.0 * table.n**2 * table.t / FLOPS,
        "copying": 8.0 * table.n * table.t / BANDWIDTH,
    }
    seconds = np.select(
        [table.stage == name for name in times], list(times.values()),
        1e-7 * table.n * table.t * table.q**2 * table.k * (1 + table.m) / table.devices,
    )  # fmt: skip
    return table.assign(
        seconds=seconds,
        peak_mib=300 + 5 * numbers / 2**20,
        stored_bytes=np.where(table.stage == "writing", 0.9 * numbers * table.k, np.nan),
    )[scaling.COLUMNS]


@pytest.mark.parametrize("stage", STAGES)
def test_the_design_varies_every_factor_alone_and_has_something_larger(stage):
    middle, *others, largest = scaling.DESIGNS[stage].sizes()
    changed = [[name for name in size if size[name] != middle[name]] for size in others]
    assert {"n", "q", "devices"} <= {name for (name,) in changed}
    work = [prod(size[name] for name in ("n", "t", "q", "k")) for size in (middle, *others)]
    assert prod(largest[name] for name in ("n", "t", "q", "k")) > max(work)
    # With whole tiles on every device, time is proportional to N.
    assert all(size["n"] % (stages.TILE * size["devices"]) == 0 for size in (middle, *others))


def test_a_stage_measured_anew_takes_the_place_of_its_old_rows(known_table):
    old = known_table.assign(repeats=3)
    new = known_table[known_table.stage == "reading"].iloc[:4].assign(repeats=9)
    found = scaling.with_others(new, old)
    assert list(found.stage.unique()) == list(scaling.DESIGNS)
    pd.testing.assert_frame_equal(found[found.stage == "reading"], new)
    others = found[found.stage != "reading"]
    pd.testing.assert_frame_equal(others, old[old.stage != "reading"])


def test_every_stage_is_measured():
    assert set(scaling.DESIGNS) == set(stages.STAGES)


def test_the_page_holds_ratios_of_what_was_measured(known_table):
    text = scaling_page.page(known_table)
    (row,) = [line for line in text.splitlines() if line.startswith("| KSG MI | 4,096, 400, 3")]
    assert "2,048 to 8,192: 4.00 times" in row  # of N
    assert "100 to 850: 8.50 times" in row
    assert "2 to 5: 6.25 times" in row
    assert "0 to 20: 21.0 times" in row
    assert "1 to 2: 0.500 times" in row
    assert "multiplied float32 matrices at 200 GFLOP/s and copied 20 GB/s" in text
    assert "| KSG MI | 12,288, 1,200, 3, 1, 5, 2 |" in text  # the largest
    assert "| 61,706 | 123,413 | 122 GB | 89 GB |" in text
    assert len(text.splitlines()) < 90


def test_nothing_is_said_of_sizes_that_were_not_measured(known_table):
    """Of two sizes there is a ratio, and no exponent, prediction or machine that was not there."""
    page = scaling_page.page(known_table)
    for word in ("predicted", "extrapolated", "exponent", "H100", "hour", "day"):
        assert word not in page, word
    single = known_table[(known_table.stage != "reading") | ~known_table.duplicated("stage")]
    (row, _) = [r for r in scaling_page.page(single).splitlines() if r.startswith("| reading |")]
    assert "times" not in row


@pytest.mark.slow
@pytest.mark.parametrize("stage", [name for name in stages.STAGES if name != "sampling, digits"])
def test_every_stage_runs(stage):
    """At a tiny size, and twice, as it is when it is timed; the images of digits apart."""
    run = stages.ready(stage=stage, size=TINY).run
    for _ in range(2):
        found = run()
    if stage == "writing":
        numbers = TINY["n"] * TINY["q"] * TINY["k"] * TINY["t"] * 4
        # Random digits do not compress; a tile is written whole, and metadata come on top.
        assert 0.8 * numbers < found["stored_bytes"] < 2 * numbers + 30_000


def test_the_linear_layer_has_the_parameters_asked_for():
    assert stages.linear_layer(850).parameter_count == 850
    with pytest.raises(ValueError, match="t: 25 is not a multiple of 10"):
        stages.linear_layer(25)


@pytest.mark.slow
def test_a_process_measures_or_says_why_not(tmp_path):
    row = scaling.measured("distances", TINY, str(tmp_path), least_seconds=0)
    assert set(row) == set(scaling.COLUMNS) and row["repeats"] == 1
    assert {*TINY.items()} < {*row.items()} and row["seconds"] > 0 and row["peak_mib"] > 10
    with pytest.raises(ValueError, match="negative dimensions"):
        scaling.measured("distances", TINY | dict(n=-1), str(tmp_path))


def test_the_published_page_is_that_of_the_table():
    table = pd.read_csv(PUBLISHED)
    sizes = {*table[["stage", *scaling.FACTORS]].itertuples(index=False, name=None)}
    for stage, design in scaling.DESIGNS.items():
        for size in design.sizes():
            assert (stage, *(size[name] for name in scaling.FACTORS)) in sizes
    assert (
        table[table.stage == "sampling, digits"].t.unique() == tasks.get("digits").parameter_count
    )
    page = scaling_page.page(table)
    assert PUBLISHED.with_suffix(".md").read_text() == page
