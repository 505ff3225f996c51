import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import fedmi
from fedmi import aggregation, scopes
from fedmi.sampling import rounds, server, sgd
from fedmi.sampling.design import Design
from fedmi.sampling.sgd import over_seeds_and_clients
from tests import tiny
from tests.killing import bytes_of, kill_after

pytestmark = pytest.mark.usefixtures("quickly_compiled")

ROOT = jax.random.key(0)
ROOT_FOLDER = Path(__file__).parents[2]
SEEDS = jnp.arange(3)


def federate(task, clients, **options):
    options = dict(checkpoints=range(1, task.steps + 1)) | options
    design, assets = Design.of(task, clients=clients, **options), task.assets()

    def one(keys):
        return rounds.train_rounds(design, keys, task.data(keys, assets))

    return jax.jit(over_seeds_and_clients(one, ROOT, design.scopes, clients))(SEEDS)


def keys_of(task, seed, client, coupling="shared-source"):
    return scopes.client_keys(
        ROOT, scopes.resolve(coupling, task.streams), seed=seed, client=client
    )


def test_the_first_round_is_the_single_epoch():
    (theta, metric, clipped), servers = federate(tiny.task, 3)
    scope = scopes.resolve("shared-source", tiny.task.streams)

    def one(keys):
        return sgd.train_on(tiny.task, keys, tiny.task.data(keys, ()))

    alone = jax.jit(over_seeds_and_clients(one, ROOT, scope, 3))(SEEDS)
    for found, expected in zip((theta, metric, clipped), alone, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(servers[:, 0, 0], theta[:, :, -1].mean(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(servers[:, 0], servers[:, 2])  # all clients hear the same


def test_clients_that_are_one_take_plain_sgd():
    shared = dict.fromkeys(tiny.task.streams, "shared")
    (_, _, _), servers = federate(tiny.task, 2, rounds=3, coupling=shared)
    for seed in range(2):
        keys = keys_of(tiny.task, seed, 0, shared)
        w = np.zeros(tiny.SIZE)
        data = np.asarray(tiny.task.data(keys, ()))
        for number in (1, 2, 3):
            order = keys["order"] if number == 1 else jax.random.fold_in(keys["order"], number)
            for batch in data[np.asarray(jax.random.permutation(order, 16))].reshape(4, 4, -1):
                w = w - 0.25 * (w - batch.mean(axis=0))
            np.testing.assert_allclose(servers[seed, 0, number - 1], w, rtol=1e-5)


FULL_BATCH = {
    "signal": fedmi.tasks.get(
        "signal", examples=20, batch_size=20, dropout=0.0, clip_norm=None, length=8, layers=3
    ),
    "digits": fedmi.tasks.get("digits", examples=20, batch_size=20, learning_rate=0.1),
}


@pytest.mark.parametrize("task", FULL_BATCH.values(), ids=FULL_BATCH)
def test_one_step_clients_and_the_mean_make_pooled_gradient_descent(task):
    _, servers = federate(task, 2, rounds=2)

    @jax.jit
    def pooled_descent(assets):
        w, unravel = ravel_pytree(task.init(keys_of(task, 0, 0)))
        data = jax.vmap(lambda keys: task.data(keys, assets))(
            jax.tree.map(lambda *k: jnp.stack(k), keys_of(task, 0, 0), keys_of(task, 0, 1))
        )
        pooled = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), data)
        passed = []
        for _ in range(2):
            gradient = jax.grad(lambda w: task.loss(unravel(w), pooled, None)[0])(w)
            w = w - task.learning_rate * gradient
            passed.append(w)
        return jnp.stack(passed)

    np.testing.assert_allclose(servers[0, 0], pooled_descent(task.assets()), atol=2e-6)


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
    (theta, _, _), servers = federate(tiny.task, 3, rounds=2, aggregator="geometric_median")
    aggregator = aggregation.geometric_median
    uploads = theta[:, :, -1]
    expected = aggregation.over_seeds(aggregator, uploads)
    np.testing.assert_allclose(servers[:, 0, 1], expected, rtol=1e-5)
    # Each epoch shrinks what it starts from alike: where the median started shows.
    first = aggregation.over_seeds(aggregator, sampled(rounds=1).theta[:3].sel(iteration=4).values)
    np.testing.assert_allclose(servers[:, 0, 0], first, rtol=1e-5)


@pytest.mark.parametrize("count", [0, 3, 20])
def test_impossible_numbers_of_examples_are_refused(count):
    with pytest.raises(ValueError, match=f"examples: {count} is no multiple of the minibatch, 4"):
        federate(tiny.task, 2, examples=[16, count])


class Momentum:
    """A server's momentum (FedAvgM), which remembers its velocity: no function of its arguments."""

    velocity = None

    def __call__(self, clients, weights, download):
        update = weights @ clients - download
        self.velocity = update if self.velocity is None else 0.9 * self.velocity + update
        return download + self.velocity


momentum = Momentum()


def median_by_numpy(clients, weights):
    return np.median(clients, axis=0)


def halfway(clients, weights, download):
    """A user's own aggregator."""
    return 0.5 * (weights @ clients) + 0.5 * download


def sampled(**options):
    return fedmi.sample(tiny.task, seeds=70, checkpoints=[1, 2, 4], tile=64, **options)


def test_a_later_round_is_sampled_like_the_first():
    first, second = sampled(), sampled(rounds=2)
    np.testing.assert_allclose(
        second.download, first.theta.sel(iteration=4).mean("client"), rtol=1e-5
    )
    (theta, metric, _), servers = federate(tiny.task, 3, rounds=2)
    np.testing.assert_allclose(second.theta[:3], theta[:, :, [0, 1, 3]], rtol=1e-5)
    np.testing.assert_allclose(second.metric[:3], metric, rtol=1e-5)
    assert second.attrs["rounds"] == 2
    assert (first.attrs["rounds"], first.attrs["aggregator"]) == (1, "weighted_mean")
    assert "download" not in first
    held_out = fedmi.held_out_metric(tiny.task, second, seeds=3)
    keys = keys_of(tiny.task, 1, 2)
    data = np.asarray(tiny.task.held_out(keys, ()))
    expected = ((servers[1, 2, 0] - data) ** 2).sum(axis=1).mean() / 2
    np.testing.assert_allclose(held_out.sel(seed=1, client=2, iteration=0), expected, rtol=1e-5)


def test_an_aggregator_of_one_s_own():
    first = sampled()
    own = sampled(rounds=2, aggregator="tests.sampling.test_rounds:halfway")
    mean = first.theta.sel(iteration=4).mean("client")
    np.testing.assert_allclose(own.download, 0.5 * mean, rtol=1e-5)
    assert own.attrs["aggregator"] == "tests.sampling.test_rounds:halfway"


HEAVY = aggregation.ServerOptimizer(optax.sgd(1.0, momentum=0.9))


class HalfAtOnce:
    """Clients upload half of their update, and what they owed from before."""

    def init(self, download):
        return ()

    def client_init(self, download):
        return jnp.zeros_like(download)

    def client_step(self, state, upload, download):
        said = 0.5 * (upload - download) + state
        return download + said, upload - download - said

    def step(self, state, uploads, weights, download):
        return weights @ uploads, state


LATE = HalfAtOnce()


class Forgetful(HalfAtOnce):
    """Its state is a number first, and two later."""

    def step(self, state, uploads, weights, download):
        return weights @ uploads, (jnp.zeros(2),)


FORGETFUL = Forgetful()


def test_a_servers_state_goes_from_round_to_round():
    name = "tests.sampling.test_rounds:HEAVY"
    second, third = (sampled(rounds=number, aggregator=name) for number in (2, 3))
    first = second.download.values  # after the first round it is the mean, from zero
    np.testing.assert_allclose(first, sampled().theta.sel(iteration=4).mean("client"), rtol=1e-5)
    mean = second.theta.sel(iteration=4).mean("client").values
    np.testing.assert_allclose(third.download, mean + 0.9 * first, rtol=1e-4, atol=1e-5)


def test_clients_keep_states_of_their_own():
    name = "tests.sampling.test_rounds:LATE"
    trained = sampled().theta.sel(iteration=4).values
    second, third = (sampled(rounds=number, aggregator=name) for number in (2, 3))
    np.testing.assert_allclose(second.download, trained.mean(axis=1) / 2, rtol=1e-5, atol=1e-6)
    update = second.theta.sel(iteration=4).values - second.download.values[:, None]
    expected = second.download.values + (update / 2 + trained / 2).mean(axis=1)
    np.testing.assert_allclose(third.download, expected, rtol=1e-4, atol=1e-5)


def test_clients_of_unequal_data_are_sampled():
    unequal = sampled(examples=[4, 8, 16])
    assert unequal.attrs["client_examples"] == [4, 8, 16]
    np.testing.assert_array_equal(*(unequal.theta[:, 0].sel(iteration=k) for k in (1, 4)))
    np.testing.assert_allclose(unequal.theta[:, 2], sampled().theta[:, 2], rtol=1e-5)
    assert sampled().attrs["client_examples"] == [16, 16, 16]


CHILD = """
import sys
from tests.sampling.test_rounds import sample_rounds
sample_rounds(*sys.argv[1:])
"""


def sample_rounds(store, aggregator):
    return fedmi.sample(
        tiny.task, seeds=600, checkpoints=[1, 2, 4], tile=16, rounds=3, examples=[8, 16, 16],
        aggregator=aggregator, store=store,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "aggregator",
    ["coordinate_median", "tests.sampling.test_rounds:HEAVY", "tests.sampling.test_rounds:LATE"],
    ids=["no state", "server's state", "clients' states"],
)
def test_killed_and_resumed_rounds_leave_the_same_bytes(tmp_path, aggregator):
    whole, torn = tmp_path / "whole.zarr", tmp_path / "torn.zarr"
    sample_rounds(whole, aggregator)
    command = [sys.executable, "-c", CHILD, str(torn), aggregator]
    child = subprocess.Popen(command, cwd=ROOT_FOLDER, stdout=subprocess.DEVNULL)
    kill_after(child, torn, "download", 9, seconds=120)
    with pytest.raises(ValueError, match="of 600 seeds: sampling has not finished"):
        fedmi.sampling.store.open_existing(torn).dataset(600)
    sample_rounds(torn, aggregator)
    assert bytes_of(torn) == bytes_of(whole)
    with pytest.raises(ValueError, match="rounds: 3 in the store, 1 asked for"):
        fedmi.sample(tiny.task, seeds=600, checkpoints=[1, 2, 4], tile=16, store=torn)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(rounds=0), "rounds: 0 is below 1"),
        (dict(aggregator="krum"), "aggregator: 'krum': dishonest: 1 among 3 clients; .* 2 f . 3"),
        (dict(rounds=True), "rounds: True is not a whole number"),
        (dict(aggregator="best"), "aggregator: unknown name 'best'; known aggregators: weighted_m"),
        (
            dict(aggregator="tests.tiny:SIZE"),
            "aggregator: 'tests.tiny:SIZE': a int; it must be a fu",
        ),
        (
            dict(aggregator="tests.sampling.test_rounds:momentum", rounds=3),
            "test_rounds:momentum' remembers something .* `init` and `step`",
        ),
        (
            dict(aggregator="tests.sampling.test_rounds:median_by_numpy"),
            "looks at .*jax.pure_callback",
        ),
        (
            dict(aggregator="tests.sampling.test_rounds:FORGETFUL", rounds=3),
            "FORGETFUL': its state is .* it must keep its structure, shapes and types",
        ),
        (dict(aggregator="fedmi.aggregation:server_step"), "server_step' fails for 3 .* 'step'"),
        (dict(aggregator="builtins:max"), "aggregator: 'builtins:max' fails for 3 clients of 12"),
        (dict(examples=[16, 16]), "examples: 2 numbers for 3 clients"),
        (dict(examples=[16, 16, 8.0]), "examples: 8.0 is no multiple of the minibatch"),
    ],
)
def test_impossible_rounds_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sampled(**options)


def test_an_aggregator_is_tried_out_before_sampling_and_then_no_more(tmp_path, monkeypatch):
    options = dict(aggregator="tests.sampling.test_rounds:momentum", store=tmp_path / "a.zarr")
    with pytest.raises(ValueError, match="momentum' remembers"):
        sampled(**options)
    assert not list(tmp_path.iterdir())
    options |= dict(aggregator="tests.sampling.test_rounds:halfway", rounds=2)
    sampled(**options)
    monkeypatch.setattr(server, "check_pure", lambda *_, **__: pytest.fail("tried out again"))
    sampled(**options)
    Design.of(tiny.task, aggregator="tests.sampling.test_rounds:halfway")


def test_models_keep_their_precision_where_jax_has_more():
    """Aggregators compute in float64 then; what they make of float32 models is float32 again."""
    task = replace(
        tiny.task,
        init=lambda keys: {"w": jnp.zeros((2, 4), "float32"), "b": jnp.zeros(4, "float32")},
        data=lambda keys, assets: tiny.task.data(keys, assets).astype("float32"),
    )
    with jax.enable_x64(True):
        (theta, _, _), servers = federate(task, 3, rounds=2)
    assert theta.dtype == servers.dtype == np.float32
    np.testing.assert_allclose(servers[:, 0, 1], theta[:, :, -1].mean(axis=1), rtol=1e-5)
