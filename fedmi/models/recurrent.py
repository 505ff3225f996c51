"""The network of the signal task, as plain Flax: the version to read.

Recurrent layers of a few units run over the sequence, each on the outputs of the one below; a dense
head reads the last state of the top layer. After every layer comes dropout whose mask is held over
time: a unit is either there for the whole sequence or gone for the whole sequence, as in Gal &
Ghahramani (2016). Masks act on what goes *up*; a layer's own recurrence stays intact.

`fedmi.models.fast.recurrent` computes the same function of the same parameters, where the cells are
simple, many times faster on a CPU under `jax.vmap`. The tests hold the two together.
"""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from fedmi.models import initialisers


class RecurrentRegressor(nn.Module):
    """A stack of recurrent layers and a dense head on the last state.

    A simple (Elman) layer turns its inputs x_t into states h_t = tanh(x_t W + h_(t-1) U + b), with
    h_(-1) = 0. L layers of K units that read F features have K F + K (K + 1) + (L - 1) K (2 K + 1)
    parameters, those of an LSTM four times as many, and the head has (K + 1) for each output.

    Attributes:
        layers: Number of recurrent layers.
        units: Units in each of them.
        outputs: Numbers predicted for each example.
        cell: "simple" or "lstm".
        initialiser: "keras", "torch" or "tf1": whose first weights are drawn.
        recurrent_gain: What the first recurrent kernels are multiplied by.
        param_dtype: Type of the parameters and of the computation.
    """

    layers: int = 11
    units: int = 4
    outputs: int = 2
    cell: Literal["simple", "lstm"] = "simple"
    initialiser: initialisers.Name = "keras"
    recurrent_gain: float = 1.0
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
        for layer in range(self.layers):
            cell = self._cell(features=x.shape[-1])
            x = nn.RNN(cell, name=f"layer_{layer:02d}")(x)  # pyright: ignore[reportAssignmentType]
            if masks is not None:
                x = x * masks[:, None, layer, :]
        kernel, bias = initialisers.of_head(self.initialiser, features=self.units)
        head = nn.Dense(
            self.outputs,
            kernel_init=kernel,
            bias_init=bias,
            param_dtype=self.param_dtype,
            name="head",
        )
        return head(x[:, -1])

    def _cell(self, features: int) -> nn.RNNCellBase:
        """The cell of a layer that reads so many features."""
        draws = initialisers.of_layer(
            self.initialiser,
            features=features,
            units=self.units,
            gates=4 if self.cell == "lstm" else 1,
            recurrent_gain=self.recurrent_gain,
        )
        make = LSTMCell if self.cell == "lstm" else nn.SimpleCell
        return make(
            self.units,
            kernel_init=draws.kernel,
            recurrent_kernel_init=draws.recurrent,
            bias_init=draws.bias,
            param_dtype=self.param_dtype,
            parent=None,
        )


class LSTMCell(nn.RNNCellBase):
    """Hochreiter and Schmidhuber's cell, its gates side by side in one kernel as Keras has them.

    In the order of the columns: input, forget and candidate, output.

    Attributes:
        features: Units.
        kernel_init, recurrent_kernel_init, bias_init: Draws of the first weights.
        param_dtype: Their type.
    """

    features: int
    kernel_init: initialisers.Draw
    recurrent_kernel_init: initialisers.Draw
    bias_init: initialisers.Draw
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, carry: tuple[jax.Array, jax.Array], inputs: jax.Array):
        """One time: ((memory, state), inputs) -> ((memory, state), state)."""
        memory, state = carry
        read = nn.Dense(
            4 * self.features,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
            param_dtype=self.param_dtype,
            name="i",
        )
        recur = nn.Dense(
            4 * self.features,
            use_bias=False,
            kernel_init=self.recurrent_kernel_init,
            param_dtype=self.param_dtype,
            name="h",
        )
        let_in, keep, candidate, let_out = jnp.split(read(inputs) + recur(state), 4, axis=-1)
        memory = nn.sigmoid(keep) * memory + nn.sigmoid(let_in) * jnp.tanh(candidate)
        state = nn.sigmoid(let_out) * jnp.tanh(memory)
        return (memory, state), state

    def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]):
        """Zeros, for inputs of a shape (examples, features)."""
        nothing = jnp.zeros((*input_shape[:-1], self.features), self.param_dtype)
        return nothing, nothing

    @property
    def num_feature_axes(self) -> int:
        """How many axes of the inputs count features."""
        return 1


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
