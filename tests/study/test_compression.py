import dataclasses

import numpy as np
import pandas as pd
import pytest

import fedmi
from fedmi.study import compression, figures, rate_distortion, sources
from fedmi.study.rate_distortion import Law
from fedmi.study.sources import Sources
from tests import tiny

pytestmark = pytest.mark.usefixtures("quickly_compiled")

CHECKPOINTS = [1, 4]
EVALUATED = 400


def judged(samples):
    """The samples with their sources and costs, fitted and evaluated on different seeds."""
    fitted = samples.isel(seed=slice(EVALUATED, None))
    of = {iteration: sources.fit(fitted, iteration) for iteration in CHECKPOINTS}
    return samples, of, compression.costs(tiny.task, samples.isel(seed=slice(EVALUATED)), of)


def sampled(coupling, seeds=3400):
    return fedmi.sample(
        tiny.task, seeds=seeds, coupling=coupling, checkpoints=CHECKPOINTS, tile=256
    )


@pytest.fixture(scope="module")
def shared():
    return judged(sampled("shared-source"))


@pytest.fixture(scope="module")
def null():
    return judged(sampled("null"))


def table(found, **options):
    samples, of, cost = found
    rows = [
        row for i in CHECKPOINTS for row in compression.rows(samples, i, of[i], cost[i], **options)
    ]
    return pd.DataFrame(rows, columns=compression.COLUMNS)


def variance(iteration):
    """Of every coordinate of a client of the tiny task that shares its source with others."""
    kept = 1 - tiny.task.learning_rate
    weights = tiny.task.learning_rate * kept ** np.arange(iteration)
    return (1 - kept**iteration) ** 2 + tiny.NOISE**2 / tiny.task.batch_size * np.sum(weights**2)


def test_samples_of_another_task_are_refused(shared):
    other = dataclasses.replace(tiny.task, name="other")
    with pytest.raises(ValueError, match="task: 'other', but the samples are of 'tiny'"):
        compression.costs(other, shared[0], shared[1])
    with pytest.raises(ValueError, match="no seed is left to evaluate"):
        compression.costs(tiny.task, shared[0].isel(seed=slice(0)), shared[1])
    with pytest.raises(ValueError, match="3 seeds are too few"):
        sources.fit(shared[0].isel(seed=slice(3)), 1)


def test_both_channels_make_the_error_of_the_water_level():
    variances = np.array([0.1, 1.0, 4.0])
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    law = Law(np.array([1.0, 2.0, 3.0]), axes, variances, (axes**2) @ variances)
    of = Sources([law], None, None, {}, [], 100)
    theta = law.mean + (rng.normal(size=(20_000, 3)) * np.sqrt(variances)) @ axes.T
    found = compression.candidates(theta[:, None], of, rng)
    np.testing.assert_allclose(found[:, 0], theta)
    np.testing.assert_allclose(found[0, 1], law.mean)
    noise, decoder = np.moveaxis(found[:, 2:].reshape(len(theta), 2, -1, 2, 3), 1, 0)
    expected = rate_distortion.distortion(variances, of.levels)
    for arrived in (noise, decoder):
        error = arrived - theta[:, None, None]
        np.testing.assert_allclose((error**2).sum(-1).mean((0, 2)), expected, rtol=0.04)
    # Noise of either sign has the parameters as its mean; the decoder's error is uncorrelated with
    # what it makes, and at the last level it makes the law's mean of everything.
    np.testing.assert_allclose(noise.mean(2), np.broadcast_to(theta[:, None], noise[:, :, 0].shape))
    made = decoder - law.mean
    error = decoder - theta[:, None, None]
    assert np.abs((made * error).mean((0, 2))).max() < 0.05
    np.testing.assert_allclose(decoder[:, -1], np.broadcast_to(law.mean, decoder[:, -1].shape))


def test_noise_costs_half_of_the_error_of_the_average(shared):
    # The tiny task's loss is |theta - x|^2 / 2, and the average of three has a third of the error.
    _, of, cost = shared
    for iteration in CHECKPOINTS:
        rise = cost[iteration].rise["noise"]
        laws, levels = of[iteration].laws, cost[iteration].levels
        error = np.mean([rate_distortion.distortion(law.variances, levels) for law in laws], axis=0)
        standard_error = rise.std(axis=0) / np.sqrt(EVALUATED)
        # What float32 keeps of a loss of about 30 is lost in the smallest costs; where it is lost
        # at random the standard error has it, so that a few times its unit is left.
        rounding = 4 * np.finfo(np.float32).eps * 30
        assert (np.abs(rise.mean(axis=0) - error / 6) < 4 * standard_error + rounding).all()
        assert (np.diff(rise.mean(axis=0)) > -rounding).all()


def test_the_harmless_error_and_its_bits_are_those_of_the_known_law(shared):
    rows = table(shared, tolerances=(0.02,))
    for row in rows[rows.channel == "noise"].itertuples():
        error = 6 * 0.02 * row.gain
        assert row.distortion == pytest.approx(error, rel=0.06)
        v, rho = variance(row.iteration), tiny.correlation(tiny.task, row.iteration)
        assert row.distortion_share == pytest.approx(row.distortion / (12 * v), rel=0.03)
        d = row.distortion / 12
        bits = 0.5 * np.log2(v / d)
        assert row.bits == pytest.approx(bits, abs=0.03)
        # Each coordinate by itself is just as good where they are independent.
        assert row.separate_bits == pytest.approx(bits, abs=0.03)
        one, others = (v * (1 - r) for r in (rho**2, 2 * rho**2 / (1 + rho)))
        told = 1 - d / v
        for name, left in (("one", one), ("others", others), ("coded", v * (1 - told * rho**2))):
            saved = 1 - max(0.5 * np.log2(left / d), 0) / bits
            error = getattr(row, f"saved_{name}_se")
            assert getattr(row, f"saved_{name}") == pytest.approx(saved, abs=4 * error + 0.02)
            assert 0 < error < 0.1
        assert row.mi_one == pytest.approx(
            tiny.mi_bits(tiny.task, row.iteration) / 12, abs=4 * row.mi_one_se
        )
        assert row.bits_one == pytest.approx(row.bits * (1 - row.saved_one))


def test_the_error_of_the_bits_is_what_other_seeds_make_of_them(shared):
    gain = np.random.default_rng(0).normal(1, 0.5, size=(200, 400))
    rise = np.random.default_rng(1).exponential(size=(200, 400))[..., None] * np.array([0.5, 2.0])
    levels = np.array([0.5, 2.0])
    law = Law(np.zeros(1), np.eye(1), np.array([2.0]), np.array([2.0]))
    costs = [
        compression.Cost(g, dict(noise=r * 0.1, decoder=r * 0.1), g * 0, levels)
        for g, r in zip(gain, rise, strict=True)
    ]
    level = [compression.harmless_level(c.rise["noise"], c.gain, levels, 0.1) for c in costs]
    of = Sources([law], None, None, {}, [], 100)
    row = compression.rows(shared[0], 1, of, costs[0], tolerances=[0.1])[0]
    spread = np.std(0.5 * np.log2(2 / np.array(level))) / 12
    assert row["bits_se"] == pytest.approx(spread, rel=0.3)


def test_clients_that_share_nothing_save_nothing(null):
    rows = table(null)
    rows = rows[(rows.channel == "noise") & (rows.bits > 0)]
    assert len(rows)
    for name in ("one", "others", "coded"):
        assert (rows[f"saved_{name}"].abs() < 4 * rows[f"saved_{name}_se"]).all()
    assert (rows.mi_one.abs() < 4 * rows.mi_one_se).all()


def test_the_harmless_level_of_known_costs():
    levels, gain = np.array([1.0, 2.0, 4.0]), np.array([9.0, 11.0])
    rise = np.array([[0.02, 0.06, 0.3], [0.04, 0.08, 0.5]])  # means 0.03, 0.07, 0.4
    assert compression.harmless_level(rise, gain, levels, 0.005) == pytest.approx(1.5)
    assert compression.harmless_level(rise, gain, levels) == pytest.approx(2 + 2 * 0.03 / 0.33)
    assert compression.harmless_level(rise, gain, levels, 0.05) == 4
    assert np.isnan(compression.harmless_level(rise, gain, levels, 0.001))
    assert np.isnan(compression.harmless_level(rise, -gain, levels))
    # What an error makes better is harmless; the first level that costs too much counts.
    assert compression.harmless_level(rise * [[-1, -1, 1]], gain, levels) > 2
    assert compression.harmless_level(rise[:, [0, 2, 1]], gain, levels, 0.01) < 2
    for tolerance in (0, 1, -0.1, np.nan):
        with pytest.raises(ValueError, match="tolerance"):
            compression.harmless_level(rise, gain, levels, tolerance)


def test_where_training_gains_nothing_no_error_is_called_harmless(shared):
    samples, of, cost = shared
    none = dataclasses.replace(cost[1], gain=cost[1].gain - cost[1].gain.mean())
    rows = pd.DataFrame(compression.rows(samples, 1, of[1], none), columns=compression.COLUMNS)
    assert rows.bits.isna().all() and rows.saved_one.isna().all()
    assert rows.mi_one.notna().all()
    found = compression.facts(rows)
    assert found["empty"] == dict(no_gain=[1]) and found["savings"] == []


def test_few_seeds_leave_out_what_they_cannot_tell(shared):
    samples, of, cost = judged(shared[0].isel(seed=slice(EVALUATED + 30)))
    assert of[1].one is not None and of[1].others is None
    rows = table((samples, of, cost))
    assert rows.saved_others.isna().all() and rows.bits_one.notna().all()
    assert compression.facts(rows)["empty"]["too_few_seeds"] == list(CHECKPOINTS)


def test_two_clients_have_one_other(shared):
    of = sources.fit(shared[0].isel(client=slice(2), seed=slice(200)), 1)
    np.testing.assert_allclose(of.one[0].variances, of.others[0].variances)


def test_the_facts_are_those_of_the_table(shared):
    rows = table(shared)
    found = compression.facts(rows.sample(frac=1, random_state=0))
    for channel, told in found["channels"].items():
        assert len(told) == (rows.channel == channel).sum()
        order = [(-row["tolerance"], row["iteration"]) for row in told]
        assert order == sorted(order)
    last = rows[(rows.iteration == 4) & (rows.channel == "noise")].set_index("tolerance")
    assert {row["tolerance"]: row["saved_one"] for row in found["savings"]} == pytest.approx(
        last.saved_one.to_dict()
    )
    assert [row["iteration"] for row in found["nothing_sent"]] == list(CHECKPOINTS)
    assert found["about"]["mi_one"] == last.mi_one.iloc[0]


def test_the_figure_shows_bits_savings_and_costs(shared):
    samples, of, cost = shared
    rows = table(shared)
    costs = pd.DataFrame(
        [r for i in CHECKPOINTS for r in compression.cost_rows(samples, i, of[i], cost[i])],
        columns=compression.COST_COLUMNS,
    )
    assert (costs.distortion_share.max() <= 1 + 1e-9) and (costs.cost_se >= 0).all()
    figure = figures.compression(rows, costs)
    bits, saved, cost_axes = figure.axes
    shown = {line.get_label(): line.get_ydata() for line in bits.get_lines()}
    noise = rows[(rows.channel == "noise") & (rows.tolerance == 0.001)]
    np.testing.assert_allclose(shown["alone"], noise.bits)
    np.testing.assert_allclose(shown["given one other"], noise.bits_one)
    assert len(saved.get_lines()) >= len(compression.TOLERANCES)
    assert len(cost_axes.get_lines()) >= len(CHECKPOINTS)
