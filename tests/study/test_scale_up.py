"""On the task of tests.tiny every number is known: all its coordinates are alike and normal."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml

import fedmi
from fedmi.study import figures, layerwise, pages, params, scale_up
from fedmi.study.averaging import ALONE, AVERAGING_COLUMNS, POOLED, _judged_rows, averaging_rows
from tests import tiny

TASK = tiny.nested()
CLIENTS, SEEDS, CHECKPOINTS = 5, 1000, [1, 4]
SIZES = {"first": 4, "second": 8, "whole": tiny.SIZE}


@pytest.fixture(scope="module")
def samples(quickly_compiled):
    return fedmi.finite(
        fedmi.sample(TASK, seeds=SEEDS, clients=CLIENTS, checkpoints=CHECKPOINTS, tile=64)
    )


@pytest.fixture(scope="module")
def readings(samples):
    rows = [
        row | dict(case="five")
        for iteration in CHECKPOINTS
        for row in layerwise.mi_rows(
            TASK, samples, iteration, directions=3, among=8, permutations=20
        )
    ]
    return pd.DataFrame(rows)[layerwise.MI_COLUMNS]


@pytest.fixture(scope="module")
def distances(samples):
    found = [r for i in CHECKPOINTS for r in layerwise.distance_rows(TASK, samples, i)]
    return pd.DataFrame([row | dict(case="five") for row in found])[layerwise.DISTANCE_COLUMNS]


@pytest.fixture(scope="module")
def averaging(samples):
    rows = averaging_rows(TASK, samples, seeds=500)
    return pd.DataFrame([row | dict(case="five") for row in rows])[AVERAGING_COLUMNS]


def test_each_layer_is_read_in_the_directions_that_there_are(readings):
    assert len(readings) == 2 * 3 * 5
    for (layer, kind), rows in readings.groupby(["layer", "kind"]):
        assert (rows["size"] == SIZES[layer]).all()
        whole = kind == layerwise.ALL
        assert (rows.directions == (SIZES[layer] if whole else 3)).all()
        assert (rows.n == (SEEDS if whole else SEEDS // 2)).all()
        assert set(rows.estimator) == ({"gaussian"} if whole else {"gaussian", "ksg"})


def test_every_direction_of_the_task_holds_the_same_information(readings):
    """In d directions of p alike there is the share d / p, whichever they are."""
    of = readings[readings.estimator == "gaussian"]
    a_direction = of.iteration.map(lambda i: tiny.mi_bits(TASK, i) / tiny.SIZE)
    excess = of.net_bits - of.directions * a_direction
    random = of.kind != layerwise.CANONICAL
    # Canonical directions have a common angle only where they were fitted: they may read less.
    assert (excess[random].abs() < 3.5 * of.net_se[random]).all()
    assert (excess[~random] < 3.5 * of.net_se[~random]).all()
    assert (of.net_bits[~random] > 0.5 * of.directions[~random] * a_direction[~random]).all()
    assert (readings.p_value == 1 / 21).all()


def test_nothing_is_read_where_nothing_is_shared(samples):
    """Client 1 of another seed in place of its own."""
    theta = samples.theta.values.copy()
    theta[:, 1] = np.roll(theta[:, 1], 7, axis=0)
    null = samples.assign(theta=(samples.theta.dims, theta))
    found = layerwise.mi_rows(TASK, null, 4, directions=3, among=8, permutations=20)
    assert all(abs(row["net_bits"]) < 4 * row["net_se"] for row in found)
    apart = layerwise.distance_rows(TASK, null, 4)
    assert all(abs(row["closer"]) < 4 * row["closer_se"] for row in apart)


def test_blocks_are_of_no_effect(samples, readings, distances, monkeypatch):
    monkeypatch.setattr(layerwise, "SEEDS_AT_ONCE", 300)
    again = pd.DataFrame(layerwise.distance_rows(TASK, samples, 4))
    before = distances[distances.iteration == 4]
    np.testing.assert_allclose(again.distance, before.distance, rtol=1e-6)
    np.testing.assert_allclose(again.closer, before.closer, atol=0.02)
    again = pd.DataFrame(
        layerwise.mi_rows(TASK, samples, 4, directions=3, among=8, permutations=20)
    )
    # All of 8 components of 8 are kept, in whichever blocks they were found.
    before = readings[readings.iteration == 4].reset_index(drop=True)
    exact = (again.layer != "whole") | (again.kind != layerwise.CANONICAL)
    np.testing.assert_allclose(again.net_bits[exact], before.net_bits[exact], atol=1e-3)


def test_distances_are_right(distances):
    expected = distances.iteration.map(lambda i: 1 - (1 - tiny.correlation(TASK, i)) ** 0.5)
    assert ((distances.closer - expected).abs() < 4 * distances.closer_se).all()
    assert (distances.closer_se < 0.02).all()
    squared = distances[distances.metric == "euclidean"].set_index(["iteration", "layer"]).distance
    # E |d|^2 = 2 own variance a coordinate, and Var |d| is small beside it.
    for (iteration, layer), value in squared.items():
        expected = np.sqrt(2 * own_variance(iteration) * SIZES[layer])
        assert 0.9 * expected < value < expected


def own_variance(iteration):
    """Of one coordinate of a client, given its source."""
    weights = TASK.learning_rate * (1 - TASK.learning_rate) ** np.arange(iteration)
    return tiny.NOISE**2 / TASK.batch_size * np.sum(weights**2)


def test_the_mean_of_q_clients_gains_what_it_must(averaging):
    """On a quadratic: the share 1 - 1/q of half the clients' own variance, on any data."""
    for row in averaging[averaging.averaged > 1].itertuples():
        gain = (1 - 1 / row.averaged) * tiny.SIZE * own_variance(row.iteration) / 2
        assert abs(row.objective_less_alone + gain) < 4 * row.objective_less_alone_se
        assert abs(row.held_out_loss_less_alone + gain) < 4 * row.held_out_loss_less_alone_se
        assert row.model == f"mean of {row.averaged}"
    assert sorted(set(averaging.averaged)) == [0, 1, 2, 3, 5]
    assert (averaging.seeds == 500).all() and (averaging.non_finite == 0).all()
    alone = averaging[averaging.model == ALONE]
    assert (alone.averaged == 1).all() and (alone.objective_less_alone == 0).all()


def test_pooled_training_sees_as_many_examples_as_steps_take(samples):
    """In two epochs of steps, twice the examples of a client, once each."""
    task = replace(TASK, epochs=2)
    later = samples.assign_coords(iteration=[4, 8])
    rows = averaging_rows(task, later, seeds=500)
    for row in (row for row in rows if row["model"] == POOLED):
        bias = (1 - task.learning_rate) ** (2 * row["iteration"])
        error = bias + own_variance(row["iteration"]) + tiny.NOISE**2  # of one coordinate
        expected = tiny.SIZE / 2 * error
        assert abs(row["held_out_loss"] - expected) < 4 * row["held_out_loss_se"]


def test_seeds_that_are_not_finite_are_left_out(samples):
    values = np.ones((4, 3, 1, 3))
    values[1, 0, 0, 0] = np.inf
    one = samples.sel(iteration=[4])
    rows = _judged_rows(one, np.array([1, 2]), values)
    assert {(row["seeds"], row["non_finite"]) for row in rows} == {(3, 1)}
    values[2:] = np.nan
    with pytest.raises(ValueError, match="samples: 1 of 4 seeds have finite losses"):
        _judged_rows(one, np.array([1, 2]), values)


def test_the_facts_follow_the_tables(readings, distances, averaging):
    found = scale_up.facts(readings, distances, averaging)
    at = readings[(readings.iteration == 4) & (readings.estimator == "gaussian")]
    row = at[(at.layer == "second") & (at.kind == layerwise.RANDOM)].iloc[0]
    (second,) = (layer for layer in found["layers"] if layer["layer"] == "second")
    assert second["readings"][layerwise.RANDOM]["gaussian"]["net_bits"] == row.net_bits
    apart = distances[(distances.iteration == 4) & (distances.layer == "second")]
    assert second["closer"] == apart.closer[apart.metric == "euclidean"].item()
    (case,) = found["cases"]
    assert case["courses"] == {"yes": ["first", "second", "whole"]}
    (gain,) = found["gains"]
    row = averaging[(averaging.iteration == 4) & (averaging.averaged == 5)].iloc[0]
    assert gain["clients"] == 5 and not gain["chance"]
    assert gain["every"]["objective_less_alone"] == row.objective_less_alone
    assert gain["quadratic"] == pytest.approx(0.625)
    assert abs(gain["share"] - 0.625) < 4 * gain["share_se"]


def test_facts_tell_a_fall_chance_and_what_is_missing(readings, distances, averaging):
    falling = readings.assign(net_bits=10.0 / readings.iteration)
    (case,) = scale_up.facts(falling, distances, averaging)["cases"]
    assert case["courses"] == {"no": ["first", "second", "whole"]}
    (case,) = scale_up.facts(readings[readings.iteration == 4], distances, averaging)["cases"]
    assert case["courses"] == {}
    unsure = averaging.assign(objective_less_alone_se=100.0)
    (gain,) = scale_up.facts(readings, distances, unsure)["gains"]
    assert gain["chance"] and gain["share"] is None
    few = scale_up.facts(readings[readings.kind != layerwise.ALL], distances, averaging)
    assert "| too few seeds |" in pages.render("scale-up", few)


def test_the_figure_shows_sizes_and_counts(readings, distances, averaging):
    bits, closer, gain = figures.scale_up(readings, distances, averaging).axes
    drawn = np.concatenate([line.get_xydata()[:, 0] for line in bits.get_lines()])
    assert set(drawn) - {0, 1} == set(SIZES.values())
    assert {text.get_text() for text in bits.texts} == set(SIZES)
    expected = averaging[(averaging.iteration == 4) & (averaging.averaged > 0)]
    line = gain.get_lines()[0].get_xydata()
    np.testing.assert_allclose(line, expected[["averaged", "objective_less_alone"]])
    assert closer.get_ylabel() == "closer than other seeds (%)"


GOOD = dict(
    cases=[
        dict(name="three", task="tests.tiny:make", clients=3, seeds=100, checkpoints=[1, 4]),
        dict(name="ten", task="tests.tiny:make", clients=10, seeds=50, checkpoints=[4]),
    ],
    directions=4,
    among=8,
    judged_seeds=20,
)


def changed(**case):
    return dict(cases=[GOOD["cases"][0], GOOD["cases"][1] | case])


def test_good_params_are_read_and_fingerprinted_case_by_case(tmp_path):
    path = tmp_path / "larger.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    plan = params.load(path, params.ScaleUp)
    three, ten = plan.cases
    assert plan.study(ten).clients == 10 and plan.study(three).coupling == "shared-source"
    fewer = plan.model_copy(update=dict(cases=[three]))
    wider = plan.model_copy(update=dict(directions=5))
    assert fewer.fingerprint(three) == plan.fingerprint(three)
    assert len({p.fingerprint(c) for p in (plan, wider) for c in (three, ten)}) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(directions=9), "directions: 9 is above `among`, 8"),
        (dict(among=65), "among: Input should be less than or equal to 64"),
        (changed(name="three"), "cases: each needs a name of its own"),
        (changed(name="a/b"), "cases.1.name: String should match pattern"),
        (changed(seeds=33), "cases.1.seeds: 33 are too few .* give at least 34"),
        (dict(judged_seeds=60), "cases.1.seeds: 50 are fewer than the 60 judged"),
        (changed(checkpoints=[5]), "cases.1.checkpoints: 5 is not an iteration of the epoch"),
        (changed(seedz=50), "cases.1.seedz: no such key; did you mean seeds.*, name"),
        (dict(judged=5), "judged: no such key; did you mean judged_seeds.*, cases"),
        (
            changed(task="digits", options=dict(learning_rat=0.1)),
            "cases.1.options.learning_rat: no such key; did you mean learning_rate",
        ),
        (changed(options=dict(learning_rate="1e-3")), "cases.1.learning_rate: .*takes 1e-3 for"),
        (changed(task="tiny"), "cases.1.task: unknown name 'tiny'"),
    ],
)  # fmt: skip
def test_bad_params_are_refused_with_the_case_that_is_wrong(tmp_path, changes, message):
    path = tmp_path / "larger.yaml"
    path.write_text(yaml.safe_dump(GOOD | changes))
    with pytest.raises(params.ParamsError, match=message) as caught:
        params.load(path, params.ScaleUp)
    assert str(caught.value).count(str(path)) == 1


@pytest.mark.parametrize("scale", ["quick", "paper"])
def test_the_projects_own_cases_are_good(scale):
    plan = params.load(f"params/{scale}/scale_up/digits.yaml", params.ScaleUp)
    assert max(case.clients for case in plan.cases) == (100 if scale == "paper" else 10)
