"""Random rotations, zooms and shifts of images: one affine map with bilinear interpolation.

Made for a CPU. Images lie along the last axis, so that a pixel's arithmetic is done for all of
them by vector instructions. What no vector instruction does is to fetch pixels from places that
differ from image to image; so the four neighbours that an interpolated pixel needs are packed
beforehand into one 32-bit word, and fetched at once.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax


def draw_maps(key: Array, count: int, *, rotation: float, zoom: float, shift: float) -> Array:
    """Random affine maps from the pixels of an augmented image to places in its original.

    An image is turned about its centre by an angle uniform on +-`rotation` degrees, magnified by
    a factor uniform on 1 +- `zoom`, then moved along rows and along columns by distances uniform
    on +-`shift` pixels, all independent.

    Returns:
        Maps of shape (2, 3, count): the pixel (row, column), counted from the image's centre,
        shows the original at maps[:, :2] @ (row, column) + maps[:, 2].
    """
    draws = jax.random.uniform(key, (4, count), jnp.float32, minval=-1, maxval=1)
    angle = draws[0] * np.float32(np.deg2rad(rotation))
    scale = 1 / (1 + draws[1] * np.float32(zoom))
    down, right = draws[2:] * np.float32(shift)
    cosine, sine = scale * jnp.cos(angle), scale * jnp.sin(angle)
    return jnp.stack(
        [
            jnp.stack([cosine, sine, -(cosine * down + sine * right)]),
            jnp.stack([-sine, cosine, sine * down - cosine * right]),
        ]
    )


def pack(images: np.ndarray) -> np.ndarray:
    """Every pixel with its neighbours to the right, below, and below right, in one word each.

    Args:
        images: (n, side, side) of uint8; all around them is black.

    Returns:
        (n, side + 2, side + 2) of uint32, from the neighbourhood of the pixel (-1, -1) to that of
        (side, side), where all is black again; the pixel itself is in the lowest byte.
    """
    p = np.pad(images, ((0, 0), (1, 2), (1, 2))).astype(np.uint32)
    return p[:, :-1, :-1] | p[:, :-1, 1:] << 8 | p[:, 1:, :-1] << 16 | p[:, 1:, 1:] << 24


def warp(packed: Array, selected: Array, maps: Array) -> Array:
    """Selected images seen through affine maps, bilinearly interpolated, black outside.

    Args:
        packed: (n, side + 2, side + 2), all images as `pack` returns them.
        selected: (count,) of int32, indices of images.
        maps: (2, 3, count) as `draw_maps` returns them.

    Returns:
        (side, side, count) of float32 in [0, 1].
    """
    width = packed.shape[-1]
    side = width - 2
    centred = jnp.arange(side, dtype=jnp.float32) - (side - 1) / 2
    by_row = centred[:, None, None] * maps[:, 0]  # (row, 2, count)
    by_column = centred[:, None] * maps[:, 1, None]  # (2, column, count)
    origin = maps[:, 2, None] + (side + 1) / 2  # counted from the first neighbourhood
    words = packed.reshape(-1)

    def places(by_row: Array) -> tuple[Array, Array]:
        # Beyond one pixel outside, all is black: there is no need to know how far.
        place = jnp.clip(by_row[:, None] + by_column + origin, 0, width - 1)
        whole = jnp.floor(place)
        row, column = whole.astype(jnp.int32)
        return (selected * width + row) * width + column, place - whole

    def fetch(places: Array) -> Array:
        return words.at[places].get(mode="promise_in_bounds")

    # XLA would fuse the fetching with the arithmetic around it and then vectorise neither (and
    # drops optimisation barriers on a CPU); it does not fuse across a loop's edge.
    index, fraction = lax.map(places, by_row)
    word = lax.bitcast_convert_type(lax.map(fetch, index), jnp.int32)
    here, right, below, below_right = (
        ((word >> bits) & 255).astype(jnp.float32) for bits in (0, 8, 16, 24)
    )
    down, along = fraction[:, 0], fraction[:, 1]
    upper = here + along * (right - here)
    lower = below + along * (below_right - below)
    return (upper + down * (lower - upper)) * np.float32(1 / 255)
