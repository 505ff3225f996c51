"""Random rotations, zooms and shifts of images: one affine map with bilinear interpolation."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def draw_maps(key: Array, count: int, *, rotation: float, zoom: float, shift: float) -> Array:
    """Random affine maps from the pixels of an augmented image to places in its original.

    An image is turned about its centre by an angle uniform on +-`rotation` degrees, magnified by
    a factor uniform on 1 +- `zoom`, then moved by `shift` pixels at most, uniformly and
    independently along rows and columns.

    Returns:
        Maps of shape (count, 2, 3): pixel (row, column), counted from the image's centre, shows
        the original at maps[:, :, :2] @ (row, column) + maps[:, :, 2].
    """
    draws = jax.random.uniform(key, (count, 4), jnp.float32, minval=-1, maxval=1)
    angle = draws[:, 0] * np.float32(np.deg2rad(rotation))
    scale = 1 / (1 + draws[:, 1] * np.float32(zoom))
    move = draws[:, 2:] * np.float32(shift)
    cosine, sine = scale * jnp.cos(angle), scale * jnp.sin(angle)
    linear = jnp.stack([jnp.stack([cosine, sine], 1), jnp.stack([-sine, cosine], 1)], 1)
    origin = -jnp.sum(linear * move[:, None, :], axis=2)
    return jnp.concatenate([linear, origin[:, :, None]], axis=2)


def warp(images: Array, maps: Array) -> Array:
    """Images seen through affine maps, bilinearly interpolated, black outside.

    Args:
        images: (n, side, side) of uint8.
        maps: (n, 2, 3) as `draw_maps` returns them.

    Returns:
        (n, side, side) of float32 in [0, 1].
    """
    side = images.shape[-1]
    centred = jnp.arange(side, dtype=jnp.float32) - (side - 1) / 2
    a = maps[:, :, :, None, None]
    # Beyond one pixel outside, all is black: there is no need to know how far.
    place = a[:, :, 0] * centred[:, None] + a[:, :, 1] * centred + a[:, :, 2]
    place = jnp.clip(place + (side - 1) / 2, -1, side)
    floor = jnp.floor(place)
    row, column = jnp.moveaxis(floor.astype(jnp.int32) + 1, 1, 0)  # in the padded image
    down, right = jnp.moveaxis(place - floor, 1, 0)
    padded = jnp.pad(images, ((0, 0), (1, 2), (1, 2)))
    n = jnp.arange(len(images))[:, None, None]

    def pixel(i: int, j: int) -> Array:
        return padded[n, row + i, column + j].astype(jnp.float32)

    above = pixel(0, 0) + right * (pixel(0, 1) - pixel(0, 0))
    below = pixel(1, 0) + right * (pixel(1, 1) - pixel(1, 0))
    return (above + down * (below - above)) / 255
