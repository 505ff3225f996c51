"""Ways to train over many rounds: an aggregator, what clients do otherwise, and what is tuned."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from fedmi import aggregation
from fedmi.aggregation.servers import PathMean, ServerOptimizer
from fedmi.sampling.federation import Numbers
from fedmi.sampling.replay import fisher_information
from fedmi.sampling.server import aggregator_of
from fedmi.study import refusals
from fedmi.tasks.task import Data, Task

AVERAGE = "FedAvg"
"""Against which all others are held."""
POINTS = 12
"""Points of the grid that every way is tuned over."""


@dataclass(frozen=True)
class Way:
    """One way to train.

    Attributes:
        aggregator: numbers -> what aggregates.
        own: a number that is tuned beside the clients' rate, and the values tried; at most one.
        proximal, controlled: what the clients do otherwise, as `Federation` has it.
        tasks: the tasks that it is for; none named, all.
        least: the fewest clients a round that it can be used with.
        why: what may be good about it, in half a sentence.
    """

    aggregator: Callable[[Numbers], Any]
    own: Mapping[str, Sequence[float]] = field(default_factory=dict)
    proximal: bool = False
    controlled: bool = False
    tasks: Sequence[str] = ()
    least: int = 1
    why: str = ""

    def serves(self, task: str, participants: int) -> bool:
        """Whether it can be used for a task with so many clients a round."""
        return participants >= self.least and (not self.tasks or task in self.tasks)

    def grid(self, lowest: float, highest: float) -> dict[str, np.ndarray]:
        """The `POINTS` that are tried: rates, evenly on a logarithmic scale, with its own values.

        Args:
            lowest, highest: of the rates, in units of the task's own.
        """
        ((name, values),) = self.own.items() or [("rate", (1.0,))]
        rates = np.geomspace(lowest, highest, POINTS // len(values))
        both = np.array([(rate, value) for rate in rates for value in values])
        return {name: both[:, 1], "rate": both[:, 0]}


@dataclass(frozen=True)
class FisherMean:
    """`fedmi.aggregation.fisher_mean`, with the information that clients send."""

    def init(self, download: Array) -> tuple[()]:
        """Nothing."""
        return ()

    def send(self, task: Task, data: Data, theta: Array) -> Array:
        """(t,) the client's Fisher information."""
        return fisher_information(task, data, theta)

    def step(
        self, state: tuple[()], uploads: Array, weights: Array, download: Array, sent: Array
    ) -> tuple[Array, tuple[()]]:
        """The mean weighted by information."""
        return aggregation.fisher_mean(uploads, weights, information=sent), state


@dataclass(frozen=True)
class RegMean:
    """`fedmi.aggregation.regmean` of the layer that `digits` trains, with its Gram matrices."""

    def init(self, download: Array) -> tuple[()]:
        """Nothing."""
        return ()

    def send(self, task: Task, data: Data, theta: Array) -> Array:
        """(inputs, inputs) the Gram matrix of the client's features, and of the biases' 1."""
        features = data["features"]
        inputs = jnp.concatenate([jnp.ones_like(features[:, :1]), features], axis=1)
        return inputs.T @ inputs / len(inputs)

    def step(
        self, state: tuple[()], uploads: Array, weights: Array, download: Array, sent: Array
    ) -> tuple[Array, tuple[()]]:
        """The layer nearest to all on the clients' own inputs."""
        return aggregation.regmean(uploads, weights, grams=sent), state


def always(aggregator: Any) -> Callable[[Numbers], Any]:
    """Of an aggregator that takes no numbers."""
    return lambda numbers: aggregator


def by_optimizer(
    make: Callable[[Any], optax.GradientTransformation],
) -> Callable[[Numbers], ServerOptimizer]:
    """Of an optimiser whose rate at the server is tuned."""
    return lambda numbers: ServerOptimizer(make(numbers["server_rate"]))


SMALL_STEPS = dict(server_rate=(0.003, 0.01, 0.03))
WAYS: Mapping[str, Way] = {
    AVERAGE: Way(always(aggregation.weighted_mean), why="nothing is left to be gained"),
    "server step": Way(
        lambda n: partial(aggregation.server_step, step=n["step"]),
        dict(step=(0.25, 0.5, 1.5)),
        why="the server goes another way along the mean update than to its end",
    ),
    "FedAvgM": Way(
        by_optimizer(lambda rate: optax.sgd(rate, momentum=0.9)),
        dict(server_rate=(0.03, 0.1, 0.3)),
        why="momentum averages the updates of ever other clients over about ten rounds",
    ),
    "FedAdagrad": Way(
        by_optimizer(lambda rate: optax.adagrad(rate, initial_accumulator_value=0.0, eps=1e-6)),
        dict(server_rate=(0.03, 0.1, 0.3)),
        why="steps shrink from round to round, in every coordinate by its own past",
    ),
    "FedAdam": Way(
        by_optimizer(lambda rate: optax.adam(rate, b1=0.9, b2=0.99, eps=1e-3)),
        SMALL_STEPS,
        why="momentum averages the updates of ever other clients, and coordinates that move "
        "little are moved farther",
    ),
    "FedYogi": Way(
        by_optimizer(lambda rate: optax.yogi(rate, b1=0.9, b2=0.99, eps=1e-3)),
        SMALL_STEPS,
        why="momentum averages the updates of ever other clients, and coordinates that move "
        "little are moved farther",
    ),
    "FedNova": Way(
        always(aggregation.fednova_step), why="clients with more data do not count twice"
    ),
    "FedExP": Way(
        always(aggregation.fedexp_step), why="the server goes the farther, the less updates agree"
    ),
    "coordinate median": Way(
        always(aggregation.coordinate_median), why="no single client can move the median far"
    ),
    "trimmed mean": Way(
        always(partial(aggregation.trimmed_mean, share=0.3)),
        why="the largest and smallest values of every coordinate do not count",
    ),
    "geometric median": Way(
        always(aggregation.geometric_median), why="no single client can move the median far"
    ),
    "Krum": Way(
        always(partial(aggregation.krum, dishonest=3)),
        least=9,
        why="a client far from all others is never chosen",
    ),
    "Multi-Krum": Way(
        always(partial(aggregation.multi_krum, dishonest=3)),
        least=9,
        why="clients far from the others are left out of the mean",
    ),
    "Fisher mean": Way(
        always(FisherMean()), why="in every coordinate those count whose data say most about it"
    ),
    "RegMean": Way(
        always(RegMean()),
        tasks=("digits",),
        why="the layer that it makes gives each client's outputs on that client's own inputs",
    ),
    "shrunken mean": Way(
        lambda n: partial(aggregation.shrunken_mean, shrink=n["shrink"]),
        dict(shrink=(0.9, 0.97, 0.99)),
        why="weights that decay at the server generalise better",
    ),
    "TIES": Way(
        lambda n: partial(aggregation.ties_step, kept=0.5, step=n["step"]),
        dict(step=(0.5, 1.0, 2.0)),
        why="small and contradictory parts of updates are left out",
    ),
    "path mean": Way(
        always(PathMean(5)), why="a mean over the last rounds averages out who took part in them"
    ),
    "FedProx": Way(
        always(aggregation.weighted_mean),
        dict(proximal=(0.01, 0.1, 1.0)),
        proximal=True,
        why="clients are held back near their download",
    ),
    "SCAFFOLD": Way(
        always(aggregation.weighted_mean),
        controlled=True,
        why="clients correct for what sets their data apart from the others'",
    ),
}
"""Ways to train, by name. Those against dishonest clients are set for three among ten."""


def way_of(name: str) -> Way:
    """A way out of `WAYS`, or federated averaging with an aggregator of your own in its place.

    Args:
        name: of the way, or "package.module:attribute" of an aggregator.

    Raises:
        ValueError: if there is none of that name.
    """
    if name in WAYS:
        return WAYS[name]
    if ":" not in name:
        raise ValueError(refusals.no_such(name, list(WAYS), "way to train"))
    return Way(_own(name), why="it is your own")


@cache
def _own(name: str) -> Callable[[Numbers], Any]:
    """One function a name, so that what it is compiled to is kept."""
    return always(aggregator_of(name))


def flipped(upload: Array, download: Array) -> Array:
    """What a client uploads that goes the other way, as far."""
    return 2 * download - upload


def far(upload: Array, download: Array) -> Array:
    """What a client uploads that claims to be far away, every other parameter up or down by 10.

    (All of them up by as much would change no softmax of a linear layer.)
    """
    return download + jnp.where(jnp.arange(download.size) % 2, 10.0, -10.0)


ATTACKS: Mapping[str, Callable[[Array, Array], Array]] = {"sign flip": flipped, "far point": far}
"""What dishonest clients do, by name."""
