"""What a task is: pure functions of keys, and the few numbers that local SGD needs."""

import json
import sys
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from numbers import Integral, Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from fedmi.scopes import root_key

Keys = Mapping[str, Array]  # stream -> key
Params = Any  # a pytree of float arrays
Data = Any  # a pytree of arrays whose first axis counts the examples
Assets = Any  # a pytree of arrays that every seed reads: images, frozen weights


@dataclass(frozen=True, eq=False)
class Checked:
    """A function of a task that refuses what it may not return, whoever calls it.

    It is itself alone, as functions are: another that does the same may be compiled otherwise.

    It runs with JAX's 64-bit types off, so that a draw that names no type is the same whatever the
    environment says; samples are float32.

    Attributes:
        function: the task's own.
        check: its result -> the same as JAX's arrays; raises ValueError.
    """

    function: Callable[..., Any]
    check: Callable[[Any], Any]

    def __call__(self, *args: Any) -> Any:
        with jax.enable_x64(False):
            return self.check(self.function(*args))


def as_array(value: Any, attribute: str) -> Array:
    """A leaf of what a task's function returned, as an array of JAX's with a type of its own.

    Raises:
        ValueError: if it is none, naming the task's attribute.
    """
    try:
        with np.errstate(over="ignore"):
            array = None if isinstance(value, np.ma.MaskedArray) else jnp.asarray(value)
    except (TypeError, ValueError, OverflowError):
        array = None
    if array is not None and not isinstance(value, jax.Array):
        given = np.asarray(value)
        with np.errstate(over="ignore"):
            kept = given.astype(array.dtype)
        whole = given.dtype.kind in "iu"
        lost = kept != given if whole else np.isfinite(given) & ~np.isfinite(kept)
        if lost.any():
            raise ValueError(
                f"{attribute}: returned {given.dtype} beyond what {array.dtype} can hold"
            )
    if array is None:
        kind = getattr(value, "dtype", None)
        shown = repr(value) if kind is None else f"a {type(value).__name__} of {kind}"
        raise ValueError(f"{attribute}: returned {shown}, which is no array of numbers") from None
    return lax.convert_element_type(array, array.dtype)  # a Python number's type would yield


def as_params(made: Params) -> Params:
    """What `init` returned: real floating-point arrays, at least one.

    Raises:
        ValueError: if it is anything else.
    """

    def leaf(value: Any) -> Array:
        array = as_array(value, "init")
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(
                f"init: returned parameters of type {array.dtype}; SGD moves real floating-point "
                "numbers, for instance jnp.float32"
            )
        return array

    params = jax.tree.map(leaf, made)
    if not sum(leaf.size for leaf in jax.tree.leaves(params)):
        raise ValueError(f"init: returned {made!r}, which holds no parameters; return float arrays")
    return params


def as_data(made: Data, attribute: str) -> Data:
    """What `data` or `held_out` returned: arrays whose first axes are equally long.

    Raises:
        ValueError: if it is anything else, naming the attribute.
    """
    data = jax.tree.map(lambda value: as_array(value, attribute), made)
    lengths = {leaf.shape[:1] for leaf in jax.tree.leaves(data)}
    if () in lengths:
        raise ValueError(
            f"{attribute}: returned single numbers, where the first axis of every array must count "
            "the examples; lists of numbers must be made arrays (jnp.asarray)"
        )
    if len(lengths) != 1 or (0,) in lengths:
        counts = sorted(length for (length,) in lengths)
        raise ValueError(
            f"{attribute}: returned arrays of {counts} examples; all must have equally many, and "
            "one at least"
        )
    return data


def as_scalars(made: Any, attribute: str) -> tuple[Array, Array]:
    """What `loss` or `ensemble` returned: a loss and a metric, both real scalars.

    Raises:
        ValueError: if it is anything else, naming the attribute.
    """
    if not (isinstance(made, tuple | list) and len(made) == 2):
        raise ValueError(
            f"{attribute}: returned {made!r}; it must return two scalars, (loss, metric)"
        )
    loss, metric = (as_array(value, attribute) for value in made)
    for name, value in (("loss", loss), ("metric", metric)):
        if value.shape:
            raise ValueError(
                f"{attribute}: its {name} has the shape {value.shape}; it must be one number, for "
                "instance a mean over the minibatch"
            )
    if not jnp.issubdtype(loss.dtype, jnp.floating) or jnp.iscomplexobj(metric):
        raise ValueError(
            f"{attribute}: its loss is of type {loss.dtype} and its metric of type {metric.dtype}; "
            "both must be real, and the loss floating point"
        )
    real = jnp.issubdtype(metric.dtype, jnp.floating)
    return loss, metric if real else metric.astype(loss.dtype)


def as_errors(made: Any) -> Array:
    """What `target_errors` returned: a real number for each target.

    Raises:
        ValueError: if it is anything else.
    """
    errors = as_array(made, "target_errors")
    if errors.ndim != 1 or not jnp.issubdtype(errors.dtype, jnp.floating):
        raise ValueError(
            f"target_errors: returned {errors.dtype} of the shape {errors.shape}; it must return "
            "one real number for each target"
        )
    return errors


CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "init": as_params,
    "data": partial(as_data, attribute="data"),
    "held_out": partial(as_data, attribute="held_out"),
    "loss": partial(as_scalars, attribute="loss"),
    "target_errors": as_errors,
    "ensemble": partial(as_scalars, attribute="ensemble"),
    "assets": lambda made: jax.tree.map(lambda value: as_array(value, "assets"), made),
}
"""What is made of the outputs of a task's functions."""


def no_assets() -> Assets:
    """The assets of a task whose data are made from keys alone."""
    return ()


def plain(value: Any) -> Any:
    """NumPy's numbers and arrays as JSON has them, for `json.dumps(default=plain)`.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{value!r} is no JSON")


def in_json(description: Mapping[str, Any], task: "Task") -> dict[str, Any]:
    """A description that holds a task's options, in JSON's types.

    Raises:
        ValueError: if the options cannot be written as JSON.
    """
    try:
        return json.loads(json.dumps(dict(description), default=plain, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"options: {dict(task.options)!r} of the task {task.name!r} cannot be written as "
            f"JSON ({error}); use finite numbers, strings, lists and mappings"
        ) from None


def check_outputs(task: "Task") -> None:
    """Calls a task's functions as training does, on shapes alone, and looks at its options.

    Its data are not made where they need assets, which may have to be downloaded.

    Raises:
        ValueError: if one returns what it may not, or the options cannot be recorded.
        Exception: whatever the functions raise.
    """
    in_json(task.options, task)
    if task.assets.function is not no_assets:
        return
    keys = {stream: root_key(0) for stream in task.streams}
    dropout = task.stream("dropout")

    def first_step(keys: Keys) -> tuple[Array, Array]:
        batch = jax.tree.map(lambda a: a[: task.batch_size], task.data(keys, ()))
        return task.loss(task.init(keys), batch, None if dropout is None else keys[dropout])

    jax.eval_shape(first_step, keys)


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
            `order`, and at most one the `init`: a task whose download is always the same has none.
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
        targets: the names of the m numbers that a regression predicts of an example; its data are
            then inputs and targets (examples, m). Empty for any other task.
        target_errors: (params, batch) -> (m,), the mean squared error of each, of which the metric
            is the mean; None where there are no targets.
        ensemble: (params of several clients, stacked, their weights, batch) -> (loss, metric) of
            the weighted mean of their predictions; None where the task does not say.
        assets: () -> arrays that all seeds read, fetched once before anything is compiled.
        options: the arguments that the task was made with, in JSON's types. They go into a store's
            provenance, and a store is extended only by a task of the same name, numbers and
            options: give a task whose functions you change another name.

    Raises:
        ValueError: for impossible numbers or streams, naming the attribute; when one of the
            functions is called, if it returns what it may not.
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
    targets: tuple[str, ...] = ()
    target_errors: Callable[[Params, Data], Array] | None = None
    ensemble: Callable[[Params, Array, Data], tuple[Array, Array]] | None = None
    assets: Callable[[], Assets] = no_assets
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("examples", "batch_size", "learning_rate", "epochs", "clip_norm"):
            value: Any = getattr(self, name)
            if name == "clip_norm" and value is None:
                continue
            if np.ndim(value) == 0 and hasattr(value, "item"):  # NumPy's and JAX's scalars
                value = value.item()
            real = isinstance(value, Real) and not isinstance(value, bool)
            if not real or not 0 < value <= sys.float_info.max:  # pyright: ignore[reportOperatorIssue]
                raise ValueError(f"{name}: {value!r} is not a finite number above 0")
            if name in ("examples", "batch_size", "epochs"):
                if not isinstance(value, Integral):
                    raise ValueError(f"{name}: {value!r} is not a whole number")
                value = int(value)
            object.__setattr__(self, name, value if isinstance(value, int) else float(value))
        if self.examples % self.batch_size:
            raise ValueError(
                f"batch_size: {self.batch_size} does not divide the {self.examples} examples "
                "of a client, so that an epoch would leave some out"
            )
        for name in ("streams", "options"):
            if not isinstance(getattr(self, name), Mapping):
                raise ValueError(f"{name}: {getattr(self, name)!r} is not a mapping")
        for role, fewest, right in (("init", 0, "one may"), ("order", 1, "one must")):
            count = sum(r == role for r in self.streams.values())
            if not fewest <= count <= 1:
                raise ValueError(f"streams: {count} streams play the part {role!r}; {right}")
        if bool(self.targets) != (self.target_errors is not None):
            raise ValueError("targets: their names and `target_errors` go together; give both")
        for name, check in CHECKS.items():
            function = getattr(self, name)
            if function is None and name in ("held_out", "ensemble", "target_errors"):
                continue
            if not isinstance(function, Checked):
                if not callable(function):
                    raise ValueError(f"{name}: {function!r} is not a function")
                object.__setattr__(self, name, Checked(function, check))

    @cached_property
    def identity(self) -> Hashable:
        """All that programs of the task depend on: its functions themselves, and its numbers."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        functions = [values.pop(name) for name in CHECKS]
        values.pop("baseline")  # which may be any number, and no program reads it
        return (json.dumps(in_json(values, self)), *functions)

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
        keys = {stream: root_key(0) for stream in self.streams}
        return jax.eval_shape(lambda keys: ravel_pytree(self.init(keys))[0], keys).size
