import numpy as np
import pandas as pd
import pytest

import fedmi
from fedmi.study import pages, rounds
from tests import tiny

pytestmark = pytest.mark.usefixtures("quickly_compiled")


@pytest.fixture(scope="module")
def samples():
    settings = dict(seeds=600, coupling="independent", checkpoints=[1, 2, 4], tile=64)
    return {r: fedmi.finite(fedmi.sample(tiny.task, rounds=r, **settings)) for r in (1, 2)}


@pytest.fixture(scope="module")
def table(samples):
    found = [row for s in samples.values() for row in rounds.rows(s, permutations=20)]
    return pd.DataFrame(found, columns=rounds.COLUMNS)


def test_updates_are_what_clients_changed(samples):
    assert rounds.updates(samples[1]) is samples[1]
    second = samples[2]
    found = rounds.updates(second).theta.sel(client=1, iteration=2).values
    expected = second.theta.sel(client=1, iteration=2).values - second.download.values
    np.testing.assert_array_equal(found, expected)


def test_without_anything_shared_only_the_download_of_later_rounds_is(table):
    at = table.set_index(["round", "what", "iteration"])
    for what in (rounds.PARAMETERS, rounds.UPDATES):
        first = at.loc[1, what, 4]
        assert abs(first.net_bits) < 4 * first.net_se
        assert first.p_family > 0.05
    start, end = at.loc[2, rounds.PARAMETERS, 1], at.loc[2, rounds.PARAMETERS, 4]
    assert start.net_bits > 1 and start.p_family <= 0.05
    assert end.net_bits < start.net_bits  # training forgets where it began
    # Of distances the download takes no part: it is the same on both sides.
    both = at.distance.unstack("what")
    np.testing.assert_allclose(both.parameters, both.updates, rtol=1e-5)
    unmatched = at.unmatched.unstack("what").loc[2]
    assert (unmatched.parameters > unmatched.updates).all()


def courses(table):
    """(what, course) -> rounds."""
    return {
        (of["what"], course): numbers
        for of in rounds.facts(table)["courses"]
        for course, numbers in of["rounds"].items()
    }


def test_the_facts_follow_the_table(table):
    found = rounds.facts(table)
    assert (found["first"], found["last"]) == (1, 4)
    row = table[(table["round"] == 2) & (table.what == "parameters") & (table.iteration == 4)]
    (second,) = (of for of in found["rounds"] if of["round"] == 2)
    assert second["parameters"][1]["net_bits"] == row.net_bits.item()
    closer = 1 - row.distance.item() / row.unmatched.item()
    assert second["parameters"][1]["closer"] == pytest.approx(closer)
    assert 0 < second["parameters"][1]["closer_se"] < 0.1


def test_a_course_within_a_round_is_beyond_chance(table):
    assert 2 in courses(table)["parameters", "no"]
    rising = table.assign(net_bits=table.iteration * 10.0)
    assert courses(rising) == {("parameters", "yes"): [1, 2], ("updates", "yes"): [1, 2]}
    endless = table.assign(infinite=True, shared_directions=3.0)
    assert {course for _, course in courses(endless)} == {"infinite"}
    # Of four changes one that is 2.2 standard errors large turns up by chance.
    unsure = table.assign(net_bits=2.2 * np.sqrt(2) * (table.iteration == 4), net_se=1.0)
    assert courses(unsure)["updates", "open"] == [1, 2]


def test_shared_directions_are_a_mean_over_pairs(table):
    text = pages.render(
        "rounds", rounds.facts(table.assign(infinite=True, shared_directions=1 / 3))
    )
    assert "infinite on 0.333 directions, else" in text
