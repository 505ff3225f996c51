import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedmi import aggregation
from fedmi.aggregation import linear
from fedmi.aggregation.purity import check_batches, check_pure
from fedmi.devices import one_by_one

pytestmark = pytest.mark.usefixtures("quickly_compiled")

DRAW = np.random.default_rng(0)
CLIENTS, WEIGHTS = jnp.asarray(DRAW.standard_normal((2, 3, 4)), jnp.float32), jnp.full(3, 1 / 3)
DOWNLOAD = jnp.zeros(4)


class Momentum:
    """FedAvgM (Hsu, Qi and Brown 2019), with its velocity in itself."""

    def __init__(self, kept=1.0):
        self.kept, self.velocity = kept, None

    def __call__(self, clients, weights):
        update = weights @ clients
        self.velocity = (
            update if self.velocity is None else 0.5 * self.velocity + self.kept * update
        )
        return self.velocity


class CompiledMomentum(Momentum):
    @functools.partial(jax.jit, static_argnums=0)
    def __call__(self, clients, weights):
        return super().__call__(clients, weights)


calls = 0


def counting(clients, weights):
    global calls
    calls += 1
    return weights @ clients / calls


def closure():
    rounds = []

    def aggregator(clients, weights):
        rounds.append(1)
        return weights @ clients * len(rounds)

    return aggregator


def remembering(clients, weights):
    remembering.calls = getattr(remembering, "calls", 0) + 1
    return weights @ clients * remembering.calls


def drawing(clients, weights):
    return weights @ clients + np.random.default_rng().standard_normal(4)


def on_the_host(function):
    def aggregator(clients, weights):
        return jax.pure_callback(function, clients[0], clients, weights, vmap_method="sequential")

    return aggregator


STATES = {
    "momentum": Momentum(),
    "a running mean": Momentum(kept=0.5),  # on one and the same input it would stay
    "momentum, compiled": CompiledMomentum(),
    "a global": counting,
    "a global, compiled": jax.jit(counting),
    "a closure": closure(),
    "an attribute": remembering,
    "random numbers": drawing,
    "a part of one": functools.partial(Momentum()),
    "on the host": on_the_host(Momentum()),
}


@pytest.mark.parametrize("aggregator", STATES.values(), ids=STATES)
def test_what_remembers_is_refused_each_time(aggregator):
    for _ in range(2):
        with pytest.raises(ValueError, match="it remembers something .* `init` and `step`"):
            check_pure(aggregator, CLIENTS, WEIGHTS, {}, name="it")


@dataclass(frozen=True)
class Towards:
    share: float = 0.5

    def __call__(self, clients, weights, download):
        return download + self.share * (weights @ clients - download)


class WithItsOwnTable:
    """What is made when it is first needed, and stays as it is, is no state."""

    @functools.cached_property
    def table(self):
        return np.linspace(0, 1, 4)

    def __call__(self, clients, weights, download):
        return weights @ clients * self.table


PURE = {
    "a frozen object": Towards(),
    "an object with a cache": WithItsOwnTable(),
    "a part": functools.partial(aggregation.server_step, step=0.5),
    "a lambda": lambda clients, weights, download: weights @ clients,
    "compiled": jax.jit(lambda clients, weights, download: weights @ clients),
    "the same random numbers": lambda clients, weights, download: (
        weights @ clients + jax.random.normal(jax.random.key(0), (4,))
    ),
    "of half precision": lambda clients, weights, download: (weights @ clients).astype("bfloat16"),
    "on the host": lambda clients, weights, download: on_the_host(
        lambda clients, weights: np.median(np.asarray(clients), axis=0)
    )(clients, weights),
    "a fitted rule": lambda clients, weights, download: linear.LinearAggregator(
        "scalar", np.zeros((3, 4)), np.zeros(4), np.ones(3), np.ones(3) / 3, 0.1
    )(clients, download),
}


@pytest.mark.parametrize("aggregator", PURE.values(), ids=PURE)
def test_what_does_not_is_taken(aggregator):
    for _ in range(2):
        check_pure(aggregator, CLIENTS, WEIGHTS, dict(download=DOWNLOAD))


@pytest.mark.parametrize(
    ("aggregator", "message"),
    [
        (lambda c, w: np.median(c, axis=0), r"looks at numbers .*return jax.pure_callback\(yours"),
        (lambda c, w: c[0] if c.sum() > 0 else c[1], "looks at numbers"),
        (lambda c, w: c[c[:, 0] > 0][0], "looks at numbers"),
        (lambda c, w: None, r"returns NoneType; it must return one array of floats of shape \(4,"),
        (lambda c, w: list(w @ c), "returns list"),
        (lambda c, w: c, r"returns the shape \(3, 4\)"),
        (lambda c, w: 1.0, r"returns the shape \(\)"),
        (lambda c, w: (w @ c).astype(int), "returns int32"),
        (lambda c, w: w @ c + 1j, "returns complex64"),
        (lambda c, w: jnp.sqrt(-jnp.abs(w @ c)), "returns numbers that are not finite"),
        (lambda c, w: {}["x"], "fails for 3 clients of 4 parameters: KeyError: 'x'"),
        (lambda c: c[0], "fails .*TypeError: .*takes 1 positional argument but 2 were given"),
        (Momentum, "fails .*TypeError"),
    ],
)
def test_what_makes_no_model_is_refused(aggregator, message):
    with pytest.raises(ValueError, match=message):
        check_pure(aggregator, CLIENTS, WEIGHTS, {})


def test_states_are_refused_over_seeds():
    with pytest.raises(ValueError, match="aggregator remembers something"):
        aggregation.over_seeds(Momentum(), CLIENTS)
    with pytest.raises(ValueError, match="aggregator remembers something"):
        aggregation.over_seeds(Momentum(kept=0.5), CLIENTS[:1])
    found = aggregation.over_seeds(Towards(), CLIENTS, download=DOWNLOAD)
    np.testing.assert_allclose(found, CLIENTS.mean(axis=1) / 2, atol=1e-6)


def by_inverse(clients, weights):
    """An aggregator that calls LAPACK, seed by seed in a batch."""
    gram = clients @ clients.T + jnp.eye(len(clients))
    return weights @ jnp.linalg.solve(gram, clients)


def one_at_a_time(clients, weights):
    gram = clients @ clients.T + jnp.eye(len(clients))
    return weights @ one_by_one(jnp.linalg.solve)(gram, clients)


def hidden(clients, weights):
    return jax.lax.cond(
        weights[0] > 2, lambda: clients[0], jax.jit(lambda: by_inverse(clients, weights))
    )


@pytest.mark.parametrize("aggregator", [by_inverse, hidden])
def test_batches_of_lapacks_are_refused_with_the_remedy(aggregator):
    with pytest.raises(ValueError, match=r"mine calls LAPACK \(lu\).*one_by_one\(jnp.linalg.solve"):
        check_batches(aggregator, CLIENTS[0], WEIGHTS, {}, "mine")


def test_one_matrix_at_a_time_is_no_batch():
    check_batches(one_at_a_time, CLIENTS[0], WEIGHTS, {}, "mine")
    check_batches(aggregation.weighted_mean, CLIENTS[0], WEIGHTS, {}, "mine")
    grams = jnp.tile(jnp.eye(2), (3, 1, 1))
    check_batches(aggregation.regmean, CLIENTS[0], WEIGHTS, dict(grams=grams), "mine")
    check_batches(aggregation.geometric_median, CLIENTS[0], WEIGHTS, {}, "mine")
