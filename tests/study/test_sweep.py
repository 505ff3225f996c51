import numpy as np
import pandas as pd
import pytest

import fedmi
from fedmi.sampling import sampler, store
from fedmi.stats import bonferroni_limit
from fedmi.study import params, results, sweep
from tests import tiny

pytestmark = pytest.mark.usefixtures("quickly_compiled")

RATES, SIZES = [0.125, 0.25], [4, 8]
PLAN = params.Sweep(
    task="tests.tiny:make",
    couplings=["shared-source"],
    learning_rates=RATES,
    batch_sizes=SIZES,
    seeds=1500,
)


@pytest.fixture(scope="module")
def points():
    return PLAN.designs("shared-source")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def sampled(points, folder):
    return sweep.sample_grid(points, seeds=1500, folder=folder)


def test_a_grid_has_every_rate_at_every_size(points):
    assert list(points) == [f"rate-{rate:g}-batch-{size}" for rate in RATES for size in SIZES]
    task = points["rate-0.125-batch-8"].task
    assert (task.learning_rate, task.batch_size, task.steps) == (0.125, 8, 2)
    assert task.options == {"learning_rate": 0.125, "batch_size": 8, "examples": 16}


def test_a_point_has_the_samples_that_it_would_have_alone(points, sampled):
    name = "rate-0.25-batch-8"
    alone = fedmi.sample(points[name].task, seeds=300, checkpoints=[1, 2], root_seed=0)
    assert alone.attrs["hash"] == sampled[name].attrs["hash"]
    for variable in ("theta", "metric", "clipped"):
        np.testing.assert_array_equal(
            alone[variable].values, sampled[name][variable].isel(seed=slice(300)).values
        )


def test_what_is_stored_is_not_sampled_again(points, sampled, folder, monkeypatch, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    monkeypatch.setattr(sampler, "compute_tiles", lambda *_, **__: pytest.fail("sampled again"))
    again = sweep.sample_grid(points, seeds=1500, folder=folder)
    for name, samples in sampled.items():
        assert again[name].identical(samples)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_larger_grid_spares_what_is_there_even_with_fewer_seeds(points, sampled, folder):
    stores = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    plan = PLAN.model_copy(update=dict(learning_rates=[0.125, 0.5], batch_sizes=[8]))
    more = plan.designs("shared-source")
    found = sweep.sample_grid(more, seeds=300, folder=folder)
    assert found["rate-0.5-batch-8"].sizes["seed"] == 300
    assert {path: path.stat().st_mtime_ns for path in stores} == stores
    assert store.open_existing(folder / "rate-0.125-batch-8.zarr").seeds() == 1500


def test_a_point_that_cannot_be_estimated_has_a_reason(points, sampled):
    few = fedmi.finite(sampled["rate-0.25-batch-8"]).isel(seed=slice(22))
    row = sweep.trend_row(few, permutations=20)
    assert np.isnan(row["rise_bits"]) and "22 samples" in row["why_not"]
    good = sweep.trend_row(fedmi.finite(sampled["rate-0.25-batch-8"]), permutations=20)
    (found,) = sweep.facts(pd.DataFrame([row, good]))["couplings"]
    assert [found[name] for name in ("points", "rise", "fall", "open")] == [2, 1, 0, 1]
    (none,) = sweep.facts(pd.DataFrame([row]))["couplings"]
    assert (none["open"], none["ends"]) == (1, [])


def test_the_rise_is_the_known_one(points, sampled):
    for name, design in points.items():
        task = design.task
        row = sweep.trend_row(fedmi.finite(sampled[name]), permutations=20)
        assert set(row) == set(sweep.COLUMNS)
        truth = tiny.mi_bits(task, task.steps) - tiny.mi_bits(task, 1)
        assert abs(row["rise_bits"] - truth) < 3 * row["rise_se"]
        assert np.isnan(row["why_not"]) and not row["infinite"]
        assert (row["learning_rate"], row["batch_size"]) == (task.learning_rate, task.batch_size)
        assert (row["n"], row["steps"]) == (1500, task.steps)


def test_the_facts_count_what_is_beyond_chance_at_any_point():
    rows = [
        dict.fromkeys(sweep.COLUMNS, 0.0)
        | dict(coupling=coupling, learning_rate=rate, batch_size=10, n=2000, infinite=False)
        | dict(rise_bits=rise, rise_se=1.0)
        for coupling, rises in {"null": (0.5, -2.2), "shared-source": (9.0, -8.0)}.items()
        for rate, rise in zip(RATES, rises, strict=True)
    ]
    assert bonferroni_limit(1) == pytest.approx(1.96, abs=1e-3)
    assert bonferroni_limit(4) == pytest.approx(2.498, abs=1e-3)
    null, shared = sweep.facts(pd.DataFrame(rows))["couplings"]
    assert [null[name] for name in ("points", "rise", "fall", "open")] == [2, 0, 0, 2]
    assert [(end["rise_bits"], end["learning_rate"]) for end in null["ends"]] == [
        (-2.2, 0.25), (0.5, 0.125),
    ]  # fmt: skip
    assert [shared[name] for name in ("points", "rise", "fall", "open")] == [2, 1, 1, 0]


def test_a_coupling_is_taken_through_the_grid_and_its_rows_are_kept(folder, sampled, monkeypatch):
    (folder / "shared-source").mkdir()
    for path in folder.glob("*.zarr"):
        path.rename(folder / "shared-source" / path.name)
    table = sweep.run(PLAN, "shared-source", folder)
    pd.testing.assert_frame_equal(results.read_csv(folder / "shared-source.csv"), table)
    assert table.learning_rate.tolist() == [rate for rate in RATES for _ in SIZES]
    monkeypatch.setattr(sweep, "trend_row", lambda *_, **__: pytest.fail("estimated again"))
    pd.testing.assert_frame_equal(sweep.run(PLAN, "shared-source", folder), table)
    with pytest.raises(ValueError, match="coupling: 'null' is none of the sweep's"):
        sweep.run(PLAN, "null", folder)
