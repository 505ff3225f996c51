"""LeNet's features of many images, laid out for a CPU: the same function as `LeNet.features`.

XLA's own convolutions use a small part of a CPU's arithmetic on maps as few and small as these.
Here the images lie along the last axis, so that whatever is done to one pixel is done to all
images by vector instructions, and any window of a map is a plain slice:

    images (28, 28, n) -> pad 2 -> (32, 32, n)       axes: row, column, [map,] image

    convolution 1, ReLU and pooling are one elementwise expression a map: 25 products summed for
    each of the four places of a 2x2 pool, which are four shifted, strided slices, then their
    maximum -> (14, 14, 6, n). One input map is too few for a matrix product to pay.

    convolution 2, ReLU and pooling are a matrix product a pooled pixel: all four places of its
    pool see the same 6 x 6 window of 6 maps, so that

        (4 places * 16 maps, 6 * 6 * 6)  @  window (6 * 6 * 6, n)  ->  maximum over the places
                                                                   ->  (5, 5, 16, n)

    The matrix holds the kernel four times, shifted to each place, with zeros around it: 1.44
    times the arithmetic, but long products of contiguous rows.

    dense layers: (120, 400) @ (400, n), (84, 120) @ (120, n) -> features (84, n)
"""

from itertools import product
from typing import Any

import jax.numpy as jnp
from jax import Array, nn

PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a pool, (row, column)
WEIGHTS = tuple(product(range(5), repeat=2))  # of a kernel


def features(params: Any, images: Array) -> Array:
    """LeNet's last activations but one.

    Args:
        params: LeNet's parameters, as Flax names them.
        images: (28, 28, n) with values in [0, 1].

    Returns:
        Features of shape (84, n).
    """
    x = jnp.pad(images, ((2, 2), (2, 2), (0, 0)))
    x = _first_layer(x, **params["conv1"])
    x = _second_layer(x, **params["conv2"])
    x = _dense(x.reshape(-1, x.shape[-1]), **params["dense1"])
    return _dense(x, **params["dense2"])


def _first_layer(x: Array, kernel: Array, bias: Array) -> Array:
    """(2h + 4, 2w + 4, n) -> (h, w, maps, n)."""
    height, width = x.shape[0] - 4, x.shape[1] - 4
    places = [[x[i : i + height : 2, j : j + width : 2] for j in range(6)] for i in range(6)]

    def one_map(m: int) -> Array:
        sums = [
            jnp.asarray(sum(places[row + i][column + j] * kernel[i, j, 0, m] for i, j in WEIGHTS))
            for row, column in PLACES
        ]
        return nn.relu(_maximum(sums) + bias[m])

    return jnp.stack([one_map(m) for m in range(kernel.shape[-1])], axis=2)


def _second_layer(x: Array, kernel: Array, bias: Array) -> Array:
    """(2h + 4, 2w + 4, maps, n) -> (h, w, maps of the output, n)."""
    height, width, images = (x.shape[0] - 4) // 2, (x.shape[1] - 4) // 2, x.shape[-1]
    maps = kernel.shape[-1]
    shifted = [
        jnp.pad(kernel, ((row, 1 - row), (column, 1 - column), (0, 0), (0, 0)))
        for row, column in PLACES
    ]
    matrix = jnp.stack(shifted).transpose(0, 4, 1, 2, 3).reshape(len(PLACES) * maps, -1)

    def pooled_pixel(row: int, column: int) -> Array:
        window = x[2 * row : 2 * row + 6, 2 * column : 2 * column + 6].reshape(-1, images)
        sums = (matrix @ window).reshape(len(PLACES), maps, images)
        return nn.relu(_maximum(sums) + bias[:, None])

    rows = [jnp.stack([pooled_pixel(i, j) for j in range(width)]) for i in range(height)]
    return jnp.stack(rows)


def _dense(x: Array, kernel: Array, bias: Array) -> Array:
    return nn.relu(kernel.T @ x + bias[:, None])


def _maximum(sums: list[Array] | Array) -> Array:
    return jnp.maximum(jnp.maximum(sums[0], sums[1]), jnp.maximum(sums[2], sums[3]))
