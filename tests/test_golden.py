import dataclasses
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fedmi
from fedmi import scopes
from fedmi.tasks.augmented_digits import Drawing
from tests import golden, tiny

RECORDED = json.loads(golden.RECORD.read_text())
EPS = np.finfo(np.float32).eps


@pytest.fixture(scope="module", params=golden.TILES)
def tile(request):
    return request.param, golden.tile_of(request.param)


def test_samples_are_the_same_to_the_bit_on_the_processor_that_recorded_them(tile):
    task, samples = tile
    if golden.machine() != RECORDED["machine"]:
        pytest.skip("recorded on another processor, or under other flags of XLA")
    assert golden.hashes(samples) == RECORDED[task]


def test_samples_are_the_same_but_for_rounding_on_any_processor(tile):
    """Each of k steps adds rounding of about eps times what it computes with.

    What a step of `signal` computes passes four layers of dropout and tanh, and its 64 inputs are
    sums of products; of the others, a product of a hundred features.
    """
    task, samples = tile
    with np.load(golden.FOLDER / f"{task}.npz") as file:
        recorded = dict(file)
    found = golden.values(samples, task)
    tolerance = samples.sizes["step"] * 10 * EPS * np.abs(recorded["theta"]).max()
    np.testing.assert_allclose(found["theta"], recorded["theta"], rtol=0, atol=tolerance)
    if task != "signal":  # accuracies on ten digits: one of them may be told otherwise
        assert np.abs(found["metric"] - recorded["metric"]).max() <= 0.1 + EPS


ENVIRONMENT = dict(
    JAX_DEFAULT_PRNG_IMPL="rbg",
    JAX_THREEFRY_PARTITIONABLE="0",
    JAX_ENABLE_X64="1",
    JAX_RANDOM_SEED_OFFSET="5",
)
"""Settings of JAX that would each change what is drawn."""


def drawn(store):
    """What the tasks draw at one client, and samples of two tasks, one of them kept in a store."""
    small = fedmi.tasks.get("signal", layers=2, length=8, source_skew=0.5)
    digits = fedmi.tasks.get("digits")
    drawing = Drawing(
        images="none", examples=20, held_out=20, rotation=15.0, zoom=0.1, shift=2.0,
        label_concentration=0.5,
    )  # fmt: skip
    labels = jnp.asarray(np.arange(5000) % 10, jnp.int32)

    @jax.jit
    def draw(root):
        keys = {name: scopes.stream_key(root, name, "fixed", seed=0, client=0) for name in STREAMS}
        digits_drawn = drawing.own(keys, labels), drawing.others(keys, labels)
        return small.init(keys), small.data(keys, ()), digits.init(keys), digits_drawn

    draws = jax.tree.leaves(draw(scopes.root_key(3)))
    samples = fedmi.sample(tiny.task, seeds=8, tile=4, store=store)
    first = fedmi.sample(small, seeds=2, tile=2, checkpoints=[1])
    untyped = fedmi.sample(UNTYPED, seeds=2, tile=2)
    return [*draws, samples.theta.values, first.theta.values, untyped.theta.values]


UNTYPED = dataclasses.replace(
    tiny.task,
    init=lambda keys: {"w": jnp.zeros((2, 4)), "b": jnp.zeros(4)},
    data=lambda keys, assets: jax.random.normal(keys["variation"], (16, 12)),
)
"""A task whose draws name no type."""

STREAMS = ("init", "source", "variation", "order", "dropout", "skew", "selection", "augmentation")


@pytest.mark.slow
def test_the_environment_chooses_no_draw(tmp_path):
    """A store that is extended under other settings of JAX has the seeds that it would have."""
    store, out = tmp_path / "extended.zarr", tmp_path / "found.npz"
    fedmi.sample(tiny.task, seeds=4, tile=4, store=store)
    code = (
        "import numpy as np; from tests import conftest, test_golden;"
        f"np.savez({str(out)!r}, *test_golden.drawn({str(store)!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | ENVIRONMENT)
    expected = drawn(tmp_path / "usual.zarr")
    with np.load(out) as file:
        found = list(file.values())
    assert len(found) == len(expected)
    for a, b in zip(found[:-3], expected[:-3], strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    for a, b in zip(found[-3:], expected[-3:], strict=True):  # a few steps of other programs
        np.testing.assert_allclose(a, b, rtol=0, atol=100 * EPS * np.abs(b).max())


def test_the_generator_is_a_part_of_what_samples_depend_on():
    for seed in (0, 3, 2**31, 2**32 - 1):
        expected = jax.random.key_data(jax.random.key(seed))
        np.testing.assert_array_equal(jax.random.key_data(scopes.root_key(seed)), expected)
    root = scopes.root_key(3)
    assert str(jax.random.key_impl(root)) == scopes.GENERATOR == "threefry2x32"
