import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fedmi
from fedmi import scopes
from fedmi.sampling import rounds, sgd
from fedmi.sampling.design import Design
from tests import tiny

pytestmark = pytest.mark.usefixtures("quickly_compiled")

TWICE = dataclasses.replace(tiny.task, epochs=2)
KEYS = {stream: jax.random.key(i) for i, stream in enumerate(tiny.task.streams)}


def train_one(task, keys, **options):
    return sgd.train_on(task, keys, task.data(keys, ()), **options)


train = jax.jit(partial(train_one, TWICE))


def by_hand(task, keys, examples=None):
    """Local SGD in NumPy: theta after every step, and the metric before it."""
    data = np.asarray(task.data(keys, ()), np.float64)
    key = keys["order"]
    w, thetas, metrics = np.zeros(tiny.SIZE), [], []
    for epoch in range(1, task.epochs + 1):
        if epoch > 1:
            key = jax.random.fold_in(jax.random.fold_in(keys["order"], 0), epoch)
        order = np.asarray(jax.random.permutation(key, task.examples))
        own = [i for i in order if examples is None or i < examples]
        for first in range(0, task.examples, task.batch_size):
            batch = data[own[first : first + task.batch_size]]
            if len(batch):
                metrics.append(((w - batch) ** 2).sum(axis=1).mean() / 2)
                w = w - task.learning_rate * (w - batch.mean(axis=0))
            thetas.append(w)
    return np.array(thetas), np.array(metrics)


def test_epochs_are_plain_sgd_each_in_an_order_of_its_own():
    theta, metric, clipped = train(KEYS)
    expected, losses = by_hand(TWICE, KEYS)
    np.testing.assert_allclose(theta, expected, rtol=0, atol=tiny.ROUNDING)
    np.testing.assert_allclose(metric, losses, rtol=tiny.METRIC_ROUNDING)
    assert clipped.shape == (8,) and not clipped.any()
    orders = [sgd.epoch_order(TWICE, KEYS, epoch) for epoch in (1, 2)]
    assert (np.sort(orders) == np.arange(16)).all() and (orders[0] != orders[1]).any()


def test_the_first_epoch_is_the_single_one():
    once = jax.jit(partial(train_one, tiny.task))(KEYS)
    theta, metric, _ = train(KEYS)
    np.testing.assert_allclose(theta[:4], once[0], rtol=0, atol=2 * tiny.ROUNDING)
    np.testing.assert_allclose(metric[:4], once[1], rtol=2 * tiny.METRIC_ROUNDING)


def test_no_later_epoch_has_the_order_of_another_round():
    later = rounds.round_keys(tiny.task, KEYS, 2)
    orders = [sgd.epoch_order(TWICE, keys, epoch) for keys in (KEYS, later) for epoch in (1, 2, 3)]
    assert len({tuple(np.asarray(order)) for order in orders}) == 6


@pytest.mark.parametrize("checkpoints", [[8], [1, 2, 5], [1, 4, 8]])
def test_only_checkpoints_are_kept(checkpoints):
    kept = jax.jit(partial(train_one, TWICE, checkpoints=checkpoints))(KEYS)
    theta, metric, _ = train(KEYS)
    expected = theta[np.array(checkpoints) - 1]
    np.testing.assert_allclose(kept[0], expected, rtol=0, atol=2 * tiny.ROUNDING)
    np.testing.assert_allclose(kept[1], metric, rtol=2 * tiny.METRIC_ROUNDING)


def test_no_more_than_the_checkpoints_are_ever_held():
    """What a compiled training needs does not grow with the steps."""

    def needs(task):
        mapped = jax.jit(jax.vmap(partial(train_one, task, checkpoints=[1])))
        keys = jax.vmap(lambda i: {s: jax.random.fold_in(k, i) for s, k in KEYS.items()})
        memory = mapped.lower(keys(jnp.arange(64))).compile().memory_analysis()
        metrics = 64 * task.steps * (4 + 1)  # and whether they were clipped
        return memory.temp_size_in_bytes + memory.output_size_in_bytes - metrics

    many = dataclasses.replace(tiny.task, epochs=100)
    assert needs(many) < needs(tiny.task) + 64 * many.steps * 4 * 2  # far below steps x 12 numbers


def federated(design):
    def one(keys):
        return rounds.train_rounds(design, keys, TWICE.data(keys, ()))

    mapped = sgd.over_seeds_and_clients(one, design.root, design.scopes, design.clients)
    return jax.jit(mapped)(jnp.arange(2))


def test_clients_of_fewer_examples_rest_at_the_end_of_every_epoch():
    design = Design.of(TWICE, checkpoints=range(1, 9), examples=[4, 8, 16])
    (theta, _, _), servers = federated(design)
    for client, examples in enumerate([4, 8, 16]):
        keys = design.keys(seed=1, client=client)
        expected, _ = by_hand(TWICE, keys, examples)
        np.testing.assert_allclose(theta[1, client], expected, rtol=0, atol=tiny.ROUNDING)
    weights = np.array([4, 8, 16]) / 28
    mean = np.einsum("q,nqt->nt", weights, theta[:, :, -1])
    np.testing.assert_allclose(servers[:, 0, 0], mean, rtol=0, atol=tiny.ROUNDING)


def test_a_round_keeps_the_checkpoints_and_uploads_the_last_step():
    design = Design.of(TWICE, clients=2, rounds=2, checkpoints=range(1, 9))
    (whole, _, _), servers = federated(design)
    (kept, _, _), same = federated(dataclasses.replace(design, checkpoints=(1, 3)))
    np.testing.assert_allclose(kept, whole[:, :, [0, 2]], rtol=0, atol=2 * tiny.ROUNDING)
    np.testing.assert_allclose(same, servers, rtol=0, atol=2 * tiny.ROUNDING)


def test_samples_of_several_epochs_say_so():
    samples = fedmi.sample(TWICE, seeds=3, clients=2, checkpoints=[4, 8], tile=4)
    assert samples.sizes["step"] == 8
    assert samples.attrs["epochs"] == 2
    keys = scopes.client_keys(
        jax.random.key(0), scopes.resolve("shared-source", TWICE.streams), seed=2, client=1
    )
    expected = by_hand(TWICE, keys)[0][[3, 7]]
    np.testing.assert_allclose(samples.theta[2, 1], expected, rtol=0, atol=tiny.ROUNDING)


@pytest.mark.parametrize("name", ["signal", "digits"])
def test_a_tasks_options_say_the_epochs(name):
    assert fedmi.tasks.get(name).options["epochs"] == 1
    task = fedmi.tasks.get(name, epochs=5)
    assert (task.options["epochs"], task.steps) == (5, 100)
    with pytest.raises(ValueError, match="epochs"):
        fedmi.tasks.get(name, epochs=0)
