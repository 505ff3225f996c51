import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import fedmi
from fedmi.sampling import replay
from fedmi.sampling.design import Design
from tests import tiny

pytestmark = pytest.mark.usefixtures("quickly_compiled")


@pytest.mark.parametrize("coupling", ["shared-source", "null"])
def test_the_held_out_metric_is_the_loss_on_fresh_data(coupling):
    samples = fedmi.sample(tiny.task, seeds=40, coupling=coupling, checkpoints=[1, 2, 4], tile=64)
    found = fedmi.held_out_metric(tiny.task, samples, seeds=35)
    assert found.dims == ("seed", "client", "iteration")
    assert found.shape == (35, 3, 4)
    assert found.iteration.values.tolist() == [0, 1, 2, 4]
    for seed, client in ((0, 0), (34, 2)):
        keys = Design.of(tiny.task, coupling=coupling).keys(seed=seed, client=client)
        data = np.asarray(tiny.task.held_out(keys, ()))
        for i, theta in enumerate([np.zeros(12), *samples.theta.values[seed, client]]):
            expected = np.mean(np.sum((theta - data) ** 2, axis=1)) / 2
            np.testing.assert_allclose(found[seed, client, i], expected, rtol=tiny.METRIC_ROUNDING)


def test_seeds_keep_their_keys_when_others_are_dropped():
    samples = fedmi.sample(tiny.task, seeds=40, checkpoints=[1, 2, 4], tile=64).load()
    whole = fedmi.held_out_metric(tiny.task, samples, seeds=40)
    samples.theta[5] = np.nan
    some = fedmi.held_out_metric(tiny.task, fedmi.finite(samples), seeds=40)
    np.testing.assert_allclose(some.sel(seed=39), whole.sel(seed=39), rtol=tiny.METRIC_ROUNDING)


def test_what_cannot_be_evaluated_is_refused():
    samples = fedmi.sample(tiny.task, seeds=8, rounds=2, checkpoints=[4], tile=64).load()
    with pytest.raises(ValueError, match="no finite seed is left"):
        fedmi.held_out_metric(tiny.task, samples.isel(seed=slice(0)), seeds=4)
    for seeds in (0, -1, 2.0):
        with pytest.raises(ValueError, match="^seeds: "):
            fedmi.held_out_metric(tiny.task, samples, seeds=seeds)
    for name in ("theta", "download"):
        spoilt = samples.copy(deep=True)
        spoilt[name][3] = np.nan
        with pytest.raises(ValueError, match="^samples: .*not finite.*fedmi.finite"):
            fedmi.held_out_metric(tiny.task, spoilt, seeds=8)
        assert np.isfinite(fedmi.held_out_metric(tiny.task, spoilt, seeds=3)).all()


def test_a_task_without_held_out_data_is_refused():
    samples = fedmi.sample(tiny.task, seeds=40, checkpoints=[1, 2, 4], tile=64)
    without = dataclasses.replace(tiny.task, held_out=None)
    with pytest.raises(ValueError, match="'tiny' has no held-out data"):
        fedmi.held_out_metric(without, samples, seeds=4)
    with pytest.raises(ValueError, match="'other', but the samples are of 'tiny'"):
        fedmi.held_out_metric(dataclasses.replace(tiny.task, name="other"), samples, seeds=4)


@pytest.fixture(scope="module")
def samples():
    return fedmi.sample(tiny.task, seeds=40, checkpoints=[1, 4], tile=64)


def test_a_design_is_had_again_from_its_samples(samples):
    design = Design.of(tiny.task, checkpoints=[1, 4])
    found = replay.design_of(tiny.task, samples)
    assert found == design
    uneven = fedmi.sample(
        tiny.task, seeds=4, coupling="null", root_seed=3, rounds=2, examples=[4, 8, 16], tile=64
    )
    found = replay.design_of(tiny.task, uneven)
    asked = dict(coupling="null", root_seed=3, rounds=2, examples=[4, 8, 16])
    assert found == Design.of(tiny.task, **asked)
    with pytest.raises(ValueError, match="later round, or of clients with unequal data"):
        replay.objectives(tiny.task, uneven)


def drawn(design, seed):
    """The data and the held-out data of a seed's clients, (Q, examples, 12) each."""
    keys = [design.keys(seed=seed, client=client) for client in range(design.clients)]
    pairs = [replay.draw(tiny.task, of_client, ()) for of_client in keys]
    return tuple(np.stack(arrays) for arrays in zip(*pairs, strict=True))


def test_a_model_is_judged_by_its_loss_on_all_clients_data(samples):
    design, w = Design.of(tiny.task), np.arange(12, dtype=np.float32) / 12
    data, held_out = drawn(design, 1)
    expected = [((w - of) ** 2).sum(axis=-1).mean() / 2 for of in (data, held_out, held_out)]
    found = replay.measures(tiny.task, data, held_out, jnp.asarray(w))
    np.testing.assert_allclose(found, expected, rtol=tiny.METRIC_ROUNDING)
    objective = replay.objective(tiny.task, data, jnp.asarray(w))
    np.testing.assert_allclose(objective, expected[0], rtol=tiny.METRIC_ROUNDING)
    few = replay.draw(tiny.task, design.keys(seed=1, client=0), (), 5)
    np.testing.assert_array_equal(few[1], held_out[0, :5])


def test_the_objectives_of_samples_are_those_of_their_clients_data(samples):
    weights = np.random.default_rng(0).normal(size=(5, 2, 12)).astype(np.float32)
    seeds = np.array([0, 7, 8, 100, 3000])
    found = replay.objectives(tiny.task, samples)(seeds, weights)
    assert found.shape == (5, 3)
    for i, seed in enumerate(seeds):
        data, _ = drawn(Design.of(tiny.task), seed)
        for k, w in enumerate([np.zeros(12, np.float32), *weights[i]]):
            expected = ((w - data) ** 2).sum(axis=-1).mean() / 2
            np.testing.assert_allclose(found[i, k], expected, rtol=1e-5)


def test_fisher_information_is_the_mean_squared_gradient():
    data, w = drawn(Design.of(tiny.task), 0)[0][1], np.linspace(-1, 1, 12, dtype=np.float32)
    found = replay.fisher_information(tiny.task, data, jnp.asarray(w))
    np.testing.assert_allclose(found, ((w - data) ** 2).mean(axis=0), rtol=1e-5)


def test_blocks_are_evaluated_as_one(samples):
    def of_block(block, filled):
        assert len(filled) == 16
        return block.theta.values[filled]

    np.testing.assert_array_equal(replay.over_blocks(of_block, samples, 16), samples.theta)


def test_the_error_of_each_target_stands_beside_the_metric():
    task = dataclasses.replace(
        tiny.task,
        targets=("first", "rest"),
        target_errors=lambda params, batch: jnp.stack(
            [jnp.mean((params["b"][0] - batch[:, 0]) ** 2), jnp.mean(batch)]
        ),
    )
    samples = fedmi.sample(task, seeds=5, checkpoints=[1, 4], tile=5)
    found = replay.held_out_metrics(task, samples, seeds=5)
    assert set(found) == {"distance", "distance of first", "distance of rest"}
    np.testing.assert_array_equal(
        found.distance, fedmi.held_out_metric(tiny.task, samples, seeds=5)
    )
    data = np.asarray(task.held_out(Design.of(task).keys(seed=3, client=1), ()))
    theta = samples.theta.values[3, 1, 1]
    expected = np.mean((theta[0] - data[:, 0]) ** 2), np.mean(data)
    for name, value in zip(("first", "rest"), expected, strict=True):
        error = found[f"distance of {name}"].sel(seed=3, iteration=4)[1]
        np.testing.assert_allclose(error, value, rtol=1e-4)


def test_names_and_errors_that_do_not_match_are_refused():
    task = dataclasses.replace(
        tiny.task, targets=("one",), target_errors=lambda params, batch: jnp.zeros(2)
    )
    samples = fedmi.sample(task, seeds=2, tile=2)
    with pytest.raises(ValueError, match="target_errors: 2 errors for 1 target"):
        replay.held_out_metrics(task, samples, seeds=2)
    wrong = dataclasses.replace(task, target_errors=lambda params, batch: jnp.zeros((1, 2)))
    with pytest.raises(ValueError, match="target_errors: returned float32 of the shape"):
        replay.held_out_metrics(wrong, samples, seeds=2)
