"""The first task of the paper (Section 3.1): tell the shift and scale of a randomised signal.

A client's data set has one source s, the sum of random sinusoids, and examples a s(t - b) + noise
at evenly spaced points of [0, 1); the targets are the time shift b and the scale a, standardised,
so that the best constant prediction has a mean squared error of 1. The network is a stack of small
recurrent layers with 394 parameters. The paper says ten layers of four units; 394 parameters need
one layer from one input to four units, ten more from four to four, and a head of two outputs.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import pydantic
from jax import Array

from fedmi.models.fast.recurrent import recurrent_stack
from fedmi.models.recurrent import RecurrentRegressor, dropout_masks
from fedmi.tasks.task import Assets, Data, Keys, Params, Task

Range = tuple[float, float]
Fraction = Annotated[float, pydantic.Field(ge=0, lt=1)]

SHIFT_RANGE: Range = (-0.25, 0.25)
SCALE_RANGE: Range = (0.5, 1.5)


@pydantic.validate_call(config=pydantic.ConfigDict(strict=True, allow_inf_nan=False))
def signal(
    *,
    learning_rate: pydantic.PositiveFloat = 0.02,
    batch_size: pydantic.PositiveInt = 5,
    examples: pydantic.PositiveInt = 100,
    epochs: pydantic.PositiveInt = 1,
    clip_norm: pydantic.PositiveFloat | None = 20.0,
    dropout: Fraction = 0.0625,
    layers: pydantic.PositiveInt = 11,
    units: pydantic.PositiveInt = 4,
    length: pydantic.PositiveInt = 64,
    sinusoids: pydantic.PositiveInt = 5,
    lowest_frequency: pydantic.NonNegativeFloat = 1.0,
    highest_frequency: pydantic.PositiveFloat = 4.0,
    noise: pydantic.NonNegativeFloat = 0.05,
    source_skew: Fraction | None = None,
) -> Task:
    """The signal task; its defaults are the paper's where the paper gives them.

    Args:
        learning_rate: the fixed rate of SGD.
        batch_size: examples a minibatch.
        examples: training examples a client.
        epochs: how often a client goes through them.
        clip_norm: the largest global norm of a gradient; longer ones are scaled down to it.
            Unclipped, the gradients of some seeds explode.
        dropout: probability with which an output of a recurrent layer is dropped for the whole
            sequence, in 1/256ths.
        layers: recurrent layers.
        units: units a layer.
        length: points of a signal.
        sinusoids: random sinusoids a source is the sum of; the amplitudes are drawn so that a
            source has unit variance on average.
        lowest_frequency: of the sinusoids, in periods per unit of time.
        highest_frequency: likewise.
        noise: standard deviation of the normal noise on every point.
        source_skew: makes the clients unlike each other: the frequencies of a client's sources
            come from a band of its own, by this share narrower than the whole range and placed
            anywhere in it by a stream `skew`. By default all clients have the whole range.
    """
    options = dict(locals())
    skewed = source_skew is not None
    if not round(256 * dropout) == 256 * dropout:
        raise ValueError(f"dropout: {dropout} is not a multiple of 1/256, such as 0.0625")
    if not highest_frequency > lowest_frequency:
        raise ValueError(
            f"highest_frequency: {highest_frequency} is not above lowest_frequency, "
            f"{lowest_frequency}"
        )
    network = RecurrentRegressor(layers=layers, units=units, outputs=2)
    times = jnp.arange(length, dtype=jnp.float32) / length

    def init(keys: Keys) -> Params:
        return network.init(keys["init"], jnp.zeros((1, length, 1), jnp.float32), None)["params"]

    def examples_of(keys: Keys, variation: Array) -> Data:
        lowest, highest = lowest_frequency, highest_frequency
        if source_skew is not None:
            width = (1 - source_skew) * (highest - lowest)
            lowest += uniform(keys["skew"], ()) * source_skew * (highest - lowest)
            highest = lowest + width
        wave = draw_source(keys["source"], sinusoids, lowest, highest)
        return draw_examples(variation, wave, times, examples, noise)

    def data(keys: Keys, assets: Assets) -> Data:
        return examples_of(keys, keys["variation"])

    def held_out(keys: Keys, assets: Assets) -> Data:
        return examples_of(keys, jax.random.fold_in(keys["variation"], 1))

    def loss(params: Params, batch: Data, key: Array | None) -> tuple[Array, Array]:
        x, y = batch
        masks = None
        if key is not None and dropout > 0:
            masks = dropout_masks(key, (x.shape[0], layers, units), dropout)
        error = jnp.mean((recurrent_stack(params, x, masks) - y) ** 2)
        return error, error

    def ensemble(params: Params, weights: Array, batch: Data) -> tuple[Array, Array]:
        x, y = batch
        predictions = jax.vmap(lambda p: recurrent_stack(p, x, None))(params)
        error = jnp.mean((jnp.tensordot(weights, predictions, 1) - y) ** 2)
        return error, error

    return Task(
        name="signal",
        streams=dict(
            init="init", source="source", variation="variation", order="order", dropout="dropout"
        )
        | (dict(skew="skew") if skewed else {}),
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
        ensemble=ensemble,
        options=options,
    )


def draw_source(key: Array, sinusoids: int, lowest: float | Array, highest: float | Array) -> Data:
    """A source s(t) = sum_m amplitude_m sin(angular_m t + phase_m).

    Returns:
        Amplitudes, angular frequencies and phases, each of shape (sinusoids,). Amplitudes are
        uniform on [1/2, 3/2] times the scale at which s has unit variance on average.
    """
    amplitude_key, frequency_key, phase_key = jax.random.split(key, 3)
    mean_square = 13 / 12  # of a uniform on [1/2, 3/2]
    scale = (sinusoids * mean_square / 2) ** -0.5
    amplitude = scale * uniform(amplitude_key, (sinusoids,), 0.5, 1.5)
    frequency = uniform(frequency_key, (sinusoids,), lowest, highest)
    phase = 2 * jnp.pi * uniform(phase_key, (sinusoids,))
    return amplitude, 2 * jnp.pi * frequency, phase


def draw_examples(key: Array, source: Data, times: Array, examples: int, noise: float) -> Data:
    """Shifted, scaled and noisy copies of a source, with their standardised shift and scale.

    The sine of a difference of angles is split into products of sines and cosines, so that the
    sinusoids are evaluated once a time and once an example, not once a point of every example.

    Returns:
        Signals of shape (examples, len(times), 1) and targets (shift, scale) of shape
        (examples, 2), both targets of mean 0 and variance 1.
    """
    shift_key, scale_key, noise_key = jax.random.split(key, 3)
    shift = uniform(shift_key, (examples,), *SHIFT_RANGE)
    scale = uniform(scale_key, (examples,), *SCALE_RANGE)
    amplitude, angular, phase = source
    at_time = times[:, None] * angular + phase  # (times, sinusoids)
    at_shift = shift[:, None] * angular  # (examples, sinusoids)
    clean = (amplitude * jnp.cos(at_shift)) @ jnp.sin(at_time).T
    clean = clean - (amplitude * jnp.sin(at_shift)) @ jnp.cos(at_time).T
    signals = scale[:, None] * clean + noise * jax.random.normal(
        noise_key, clean.shape, jnp.float32
    )
    targets = jnp.stack([standardise(shift, SHIFT_RANGE), standardise(scale, SCALE_RANGE)], axis=1)
    return signals[:, :, None], targets


def uniform(
    key: Array, shape: tuple[int, ...], low: float | Array = 0.0, high: float | Array = 1.0
) -> Array:
    """Uniform draws from [low, high), float32 whatever JAX takes by default."""
    return jax.random.uniform(key, shape, jnp.float32, low, high)


def standardise(value: Array, limits: Range) -> Array:
    """A uniform variable on [low, high], shifted and scaled to mean 0 and variance 1."""
    low, high = limits
    return (value - (low + high) / 2) * (12**0.5 / (high - low))
