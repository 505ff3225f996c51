"""Aggregators with a state, and functions without one as such.

A server's momentum, or what it has seen in earlier rounds, is a state that goes from round to round
with the model. An aggregator that has one is an object with two methods:

    init(download) -> state                     before the first round, from the first download (t,)
    step(state, uploads, weights, download)     -> (the next model (t,), the next state)

where `uploads` (Q, t) are the models of the clients that took part and `weights` (Q,) their n_q / n
among these. A state is any pytree of arrays, of the same shapes and types after every step. Its
clients may have one each, which whoever does not take part in a round keeps:

    client_init(download) -> state
    client_step(state, upload, download) -> (what is uploaded instead (t,), the next state)

and may send something besides their models, which `step` is then given as `sent`, stacked:

    send(task, data, theta) -> any pytree       of a client's task, training data and model

A plain function (uploads, weights[, download]) -> model is the case without any state.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

from jax import Array

State = Any  # a pytree of arrays


@runtime_checkable
class Aggregator(Protocol):
    """What a server does between two rounds; see the module for what it may have besides."""

    def init(self, download: Array) -> State:
        """The state before the first round."""
        ...

    def step(
        self, state: State, uploads: Array, weights: Array, download: Array
    ) -> tuple[Array, State]:
        """The model that clients download next, and the state after it."""
        ...


@dataclass(frozen=True)
class Parts:
    """What an aggregator has of the methods that the module names; None for what it has not."""

    init: Callable[[Array], State]
    step: Callable[..., tuple[Array, State]]
    client_init: Callable[[Array], State] | None = None
    client_step: Callable[[State, Array, Array], tuple[Array, State]] | None = None
    send: Callable[[Any, Any, Array], Any] | None = None


def stateful(aggregator: Any, name: str = "aggregator") -> Parts:
    """The parts of an aggregator; a plain function has a state of nothing.

    Raises:
        ValueError: for what is neither a function nor an object with `init` and `step`.
    """
    if isinstance(aggregator, type):
        raise ValueError(f"{name}: the class {aggregator.__name__}; pass one of its objects")
    if isinstance(aggregator, Aggregator):
        begun, stepped = (getattr(aggregator, f"client_{part}", None) for part in ("init", "step"))
        if (begun is None) != (stepped is None):
            raise ValueError(f"{name}: `client_init` and `client_step` go together; give both")
        send = getattr(aggregator, "send", None)
        return Parts(aggregator.init, aggregator.step, begun, stepped, send)
    if not callable(aggregator):
        raise ValueError(
            f"{name}: a {type(aggregator).__name__}; it must be a function of uploads and weights, "
            "or have the methods `init` and `step`"
        )

    def step(state: State, uploads: Array, weights: Array, download: Array) -> tuple[Array, State]:
        beside = dict(download=download) if takes_download(aggregator) else {}
        return cast(Array, aggregator(uploads, weights, **beside)), state

    return Parts(lambda download: (), step)


def takes_download(function: Callable[..., Any]) -> bool:
    """Whether a function has an argument of that name; what says nothing of its own has none."""
    try:
        return "download" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
