"""The server's part of a round: what makes one model of the clients' models."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import cast

import numpy as np
from jax import Array

from fedmi import aggregation
from fedmi.aggregation.inputs import floats
from fedmi.aggregation.mapping import shares
from fedmi.aggregation.purity import check_pure
from fedmi.tasks import attribute

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
    return cast(Aggregator, found)


def check_aggregator(name: str, parameters: int, examples: Sequence[int]) -> None:
    """Tries an aggregator of the user's own out on made-up clients.

    Args:
        name: as for `aggregator_of`.
        parameters: t.
        examples: (Q,), n_q.

    Raises:
        ValueError: an aggregator with a state, one that fails, one that JAX cannot compile, or one
            that makes no model of the clients' models (`fedmi.aggregation.purity.check_pure`).
    """
    if name in AGGREGATORS:
        return
    aggregator, draw = aggregator_of(name), np.random.default_rng(0)
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
