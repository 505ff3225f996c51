import numpy as np
import pytest
import yaml

import fedmi
from fedmi.sampling import replay
from fedmi.study import params, points
from tests import tiny

pytestmark = pytest.mark.usefixtures("quickly_compiled")

FACTORS = {
    "rate": {"own": {}, "half": {"rate": 0.5}},
    "batch size": {"4": {}, "2": {"options": {"batch_size": 2}}},
    "seeds": {"200": {}, "100": {"seeds": 100}},
    "coupling": {"source": {}, "nothing": {"coupling": "independent"}},
}
ENTRIES = dict(
    task="tests.tiny:make",
    options=dict(examples=20, batch_size=4),
    seeds=200,
    factors=FACTORS,
    crosses=[{"rate": ["half"], "batch size": ["2"]}],
    same_data=["rate", "batch size"],
)


def made(**changes):
    return params.Choices.model_validate(ENTRIES | changes)


def test_one_choice_is_changed_at_a_time_and_crosses_all_together():
    plan = made()
    assert list(plan.combinations()) == [
        "default", "rate-half", "batch-size-2", "seeds-100", "coupling-nothing",
        "rate-half+batch-size-2",
    ]  # fmt: skip
    found = plan.points()
    assert found["default"].levels == {
        "rate": "own", "batch size": "4", "seeds": "200", "coupling": "source",
    }  # fmt: skip
    both = found["rate-half+batch-size-2"]
    assert both.design.task.learning_rate == 0.125 and both.design.task.batch_size == 2
    assert (both.seeds, found["seeds-100"].seeds) == (200, 100)
    assert [name for name, point in found.items() if point.control] == ["coupling-nothing"]
    full = made(crosses=[{"rate": ["own", "half"], "batch size": ["4", "2"]}])
    assert set(full.combinations()) == set(plan.combinations())


def test_points_of_a_group_have_the_same_data():
    assert made().groups() == {
        "default+200-seeds": ["default", "rate-half", "batch-size-2", "rate-half+batch-size-2"],
        "seeds-100+100-seeds": ["seeds-100"],
        "coupling-nothing+200-seeds": ["coupling-nothing"],
    }
    assert len(made(same_data=[]).groups()) == len(made().combinations())
    rates = {"own": {}} | {f"rate {i}": {"rate": 1 / (i + 2)} for i in range(points.TOGETHER)}
    many = made(factors={"rate": rates}, crosses=[], same_data=["rate"])
    first, second = many.groups().values()
    assert len(first) == points.TOGETHER and [*first, *second] == list(many.combinations())


@pytest.mark.parametrize(("batch_size", "kept"), [(1, [1, 4, 8, 12, 16, 20]), (4, [1, 2, 3, 4, 5])])
def test_checkpoints_are_equal_shares_of_the_examples(batch_size, kept):
    assert points.checkpoints(tiny.make(batch_size=batch_size, examples=20)) == kept


def test_a_download_changes_nothing_else():
    task = fedmi.tasks.get("signal", layers=1, length=8)
    other = points.with_download(task, 1)
    keys = {stream: fedmi.scopes.root_key(5) for stream in task.streams}
    first, second = (replay.ravel_pytree(t.init(keys))[0] for t in (task, other))
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(task.data(keys, ())[0], other.data(keys, ())[0])
    third = points.with_download(task, 2)
    assert not np.allclose(second, replay.ravel_pytree(third.init(keys))[0])
    assert points.with_download(task, 0) is task
    assert dict(other.options)["download"] == 1


def test_a_rate_is_a_multiple_of_the_readings_own():
    plan = made(
        task="signal",
        options={},
        seeds=1000,
        same_data=[],
        factors={
            "reading": {"vector": {}, "sequence": {"options": {"reading": "sequence"}}},
            "rate": {"own": {}, "thrice": {"rate": 3.0}},
        },
        crosses=[{"reading": ["sequence"], "rate": ["thrice"]}],
    )
    rates = [point.design.task.learning_rate for point in plan.points().values()]
    assert rates == pytest.approx([0.1, 0.03, 0.3, 0.09])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(factors={}), "factors: Dictionary should have at least 1 item"),
        (dict(factors={"rate": {"own": {}}}), "factors.rate: Dictionary should have at least 2"),
        (
            dict(factors={"rate": {"half": {"rate": 0.5}, "own": {}}}),
            "the first level is the study's",
        ),
        (dict(crosses=[{"rat": ["own"]}]), "factors: no such factor; did you mean rate?"),
        (dict(crosses=[{"rate": ["haf"]}]), "crosses.rate: no such level; did you mean half?"),
        (dict(same_data=["rates"]), "no such factor; did you mean rate?"),
        (dict(factors={"a/b": {"own": {}, "x": {}}}), "'a/b' must be a name of letters, digits"),
        (dict(seeds=20), "permutations: 20 re-pairings need more seeds than that, not 20"),
        (dict(factors=FACTORS | {"n": {"200": {}, "25": {"seeds": 25}}}), "give at least 26"),
        (
            dict(factors={"batch size": {"4": {}, "5": {"options": {"batch_size": 10}}}}),
            "at the point 'batch-size-5': batch_size: 10 makes 2 steps",
        ),
        (
            dict(coupling="independent", factors={"download": {"0": {}, "1": {"download": 1}}}),
            "download: 1 is another of the downloads that are the same for all",
        ),
    ],
)
def test_a_bad_multiverse_is_refused(tmp_path, changes, message):
    path = tmp_path / "choices.yaml"
    entries = ENTRIES | (dict(crosses=[], same_data=[]) if "factors" in changes else {}) | changes
    path.write_text(yaml.safe_dump(entries, sort_keys=False))
    with pytest.raises(params.ParamsError) as error:
        params.load(path, params.Choices)
    assert message in str(error.value)


@pytest.mark.parametrize("task", ["signal", "digits"])
def test_the_projects_own_multiverses_have_what_the_paper_left_open(task):
    plan = params.load(f"params/paper/choices/{task}.yaml", params.Choices)
    wanted = {
        "signal": {
            "reading", "rate", "batch size", "initialiser", "dropout", "noise", "frequencies",
            "clip", "download", "coupling", "seeds",
        },
        "digits": {
            "head", "rate", "batch size", "augmentation", "download", "LeNet", "originals",
            "coupling",
        },
    }  # fmt: skip
    assert set(plan.factors) == wanted[task]
    assert len(plan.factors["download"]) == 10
    for name, levels in plan.combinations().items():
        fewer = "seeds" in name or "lstm" in name
        seeds = plan.point(name).seeds
        assert seeds >= (1000 if fewer else 4000), name
        assert ("lstm" in name) <= (seeds == 2000)
        if levels.get("reading") == "lstm":
            assert levels["coupling"] == "source" and levels["noise"] == "0.05"
    assert sum(plan.point(name).control for name in plan.combinations()) >= 10
    quick = params.load(f"params/quick/choices/{task}.yaml", params.Choices)
    assert set(quick.factors) <= set(plan.factors)


def test_the_workflow_is_told_the_groups_and_of_no_broken_file(tmp_path):
    folder = tmp_path / "choices"
    folder.mkdir()
    (folder / "good.yaml").write_text(yaml.safe_dump(ENTRIES, sort_keys=False))
    (folder / "bad.yaml").write_text("task: [")
    (folder / ".draft.yaml").write_text("")
    assert points.laid_out(tmp_path) == {"good": made().groups()}
