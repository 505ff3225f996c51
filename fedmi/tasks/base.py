"""What a task is: pure functions of keys, and the few numbers that local SGD needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from numbers import Integral, Real
from typing import Any

import jax
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

Keys = Mapping[str, Array]  # stream -> key
Params = Any  # a pytree of float arrays
Data = Any  # a pytree of arrays whose first axis counts the examples
Assets = Any  # a pytree of arrays that every seed reads: images, frozen weights


def recorded(options: Mapping[str, Any], **later: Any) -> dict[str, Any]:
    """A task's options for its stores, without those that came later and are not used.

    A store that was made before an option was there keeps its description that way.

    Args:
        options: all of them.
        **later: options that came later, with their defaults.
    """
    return {
        name: value for name, value in options.items() if name not in later or value != later[name]
    }


def no_assets() -> Assets:
    """The assets of a task whose data are made from keys alone."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Task:
    """A learning task: what a client downloads, what data it has, and how it trains.

    Attributes:
        name: what tables and figures call it.
        streams: the streams of randomness that the task draws from, a mapping of the stream's
            name to the part it plays: `init`, `source` (what the data are drawn from),
            `variation` (how one client's data differ from the source), `order` (of the
            minibatches), `dropout` (noise inside the loss) or `skew` (what makes a client unlike
            the others). The named couplings give scopes to these parts. Exactly one stream is the
            `init` and one the `order`.
        init: keys -> the downloaded parameters, any pytree of float arrays.
        data: (keys, assets) -> the client's training data, a pytree of arrays whose first axis
            has `examples` entries.
        loss: (params, batch, key) -> (loss, metric), two scalars; `key` is the dropout stream's
            for this step, None where the task has no such stream or the network is evaluated.
        examples: number of training examples a client.
        batch_size: examples a minibatch; it divides `examples`.
        learning_rate: the fixed rate of plain SGD.
        epochs: how often a client goes through its examples, each time in an order of its own.
        clip_norm: gradients of a larger global norm are scaled down to it; None for no clipping.
        metric: what the second scalar of `loss` is called.
        larger_is_better: whether a good network's metric is large (an accuracy) or small.
        baseline: the metric of the best constant prediction, None where nobody knows it.
        held_out: (keys, assets) -> data of the same kind that the client has not trained on;
            None where the task has none.
        ensemble: (params of several clients, stacked, their weights, batch) -> (loss, metric) of
            the weighted mean of their predictions; None where the task does not say.
        assets: () -> arrays that all seeds read, fetched once before anything is compiled.
        options: the arguments that the task was made with, in JSON's types. They go into a store's
            provenance, and a store is extended only by a task of the same name, numbers and
            options: give a task whose functions you change another name.

    Raises:
        ValueError: for impossible numbers or streams, naming the attribute.
    """

    name: str
    streams: Mapping[str, str]
    init: Callable[[Keys], Params]
    data: Callable[[Keys, Assets], Data]
    loss: Callable[[Params, Data, Array | None], tuple[Array, Array]]
    examples: int
    batch_size: int
    learning_rate: float
    epochs: int = 1
    clip_norm: float | None = None
    metric: str = "loss"
    larger_is_better: bool = False
    baseline: float | None = None
    held_out: Callable[[Keys, Assets], Data] | None = None
    ensemble: Callable[[Params, Array, Data], tuple[Array, Array]] | None = None
    assets: Callable[[], Assets] = no_assets
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("examples", "batch_size", "learning_rate", "epochs", "clip_norm"):
            value = getattr(self, name)
            if name == "clip_norm" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < inf:
                raise ValueError(f"{name}: {value!r} is not a finite number above 0")
        for name in ("examples", "batch_size", "epochs"):
            if not isinstance(getattr(self, name), Integral):
                raise ValueError(f"{name}: {getattr(self, name)!r} is not a whole number")
        if self.examples % self.batch_size:
            raise ValueError(
                f"batch_size: {self.batch_size} does not divide the {self.examples} examples "
                "of a client, so that an epoch would leave some out"
            )
        for role in ("init", "order"):
            count = sum(r == role for r in self.streams.values())
            if count != 1:
                raise ValueError(f"streams: {count} streams play the part {role!r}; one must")

    @property
    def steps(self) -> int:
        """Number of SGD steps (iterations) in all epochs."""
        return self.epochs * (self.examples // self.batch_size)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Plain SGD at the fixed rate, after clipping by the global norm if that is asked for."""
        sgd = optax.sgd(self.learning_rate)
        if self.clip_norm is None:
            return sgd
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), sgd)

    def stream(self, role: str) -> str | None:
        """The name of the first stream that plays a part, None where there is none."""
        return next((name for name, part in self.streams.items() if part == role), None)

    @cached_property
    def parameter_count(self) -> int:
        """Number of trained parameters t, from the pytree's shapes alone."""
        keys = {stream: jax.random.key(0) for stream in self.streams}
        return jax.eval_shape(lambda keys: ravel_pytree(self.init(keys))[0], keys).size
