"""Rounds of federated learning: download, local SGD at every client, aggregate (paper, Steps 1-3).

Everything of a round is one function of a client's keys, in which the clients of a seed meet where
their models are aggregated; `fedmi.sampling.sgd` maps it over clients and seeds like a single
epoch.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from fedmi.aggregation.mapping import shares
from fedmi.aggregation.stateful import Parts, stateful
from fedmi.sampling.design import Design
from fedmi.sampling.server import aggregator_of
from fedmi.sampling.sgd import CLIENTS, train_on
from fedmi.tasks.task import Data, Keys, Task


def round_keys(task: Task, keys: Keys, number: Array | int) -> Keys:
    """The keys of a round: `order` and `dropout` are drawn anew in each, the data are not.

    Round 1 has the keys themselves, so that it is the single epoch.
    """

    def of_round(key: Array) -> Array:
        return jnp.where(number == 1, key, jax.random.fold_in(key, number))

    return {
        stream: of_round(key) if task.streams[stream] in ("order", "dropout") else key
        for stream, key in keys.items()
    }


def train_rounds(
    design: Design, keys: Keys, data: Data
) -> tuple[tuple[Array, Array, Array], Array]:
    """Rounds of federated learning as one client sees them, under `vmap` over clients (`CLIENTS`).

    Args:
        design: whose task, rounds, aggregator, examples and checkpoints are meant.
        keys: the client's keys, stream -> key.
        data: the client's, as `task.data` makes them.

    Returns:
        The history of the last round, as `fedmi.sampling.sgd.train_on` returns it, and the model
        that the server has after each round, (rounds, t).
    """
    task, aggregator = design.task, stateful(aggregator_of(design.aggregator))
    own = None if design.alike else jnp.asarray(design.examples)[jax.lax.axis_index(CLIENTS)]
    download, unravel = ravel_pytree(task.init(keys))
    kept = sorted({*design.checkpoints, task.steps})  # the last for the upload

    def local(number: Array | int, start: Array) -> tuple[Array, Array, Array]:
        of_round, params = round_keys(task, keys, number), unravel(start)
        return train_on(task, of_round, data, checkpoints=kept, params=params, examples=own)

    def one_round(carry: Any, number: Array) -> tuple[Any, Array]:
        start, states, _ = carry
        # Clients with downloads of their own, as in round 1 of `independent`, share their mean.
        common = jax.lax.pmean(start, CLIENTS)
        history = local(number, start)
        server, states = _aggregated(
            design, aggregator, data, states, history[0][-1], start, common
        )
        server = server.astype(start.dtype)  # whatever precision it was computed in
        return (server, states, history), server

    nothing = jax.tree.map(
        lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(local, 1, download)
    )
    states = (
        aggregator.init(jax.lax.pmean(download, CLIENTS)),
        () if aggregator.client_init is None else aggregator.client_init(download),
    )
    numbers = jnp.arange(1, design.rounds + 1)
    (*_, (theta, *rest)), servers = jax.lax.scan(one_round, (download, states, nothing), numbers)
    return (theta[: len(design.checkpoints)], *rest), servers


def _aggregated(
    design: Design,
    aggregator: Parts,
    data: Data,
    states: tuple[Any, Any],
    upload: Array,
    start: Array,
    common: Array,
) -> tuple[Array, tuple[Any, Any]]:
    """The server's model, and the server's and the client's next states.

    Args:
        design: whose task and examples are meant.
        aggregator: its own.
        data: of the client.
        states: the server's, of which every client has a copy, and the client's own.
        upload: (t,), what the client has trained.
        start: (t,), what it had downloaded.
        common: (t,), the same on average over clients.
    """
    server, own = states
    if aggregator.client_step is not None:
        upload, own = aggregator.client_step(own, upload, start)
    sent = {}
    if aggregator.send is not None:
        said = aggregator.send(design.task, data, upload)
        sent["sent"] = jax.lax.all_gather(said, CLIENTS)
    uploads = jax.lax.all_gather(upload, CLIENTS)
    weights = jnp.asarray(shares(design.examples, design.clients)).astype(uploads.dtype)
    model, server = aggregator.step(server, uploads, weights, common, **sent)
    return model, (server, own)
