import numpy as np
import pandas as pd
import pytest

import fedmi
from fedmi.study import rounds
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


def test_words_follow_the_table(table):
    text = rounds.words(table)
    row = table[(table["round"] == 2) & (table.what == "parameters") & (table.iteration == 4)]
    assert f"{row.net_bits.item():.2f} ± {1.96 * row.net_se.item():.2f}" in text
    assert "The reading of the parameters within a round falls in round 2" in text
    rising = table.assign(net_bits=table.iteration * 10.0)
    assert "rises in round 1, 2" in rounds.words(rising)
    endless = rounds.words(table.assign(infinite=True, shared_directions=3.0))
    assert "infinite on 3 directions, else" in endless
    assert "is infinite somewhere in round 1, 2" in endless
    assert "falls" not in endless
    one_of_three = rounds.words(table.assign(infinite=True, shared_directions=1 / 3))
    assert "infinite on 0.333 directions, else" in one_of_three
    # Of four changes one that is 2.2 standard errors large turns up by chance.
    unsure = table.assign(net_bits=2.2 * np.sqrt(2) * (table.iteration == 4), net_se=1.0)
    assert "is open in round 1, 2" in rounds.words(unsure)
