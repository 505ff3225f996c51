import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import fedmi
from fedmi.sampling import chaos, sampler, tiles
from fedmi.sampling.design import Design
from fedmi.sampling.sampler import sample_together
from fedmi.study import choices, outcomes, params, tables
from tests import tiny

pytestmark = pytest.mark.usefixtures("quickly_compiled")

PLAN = params.Choices.model_validate(
    dict(
        task="tests.tiny:make",
        options=dict(examples=20, batch_size=4),
        seeds=800,
        judged_seeds=100,
        perturbed_seeds=4,
        factors={
            "rate": {"own": {}, "half": {"rate": 0.5}},
            "batch size": {"4": {}, "2": {"options": {"batch_size": 2}}},
            "coupling": {"source": {}, "nothing": {"coupling": "independent"}},
        },
        same_data=["rate", "batch size"],
    )
)
ROOT = Path(__file__).parents[2]
POINTS = ["default", "rate-half", "batch-size-2", "coupling-nothing"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("choices")


@pytest.fixture(scope="module")
def table(folder):
    return choices.run(PLAN, folder)


@pytest.mark.slow
def test_every_point_has_a_row_a_checkpoint(table):
    assert table.point.unique().tolist() == POINTS
    assert table.columns.tolist() == [*choices.COLUMNS, "by rate", "by batch size", "by coupling"]
    kept = table.groupby("point", sort=False).iteration.agg(list).to_dict()
    assert kept["default"] == [1, 2, 3, 4, 5] and kept["batch-size-2"] == [1, 2, 4, 6, 8, 10]
    np.testing.assert_allclose(
        table.share[table.point == "batch-size-2"], [0.1, *np.arange(1, 6) / 5]
    )
    assert (table.n == 800).all() and (table.non_finite == 0).all() and table.why_not.isna().all()
    assert table.control.tolist() == [False] * 16 + [True] * 5


@pytest.mark.slow
def test_the_mi_is_the_known_one(table):
    for name, point in PLAN.points().items():
        rows = table.loc[table.point == name]
        for row in rows.itertuples():
            truth = 0 if point.control else tiny.mi_bits(point.design.task, row.iteration)
            assert abs(row.gaussian - truth) < 4 * row.gaussian_se, (name, row.iteration)
            assert (row.gaussian_p_family <= 1 / 21) == (not point.control)


@pytest.mark.slow
def test_distances_are_matched_and_unmatched(table):
    own, apart = (table.loc[table.control == control] for control in (False, True))
    assert (own.euclidean < own.euclidean_unmatched).all()
    off = (apart.euclidean / apart.euclidean_unmatched - 1).abs()
    assert (off < 4 * 2 * apart.euclidean_se / apart.euclidean).all()


@pytest.mark.slow
def test_learning_and_chaos_are_told(table):
    assert (table.fresh < table.fresh_download).all()
    # A difference shrinks by 1 - r a step, but for the rounding of what is a millionth.
    assert (table.growth < 1).all() and not table.chaotic.any()


@pytest.mark.slow
def test_a_point_has_the_samples_that_it_would_have_alone(table, folder):
    point = PLAN.point("batch-size-2")
    kept = dict(checkpoints=point.design.checkpoints, tile=tiles.TILE)
    alone = fedmi.sample(point.design.task, seeds=64, **kept)
    kept = choices.open_existing(choices.store_of(folder, "batch-size-2")).dataset(64)
    assert kept.attrs["hash"] == alone.attrs["hash"]
    np.testing.assert_array_equal(kept.theta.values, alone.theta.values)


@pytest.mark.slow
def test_what_is_kept_is_not_made_again(table, folder, monkeypatch):
    monkeypatch.setattr(sampler, "compute_tiles", lambda *_, **__: pytest.fail("sampled again"))
    monkeypatch.setattr(choices, "readings", lambda *_, **__: pytest.fail("measured again"))
    pd.testing.assert_frame_equal(choices.run(PLAN, folder), table)


@pytest.mark.slow
def test_kept_rows_need_no_samples(table, folder, monkeypatch):
    monkeypatch.setattr(choices, "open_existing", lambda _: pytest.fail("samples were read"))
    pd.testing.assert_frame_equal(choices.run(PLAN, folder), table)
    changed = PLAN.model_copy(update=dict(permutations=25))
    with pytest.raises(pytest.fail.Exception, match="samples were read"):
        choices.measure(changed, "default", folder)


@pytest.mark.slow
def test_a_point_lost_is_measured_again_and_no_other(table, folder, monkeypatch):
    (folder / "points" / "rate-half.json").unlink()
    measured, real = [], choices.readings

    def readings(plan, name, *rest):
        measured.append(name)
        return real(plan, name, *rest)

    monkeypatch.setattr(choices, "readings", readings)
    pd.testing.assert_frame_equal(choices.run(PLAN, folder), table)
    assert measured == ["rate-half"]


def test_points_said_to_have_the_same_data_are_looked_at():
    changed = PLAN.model_copy(update=dict(options=dict(examples=40, batch_size=4)))
    other = {"default": PLAN.point("default").design, "more": changed.point("default").design}
    with pytest.raises(ValueError, match="the clients of 'more' have other data than those of 'de"):
        choices.check_same_data(other)
    choices.check_same_data({name: PLAN.point(name).design for name in POINTS[:3]})
    with pytest.raises(ValueError, match="'coupling-nothing' have other data"):
        choices.check_same_data({name: PLAN.point(name).design for name in POINTS})


def test_a_stream_that_data_are_not_drawn_from_may_be_lacking_but_has_one_scope():
    def design(task, **scopes):
        scopes = {stream: "independent" for stream in task.streams} | scopes
        return Design.of(task, coupling=scopes | dict(source="shared"))

    def drawn_init(keys):
        noise = jax.random.normal(keys["init"], (4,), jnp.float32)
        return tiny.init(keys) | dict(b=noise)

    task = dataclasses.replace(tiny.task, init=drawn_init)
    streams = {name: role for name, role in task.streams.items() if role != "init"}
    lacking = dataclasses.replace(tiny.task, streams=streams)
    for pair in ((task, lacking), (lacking, task)):
        designs = [design(of) for of in pair]
        choices.check_same_data({str(i): of for i, of in enumerate(designs)})
        together = sample_together(designs, [None, None], seeds=4, tile=4)
        for of, store in zip(designs, together, strict=True):
            (alone,) = sample_together([of], [None], seeds=4, tile=4)
            np.testing.assert_array_equal(store.dataset(4).theta, alone.dataset(4).theta)
    with pytest.raises(ValueError, match="'b' have other data than those of 'a', or streams of"):
        choices.check_same_data(dict(a=design(task), b=design(task, order="shared")))


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(ROOT.glob("params/*/choices/*.yaml")), ids=str)
def test_the_groups_of_every_plan_have_the_same_data(path):
    plan = params.load(str(path), params.Choices)
    for names in plan.groups().values():
        choices.check_same_data({name: plan.point(name).design for name in names})


def refuse(*_, **__):
    raise ValueError("no")


@pytest.mark.slow
def test_what_the_estimators_refuse_has_a_reason(table, folder, monkeypatch):
    monkeypatch.setattr(chaos, "perturbed", lambda *_, **__: None)
    monkeypatch.setattr(chaos, "table", lambda _: tiny.STABILITY)
    point = PLAN.point("default")
    samples = fedmi.finite(choices.open_existing(choices.store_of(folder, "default")).dataset(22))
    rows = choices.readings(PLAN, "default", point, samples)
    assert len(rows) == 5
    for row in rows:
        assert "22 samples" in row["why_not"] and np.isnan(row["gaussian"])
        assert np.isfinite([row["ksg"], row["euclidean"], row["fresh"]]).all()
    judged = outcomes.judge(pd.concat([table, pd.DataFrame(rows).assign(point="few")]))
    few = judged.loc[judged.point == "few"].set_index("claim").outcome
    assert few["rises"] == few["above_zero"] == few["not_closer"] == outcomes.REFUSED
    assert few["rises_ksg"] != outcomes.REFUSED and few["distances_rise"] == outcomes.HOLDS
    monkeypatch.setattr(tables, "mi_rows", refuse)
    for row in choices.readings(PLAN, "default", point, samples):
        assert row["why_not"] == "no" and np.isnan([row["gaussian"], row["ksg"]]).all()
    (none,) = {row["why_not"] for row in choices.readings(PLAN, "x", point, samples.isel(seed=[]))}
    assert none == "fewer than two seeds are finite"


def test_there_is_no_other_point_and_no_other_group(folder):
    with pytest.raises(ValueError, match="no such point; did you mean rate-half?"):
        choices.measure(PLAN, "rate-hal", folder)
    with pytest.raises(ValueError, match="group: 'x' is none of default"):
        choices.sample_group(PLAN, "x", folder)


@pytest.mark.slow
def test_the_kept_rows_are_json(folder, table):
    kept = json.loads((folder / "points" / "default.json").read_text())
    assert kept["content"][0]["by rate"] == "own" and len(kept["basis"]["changes"]) == 3
