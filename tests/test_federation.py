from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import fedmi
from fedmi import aggregation, federation, scopes, training
from fedmi.training import over_seeds_and_clients
from tests import tiny

ROOT = jax.random.key(0)
SEEDS = jnp.arange(3)


def federate(task, clients, **options):
    options = dict(rounds=1, examples=[task.examples] * clients) | options
    scope = scopes.resolve("shared-source", task.streams)
    one = partial(federation.train_rounds, task, assets=task.assets(), **options)
    return jax.jit(over_seeds_and_clients(one, ROOT, scope, clients))(SEEDS)


def keys_of(task, seed, client, coupling="shared-source"):
    return scopes.client_keys(
        ROOT, scopes.resolve(coupling, task.streams), seed=seed, client=client
    )


def test_the_first_round_is_the_single_epoch():
    (theta, metric, clipped), servers = federate(tiny.task, 3)
    scope = scopes.resolve("shared-source", tiny.task.streams)
    one = partial(training.train, tiny.task, assets=())
    alone = jax.jit(over_seeds_and_clients(one, ROOT, scope, 3))(SEEDS)
    for found, expected in zip((theta, metric, clipped), alone, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(servers[:, 0, 0], theta[:, :, -1].mean(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(servers[:, 0], servers[:, 2])  # all clients hear the same


def test_one_client_alone_takes_plain_sgd():
    (_, _, _), servers = federate(tiny.task, 1, rounds=3)
    for seed in range(2):
        keys = keys_of(tiny.task, seed, 0)
        w = np.zeros(tiny.SIZE)
        data = np.asarray(tiny.task.data(keys, ()))
        for number in (1, 2, 3):
            order = keys["order"] if number == 1 else jax.random.fold_in(keys["order"], number)
            for batch in data[np.asarray(jax.random.permutation(order, 16))].reshape(4, 4, -1):
                w = w - 0.25 * (w - batch.mean(axis=0))
            np.testing.assert_allclose(servers[seed, 0, number - 1], w, rtol=1e-5)


FULL_BATCH = {
    "tiny": tiny.make(batch_size=16),
    "signal": fedmi.tasks.get(
        "signal", examples=20, batch_size=20, dropout=0.0, clip_norm=None, length=8, layers=3
    ),
    "digits": fedmi.tasks.get("digits", examples=20, batch_size=20, learning_rate=0.1),
}


@pytest.mark.parametrize("task", FULL_BATCH.values(), ids=FULL_BATCH)
def test_one_step_clients_and_the_mean_make_pooled_gradient_descent(task):
    _, servers = federate(task, 2, rounds=2)
    w, unravel = ravel_pytree(task.init(keys_of(task, 0, 0)))
    data = [task.data(keys_of(task, 0, client), task.assets()) for client in range(2)]
    pooled = jax.tree.map(lambda *a: jnp.concatenate(a), *data)
    gradient = jax.grad(lambda w: task.loss(unravel(w), pooled, None)[0])
    for number in range(2):
        w = w - task.learning_rate * gradient(w)
        np.testing.assert_allclose(servers[0, 0, number], w, atol=2e-6)


def test_clients_count_by_their_examples():
    counts = [4, 8, 16]
    (theta, _, _), servers = federate(tiny.task, 3, examples=counts)
    weights = np.array(counts) / 28
    np.testing.assert_allclose(
        servers[:, 0, 0], np.einsum("q,nqt->nt", weights, theta[:, :, -1]), rtol=1e-5
    )
    # The first client has one minibatch: its own four examples, in whatever order.
    keys = keys_of(tiny.task, 1, 0)
    own = np.asarray(tiny.task.data(keys, ()))[:4].mean(axis=0)
    np.testing.assert_allclose(theta[1, 0], np.tile(0.25 * own, (4, 1)), rtol=1e-5)
    assert not np.allclose(theta[1, 1, 0], theta[1, 1, 1])
    np.testing.assert_array_equal(theta[1, 1, 1], theta[1, 1, 3])


def test_rounds_go_on_from_the_aggregate_by_any_aggregator():
    for name, aggregator in federation.AGGREGATORS.items():
        (theta, _, _), servers = federate(tiny.task, 3, rounds=2, aggregator=aggregator)
        uploads = theta[:, :, -1]
        expected = aggregation.over_seeds(aggregator, uploads)
        np.testing.assert_allclose(servers[:, 0, 1], expected, rtol=1e-5, err_msg=name)
    # Each epoch shrinks what it starts from alike: where the median started shows.
    assert not np.allclose(servers[:, 0, 0], federate(tiny.task, 3, rounds=2)[1][:, 0, 0])


@pytest.mark.parametrize("count", [0, 3, 20])
def test_impossible_numbers_of_examples_are_refused(count):
    with pytest.raises(ValueError, match=f"examples: {count} is no multiple of the minibatch, 4"):
        federate(tiny.task, 2, examples=[16, count])
