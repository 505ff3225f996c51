"""The map of cost: its design, its arithmetic, and the published page against its table."""

import re
from math import prod
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from benchmarks import scaling, scaling_words, stages
from benchmarks.power_law import PowerLaw
from benchmarks.scaling_words import CHECKPOINTS, STAGES, Machine, study
from fedmi import tables

pytestmark = pytest.mark.usefixtures("quickly_compiled")

PUBLISHED = scaling.FIGURES / "scaling.csv"
TINY = dict(n=48, t=20, q=2, k=1, m=3, devices=1)


def terms(stage, *scales):
    """The stage's further terms of these scales, in their order."""
    powers = STAGES[stage].terms
    return {
        name: (scale, powers[name]) for name, scale in zip(powers, scales, strict=True) if scale
    }


KNOWN = {
    "sampling": PowerLaw(
        1e-6, dict(n=1, t=1, q=1, devices=-1), terms=terms("sampling", 0.1, 2e-4, 2e-8)
    ),
    "sampling, digits": PowerLaw(4e-3, dict(n=1, q=1, devices=-1)),
    "writing": PowerLaw(8e-9, dict(n=1, t=1, q=1, k=1, devices=0)),
    "reading": PowerLaw(2e-9, dict(n=1, t=1, q=1, devices=0)),
    "Gaussian MI": PowerLaw(
        2e-10, dict(n=1, t=2, q=1.4, devices=-1), terms=terms("Gaussian MI", 3e-10, 4e-11)
    ),
    "KSG MI": PowerLaw(2e-11, dict(n=2, t=1, q=1, devices=-1), terms=terms("KSG MI", 8e-9, 6e-10)),
    "distances": PowerLaw(6e-8, dict(n=1, t=1, pairs=1, devices=0)),
    "judging aggregators": PowerLaw(
        1e-6, dict(n=1, t=1, q=1.3, k=1, devices=-1), terms=terms("judging aggregators", 0.5, 0)
    ),
}
FLOPS, BANDWIDTH = 2e11, 2e10


def table_of(laws, wrong=1.0):
    """What `measure` would give if the laws held, and were wrong at what is left out."""
    rows = [
        dict(size, stage=stage, left_out=design.is_left_out(size))
        for stage, design in scaling.DESIGNS.items()
        for devices in scaling.DEVICES
        for size in design.sizes(devices)
    ]
    table = pd.DataFrame(rows).assign(
        compile_seconds=2.0, repeats=3, machine="a machine", memory=24e9, commit="c" * 40,
        taken="2026-01-02T03:04:05+00:00",
    )  # fmt: skip
    numbers = table.n * table.t * table.q * 4.0
    times = {name: law(scaling_words.sizes_of(table)) for name, law in laws.items()}
    times["float32 product"] = 2.0 * table.n**2 * table.t / FLOPS
    times["copying"] = 8.0 * table.n * table.t / BANDWIDTH
    seconds = np.select([table.stage == name for name in times], list(times.values()))
    return table.assign(
        seconds=seconds * np.where(table.left_out, wrong, 1.0),
        peak_mib=300 + 5 * numbers / 2**20,
        stored_bytes=np.where(table.stage == "writing", 0.9 * numbers * table.k, np.nan),
    )[scaling.COLUMNS]


@pytest.mark.parametrize("stage", STAGES)
def test_the_design_tells_the_factors_apart_and_leaves_out_something_larger(stage):
    design, theory = scaling.DESIGNS[stage], STAGES[stage].theory
    sizes = [size for devices in scaling.DEVICES for size in design.sizes(devices)]
    assert len({tuple(size.values()) for size in sizes}) == len(sizes)
    out, fitted = (
        [size for size in sizes if design.is_left_out(size) == whether] for whether in (True, False)
    )
    assert len(out) == 1
    for factor in theory:
        assert len({size["q" if factor == "pairs" else factor] for size in fitted}) > 1
    work = [prod(size[name] for name in ("n", "t", "q", "k")) for size in fitted]
    assert prod(out[0][name] for name in ("n", "t", "q", "k")) > max(work)
    # With whole tiles on every device, time is proportional to N.
    assert all(size["n"] % (stages.TILE * size["devices"]) == 0 for size in sizes)


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
    assert set(STAGES) < set(stages.STAGES)


@pytest.fixture(scope="module")
def known_table():
    """Measurements that the known laws predict, and miss by a fifth at what is left out."""
    return table_of(KNOWN, wrong=1.2)


@pytest.fixture(scope="module")
def found_laws(known_table):
    return scaling_words.laws_of(known_table)


def test_the_laws_are_found_again_and_the_size_left_out_is_predicted(known_table, found_laws):
    for name, law in found_laws.items():
        assert law.exponents == pytest.approx(KNOWN[name].exponents, abs=1e-2)
        assert set(law.terms) == set(KNOWN[name].terms)
    found = scaling_words.check(known_table, found_laws)
    assert list(found.stage) == list(STAGES)
    assert found.ratio.to_numpy() == pytest.approx(1.2, rel=1e-2)


def test_a_study_is_the_sum_of_its_stages():
    two = study(KNOWN, Machine("two cores"), 10_000, 100)
    assert two["sampling"] == pytest.approx(
        0.1 + ((1e-6 * 100 + 2e-4) / 2 + 2e-8 * 100 * 6) * 10_000 * 3
    )
    of_queries = 2e-11 * 1e8 * 100 * 3 + 6e-10 * 1e8 * 3 * 21
    assert two["KSG MI"] == pytest.approx(CHECKPOINTS * (of_queries / 2 + 8e-9 * 1e6 * 3))
    assert two["distances"] == pytest.approx(CHECKPOINTS * 6e-8 * 1e6 * 3)
    assert set(study(KNOWN, Machine("two"), 10_000, 850, "sampling, digits")) == {
        "sampling, digits", "reading", "Gaussian MI", "KSG MI", "distances"
    }  # fmt: skip


def test_a_gpu_speeds_up_what_jax_computes_and_nothing_else():
    two = study(KNOWN, Machine("two cores"), 10_000, 100)
    gpu = study(KNOWN, Machine("GPU", faster=100.0), 10_000, 100)
    assert {name: two[name] / gpu[name] for name in two} == pytest.approx(
        {"sampling": 100, "reading": 1, "Gaussian MI": 1, "KSG MI": 100, "distances": 1}
    )


def test_nodes_share_seeds_and_pairs_but_never_split_a_pair():
    pair = 2e-11 * 1e8 * 100 * 2 + 6e-10 * 1e8 * 21 + 8e-9 * 1e6 * 2
    for nodes, jobs_in_turn in ((2, 9), (6, 3), (18, 1), (1000, 1)):
        found = study(KNOWN, Machine("nodes", nodes=nodes, cores=1), 10_000, 100)
        assert found["KSG MI"] == pytest.approx(jobs_in_turn * pair)
        assert found["sampling"] == pytest.approx(
            0.1 + (1e-6 * 100 + 2e-4 + 2e-8 * 100 * 6) * 10_000 * 3 / nodes
        )


def test_the_largest_size_within_a_limit():
    assert scaling_words.largest(lambda n: n <= 12_345) == 12_345
    assert scaling_words.largest(lambda n: n < 1) == 0
    assert scaling_words.largest(lambda n: n <= 1) == 1


def test_the_page_says_what_was_assumed_and_holds_what_it_says(known_table, found_laws):
    text = scaling_words.page(known_table)
    assert "extrapolated, not measured" in text
    # 67e12 / 2e11 is 335; 3.35e12 / 2e10 is 167.5: the smaller counts.
    assert "taken to be 168 times as fast" in text
    assert "| 61,706 | 123,413 | 122 GB |" in text
    assert "rank at t = 9,900" in text
    assert "grow by 5.0 bytes" in text
    assert len(text.splitlines()) < 90
    (row,) = [line for line in text.splitlines() if "2 cores" in line and "largest N" in line]
    n = int(re.findall(r"\| ([\d,]+) \(", row)[1].replace(",", ""))
    hour = sum(study(found_laws, Machine("two"), n, 850, "sampling, digits").values())
    assert 0.8 * 3600 < hour <= 3600  # sizes are rounded downwards to two digits


@pytest.fixture(scope="module")
def cheap():
    """Every stage at a tiny size, the images of digits apart."""
    names = [name for name in stages.STAGES if name != "sampling, digits"]
    return {name: stages.measured(name, TINY, least_seconds=0) for name in names}


def test_every_stage_runs(cheap):
    for name, row in cheap.items():
        assert row["stage"] == name and row["seconds"] > 0 and row["repeats"] == 1
        assert {*TINY.items()} < {*row.items()}


def test_a_store_holds_what_is_written(cheap):
    numbers = TINY["n"] * TINY["q"] * TINY["k"] * TINY["t"] * 4
    # Random digits do not compress; a tile is written whole, and metadata come on top.
    assert 0.8 * numbers < cheap["writing"]["stored_bytes"] < 2 * numbers + 30_000
    assert cheap["reading"]["stored_bytes"] is None


def test_the_linear_layer_has_the_parameters_asked_for():
    assert stages.linear_layer(850).parameter_count == 850
    with pytest.raises(ValueError, match="t: 25 is not a multiple of 10"):
        stages.linear_layer(25)


def test_digits_has_parameters_of_its_own():
    with pytest.raises(ValueError, match="t: 20; the digits task has 850 parameters"):
        next(stages.sampling_digits(SimpleNamespace(**TINY)))


def test_a_process_measures_until_it_fails(tmp_path):
    sizes = [TINY, TINY | dict(n=96), TINY | dict(n=-1)]
    rows = scaling.measured("distances", sizes, 1, str(tmp_path), seconds=0)
    for n in (48, 96):
        row = next(rows)
        assert row["n"] == n and row["seconds"] > 0 and row["memory"] > 0 and row["machine"]
    with pytest.raises(RuntimeError, match="(?s)distances failed.*negative dimensions"):
        next(rows)


def test_more_cores_than_there_are_are_refused():
    with pytest.raises(ValueError, match="cores: 100000 are needed"), scaling.pinned(100_000):
        pass


def test_published_predictions_hold_within_30_percent():
    table = tables.read_csv(PUBLISHED)
    found = scaling_words.check(table, scaling_words.laws_of(table)).set_index("stage").ratio
    assert set(found.index) == set(STAGES)
    # The first measurement of judging found 1.31; it was not repeated until it fitted.
    of_a_study = found.drop("judging aggregators")
    assert ((of_a_study >= 0.7) & (of_a_study <= 1.3)).all(), found


def test_a_prediction_that_does_not_hold_is_named(known_table):
    longer = known_table.left_out & (known_table.stage == "reading")
    table = known_table.assign(seconds=known_table.seconds.where(~longer, 2 * known_table.seconds))
    page = scaling_words.page(table)
    assert "Off by more than 30%, and not to be relied on: reading." in page


def test_the_published_predictions_hold():
    table = tables.read_csv(PUBLISHED)
    found = scaling_words.check(table, scaling_words.laws_of(table))
    assert len(found) == len(STAGES)
    assert found.ratio.between(0.7, 1.3).all()


def test_the_published_page_is_that_of_the_table():
    page = scaling_words.page(tables.read_csv(PUBLISHED))
    assert PUBLISHED.with_suffix(".md").read_text() == page
