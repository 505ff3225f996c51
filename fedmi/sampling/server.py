"""The server's part of a round: what makes one model of the clients' models."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jax import Array

from fedmi import aggregation
from fedmi.aggregation.inputs import floats
from fedmi.aggregation.mapping import shares
from fedmi.aggregation.purity import check_batches, check_pure, check_state
from fedmi.aggregation.stateful import stateful
from fedmi.tasks import attribute

MEAN = "weighted_mean"
AGGREGATORS: Mapping[str, Any] = MappingProxyType(
    {
        MEAN: aggregation.weighted_mean,
        "coordinate_median": aggregation.coordinate_median,
        "geometric_median": aggregation.geometric_median,
        "trimmed_mean": aggregation.trimmed_mean,
        "krum": aggregation.krum,
        "multi_krum": aggregation.multi_krum,
        "fedexp_step": aggregation.fedexp_step,
        "fednova_step": aggregation.fednova_step,
    }
)


def aggregator_of(name: str) -> Any:
    """The aggregator of a name, out of `AGGREGATORS` or "package.module:attribute".

    It is a function of the clients' parameters (Q, t) and their weights (Q,), and of their
    `download` (t,) if it has an argument of that name; of these alone, as it is called once, when a
    round is compiled (`check_aggregator`). Or it has a state, as `fedmi.aggregation.stateful` says.

    Raises:
        ValueError: for a name that is not known, a module or attribute that cannot be had, or
            something that is neither a function nor an object with `init` and `step`.
    """
    if not isinstance(name, str):
        raise ValueError(f"aggregator: {name!r} is no name, such as package.module:attribute")
    if name in AGGREGATORS:
        return AGGREGATORS[name]
    found = attribute(name, what="aggregator", known=AGGREGATORS)
    stateful(found, f"aggregator: {name!r}")
    return found


def check_aggregator(name: str, parameters: int, examples: Sequence[int]) -> None:
    """Tries an aggregator of the user's own out on made-up clients.

    Args:
        name: as for `aggregator_of`.
        parameters: t.
        examples: (Q,), n_q.

    Raises:
        ValueError: an aggregator that remembers something beside its state, one that fails, one
            that JAX cannot compile, or one that makes no model of the clients' models
            (`fedmi.aggregation.purity.check_pure`).
    """
    if name in AGGREGATORS:
        _check_shapes(name, parameters, len(examples))
        return
    aggregator, draw = stateful(aggregator_of(name)), np.random.default_rng(0)
    if aggregator.send is not None:
        return  # what is sent is a client's of a task, and cannot be made up
    start = draw.standard_normal(parameters)
    moved = 0.1 * draw.standard_normal((2, len(examples), parameters))
    download, clients = floats(start, "download"), floats(start + moved, "clients")
    weights = floats(shares(examples, len(examples)), "examples")
    called = f"aggregator: {name!r}"

    def first_round(uploads, weights, download):
        return aggregator.step(aggregator.init(download), uploads, weights, download)[0]

    check_pure(first_round, clients, weights, dict(download=download), name=called)
    check_batches(first_round, clients[0], weights, dict(download=download), called)
    check_state(aggregator, clients[0], weights, download, name=called)


def _check_shapes(name: str, parameters: int, clients: int) -> None:
    """Refuses a named aggregator where there are too few clients for it, without computing any."""

    def once(uploads: Array, weights: Array, download: Array) -> Array:
        return stateful(AGGREGATORS[name]).step((), uploads, weights, download)[0]

    shapes = ((clients, parameters), (clients,), (parameters,))
    try:
        jax.eval_shape(once, *(jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes))
    except ValueError as error:
        raise ValueError(f"aggregator: {name!r}: {error}") from error
