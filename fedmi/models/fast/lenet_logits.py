"""LeNet's predictions for training, laid out for a CPU: the same function as `LeNet.__call__`.

`jax.vmap` of a Flax convolution over networks with weights of their own becomes a grouped
convolution, for which XLA has no fast code on a CPU. Here both convolutions, each with its pooling,
are one matrix product a network, so that `jax.vmap` makes batched products of long rows:

    maps (m, 2h + 4, 2w + 4, images)
        -> windows (m * 6 * 6, h * w * images): the 6 x 6 pixels that the four places of a 2x2 pool
           see together, for every pool. A sixth of what the 5 x 5 windows of every pixel would
           copy.
        -> (4 places * maps of the output, m * 6 * 6) @ windows; the matrix holds the kernel four
           times, shifted to each place, with zeros around it, as in
           `fedmi.models.fast.lenet_features`
        -> maximum over the places, bias, ReLU -> (maps of the output, h, w, images)

The gradient is written by hand: XLA would scatter where slices overlap or step by two, and share a
maximum that several places have between them; here it goes to the first, as in Flax and PyTorch.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, nn

from fedmi.models.fast.lenet_features import PLACES

IMAGES_AT_ONCE = 64
"""More are taken in parts, so that memory stays that of so many images' windows."""


def logits(params: Any, images: Array) -> Array:
    """LeNet's predictions. Differentiable once, in reverse mode.

    Args:
        params: LeNet's parameters, as Flax names them.
        images: (n, 28, 28) with values in [0, 1].

    Returns:
        Logits of shape (n, 10).
    """
    n = len(images)
    if n <= IMAGES_AT_ONCE:
        return _logits(params, images)
    part = max(size for size in range(1, IMAGES_AT_ONCE + 1) if n % size == 0)
    parts = images.reshape(-1, part, *images.shape[1:])
    # Computed again for the gradient: what it needs of one part is larger than the images.
    some = jax.checkpoint(_logits)
    return jax.lax.map(lambda images: some(params, images), parts).reshape(n, -1)


def _logits(params: Any, images: Array) -> Array:
    x = jnp.pad(images, ((0, 0), (2, 2), (2, 2))).transpose(1, 2, 0)[None]
    x = _pooled_convolution(x, **params["conv1"])
    x = _pooled_convolution(x, **params["conv2"])
    x = x.transpose(3, 1, 2, 0).reshape(len(images), -1)  # the order of Flax: row, column, map
    x = nn.relu(_dense(x, **params["dense1"]))
    x = nn.relu(_dense(x, **params["dense2"]))
    return _dense(x, **params["head"])


def _dense(x: Array, kernel: Array, bias: Array) -> Array:
    return x @ kernel + bias


# A convolution of 5 x 5, its bias and ReLU, and pooling of 2 x 2.


@jax.custom_vjp
def _pooled_convolution(x: Array, kernel: Array, bias: Array) -> Array:
    """(m, 2h + 4, 2w + 4, n), (5, 5, m, maps), (maps,) -> (maps, h, w, n)."""
    return _forward(x, kernel, bias)[0]


def _forward(x, kernel, bias):
    _, rows, columns, images = x.shape
    seen = _windows(x)
    sums = (_matrix(kernel) @ seen).reshape(len(PLACES), bias.size, -1)
    upper, lower = jnp.maximum(sums[0], sums[1]), jnp.maximum(sums[2], sums[3])
    pooled = nn.relu(jnp.maximum(upper, lower) + bias[:, None])
    out = pooled.reshape(-1, (rows - 4) // 2, (columns - 4) // 2, images)
    return out, (x, kernel, seen, sums, pooled)


def _backward(kept, cotangent):
    x, kernel, seen, sums, pooled = kept
    d_pooled = jnp.where(pooled > 0, cotangent.reshape(pooled.shape), 0)
    left_above, left_below = sums[0] >= sums[1], sums[2] >= sums[3]
    above = jnp.maximum(sums[0], sums[1]) >= jnp.maximum(sums[2], sums[3])
    first = (above & left_above, above & ~left_above, ~above & left_below, ~above & ~left_below)
    d_sums = jnp.concatenate([jnp.where(place, d_pooled, 0) for place in first])
    d_kernel = _kernel_of(d_sums @ seen.T, kernel.shape)
    d_x = _overlaid(_matrix(kernel).T @ d_sums, x.shape)
    return d_x, d_kernel, d_pooled.sum(axis=1)


_pooled_convolution.defvjp(_forward, _backward)


def _matrix(kernel: Array) -> Array:
    """The kernel at the four places of a window, (4 * maps, m * 6 * 6)."""
    kernel = kernel.transpose(3, 2, 0, 1)
    placed = [
        jnp.pad(kernel, ((0, 0), (0, 0), (row, 1 - row), (column, 1 - column)))
        for row, column in PLACES
    ]
    return jnp.stack(placed).reshape(len(PLACES) * len(kernel), -1)


def _kernel_of(matrix: Array, shape: tuple[int, ...]) -> Array:
    """The transpose of `_matrix`: the four places of each weight, added up."""
    placed = matrix.reshape(len(PLACES), shape[3], shape[2], 6, 6)
    added = sum(
        placed[place, :, :, row : row + 5, column : column + 5]
        for place, (row, column) in enumerate(PLACES)
    )
    return jnp.asarray(added).transpose(2, 3, 1, 0)


def _windows(x: Array) -> Array:
    """All windows of 6 x 6 pixels at steps of 2, (m, rows, columns, n) -> (m * 36, h * w * n)."""
    m, rows, columns, _ = x.shape
    of_rows = jnp.stack([x[:, i : rows - 4 + i : 2] for i in range(6)], axis=1)
    both = jnp.stack([of_rows[:, :, :, j : columns - 4 + j : 2] for j in range(6)], axis=2)
    return both.reshape(m * 36, -1)


def _overlaid(windows: Array, shape: tuple[int, ...]) -> Array:
    """The transpose of `_windows`: every pixel's entries in all windows, added up."""
    m, rows, columns, n = shape
    windows = windows.reshape(m, 6, 6, (rows - 4) // 2, (columns - 4) // 2, n)
    of_rows = _interleaved([windows[:, :, j] for j in range(6)], axis=3)
    return _interleaved([of_rows[:, i] for i in range(6)], axis=1)


def _interleaved(parts: list[Array], axis: int) -> Array:
    """Six arrays of h entries along an axis, the i-th of them at places i, i + 2, ...: (2h + 4)."""

    def phase(first: int) -> Array:
        """Every second place: of the parts of one parity, each one entry behind the last."""

        def moved(part: Array, by: int) -> Array:
            widths = [(0, 0)] * part.ndim
            widths[axis] = (by, 2 - by)
            return jnp.pad(part, widths)

        return jnp.asarray(sum(moved(part, by) for by, part in enumerate(parts[first::2])))

    both = jnp.stack([phase(0), phase(1)], axis=axis + 1)
    shape = parts[0].shape
    return both.reshape(*shape[:axis], 2 * shape[axis] + 4, *shape[axis + 1 :])
