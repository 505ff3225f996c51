"""The network of the signal task, as plain Flax: the version to read.

Eleven tanh Elman layers of four units run over the sequence, each on the outputs of the one below;
a dense head reads the last state of the top layer. After every layer comes dropout whose mask is
held over time: a unit is either there for the whole sequence or gone for the whole sequence, as in
Gal & Ghahramani (2016). Masks act on what goes *up*; a layer's own recurrence stays intact.

`fedmi.models.fast.recurrent` computes the same function of the same parameters many times faster
on a CPU under `jax.vmap`. The tests hold the two together.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn


class RecurrentRegressor(nn.Module):
    """A stack of tanh Elman layers and a dense head on the last state.

    Layer l turns its inputs x_t into states h_t = tanh(x_t W + h_(t-1) U + b), with h_(-1) = 0.
    With the default sizes and one feature there are 24 + 10 * 36 + 10 = 394 parameters.
    Initialisation is Keras's: Glorot-uniform W, orthogonal U, zero biases, Glorot-uniform head.

    Attributes:
        layers: Number of recurrent layers.
        units: Units in each of them.
        outputs: Numbers predicted for each example.
        param_dtype: Type of the parameters and of the computation.
    """

    layers: int = 11
    units: int = 4
    outputs: int = 2
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, masks: jax.Array | None = None) -> jax.Array:
        """Predicts the targets of a batch of sequences.

        Args:
            x: Sequences, shape (examples, time, features).
            masks: Dropout masks scaled by 1 / keep, shape (examples, layers, units), as
                `dropout_masks` draws them; None means no dropout.

        Returns:
            Predictions, shape (examples, outputs).
        """
        glorot, orthogonal = nn.initializers.glorot_uniform(), nn.initializers.orthogonal()
        for layer in range(self.layers):
            cell = nn.SimpleCell(
                self.units,
                kernel_init=glorot,
                recurrent_kernel_init=orthogonal,
                param_dtype=self.param_dtype,
                parent=None,
            )
            x = nn.RNN(cell, name=f"layer_{layer:02d}")(x)  # pyright: ignore[reportAssignmentType]
            if masks is not None:
                x = x * masks[:, None, layer, :]
        head = nn.Dense(self.outputs, kernel_init=glorot, param_dtype=self.param_dtype, name="head")
        return head(x[:, -1])


def dropout_masks(key: jax.Array, shape: tuple[int, ...], rate: float) -> jax.Array:
    """Draws inverted-dropout masks: 0 with probability `rate`, otherwise 1 / (1 - rate).

    Eight random bits decide about one unit, so that one 32-bit draw serves four of them. The rate
    is therefore rounded to the nearest n / 256, and the scale follows the rounded rate: the mean
    of a mask is exactly 1.

    Args:
        key: A random key.
        shape: Shape of the masks, for the recurrent stack (examples, layers, units).
        rate: Probability that a unit is dropped.

    Returns:
        Masks of the given shape, float32; held over time by whoever applies them.

    Raises:
        ValueError: If `rate` is outside [0, 1), or so close to 1 that it would round to 1.
    """
    dropped = round(rate * 256) if 0 <= rate < 1 else 256
    if dropped == 256:
        raise ValueError(f"the dropout rate must be in [0, 1) and round to n / 256 < 1, got {rate}")
    size = math.prod(shape)
    draws = jax.random.bits(key, (-(-size // 4), 1), jnp.uint32)
    bytes_ = (draws >> jnp.arange(0, 32, 8, dtype=jnp.uint32)) & 0xFF
    keep = bytes_.reshape(-1)[:size].reshape(shape) >= dropped
    return jnp.where(keep, jnp.float32(256 / (256 - dropped)), jnp.float32(0))
