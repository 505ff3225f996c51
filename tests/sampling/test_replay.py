import dataclasses

import jax
import numpy as np
import pytest

import fedmi
from fedmi import scopes
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
        keys = scopes.client_keys(
            jax.random.key(0), samples.attrs["scopes"], seed=seed, client=client
        )
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
