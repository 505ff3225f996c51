"""Flower's strategies and fedmi's aggregators, on the same clients over several rounds."""

import re
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fedmi
from fedmi import aggregation
from fedmi.aggregation import ServerOptimizer, stateful
from tests import tiny

strategies = pytest.importorskip("flwr.server.strategy", reason="Flower is not installed")
common = pytest.importorskip("flwr.common")

pytestmark = pytest.mark.slow

ROUNDS, CLIENTS, SIZE = 5, 7, 6
EQUAL, UNEQUAL = np.full(CLIENTS, 10), np.array([1, 2, 5, 10, 10, 20, 40])
B1, B2, RATE = 0.9, 0.99, 0.1
BLOCKS = re.findall(
    r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs" / "flower.md").read_text(), re.S
)


def adams_schedule(count):
    r = count + 1
    bias = jnp.sqrt((1 - B2 ** (r + 1)) / (1 - B2**r)) * (1 - B1**r) / (1 - B1 ** (r + 1))
    return RATE * bias


def yogis_schedule(count):
    r = count + 1
    return RATE * (1 - B1**r) / jnp.sqrt(1 - B2**r)


def uploads(number, download):
    """What the clients make of a download in a round: they are drawn to places of their own."""
    draw = np.random.default_rng(number)
    targets = np.random.default_rng(100).standard_normal((CLIENTS, SIZE))
    noise = 0.1 * draw.standard_normal((CLIENTS, SIZE))
    return (np.asarray(download) + 0.5 * (targets - download) + noise).astype(np.float32)


def results_of(models, counts):
    ok = common.Status(code=common.Code.OK, message="")
    return [
        (None, common.FitRes(ok, common.ndarrays_to_parameters([model]), int(n), {}))
        for model, n in zip(models, counts, strict=True)
    ]


def by_flower(strategy, counts):
    model, models = np.zeros(SIZE, np.float32), []
    for number in range(1, ROUNDS + 1):
        made, _ = strategy.aggregate_fit(number, results_of(uploads(number, model), counts), [])
        (model,) = common.parameters_to_ndarrays(made)
        models.append(model)
    return np.array(models)


def by_fedmi(aggregator, counts):
    parts, model, models = stateful(aggregator), jnp.zeros(SIZE), []
    state = parts.init(model)
    for number in range(1, ROUNDS + 1):
        own = jnp.asarray(uploads(number, model))
        model, state = parts.step(state, own, counts / counts.sum(), model)
        models.append(np.asarray(model))
    return np.array(models)


def start():
    return common.ndarrays_to_parameters([np.zeros(SIZE, np.float32)])


def flower(name, **options):
    return getattr(strategies, name)(**options)


def optimised(name, **options):
    return flower(name, initial_parameters=start(), eta=RATE, tau=1e-9, **options)


@pytest.mark.parametrize(
    ("strategy", "aggregator", "counts"),
    [
        (partial(flower, "FedAvg"), aggregation.weighted_mean, UNEQUAL),
        (partial(flower, "FedMedian"), aggregation.coordinate_median, EQUAL),
        (partial(flower, "FedTrimmedAvg", beta=0.2), aggregation.trimmed_mean, UNEQUAL),
        (
            partial(flower, "Krum", num_malicious_clients=2),
            partial(aggregation.krum, dishonest=2),
            UNEQUAL,
        ),
        (
            partial(flower, "Krum", num_malicious_clients=2, num_clients_to_keep=4),
            partial(aggregation.multi_krum, dishonest=2, kept=4),
            EQUAL,
        ),
        (
            lambda: flower(
                "FedAvgM",
                initial_parameters=start(),
                server_learning_rate=RATE,
                server_momentum=B1,
            ),
            ServerOptimizer(optax.sgd(RATE, momentum=B1)),
            UNEQUAL,
        ),
        (
            partial(optimised, "FedAdagrad"),
            ServerOptimizer(optax.adagrad(RATE, initial_accumulator_value=0.0, eps=0.0)),
            UNEQUAL,
        ),
        (
            partial(optimised, "FedAdam", beta_1=B1, beta_2=B2),
            ServerOptimizer(optax.adam(adams_schedule, b1=B1, b2=B2, eps=1e-9)),
            UNEQUAL,
        ),
        (
            partial(optimised, "FedYogi", beta_1=B1, beta_2=B2),
            ServerOptimizer(
                optax.chain(
                    optax.scale_by_yogi(b1=B1, b2=B2, eps=1e-9, initial_accumulator_value=0.0),
                    optax.scale_by_learning_rate(yogis_schedule),
                )
            ),
            UNEQUAL,
        ),
    ],
    ids="mean median trimmed krum multi-krum momentum adagrad adam yogi".split(),
)
def test_the_numbers_agree_over_rounds(strategy, aggregator, counts):
    np.testing.assert_allclose(
        by_fedmi(aggregator, counts), by_flower(strategy(), counts), rtol=1e-5, atol=1e-5
    )


def test_a_fedmi_aggregator_is_a_flower_strategy():
    names = {}
    exec(BLOCKS[0], names)
    for aggregator in (aggregation.geometric_median, ServerOptimizer(optax.yogi(0.01))):
        strategy = names["FedmiStrategy"](aggregator, initial_parameters=start())
        np.testing.assert_allclose(
            by_flower(strategy, UNEQUAL), by_fedmi(aggregator, UNEQUAL), rtol=1e-5, atol=1e-6
        )


def test_a_flower_aggregate_is_a_fedmi_aggregator(tmp_path, monkeypatch):
    (tmp_path / "a_flower_of_mine.py").write_text(BLOCKS[1])
    monkeypatch.syspath_prepend(tmp_path)
    found, own = (
        fedmi.sample(tiny.task, seeds=4, checkpoints=[4], rounds=3, aggregator=name)
        for name in ("a_flower_of_mine:flower_median", "coordinate_median")
    )
    np.testing.assert_allclose(found.theta, own.theta, rtol=1e-5, atol=1e-6)
