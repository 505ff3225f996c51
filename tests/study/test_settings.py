import re

import pytest
from pydantic import ValidationError

from fedmi.study import params, refusals
from fedmi.study.settings import Training, examples_of
from fedmi.study.ways import ATTACKS, AVERAGE, WAYS
from tests import tiny

GOOD = dict(
    task="tests.tiny:make",
    clients=4,
    participants=2,
    rounds=3,
    judged=[0, 1, 3],
    judged_seeds=4,
    tuning_seeds=1,
    settings=[dict(name="first")],
)


def plan(*settings, **changes):
    return Training(**GOOD | dict(settings=[dict(name="first"), *settings]) | changes)


def test_a_setting_changes_the_federation_and_nothing_else():
    of = plan(dict(name="other", options=dict(learning_rate=0.5), attack="far point", dishonest=1))
    first, other = map(of.federation, of.settings)
    assert first["task"].learning_rate == 0.25 and other["task"].learning_rate == 0.5
    assert other["attack"] is ATTACKS["far point"] and other["dishonest"] == 1
    same = first.keys() - {"task", "attack", "dishonest"}
    assert {k: first[k] for k in same} == {k: other[k] for k in same}
    assert first["participants"] == 2 and first["examples"] == (16,) * 4


def test_all_of_other_clients_take_part_unless_it_says_how_many():
    of = plan(dict(name="few", clients=3), dict(name="some", clients=6, participants=5))
    assert [of.federation(s)["participants"] for s in of.settings] == [2, 3, 5]


def test_clients_are_unlike_each_other_anew_in_every_seed():
    of = plan(task="signal", options=dict(source_skew=0.5))
    found = of.federation(of.settings[0])["scopes"]
    assert found["skew"] == "independent" and found["source"] == "shared"
    assert "skew" not in plan(task="signal").federation(of.settings[0])["scopes"]


def test_ways_that_cannot_be_used_are_not_tried():
    assert "Krum" not in plan().first_ways and "RegMean" not in plan().first_ways
    assert "Krum" in plan(clients=9, participants=9).first_ways
    assert plan(ways=["TIES"]).first_ways == [AVERAGE, "TIES"]
    assert plan().first_ways[0] == AVERAGE and set(plan().first_ways) <= set(WAYS)


def test_examples_are_whole_minibatches_evenly_on_a_logarithmic_scale():
    assert examples_of(tiny.task, 3, None) == (16, 16, 16)
    assert examples_of(tiny.task, 3, 4) == (4, 8, 16)
    with pytest.raises(ValueError, match="fewest_examples: 3 is not from a minibatch, 4, to .* 16"):
        examples_of(tiny.task, 3, 3)


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        ([], dict(judged=[0, 1]), r"judged: \[0, 1\] must hold 0 and the last round, 3"),
        ([], dict(judged=[1, 3]), "judged: .* must hold 0"),
        ([], dict(along=[4]), "along: 4 is beyond the last round, 3"),
        ([], dict(highest_rate=0.1), "highest_rate: 0.1 is not above the lowest"),
        ([], dict(along_seeds=20), "seeds: 20 cannot carry .* or 0 `along_seeds`"),
        ([], dict(ways=["FedYog"]), "ways: no such way to train; did you mean FedYogi"),
        ([], dict(ways=["Krum"]), "ways: 'Krum' is not for the task .* with 2 clients a round"),
        ([], dict(ways=["nowhere:at_all"]), "ways: .*nowhere"),
        ([dict(name="first")], {}, "settings: each needs a name of its own"),
        ([dict(name="a", also=["Krum"])], {}, "settings.1.also: 'Krum' is not for"),
        ([dict(name="a", attack="lie", dishonest=1)], {}, "settings.1.attack: no such attack"),
        ([dict(name="a", attack="far point")], {}, "settings.1.dishonest: it and `attack`"),
        ([dict(name="a", attack="far point", dishonest=4)], {}, "leave no honest client"),
        ([dict(name="a", participants=5)], {}, "settings.1.participants: 5 of 4 clients"),
        ([dict(name="a", fewest_examples=3)], {}, "settings.1.fewest_examples: 3 is not"),
        ([dict(name="a", options=dict(learning_rte=1))], {}, "settings.1.*learning_rte"),
    ],
)
def test_what_cannot_be_is_refused(settings, changes, message):
    with pytest.raises(ValidationError) as error:
        plan(*settings, **changes)
    lines = "\n".join(refusals.explain(error.value, Training))
    assert re.search(message, lines), lines


def test_the_first_setting_changes_nothing():
    with pytest.raises(ValidationError, match="settings.0: the first setting changes nothing"):
        Training(**GOOD | dict(settings=[dict(name="a", clients=3)]))


@pytest.mark.parametrize("scale", ["quick", "paper"])
def test_the_projects_own_files_are_sound(scale):
    for path in sorted((params.find("params") / scale / "training").glob("*.yaml")):
        assert params.load(path, params.Training).settings
