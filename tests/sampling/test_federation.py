"""Federated learning over many rounds, against the same in plain loops."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedmi import aggregation, scopes
from fedmi.sampling import sgd
from fedmi.sampling.federation import Federation, draw, federate, participants
from fedmi.sampling.rounds import round_keys
from tests import tiny

pytestmark = pytest.mark.usefixtures("quickly_compiled")

ROOT = scopes.root_key(0)
SCOPES = scopes.resolve("shared-source", tiny.task.streams)


def federation(**changes):
    given = dict(
        task=tiny.task,
        scopes=SCOPES,
        clients=5,
        participants=2,
        rounds=3,
        aggregator=lambda numbers: aggregation.weighted_mean,
        examples=(16,) * 5,
        kept=(0, 1, 2, 3),
    )
    return Federation(**given | changes)


def trained(of, seeds=(0, 1), **numbers):
    values = dict(rate=1.0) | numbers
    return federate(of, seeds, {name: [value] * len(seeds) for name, value in values.items()})


def by_hand(of, seed, rate=1.0, step=None, pull=0.0, lie=None):
    """The models after every round, in loops over rounds and clients, and who took part."""
    task = of.task
    model, models, chosen = np.zeros(tiny.SIZE), [np.zeros(tiny.SIZE)], []
    controls = np.zeros((of.clients, tiny.SIZE))
    stream = scopes.stream_key(ROOT, "participation", "shared", seed=seed, client=0)
    for number in range(1, of.rounds + 1):
        taking = np.asarray(participants(of, jax.random.fold_in(stream, number)))
        chosen.append(taking.tolist())
        uploads, weights, common = [], [], controls.mean(axis=0)
        for client in taking:
            keys = scopes.client_keys(ROOT, SCOPES, seed=seed, client=int(client))
            data = np.asarray(task.data(keys, ()), np.float64)
            theta = model.copy()
            own = round_keys(task, keys, number)
            order = np.asarray(sgd.epoch_order(task, own, 1))
            order = order[np.argsort(order >= of.examples[client], kind="stable")]
            for place in range(of.examples[client] // task.batch_size):
                batch = data[order[place * task.batch_size :][: task.batch_size]]
                gradient = theta - batch.mean(axis=0) + pull * (theta - model)
                if of.controlled:
                    gradient = gradient + common - controls[client]
                theta = theta - rate * task.learning_rate * gradient
            if of.controlled:
                steps = of.examples[client] // task.batch_size
                way = (model - theta) / (steps * rate * task.learning_rate)
                controls[client] = controls[client] - common + way
            uploads.append(lie(theta, model) if lie and client < of.dishonest else theta)
            weights.append(of.examples[client])
        mean = np.average(uploads, axis=0, weights=weights)
        model = mean if step is None else model + step * (mean - model)
        models.append(model)
    return np.array(models), chosen


def test_who_takes_part_is_drawn_anew_each_round_and_seed():
    of = federation(rounds=20)
    draws = [by_hand(of, seed)[1] for seed in (0, 1)]
    assert draws[0] != draws[1]
    assert {client for taking in draws[0] for client in taking} == set(range(5))
    assert all(len(set(taking)) == 2 and taking == sorted(taking) for taking in draws[0])


@pytest.mark.parametrize(
    ("changes", "numbers", "plain"),
    [
        ({}, {}, {}),
        (dict(participants=5), {}, {}),
        ({}, dict(rate=0.5), dict(rate=0.5)),
        (dict(examples=(4, 8, 16, 12, 4)), {}, {}),
        (
            dict(aggregator=lambda n: partial(aggregation.server_step, step=n["step"])),
            dict(step=1.5),
            dict(step=1.5),
        ),
        (dict(proximal=True), dict(proximal=0.7), dict(pull=0.7)),
        (dict(controlled=True), {}, {}),
        (
            dict(attack=lambda upload, download: 2 * download - upload, dishonest=2),
            {},
            dict(lie=lambda upload, download: 2 * download - upload),
        ),
    ],
    ids=["mean", "all", "rate", "unequal", "server step", "FedProx", "SCAFFOLD", "dishonest"],
)
def test_rounds_are_those_of_plain_loops(changes, numbers, plain):
    of = federation(**changes)
    found = trained(of, **numbers)
    for place, seed in enumerate((0, 1)):
        models, _ = by_hand(of, seed, **plain)
        np.testing.assert_allclose(found["models"][place], models, rtol=1e-4, atol=1e-4)


def test_models_are_judged_on_all_honest_clients_by_their_examples():
    of = federation(examples=(4, 8, 16, 12, 4), dishonest=1, attack=lambda u, d: d + 10.0)
    found = trained(of)
    for place, seed in enumerate((0, 1)):
        for number in (0, 3):
            model = found["models"][place, number].astype(np.float64)
            losses, held_out = [], []
            for client in range(1, 5):
                keys = scopes.client_keys(ROOT, SCOPES, seed=seed, client=client)
                own = np.asarray(tiny.task.data(keys, ()))[: of.examples[client]]
                losses.append(((model - own) ** 2).sum(axis=1).mean() / 2)
                other = np.asarray(tiny.task.held_out(keys, ()))
                held_out.append(((model - other) ** 2).sum(axis=1).mean() / 2)
            expected = [np.average(losses, weights=of.examples[1:]), *[np.mean(held_out)] * 2]
            np.testing.assert_allclose(found["measures"][place, number], expected, rtol=1e-4)


def test_a_seed_does_not_depend_on_those_beside_it():
    of = federation(aggregator=lambda n: aggregation.PathMean(2))
    alone = trained(of, seeds=(1,))
    together = federate(of, [0, 1, 1], dict(rate=[1.0, 1.0, 0.5]), room=8)
    np.testing.assert_allclose(together["models"][1], alone["models"][0], rtol=1e-5, atol=1e-6)
    assert np.abs(together["models"][2] - together["models"][1]).max() > 1e-3


def test_models_are_judged_after_the_rounds_that_are_asked_for():
    every = trained(federation())["measures"]
    some = trained(federation(judged=(0, 2, 3)))["measures"]
    np.testing.assert_allclose(some, every[:, [0, 2, 3]], rtol=1e-5)


def test_data_are_drawn_once_for_several_calls():
    of = federation()
    drawn = draw(of, [3, 0, 1, 1])
    assert drawn.seeds.tolist() == [0, 1, 3] and drawn.data.shape == (3, 5, 16, tiny.SIZE)
    keys = scopes.client_keys(ROOT, SCOPES, seed=3, client=2)
    np.testing.assert_allclose(drawn.data[2, 2], tiny.task.data(keys, ()), rtol=1e-6)
    np.testing.assert_allclose(drawn.held_out[2, 2], tiny.task.held_out(keys, ()), rtol=1e-6)
    given = dict(rate=[1.0, 0.5])
    found, own = federate(of, [3, 0], given, drawn=drawn), federate(of, [3, 0], given)
    np.testing.assert_allclose(found["models"], own["models"], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="drawn: it lacks the data of some of the seeds"):
        federate(of, [3, 2], given, drawn=drawn)


def test_what_is_sent_and_clients_states_go_along():
    class Late:
        """Clients upload half of their update now, and half with their next; and their mean."""

        def init(self, download):
            return jnp.zeros(())

        def client_init(self, download):
            return jnp.zeros_like(download)

        def client_step(self, state, upload, download):
            said = 0.5 * (upload - download) + state
            return download + said, upload - download - said

        def send(self, task, data, theta):
            return jnp.mean(data)

        def step(self, state, uploads, weights, download, sent):
            return weights @ uploads, state + jnp.sum(sent)

    of = federation(aggregator=lambda n: Late(), rounds=2, participants=5, kept=(1, 2))
    found = trained(of, seeds=(0,))["models"][0]
    plain = federation(rounds=1, participants=5, kept=(1,))
    np.testing.assert_allclose(found[0], trained(plain, seeds=(0,))["models"][0, 0] / 2, rtol=1e-4)
    assert np.isfinite(found[1]).all() and np.abs(found[1] - found[0]).max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(participants=6), "participants: 6 of 5 clients"),
        (dict(participants=0), "participants: 0 is below 1"),
        (dict(examples=(16,)), "examples: 1 numbers for 5 clients"),
        (dict(dishonest=1), "attack: .* give both"),
        (dict(dishonest=5, attack=lambda u, d: u), "dishonest: 5 of 5 clients leave no honest one"),
        (dict(kept=(4,)), "kept: 4 is no round from 0 to 3"),
        (dict(judged=(0, -1)), "judged: -1 is no round from 0 to 3"),
        (dict(task=replace(tiny.task, held_out=None)), "has no held-out data"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        trained(federation(**changes))


def test_numbers_are_one_a_seed_and_the_rate_is_among_them():
    with pytest.raises(ValueError, match="numbers: .* needs 2 values, one a seed"):
        federate(federation(), [0, 1], dict(rate=[1.0]))
    with pytest.raises(ValueError, match="numbers: .*`rate`"):
        federate(federation(), [0], dict(step=[1.0]))
