"""What the notebooks end with: numbers of known tables, in words."""

import numpy as np
import pandas as pd
import pytest

from fedmi.study import conclusions, pages
from tests import tiny


def mi_row(pair, iteration, net, **other):
    return dict(
        estimator="gaussian",
        k=np.nan,
        pair=pair,
        iteration=iteration,
        bits=net + 1,
        finite_bits=net + 1,
        perm_bits=1.0,
        perm_sd=0.0,
        permutations=20,
        low=net + 1 - 1.96 * 0.1,
        high=net + 1 + 1.96 * 0.1,
        shared_directions=0,
        p_family=0.05,
    ) | dict(other)


def distance_row(iteration, distance, unmatched):
    return dict(
        metric="euclidean",
        pair="0-1",
        iteration=iteration,
        distance=distance,
        unmatched=unmatched,
        distance_se=0.001,
    )


MI = pd.DataFrame(
    [
        mi_row(pair, i, net)
        for i, nets in ((1, (1, 2)), (20, (5, 6)))
        for pair, net in zip("ab", nets, strict=True)
    ]
)
DISTANCES = pd.DataFrame([distance_row(1, 0.4, 0.5), distance_row(20, 0.9, 1.0)])


def test_the_mutual_information_is_the_mean_over_pairs_at_both_ends():
    facts = conclusions.of_mi(MI)
    said = pages.render("conclusions/mi", facts)
    assert (
        "From iteration 1 to 20 the net reading goes from 1.50 ± 0.20 to 5.50 ± 0.20 bits" in said
    )
    assert "by the Gaussian formula; by the Gaussian formula that is more" in said


def test_what_may_be_chance_is_not_called_certain():
    said = pages.render("conclusions/mi", conclusions.of_mi(MI.assign(p_family=0.3)))
    assert "; by none that is more at the end" in said


def test_an_infinite_reading_is_said_to_be():
    shared = MI.assign(bits=np.inf, shared_directions=3)
    assert "from infinity, and on the directions" in pages.render(
        "conclusions/mi", conclusions.of_mi(shared)
    )
    assert "reading is infinite somewhere" in pages.render(
        "conclusions/figures", conclusions.of_figures(shared, DISTANCES)
    )


def test_the_distance_is_compared_with_that_of_other_seeds():
    said = pages.render("conclusions/distances", conclusions.of_distances(DISTANCES))
    assert "goes from 0.4000 ± 0.0020 to 0.9000 ± 0.0020" in said
    assert "20.00 ±" in said and "10.00 ±" in said


def test_both_figures_are_told_by_what_rises_and_falls():
    said = pages.render("conclusions/figures", conclusions.of_figures(MI, DISTANCES))
    assert "Gaussian reading rises, KSG's was not taken, the Euclidean distance rises" in said
    assert "clients of other seeds shrinks" in said


@pytest.mark.parametrize(
    ("held_out", "words"), [(True, "on fresh examples"), (False, "in training")]
)
def test_the_training_is_told_by_its_ends(held_out, words):
    rows = [
        dict(metric=metric, client=q, iteration=i, mean=mean, low=mean - 0.12, high=mean + 0.12)
        for metric in ["loss"] + ["held-out loss"] * held_out
        for q in (0, 1)
        for i, mean in ((0, 4.0 + q), (20, 2.0 + q))
    ]
    facts = conclusions.of_sampling(pd.DataFrame(rows), tiny.STABILITY, seeds=1000, excluded=2)
    said = pages.render("conclusions/sampling", facts)
    assert f"the mean loss {words} goes from 4.50 ± 0.12 at iteration 0" in said
    assert "to 2.50 ± 0.12 at 20" in said
    assert "1,000 seeds" in said and "(2 more diverged" in said
    assert said.strip().endswith("training is not chaotic.")


def test_an_estimator_is_told_by_what_it_misses_at_its_largest_size():
    table = pd.DataFrame(
        [
            dict(estimator="ksg", n=n, true_bits=truth, net_bits=truth - off)
            for n, offs in ((100, (50.0, 50.0, 50.0)), (200, (1.0, 2.0, 30.0)))
            for truth, off in zip((0.0, 2.0, 40.0), offs, strict=True)
        ]
        + [dict(estimator="ksg", n=200, true_bits=1.0, net_bits=np.nan)]
    )
    (row,) = conclusions.of_estimators(table)["errors"]
    assert row == dict(estimator="ksg", median=2.0, worst=30.0, n=200)
