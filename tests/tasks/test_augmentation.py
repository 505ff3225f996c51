import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from fedmi.tasks.augmentation import draw_maps, pack, warp

SIDE = 28
EPS = np.finfo(np.float32).eps
IDENTITY = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8)


def warped(image, affine):
    """One image through one (2, 3) map."""
    maps = jnp.asarray(affine, jnp.float32)[:, :, None]
    return np.asarray(_warp(pack(image[None]), np.zeros(1, np.int32), maps))[:, :, 0]


_warp = jax.jit(lambda packed, selected, maps: warp(jnp.asarray(packed), selected, maps))


def reference(image, affine):
    """The same by SciPy, whose `grid-constant` interpolates with black beyond the edges."""
    linear, origin = np.asarray(affine)[:, :2], np.asarray(affine)[:, 2]
    centre = (SIDE - 1) / 2
    offset = centre + origin - linear @ [centre, centre]
    return ndimage.affine_transform(
        image / 255, linear, offset, order=1, mode="grid-constant", cval=0
    )


def test_the_identity_changes_nothing():
    np.testing.assert_allclose(warped(IMAGES[0], IDENTITY), IMAGES[0] / 255, atol=4 * EPS)


def test_whole_pixels_shift_in_black():
    affine = IDENTITY + [[0, 0, 2], [0, 0, -1]]  # shows what is 2 rows below and 1 column left
    expected = np.zeros((SIDE, SIDE))
    expected[:-2, 1:] = IMAGES[0][2:, :-1] / 255
    np.testing.assert_allclose(warped(IMAGES[0], affine), expected, atol=4 * EPS)


def test_half_a_pixel_is_the_mean_of_two():
    padded = np.pad(IMAGES[0], ((0, 0), (0, 1))) / 255
    expected = (padded[:, 1:] + padded[:, :-1]) / 2
    np.testing.assert_allclose(
        warped(IMAGES[0], IDENTITY + [[0, 0, 0], [0, 0, 0.5]]), expected, atol=4 * EPS
    )


def test_a_quarter_turn():
    turn = np.array([[0, 1, 0], [-1, 0, 0]])
    expected = ndimage.rotate(IMAGES[0], 90, order=0) / 255
    np.testing.assert_allclose(warped(IMAGES[0], turn), expected, atol=1e-5)


def test_far_outside_all_is_black():
    for row, column in ((40, 0), (-40, 0), (0, 40), (0, -40), (28, 28)):
        affine = IDENTITY + [[0, 0, row], [0, 0, column]]
        np.testing.assert_array_equal(warped(IMAGES[0], affine), 0)


number = st.floats(-3, 3, width=32)


@settings(max_examples=100, deadline=None)
@given(st.lists(number, min_size=6, max_size=6), st.integers(0, 2))
def test_any_map_agrees_with_scipy(entries, which):
    affine = np.reshape(entries, (2, 3)) * [1, 1, 10]
    # A place differs by rounding, 1e-5 pixels at most, and an image by 1 a pixel.
    np.testing.assert_allclose(
        warped(IMAGES[which], affine), reference(IMAGES[which], affine), atol=1e-4
    )


def test_each_image_has_its_own_map_and_may_be_selected_twice():
    maps = draw_maps(jax.random.key(1), 5, rotation=40.0, zoom=0.3, shift=4.0)
    selected = np.array([2, 0, 2, 1, 0], np.int32)
    together = _warp(pack(IMAGES), selected, maps)
    for i, which in enumerate(selected):
        expected = reference(IMAGES[which], maps[:, :, i])
        np.testing.assert_allclose(together[:, :, i], expected, atol=1e-4)


def test_without_ranges_the_maps_are_the_identity():
    maps = draw_maps(jax.random.key(0), 4, rotation=0.0, zoom=0.0, shift=0.0)
    np.testing.assert_array_equal(maps, np.repeat(IDENTITY[:, :, None], 4, axis=2))


def test_maps_are_uniform_on_the_ranges_asked_for():
    n = 20_000
    maps = np.moveaxis(draw_maps(jax.random.key(0), n, rotation=15.0, zoom=0.1, shift=2.0), 2, 0)
    forward = np.linalg.inv(maps[:, :, :2])  # original -> augmented: turn and magnify
    move = -np.einsum("nij,nj->ni", forward, maps[:, :, 2])
    zoom = np.sqrt(np.linalg.det(forward))
    angle = np.rad2deg(np.arctan2(maps[:, 0, 1], maps[:, 0, 0]))
    np.testing.assert_allclose(
        forward @ np.swapaxes(forward, 1, 2), zoom[:, None, None] ** 2 * np.eye(2), atol=1e-5
    )
    drawn = np.stack([angle / 15, (zoom - 1) / 0.1, *(move.T / 2)])
    assert np.abs(drawn).max() <= 1 + 1e-4
    # Means and covariances of four independent uniforms on [-1, 1], within five standard errors.
    np.testing.assert_allclose(drawn.mean(axis=1), 0, atol=5 * (1 / 3 / n) ** 0.5)
    np.testing.assert_allclose(np.cov(drawn), np.eye(4) / 3, atol=5 / 3 / n**0.5)


@pytest.mark.parametrize("bits", [8, 16, 24])
def test_neighbours_are_packed_in_order(bits):
    row, column = {8: (0, 1), 16: (1, 0), 24: (1, 1)}[bits]
    packed = pack(IMAGES)
    assert packed.shape == (3, SIDE + 2, SIDE + 2) and packed.dtype == np.uint32
    inside = packed[:, 1 : 1 + SIDE - row, 1 : 1 + SIDE - column]
    np.testing.assert_array_equal(inside >> bits & 255, IMAGES[:, row:, column:])
    np.testing.assert_array_equal(packed[:, 1:-1, 1:-1] & 255, IMAGES)
    assert not packed[:, -1].any() and not packed[:, :, -1].any()
