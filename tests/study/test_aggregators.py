"""On the task of tests.tiny F is known: |w - x|^2 / 2 and a constant, with x the pooled mean."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import fedmi
from fedmi import scopes
from fedmi.aggregation import DOWNLOAD, MEAN
from fedmi.sampling.design import Design
from fedmi.sampling.download import constants
from fedmi.study import aggregators, landscape, oracles, params
from fedmi.study.aggregators import (
    ALONE,
    ELSEWHERE,
    ENSEMBLE,
    FURTHER,
    LINE,
    LONGER,
    PLANE,
    POOLED,
)  # fmt: skip
from fedmi.study.states import state_of
from tests import tiny

pytestmark = pytest.mark.usefixtures("quickly_compiled")

COUPLING = scopes.resolve("shared-source", tiny.task.streams)
DESIGN = Design.of(tiny.task, coupling="shared-source", checkpoints=[1, 4])
PLAN = aggregators.Comparison(
    design=DESIGN,
    setting="shared-source",
    fitting_seeds=300,
    judged_seeds=200,
    oracle_seeds=100,
)


EPS = float(np.finfo(np.float32).eps)
# What float32 keeps of a loss follows its size and the number of roundings: twelve squares of
# differences, a mean over sixteen examples, and one over three clients.
LOSS_ROUNDING = 32 * EPS


def assert_same_models(found, expected):
    """To the rounding of SGD in float32, whatever the order in which sums are made.

    A step adds rounding of some six operations at the size of the data, a few times that of the
    models, and keeps three quarters of what there was: a few dozen in the end.
    """
    np.testing.assert_allclose(found, expected, rtol=0, atol=64 * EPS * np.abs(expected).max())


def states(seeds):
    trained = state_of(DESIGN, [1, 4])
    return jax.jit(jax.vmap(lambda s: trained(jax.random.key(0), s, constants([DESIGN], ()))))(
        jnp.asarray(seeds)
    )


@pytest.fixture(scope="module")
def state():
    return jax.tree.map(np.asarray, states(range(4)))


@pytest.fixture(scope="module")
def found():
    return aggregators.run(PLAN)


def at(found, iteration, method):
    rows = found["methods"]
    return rows[(rows.iteration == iteration) & (rows.method == method)].iloc[0]


def test_clients_are_those_that_are_sampled(state):
    samples = fedmi.sample(tiny.task, seeds=4, checkpoints=[1, 2, 4], tile=64)
    theta = samples.theta.sel(iteration=[1, 4]).transpose("seed", "iteration", ...)
    assert_same_models(state.thetas, theta.values)
    np.testing.assert_array_equal(state.download, np.zeros((4, 12)))


def test_pooled_training_is_sgd_on_all_data(state):
    keys = scopes.client_keys(jax.random.key(0), COUPLING, seed=2, client=3)
    pool = state.data[2].reshape(48, 12)
    order = np.asarray(jax.random.permutation(keys["order"], 48))
    w, passed = np.zeros(12), []
    for batch in pool[order].reshape(12, 4, 12):
        w = w - 0.25 * (w - batch.mean(axis=0))
        passed.append(w)
    assert_same_models(state.pooled[2], [passed[0], passed[3]])
    assert_same_models(state.longer[2], [passed[2], passed[11]])


def test_clients_may_be_trained_further_than_the_epoch():
    trained = state_of(DESIGN, [1, 4], further=[3, 6])
    state = jax.tree.map(
        np.asarray, jax.jit(trained)(jax.random.key(0), 2, constants([DESIGN], ()))
    )
    twice = replace(tiny.task, epochs=2)
    samples = fedmi.sample(twice, seeds=3, checkpoints=[1, 3, 4, 6], tile=64)
    theta = samples.theta.sel(seed=2).transpose("iteration", ...)
    assert_same_models(state.thetas, theta.sel(iteration=[1, 4]).values)
    assert_same_models(state.further, theta.sel(iteration=[3, 6]).values)


@pytest.mark.parametrize("best", [0.0, 0.3, 1.7, 40.0])
def test_the_best_step_of_a_parabola(best):
    found = oracles.best_step(lambda s: (s - best) ** 2)
    assert abs(found - best) <= 0.02 * max(best, 1)


def test_the_best_point_on_the_plane_is_the_projection():
    draw = np.random.default_rng(0)
    for q in (2, 3, 5):
        thetas, goal = draw.standard_normal((q, 12)), draw.standard_normal(12)
        found = oracles.best_on_plane(
            lambda w, goal=goal: jnp.sum((w - goal) ** 2), jnp.asarray(thetas, jnp.float32)
        )
        basis = (thetas[1:] - thetas[0]).T
        foot = thetas[0] + basis @ np.linalg.lstsq(basis, goal - thetas[0], rcond=None)[0]
        np.testing.assert_allclose(found, foot, atol=2e-2)


def test_the_best_point_is_never_above_the_mean():
    """On a wavy function as well, and where it is infinite half of the way."""
    thetas = jnp.asarray(np.random.default_rng(1).standard_normal((3, 5)), jnp.float32)
    mean = thetas.mean(axis=0)
    for wave in (3.0, 10.0, 30.0):

        def f(w, wave=wave):
            return jnp.where(w[0] > mean[0] + 0.1, jnp.inf, jnp.sum(jnp.sin(wave * w)))

        # The mean that it starts from is known to rounding, and waves are steep.
        rounding = 8 * EPS * wave * np.abs(mean).sum()
        assert f(oracles.best_on_plane(f, thetas)) <= f(mean) + rounding


def test_judged_seeds_are_none_that_were_fitted_on():
    assert PLAN.first_judged == 512
    assert replace(PLAN, fitting_seeds=512).first_judged == 512
    assert replace(PLAN, fitting_seeds=513).first_judged == 768


def test_every_method_s_objective_is_what_its_parameters_have(found):
    """Recomputed in NumPy from the sampled clients and their data."""
    seeds = np.arange(512, 712)
    state = jax.tree.map(np.asarray, states(seeds))
    pooled = state.data.reshape(200, 48, 12)

    def objective(w):
        return ((w[:, None] - pooled) ** 2).sum(axis=-1).mean(axis=1) / 2

    mean = objective(state.thetas[:, 1].mean(axis=1))
    expected = {
        MEAN: mean,
        "coordinate median": objective(np.median(state.thetas[:, 1], axis=1)),
        POOLED: objective(state.pooled[:, 1]),
        LONGER: objective(state.longer[:, 1]),
        ALONE: np.mean([objective(state.thetas[:, 1, q]) for q in range(3)], axis=0),
    }
    for method, values in expected.items():
        row = at(found, 4, method)
        assert row.seeds == 200
        rounding = LOSS_ROUNDING * float(values.mean())
        assert row.objective == pytest.approx(values.mean(), abs=rounding)
        difference = values - mean
        assert row.objective_less_mean == pytest.approx(difference.mean(), abs=2 * rounding)
        error = difference.std(ddof=1) / np.sqrt(200)
        assert row.objective_less_mean_se == pytest.approx(error, abs=2 * rounding / np.sqrt(200))
        np.testing.assert_allclose(row.better, (difference < 0).mean(), atol=0.02)


def test_what_is_possible_bounds_what_is_found(found):
    for iteration in (1, 4):
        for oracle in (LINE, PLANE):
            row = at(found, iteration, oracle)
            assert row.reference
            assert row.seeds == 100
            assert row.objective_less_mean < 0
        # One step from zero goes a quarter of the way: more is better, on other seeds too.
        step = at(found, iteration, "server step")
        assert step.objective_less_mean < -5 * step.objective_less_mean_se
        assert step.fitting_seeds == 300
        assert step.step > 1
        start, further = at(found, iteration, DOWNLOAD), at(found, iteration, FURTHER)
        assert start.reference and start.objective_less_mean > 0
        assert start.apart == pytest.approx(1)
        assert further.reference and further.step == step.step
        assert further.objective_less_mean < 0
        assert at(found, iteration, "FedExP step").objective_less_mean <= 0
    # Weights that are fitted come nearer to the pooled solution than equal ones.
    assert at(found, 1, "linear, scalar").objective_less_mean < 0
    assert at(found, 4, ELSEWHERE).objective_less_mean > 0
    assert ENSEMBLE not in set(found["methods"].method)  # the task has none
    assert "matched mean" not in set(found["methods"].method)


def test_the_mean_is_apart_from_itself_by_nothing(found):
    assert at(found, 4, MEAN).apart == 0
    assert at(found, 4, MEAN).better == 0
    # Of clients with one law the variances are equal but for noise.
    assert at(found, 4, "inverse-variance mean").apart < 0.1
    best = found["methods"].groupby("iteration").best.sum()
    assert (best >= 1).all()


def test_a_quadratic_has_no_barrier_but_a_valley(found):
    rows = found["barrier"]
    assert (rows.excess[(rows.place > 0) & (rows.place < 1)] < 0).all()
    ends = rows.excess[rows.place.isin([0.0, 1.0])]
    rounding = 2 * LOSS_ROUNDING * at(found, 4, ALONE).objective
    np.testing.assert_allclose(ends, 0, atol=rounding)
    middle = rows[(rows.place == 0.5) & (rows.iteration == 4)].iloc[0]
    state = jax.tree.map(np.asarray, states(range(512, 612)))
    apart = ((state.thetas[:, 1, 0] - state.thetas[:, 1, 1]) ** 2).sum(axis=1)
    np.testing.assert_allclose(middle.excess, -apart.mean() / 8, atol=rounding)


def test_the_surface_shows_the_objective(found):
    rows = found["surface"]
    assert set(rows.iteration) == {4}
    marks = rows[rows.what != "grid"].set_index("what")
    assert {"client 0", "client 1", "client 2", MEAN, PLANE, LINE, LONGER} == set(marks.index)
    size = marks[["x", "y"]].astype(float).abs().max().max()
    np.testing.assert_allclose(marks.loc[MEAN, ["x", "y"]].astype(float), 0, atol=16 * EPS * size)
    grid = rows[rows.what == "grid"]
    assert len(grid) == landscape.SURFACE_POINTS**2
    # A parabola: at the best point it is no higher than anywhere on the grid.
    assert marks.objective[PLANE] <= grid.objective.min() * (1 + 2 * LOSS_ROUNDING)
    with pytest.raises(ValueError, match="2 do not span a plane"):
        landscape.surface(replace(PLAN, design=replace(DESIGN, clients=2)), 0)


def test_seeds_that_are_not_finite_are_left_out_and_counted():
    values = {MEAN: np.ones((5, 2, 3)), ALONE: np.full((5, 2, 3), 2.0)}
    values[ALONE][3, 1, 0] = np.nan
    fitted = [aggregators.Fitted(9, 1.0, np.ones((3, 12)), {}, np.zeros(12))] * 2
    rows = aggregators._rows(PLAN, fitted, values, {MEAN: np.zeros((5, 2))})
    assert {(row["seeds"], row["non_finite"]) for row in rows} == {(4, 1)}
    assert rows[1]["objective_less_mean"] == 1
    values[ALONE][:4] = np.inf
    with pytest.raises(ValueError, match="setting shared-source: 1 of 5 seeds are finite"):
        aggregators._rows(PLAN, fitted, values, {})


def test_the_facts_follow_the_table(found):
    facts = aggregators.facts(found["methods"])
    assert (facts["last"], facts["judged"], facts["oracles"]) == (4, 200, 100)
    (setting,) = facts["settings"]
    assert [course["iteration"] for course in setting["courses"]] == [1, 4]
    last = setting["courses"][-1]
    assert last["alone"]["objective_less_mean"] == at(found, 4, ALONE).objective_less_mean
    assert last["best"]["objective_less_mean"] < 0
    assert setting["mean"]["objective"] == at(found, 4, MEAN).objective
    names = [row["method"] for row in setting["methods"]]
    assert MEAN not in names and names.index("server step") < names.index(ALONE)
    flat = found["methods"].copy()
    flat.loc[~flat.reference, "objective_less_mean"] = 0.0
    (setting,) = aggregators.facts(flat)["settings"]
    assert [course["best"] for course in setting["courses"]] == [None, None]


def test_the_best_aggregator_is_beyond_chance_and_no_memory_of_other_seeds():
    rows = pd.DataFrame(
        [
            (MEAN, False, 0.0, 0.0),
            ("server step", False, -0.1, 0.01),
            ("linear, scalar", False, -0.2, 0.2),  # by chance
            ("linear with offset", False, -0.5, 0.01),  # remembers
            (LONGER, True, -0.6, 0.01),
        ],
        columns=["method", "reference", "objective_less_mean", "objective_less_mean_se"],
    )
    assert aggregators.best_aggregator(rows, 3.0).method == "server step"
    assert aggregators.best_aggregator(rows, 11.0) is None


def test_a_setting_of_a_params_file(tmp_path):
    path = tmp_path / "x.yaml"
    text = params.find("params/quick/aggregation/digits.yaml").read_text()
    path.write_text(text)
    plan = params.load(path, params.Aggregation)
    made = aggregators.Comparison.of(plan, "skewed").design
    assert made.scopes["skew"] == "client"
    assert made.scopes["selection"] == "shared"
    assert "skew" not in aggregators.Comparison.of(plan, "shared-source").design.scopes
    for change, message in (
        (("oracle_seeds: 256", "oracle_seeds: 999"), "oracle_seeds: 999 is above the 512"),
        (("  label_concentration: 0.5", "  {}"), "skew"),
        (("shared-source,", "shared-sauce,"), "unknown name 'shared-sauce'"),
        (("checkpoints: [1, 8, 20]", "checkpoints: [1, 8, 21]"), "21 is not an iteration"),
    ):
        path.write_text(text.replace(*change))
        with pytest.raises(params.ParamsError, match=message):
            params.load(path, params.Aggregation)


def test_the_table_has_the_columns_that_are_promised(found):
    assert list(found["methods"]) == aggregators.COLUMNS
    assert list(found["barrier"]) == aggregators.BARRIER_COLUMNS
    assert list(found["surface"]) == landscape.SURFACE_COLUMNS
    assert isinstance(found["methods"], pd.DataFrame)


def test_fedexp_sees_the_updates_of_clients_that_start_elsewhere():
    state = jax.tree.map(lambda a: jnp.asarray(a[0]), states([0]))
    thetas = state.thetas[1]
    fitted = aggregators.Fitted(9, 1.0, np.ones((3, 12)), {}, np.zeros(12))
    information = jnp.ones((3, 12))
    own = aggregators.aggregates(state, thetas, information, fitted, None)["FedExP step"]
    away = jnp.arange(36.0).reshape(3, 12) - 17.5
    away -= away.mean(axis=0)  # of starts whose mean stays
    moved = state._replace(starts=state.starts + away)
    found = aggregators.aggregates(moved, thetas + away, information, fitted, None)["FedExP step"]
    np.testing.assert_allclose(found, own, atol=64 * EPS * float(jnp.abs(away).max()))
