"""The first task of the paper (Section 3.1): tell the shift and scale of a randomised signal.

A client's data set has one source s, the sum of random sinusoids, and examples a s(t - b) + noise
at evenly spaced points of [0, 1); the targets are the time shift b and the scale a, standardised,
so that the best constant prediction has a mean squared error of 1.

The network has 394 parameters. The paper says ten layers of four units and a length of 64, which
does not fix it: several networks have 394, and `READINGS` names them. docs/signal.md says what
speaks for and against each, and how the default was chosen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import pydantic
from jax import Array

from fedmi.models import initialisers
from fedmi.models.fast.recurrent import recurrent_stack
from fedmi.models.recurrent import RecurrentRegressor, dropout_masks
from fedmi.tasks.task import Assets, Data, Keys, Params, Task

Range = tuple[float, float]
Fraction = Annotated[float, pydantic.Field(ge=0, lt=1)]

SHIFT_RANGE: Range = (-0.25, 0.25)
SCALE_RANGE: Range = (0.5, 1.5)


Cell = Literal["simple", "lstm"]
Reading = Literal["vector", "frames", "lstm", "sequence", "chaotic"]


@dataclass(frozen=True, kw_only=True)
class Network:
    """What a reading of the paper makes of its network, in the words of `signal`'s arguments."""

    layers: int
    learning_rate: float
    frame: int | None = None
    hop: int | None = None
    cell: Cell = "simple"
    recurrent_gain: float = 1.0


READINGS: Mapping[Reading, Network] = {
    "vector": Network(layers=4, learning_rate=0.1),
    "frames": Network(frame=10, hop=6, layers=10, recurrent_gain=0.5, learning_rate=0.1),
    "lstm": Network(frame=1, layers=3, cell="lstm", learning_rate=0.3),
    "sequence": Network(frame=1, layers=11, recurrent_gain=0.5, learning_rate=0.03),
    "chaotic": Network(frame=1, layers=11, learning_rate=0.02),
}
"""Networks of 394 parameters, each at a rate of its own."""

DEFAULT_READING: Reading = "vector"
"""What the rule in docs/signal.md chooses, which looks at no mutual information."""


@pydantic.validate_call(config=pydantic.ConfigDict(strict=True, allow_inf_nan=False))
def signal(
    *,
    reading: Reading = DEFAULT_READING,
    frame: pydantic.PositiveInt | None = None,
    hop: pydantic.PositiveInt | None = None,
    layers: pydantic.PositiveInt | None = None,
    units: pydantic.PositiveInt = 4,
    cell: Cell | None = None,
    initialiser: initialisers.Name = "keras",
    recurrent_gain: pydantic.PositiveFloat | None = None,
    learning_rate: pydantic.PositiveFloat | None = None,
    batch_size: pydantic.PositiveInt = 5,
    examples: pydantic.PositiveInt = 100,
    epochs: pydantic.PositiveInt = 1,
    clip_norm: pydantic.PositiveFloat | None = 20.0,
    dropout: Fraction = 0.0625,
    source: Literal["client", "example"] = "client",
    length: pydantic.PositiveInt = 64,
    sinusoids: pydantic.PositiveInt = 5,
    lowest_frequency: pydantic.NonNegativeFloat = 1.0,
    highest_frequency: pydantic.PositiveFloat = 4.0,
    noise: pydantic.NonNegativeFloat = 0.05,
    source_skew: Fraction | None = None,
) -> Task:
    """The signal task; its defaults are the paper's where the paper gives them.

    Args:
        reading: of what the paper says of the network, a name in `READINGS`: which frame, hop,
            layers, cell, recurrent gain and learning rate are meant where they are not given.
        frame: points that the network reads at a time; the whole signal by default.
        hop: points by which the next frame starts later than the one before. Frames fill the
            signal; by default they do not overlap.
        layers: recurrent layers.
        units: units a layer.
        cell: "simple" (Elman's) by default, or "lstm".
        initialiser: "keras", "torch" or "tf1": whose first weights are drawn (see
            `fedmi.models.initialisers`).
        recurrent_gain: what the first recurrent weights are multiplied by, 1 by default. Below 1
            a simple layer forgets, and a deep stack does not train chaotically.
        learning_rate: the fixed rate of SGD.
        batch_size: examples a minibatch.
        examples: training examples a client.
        epochs: how often a client goes through them.
        clip_norm: the largest global norm of a gradient; longer ones are scaled down to it.
        dropout: probability with which an output of a recurrent layer is dropped for the whole
            sequence, in 1/256ths.
        source: whether a client has one source, or every example has one of its own. From the
            latter the shift cannot be told.
        length: points of a signal.
        sinusoids: random sinusoids a source is the sum of; the amplitudes are drawn so that a
            source has unit variance on average.
        lowest_frequency: of the sinusoids, in periods per unit of time.
        highest_frequency: likewise.
        noise: standard deviation of the normal noise on every point.
        source_skew: makes the clients unlike each other: the frequencies of a client's sources
            come from a band of its own, by this share narrower than the whole range and placed
            anywhere in it by a stream `skew`. By default all clients have the whole range.

    Raises:
        ValueError: for impossible options, naming them.
    """
    options = dict(locals())
    read_as = READINGS[reading]
    frame = frame or read_as.frame or length
    hop = hop or read_as.hop or frame
    layers = layers or read_as.layers
    cell = cell or read_as.cell
    recurrent_gain = recurrent_gain or read_as.recurrent_gain
    learning_rate = learning_rate or read_as.learning_rate
    options |= dict(frame=frame, hop=hop, layers=layers, cell=cell)
    options |= dict(recurrent_gain=recurrent_gain, learning_rate=learning_rate)
    _check_frames(length, frame, hop)
    if not round(256 * dropout) == 256 * dropout:
        raise ValueError(f"dropout: {dropout} is not a multiple of 1/256, such as 0.0625")
    if not highest_frequency > lowest_frequency:
        raise ValueError(
            f"highest_frequency: {highest_frequency} is not above lowest_frequency, "
            f"{lowest_frequency}"
        )
    network = RecurrentRegressor(
        layers=layers,
        units=units,
        outputs=2,
        cell=cell,
        initialiser=initialiser,
        recurrent_gain=recurrent_gain,
    )
    times = jnp.arange(length, dtype=jnp.float32) / length

    def init(keys: Keys) -> Params:
        sequence = frames(jnp.zeros((1, length), jnp.float32), frame, hop)
        return network.init(keys["init"], sequence)["params"]

    def predict(params: Params, x: Array, masks: Array | None) -> Array:
        sequence = frames(x, frame, hop)
        if cell == "simple":
            return recurrent_stack(params, sequence, masks)
        return network.apply({"params": params}, sequence, masks)  # pyright: ignore[reportReturnType]

    def examples_of(keys: Keys, source_key: Array, variation: Array) -> Data:
        lowest, highest = lowest_frequency, highest_frequency
        if source_skew is not None:
            width = (1 - source_skew) * (highest - lowest)
            lowest += uniform(keys["skew"], ()) * source_skew * (highest - lowest)
            highest = lowest + width
        shape = (examples,) if source == "example" else ()
        wave = draw_source(source_key, (*shape, sinusoids), lowest, highest)
        return draw_examples(variation, wave, times, examples, noise)

    def data(keys: Keys, assets: Assets) -> Data:
        return examples_of(keys, keys["source"], keys["variation"])

    def held_out(keys: Keys, assets: Assets) -> Data:
        new = source == "example"  # sources are the examples' own, and new examples have new ones
        source_key = jax.random.fold_in(keys["source"], 1) if new else keys["source"]
        return examples_of(keys, source_key, jax.random.fold_in(keys["variation"], 1))

    def loss(params: Params, batch: Data, key: Array | None) -> tuple[Array, Array]:
        x, y = batch
        masks = None
        if key is not None and dropout > 0:
            masks = dropout_masks(key, (x.shape[0], layers, units), dropout)
        error = jnp.mean((predict(params, x, masks) - y) ** 2)
        return error, error

    def target_errors(params: Params, batch: Data) -> Array:
        x, y = batch
        return jnp.mean((predict(params, x, None) - y) ** 2, axis=0)

    def ensemble(params: Params, weights: Array, batch: Data) -> tuple[Array, Array]:
        x, y = batch
        predictions = jax.vmap(lambda p: predict(p, x, None))(params)
        error = jnp.mean((jnp.tensordot(weights, predictions, 1) - y) ** 2)
        return error, error

    skewed = ["skew"] if source_skew is not None else []
    return Task(
        name="signal",
        streams={s: s for s in ["init", "source", "variation", "order", "dropout", *skewed]},
        init=init,
        data=data,
        loss=loss,
        examples=examples,
        batch_size=batch_size,
        learning_rate=learning_rate,
        epochs=epochs,
        clip_norm=clip_norm,
        metric="mse",
        baseline=1.0,
        held_out=held_out,
        targets=("shift", "scale"),
        target_errors=target_errors,
        ensemble=ensemble,
        options=options,
    )


def _check_frames(length: int, frame: int, hop: int) -> None:
    """Raises ValueError unless frames fill a signal."""
    if frame > length:
        raise ValueError(f"frame: {frame} points are more than the signal's length, {length}")
    if hop > frame or (length - frame) % hop:
        raise ValueError(
            f"hop: frames of {frame} points, {hop} apart, do not fill a signal of {length}; the "
            f"hop must be at most {frame} and divide {length - frame}"
        )


def frames(x: Array, frame: int, hop: int) -> Array:
    """Signals (examples, length) as sequences of overlapping pieces (examples, time, frame)."""
    starts = range(0, x.shape[1] - frame + 1, hop)
    return jnp.stack([x[:, start : start + frame] for start in starts], axis=1)


def draw_source(
    key: Array, shape: tuple[int, ...], lowest: float | Array, highest: float | Array
) -> Data:
    """A source s(t) = sum_m amplitude_m sin(angular_m t + phase_m), or several.

    Args:
        key: a random key.
        shape: (sinusoids,) of one source, (n, sinusoids) of n.
        lowest, highest: frequencies, in periods per unit of time.

    Returns:
        Amplitudes, angular frequencies and phases, each of that shape. Amplitudes are uniform on
        [1/2, 3/2] times the scale at which s has unit variance on average.
    """
    amplitude_key, frequency_key, phase_key = jax.random.split(key, 3)
    mean_square = 13 / 12  # of a uniform on [1/2, 3/2]
    scale = (shape[-1] * mean_square / 2) ** -0.5
    amplitude = scale * uniform(amplitude_key, shape, 0.5, 1.5)
    frequency = uniform(frequency_key, shape, lowest, highest)
    phase = 2 * jnp.pi * uniform(phase_key, shape)
    return amplitude, 2 * jnp.pi * frequency, phase


def draw_examples(key: Array, source: Data, times: Array, examples: int, noise: float) -> Data:
    """Shifted, scaled and noisy copies of a source, with their standardised shift and scale.

    Args:
        key: a random key.
        source: one, or as many as there are examples, as `draw_source` makes them.
        times: (T,), the points of a signal.
        examples: how many.
        noise: standard deviation of what is added to every point.

    Returns:
        Signals of shape (examples, T) and targets (shift, scale) of shape (examples, 2), both
        targets of mean 0 and variance 1.
    """
    shift_key, scale_key, noise_key = jax.random.split(key, 3)
    shift = uniform(shift_key, (examples,), *SHIFT_RANGE)
    scale = uniform(scale_key, (examples,), *SCALE_RANGE)
    clean = (of_one_source if source[0].ndim == 1 else of_own_sources)(source, shift, times)
    signals = scale[:, None] * clean + noise * jax.random.normal(
        noise_key, clean.shape, jnp.float32
    )
    targets = jnp.stack([standardise(shift, SHIFT_RANGE), standardise(scale, SCALE_RANGE)], axis=1)
    return signals, targets


def of_one_source(source: Data, shift: Array, times: Array) -> Array:
    """s(t - b) for every shift b, (examples, T).

    The sine of a difference of angles is split into products of sines and cosines, so that the
    sinusoids are evaluated once a time and once an example, not once a point of every example.
    """
    amplitude, angular, phase = source
    at_time = times[:, None] * angular + phase  # (times, sinusoids)
    at_shift = shift[:, None] * angular  # (examples, sinusoids)
    clean = (amplitude * jnp.cos(at_shift)) @ jnp.sin(at_time).T
    return clean - (amplitude * jnp.sin(at_shift)) @ jnp.cos(at_time).T


def of_own_sources(source: Data, shift: Array, times: Array) -> Array:
    """s(t - b) where every shift has a source of its own, (examples, T)."""
    amplitude, angular, phase = (part[:, None] for part in source)  # (examples, 1, sinusoids)
    moved = (times - shift[:, None])[:, :, None]
    return jnp.sum(amplitude * jnp.sin(angular * moved + phase), axis=2)


def uniform(
    key: Array, shape: tuple[int, ...], low: float | Array = 0.0, high: float | Array = 1.0
) -> Array:
    """Uniform draws from [low, high), float32 whatever JAX takes by default."""
    return jax.random.uniform(key, shape, jnp.float32, low, high)


def standardise(value: Array, limits: Range) -> Array:
    """A uniform variable on [low, high], shifted and scaled to mean 0 and variance 1."""
    low, high = limits
    return (value - (low + high) / 2) * (12**0.5 / (high - low))
