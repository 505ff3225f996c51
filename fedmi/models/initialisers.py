"""How the libraries of the paper's time draw the first weights of a recurrent layer.

The paper does not say which it used, and the draw decides how a deep stack trains.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

Name = Literal["keras", "torch", "tf1"]
Draw = Callable[..., jax.Array]
"""(key, shape, dtype) -> an array."""


@dataclass(frozen=True)
class Initialiser:
    """The draws of one recurrent layer, or of the head.

    Attributes:
        kernel: of the weights that read the layer's inputs.
        recurrent: of the weights that read its own last state.
        bias: of the biases.
    """

    kernel: Draw
    recurrent: Draw
    bias: Draw


def of_layer(
    name: Name, *, features: int, units: int, gates: int = 1, recurrent_gain: float = 1.0
) -> Initialiser:
    """The draws of a recurrent layer.

    - `keras`: Glorot-uniform kernel, orthogonal recurrent kernel, zero biases.
    - `torch`: everything uniform on +-1 / sqrt(units). PyTorch has two biases a layer, which are
      added; here is one.
    - `tf1`: TensorFlow 1 has one kernel that reads inputs and state together, Glorot-uniform, and
      zero biases.

    The bias of an LSTM's forget gate, the second of four, starts at 1 in Keras and TensorFlow 1.

    Args:
        name: of the library.
        features: numbers that the layer reads at a time.
        units: of the layer.
        gates: 1, or 4 in an LSTM, whose kernels have all gates side by side.
        recurrent_gain: what the recurrent kernel is multiplied by.
    """
    bias = _forgetting if gates == 4 else nn.initializers.zeros_init()
    if name == "keras":
        recurrent = orthogonal(recurrent_gain)
        return Initialiser(nn.initializers.glorot_uniform(), recurrent, bias)
    if name == "torch":
        bound = units**-0.5
        return Initialiser(uniform(bound), uniform(recurrent_gain * bound), uniform(bound))
    bound = (6 / (features + units + gates * units)) ** 0.5
    return Initialiser(uniform(bound), uniform(recurrent_gain * bound), bias)


def of_head(name: Name, *, features: int) -> tuple[Draw, Draw]:
    """The draws of a dense layer's kernel and biases."""
    if name == "torch":
        return uniform(features**-0.5), uniform(features**-0.5)
    return nn.initializers.glorot_uniform(), nn.initializers.zeros_init()


def uniform(bound: float) -> Draw:
    """Uniform draws from [-bound, bound)."""

    def draw(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


def orthogonal(gain: float) -> Draw:
    """A random matrix whose rows, or columns if these are fewer, are orthonormal, times `gain`.

    It is that of `flax.linen.initializers.orthogonal`, to rounding: the factor Q of a normal
    matrix, where R has a positive diagonal. Flax calls LAPACK for it, which JAX runs on the threads
    that XLA computes with and waits for on one of them: as many devices as threads, each drawing
    weights at the same time, wait forever. Nor do draws depend on a library's kernels here.
    """

    def draw(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        normal = jax.random.normal(key, (max(shape), min(shape)), dtype)
        found: list[jax.Array] = []
        for column in normal.T:
            for _ in range(2 if found else 0):  # once more takes off what rounding left
                others = jnp.stack(found)
                shares = jnp.sum(others * column, axis=1)
                column = column - jnp.sum(others * shares[:, None], axis=0)
            found.append(column / jnp.sqrt(jnp.sum(column * column)))
        rows = jnp.stack(found)
        return gain * (rows.T if shape[0] >= shape[1] else rows)

    return draw


def _forgetting(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Zeros, and ones for the second of four gates."""
    return jnp.repeat(jnp.array([0, 1, 0, 0], dtype), shape[0] // 4)
