"""Rounds of federated learning: download, local SGD at every client, aggregate (paper, Steps 1-3).

Everything of a round is one function of a client's keys, in which the clients of a seed meet where
their models are aggregated; `fedmi.sampling.sgd` maps it over clients and seeds like a single
epoch.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from fedmi import aggregation
from fedmi.aggregation.inputs import floats
from fedmi.aggregation.mapping import shares
from fedmi.aggregation.purity import check_pure
from fedmi.sampling.checks import check_whole, is_whole
from fedmi.sampling.sgd import CLIENTS, train_on
from fedmi.tasks import attribute
from fedmi.tasks.task import Assets, Keys, Task

Aggregator = Callable[..., Array]

MEAN = "weighted_mean"
AGGREGATORS: Mapping[str, Aggregator] = MappingProxyType(
    {
        MEAN: aggregation.weighted_mean,
        "coordinate_median": aggregation.coordinate_median,
        "geometric_median": aggregation.geometric_median,
    }
)


def aggregator_of(name: str) -> Aggregator:
    """The aggregator of a name, out of `AGGREGATORS` or "package.module:attribute".

    It is a function of the clients' parameters (Q, t) and their weights (Q,), and of their
    `download` (t,) if it has an argument of that name; of these alone, as it is called once, when a
    round is compiled (`check_aggregator`).

    Raises:
        ValueError: for a name that is not known, a module or attribute that cannot be had, or
            something that is no function.
    """
    if not isinstance(name, str):
        raise ValueError(f"aggregator: {name!r} is no name, such as package.module:attribute")
    if name in AGGREGATORS:
        return AGGREGATORS[name]
    found = attribute(name, what="aggregator", known=AGGREGATORS)
    if not callable(found):
        raise ValueError(f"aggregator: {name!r} is a {type(found).__name__}, not a function")
    return found


def describe(
    task: Task, clients: int, rounds: int, aggregator: str, examples: Sequence[int] | None
) -> dict[str, Any]:
    """What of this samples depend on; nothing where it is one epoch of clients with equal data.

    Args:
        task: the task.
        clients: number of clients Q.
        rounds, aggregator, examples: as for `fedmi.sample`.

    Raises:
        ValueError: naming the argument, what was wrong, and what would be right.
    """
    check_whole("rounds", rounds, 1)
    made = aggregator_of(aggregator)
    found: dict[str, Any] = {}
    if rounds > 1:
        found |= dict(rounds=int(rounds), aggregator=aggregator)
    given = examples if isinstance(examples, Iterable) else [examples]
    counts = [task.examples] * clients if examples is None else list(given)
    if len(counts) != clients:
        raise ValueError(f"examples: {len(counts)} numbers for {clients} clients")
    check_examples(task, counts)
    if set(counts) != {task.examples}:
        found |= dict(client_examples=[int(count) for count in counts])
    if aggregator not in AGGREGATORS:
        check_aggregator(made, aggregator, task.parameter_count, counts)
    return found


def check_aggregator(
    aggregator: Aggregator, name: str, parameters: int, examples: Sequence[int]
) -> None:
    """Tries an aggregator out on made-up clients, by `fedmi.aggregation.purity.check_pure`.

    Args:
        aggregator: as `aggregator_of` returns it.
        name: what it was asked for by.
        parameters: t.
        examples: (Q,), n_q.

    Raises:
        ValueError: an aggregator with a state, one that fails, one that JAX cannot compile, or one
            that makes no model of the clients' models.
    """
    draw = np.random.default_rng(0)
    download = draw.standard_normal(parameters)
    moved = 0.1 * draw.standard_normal((2, len(examples), parameters))
    beside = dict(download=floats(download, "download")) if takes_download(aggregator) else {}
    weights = floats(shares(examples, len(examples)), "examples")
    clients = floats(download + moved, "clients")
    check_pure(aggregator, clients, weights, beside, name=f"aggregator: {name!r}")


def takes_download(aggregator: Aggregator) -> bool:
    """Whether an aggregator has an argument of that name; what says nothing of its own has none."""
    try:
        return "download" in inspect.signature(aggregator).parameters
    except (TypeError, ValueError):
        return False


def round_keys(task: Task, keys: Keys, number: Array | int) -> Keys:
    """The keys of a round: `order` and `dropout` are drawn anew in each, the data are not.

    Round 1 has the keys themselves, so that it is the single epoch that `fedmi.sampling.sampler`
    takes.
    """

    def of_round(key: Array) -> Array:
        return jnp.where(number == 1, key, jax.random.fold_in(key, number))

    return {
        stream: of_round(key) if task.streams[stream] in ("order", "dropout") else key
        for stream, key in keys.items()
    }


def train_rounds(
    task: Task,
    keys: Keys,
    assets: Assets,
    *,
    rounds: int,
    aggregator: Aggregator = aggregation.weighted_mean,
    examples: Sequence[int],
    checkpoints: Sequence[int] | None = None,
) -> tuple[tuple[Array, Array, Array], Array]:
    """Rounds of federated learning as one client sees them, under `vmap` over clients (`CLIENTS`).

    Args:
        task: the task.
        keys: the client's keys, stream -> key.
        assets: the task's assets.
        rounds: how many, at least 1.
        aggregator: as `aggregator_of` returns it.
        examples: (Q,), n_q, whole numbers of minibatches, at most `task.examples`.
        checkpoints: as for `fedmi.sampling.sgd.train`.

    Returns:
        The history of the last round, as `fedmi.sampling.sgd.train` returns it, and the model that
        the server has after each round, (rounds, t).
    """
    check_examples(task, examples)
    weights = jnp.asarray(shares(examples, len(examples)))
    own = jnp.asarray(examples)[jax.lax.axis_index(CLIENTS)]
    own = None if set(examples) == {task.examples} else own
    download, unravel = ravel_pytree(task.init(keys))
    data = task.data(keys, assets)
    wanted = range(1, task.steps + 1) if checkpoints is None else checkpoints
    kept = sorted({*wanted, task.steps})  # the last for the upload

    def local(number: Array | int, start: Array) -> tuple[Array, Array, Array]:
        return train_on(
            task, round_keys(task, keys, number), data, checkpoints=kept, params=unravel(start),
            examples=own,
        )  # fmt: skip

    with_download = takes_download(aggregator)

    def started(start: Array) -> dict[str, Array]:
        # Clients with downloads of their own, as in round 1 of `independent`, share their mean.
        return dict(download=jax.lax.pmean(start, CLIENTS)) if with_download else {}

    def one_round(carry: Any, number: Array) -> tuple[Any, Array]:
        start, _ = carry
        history = local(number, start)
        uploads = jax.lax.all_gather(history[0][-1], CLIENTS)
        server = aggregator(uploads, weights.astype(uploads.dtype), **started(start))
        server = server.astype(start.dtype)  # whatever precision it was computed in
        return (server, history), server

    nothing = jax.tree.map(
        lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(local, 1, download)
    )
    numbers = jnp.arange(1, rounds + 1)
    (_, (theta, *rest)), servers = jax.lax.scan(one_round, (download, nothing), numbers)
    return (theta[: len(wanted)], *rest), servers


def check_examples(task: Task, examples: Sequence[int]) -> None:
    """Raises ValueError unless every client has a whole number of minibatches of its own."""
    for count in examples:
        if not is_whole(count) or not 0 < count <= task.examples or count % task.batch_size:
            raise ValueError(
                f"examples: {count} is no multiple of the minibatch, {task.batch_size}, from "
                f"{task.batch_size} to {task.examples}"
            )
