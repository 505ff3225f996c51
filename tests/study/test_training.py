from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from fedmi.sampling.federation import draw, federate
from fedmi.study import pages, training
from fedmi.study.settings import Training
from fedmi.study.ways import AVERAGE, POINTS
from tests import tiny
from tests.study.test_settings import GOOD

pytestmark = pytest.mark.usefixtures("quickly_compiled")

JUDGED = 40
TWO = [dict(name="first"), dict(name="alone", clients=2)]


def plan(**changes):
    given = dict(judged_seeds=JUDGED, ways=["server step", "shrunken mean"], best=1, settings=TWO)
    return Training(**GOOD | given | changes)


def result(last, first=10.0, rate=1.0, **numbers):
    """What a way made that ends at these metrics, seed by seed (smaller is better)."""
    measures = np.zeros((JUDGED, 3, 3))
    measures[:, 0], measures[:, 1] = first, 5.0
    measures[:, 2] = np.asarray(last)[:, None]
    return dict(tuning=[], numbers=dict(rate=rate) | numbers, judged=measures, seconds=1.2)


NOISE = np.random.default_rng(0).standard_normal(JUDGED)
AVERAGED = 1.0 + 0.1 * NOISE
FOUND = {
    "first": {
        AVERAGE: result(AVERAGED),
        "server step": result(AVERAGED - 0.5 + 0.01 * NOISE[::-1], step=2.0),
        "shrunken mean": result(AVERAGED + 1.0, shrink=0.9),
    },
    "alone": {AVERAGE: result(AVERAGED), "server step": result(AVERAGED + 0.001, step=0.5)},
}


def test_gains_are_paired_and_above_zero_where_a_way_is_better():
    table = pd.DataFrame(training.rows(plan(), FOUND), columns=training.COLUMNS)
    last = table[table["round"] == 3].set_index(["setting", "way"])
    assert last.gain["first", AVERAGE] == 0
    step = 0.5 - 0.01 * NOISE[::-1]
    assert last.gain["first", "server step"] == pytest.approx(step.mean())
    error = step.std(ddof=1) / np.sqrt(JUDGED)
    assert last.gain_se["first", "server step"] == pytest.approx(error)
    assert last.gain["first", "shrunken mean"] == pytest.approx(-1)
    assert last.number["first", "shrunken mean"] == "shrink"
    # Forty seeds of three rounds, two clients and one epoch each.
    assert last.seconds_client_epoch["first", AVERAGE] == pytest.approx(1.2 / (40 * 3 * 2))


def test_seeds_that_diverge_are_counted_and_paired_with_none():
    worse = result(np.where(np.arange(JUDGED) < 3, np.nan, AVERAGED))
    found = FOUND | {
        "alone": {
            AVERAGE: result(AVERAGED),
            "server step": worse | dict(numbers=dict(rate=1.0, step=1.0)),
        }
    }
    table = pd.DataFrame(training.rows(plan(), found))
    row = table[(table.way == "server step") & (table.setting == "alone") & (table["round"] == 3)]
    assert row[["seeds", "non_finite", "gain"]].iloc[0].tolist() == [JUDGED - 3, 3, 0]


def test_half_of_the_seeds_choose_and_the_others_say_how_much():
    half = JUDGED // 2
    # The best by all seeds, and by the second half; but not by the first, which chooses.
    late = AVERAGED.copy()
    late[:half] += 0.1
    late[half:] -= 3.0
    found = dict(FOUND, first=FOUND["first"] | {"shrunken mean": result(late, shrink=0.9)})
    first, alone = training.choice_rows(plan(), found)
    assert first["way"] == "server step"
    step = (0.5 - 0.01 * NOISE[::-1])[half:]
    assert first["gain"] == pytest.approx(step.mean())
    assert first["rise"] == pytest.approx((10 - AVERAGED[half:]).mean())
    assert first["as_good"] == "shrunken mean"  # not surely worse; better, as it is
    assert alone["way"] == AVERAGE and alone["gain"] == 0 and alone["as_good"] == ""


def test_what_diverges_is_never_the_best():
    last = np.full(JUDGED, -100.0)
    last[0] = np.nan
    found = dict(FOUND, first=FOUND["first"] | {"shrunken mean": result(last, shrink=0.9)})
    assert training.choice_rows(plan(), found)[0]["way"] == "server step"
    assert training.ways_elsewhere(plan(), plan().settings[1], found["first"]) == [
        AVERAGE, "server step",
    ]  # fmt: skip


def told(found):
    along = pd.DataFrame(columns=["task", "setting", "round", "quantity", "value", "se"])
    link = pd.DataFrame(columns=["task", "round", "quantity", "settings", "spearman", "p_value"])
    tuning = pd.DataFrame(dict(chosen=[True, False], rate=[0.1, 10.0]))
    table = pd.DataFrame(training.rows(plan(), found), columns=training.COLUMNS)
    choice = pd.DataFrame(training.choice_rows(plan(), found), columns=training.CHOICE_COLUMNS)
    return training.facts(table, choice, tuning, along, link)


def test_a_gain_counts_from_a_fiftieth_of_what_averaging_gained():
    facts = told(FOUND)
    assert [s["verdict"] for s in facts["situations"]] == ["holds", "fails"]
    assert facts["situations"][0]["size"] == pytest.approx(0.02 * 9, rel=0.01)
    slight = result(AVERAGED - 0.15, step=2.0)  # below 2 % of about 9
    found = dict(FOUND, first={AVERAGE: FOUND["first"][AVERAGE], "server step": slight})
    assert [s["verdict"] for s in told(found)["situations"]] == ["fails", "fails"]
    unsure = result(AVERAGED - 0.2 + NOISE[::-1], step=2.0)
    found = dict(FOUND, first={AVERAGE: FOUND["first"][AVERAGE], "server step": unsure})
    assert told(found)["situations"][0]["verdict"] == "open"


def test_the_page_says_what_to_use():
    text = pages.render("training", told(FOUND))
    assert "- **first**: use server step; the server goes another way" in text
    assert "- Nothing gains enough to matter: alone." in text
    assert "| first | 1." in text and "| server step | +0.5" in text


def test_a_way_is_tuned_on_other_seeds_and_judged_at_what_was_best(tmp_path):
    of = plan(judged_seeds=6, tuning_seeds=2)
    setting = of.settings[0]
    federation = training.federation_of(of, setting, "server step")
    drawn = cache(lambda: draw(federation, of.seeds))
    found = training.measure(of, setting, "server step", drawn)
    assert len(found["tuning"]) == POINTS and sum(r["chosen"] for r in found["tuning"]) == 1
    values = [row["value"] for row in found["tuning"]]
    assert found["tuning"][int(np.argmin(values))]["chosen"]
    assert found["numbers"] == {
        name: found["tuning"][int(np.argmin(values))][name] for name in ("step", "rate")
    }
    for row in (found["tuning"][0], found["tuning"][-1]):
        numbers = {name: [row[name]] * 2 for name in ("step", "rate")}
        again = federate(replace(federation, judged=(3,)), [6, 7], numbers)["measures"]
        assert row["value"] == pytest.approx(again[:, 0, 2].mean(), rel=1e-4)
    numbers = {name: [value] * 6 for name, value in found["numbers"].items()}
    again = federate(federation, range(6), numbers)["measures"]
    np.testing.assert_allclose(found["judged"], again, rtol=1e-4)


def test_what_has_been_made_is_read_and_an_own_aggregator_is_tried(tmp_path, monkeypatch):
    of = plan(
        judged_seeds=4, tuning_seeds=1, ways=["tests.study.test_training:stay"], settings=TWO[:1]
    )
    found = training.run(of, tmp_path)
    assert list(found["first"]) == [AVERAGE, "tests.study.test_training:stay"]
    own = np.asarray(found["first"]["tests.study.test_training:stay"]["judged"])
    np.testing.assert_allclose(own, own[:, :1].repeat(3, axis=1))
    monkeypatch.delattr(training, "federate")
    assert training.run(of, tmp_path) == found


def stay(clients, weights, download):
    """An aggregator that goes nowhere."""
    return download


def test_the_seeds_law_is_the_tasks():
    """One round of all clients leaves them where their own steps lead, on average over seeds."""
    of = plan(
        judged_seeds=400, rounds=1, judged=[0, 1], clients=3, participants=3, settings=TWO[:1]
    )
    federation = training.federation_of(of, of.settings[0], AVERAGE)
    measures = federate(federation, range(400), dict(rate=[1.0] * 400))["measures"].astype(float)
    kept = 1 - tiny.task.learning_rate
    weights = tiny.task.learning_rate * kept ** np.arange(4)
    noise = tiny.NOISE**2 / tiny.task.batch_size * np.sum(weights**2) / 3
    # E|theta - x|^2 / 2 at a fresh x = s + noise, from theta = 0 and after an epoch.
    expected = np.array([
        (1 + tiny.NOISE**2), (kept**8 + noise + tiny.NOISE**2),
    ]) * tiny.SIZE / 2  # fmt: skip
    error = measures[:, :, 2].std(axis=0, ddof=1) / 20
    assert (np.abs(measures[:, :, 2].mean(axis=0) - expected) < 4 * error).all()
