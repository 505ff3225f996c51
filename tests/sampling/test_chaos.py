"""How far a small difference goes: exactly where training is linear, and on other processors."""

import dataclasses
import os
import subprocess
import sys
from itertools import product

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import fedmi
from fedmi.sampling import chaos
from fedmi.sampling.design import Design
from tests import tiny

pytestmark = pytest.mark.usefixtures("quickly_compiled")

EPS = np.finfo(np.float32).eps


def from_ones(rate):
    """The tiny task, whose clients download ones: a step multiplies a difference by 1 - rate."""
    ones = {"w": jnp.ones((2, 4), jnp.float32), "b": jnp.ones(4, jnp.float32)}
    return dataclasses.replace(tiny.make(rate), init=lambda keys: ones)


@pytest.mark.parametrize("rate", [0.25, 2.5, 6.0])
def test_growth_is_that_of_a_linear_map(rate):
    design = Design.of(from_ones(rate), checkpoints=[1, 2, 4])
    found = chaos.perturbed(design, seeds=100)
    assert found.growth.dims == ("seed", "client", "iteration")
    assert found.growth.shape == (100, 3, 3)
    rows = chaos.table(found)
    assert rows.iteration.tolist() == [1, 2, 4]
    # Rounding of parameters, half an eps of theirs a step, stands beside a millionth of them.
    at_most = 4 * EPS / chaos.RELATIVE
    expected = abs(1 - rate) ** rows.iteration
    largest = np.maximum(expected, 1)
    assert (np.abs(rows.growth_median - expected) < at_most * largest).all()
    assert chaos.is_chaotic(rows) == (rate == 6.0)


def test_the_share_is_of_the_way_trained_and_what_is_apart_of_nothing():
    task = from_ones(0.25)
    samples = fedmi.sample(task, seeds=20, checkpoints=[1, 4], tile=20)
    found = chaos.perturbed(Design.of(task, checkpoints=[1, 4]), seeds=20)
    way = np.linalg.norm(samples.theta.values - 1, axis=-1)
    between = chaos.RELATIVE * np.sqrt(tiny.SIZE)
    np.testing.assert_allclose(
        found.share, found.growth * between / way, rtol=4 * EPS / chaos.RELATIVE
    )
    np.testing.assert_allclose(found.apart, found.share * way, rtol=1e-5)


def test_a_download_of_zeros_is_changed_by_a_millionth_of_one():
    found = chaos.perturbed(Design.of(tiny.task, checkpoints=[1]), seeds=50)
    assert abs(float(found.growth.median()) - 0.75) < 4 * EPS / chaos.RELATIVE


def test_what_diverges_counts_as_infinitely_far():
    one = xr.DataArray(np.ones((10, 1, 1)), dims=("seed", "client", "iteration"))
    found = xr.Dataset(dict.fromkeys(chaos.MEASURES, one), coords=dict(iteration=[4]))
    found = found.where(xr.DataArray(np.arange(10) < 4, dims="seed"))
    rows = chaos.table(found)
    assert np.isinf(rows.growth_median).all() and np.isinf(rows.share_90).all()
    assert chaos.is_chaotic(rows)


@pytest.mark.slow
def test_the_readings_of_signal_are_told_apart():
    """The rule's bound lies far from both, and the first weights decide on which side of it."""
    growth = {}
    for reading, initialiser in (("vector", "keras"), ("chaotic", "keras"), ("chaotic", "torch")):
        task = fedmi.tasks.get("signal", reading=reading, initialiser=initialiser)
        rows = chaos.table(chaos.perturbed(Design.of(task), seeds=16))
        growth[reading, initialiser] = rows.growth_median.item()
    assert growth["vector", "keras"] < 3
    assert growth["chaotic", "keras"] > 1000
    assert growth["chaotic", "torch"] < 3


def test_impossible_numbers_of_seeds_are_refused():
    for seeds in (0, -1, 1.5):
        with pytest.raises(ValueError, match="^seeds: "):
            chaos.perturbed(Design.of(tiny.task), seeds=seeds)


READINGS = ("vector", "frames", "sequence")
MACHINES = [
    dict(
        OPENBLAS_CORETYPE=kernels,
        OPENBLAS_NUM_THREADS=threads,
        JAX_NUM_CPU_DEVICES=threads,
        XLA_FLAGS=f"--xla_cpu_max_isa={instructions}",
    )
    for kernels, threads, instructions in product(
        ("Haswell", "Prescott"), ("1", "2"), ("AVX2", "SSE4_2")
    )
]
ON_A_MACHINE = """
import sys, numpy, fedmi
for reading in sys.argv[3:]:
    task = fedmi.tasks.get("signal", reading=reading)
    samples = fedmi.sample(
        task, seeds=int(sys.argv[2]), tile=16, checkpoints=[1, 20],
        store=f"{sys.argv[1]}/{reading}.zarr",
    )
    numpy.save(f"{sys.argv[1]}/{reading}.npy", samples.theta.values)
"""


def sampled(machine, folder, seeds, readings=READINGS):
    """The samples of each reading in a folder's stores, as a machine makes or extends them."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-W", "ignore", "-c", ON_A_MACHINE, str(folder), str(seeds)]
    subprocess.run([*command, *readings], check=True, env=os.environ | machine)
    return {reading: np.load(folder / f"{reading}.npy") for reading in readings}


def assert_alike(found, expected, design):
    """Nine of ten trainings differ by no more than the measure allows nine of ten."""
    allowed = chaos.table(chaos.perturbed(design, seeds=64)).apart_90.to_numpy()
    apart = np.linalg.norm(found - expected, axis=-1)
    assert (np.quantile(apart, 0.9, axis=(0, 1)) <= allowed).all()


@pytest.mark.slow
@pytest.mark.skipif(os.uname().machine not in ("x86_64", "amd64"), reason="kernels of x86 alone")
def test_samples_of_stable_readings_agree_on_every_machine(tmp_path):
    first, *others = (
        sampled(machine, tmp_path / str(number), seeds=32)
        for number, machine in enumerate(MACHINES)
    )
    for reading in READINGS:
        task = fedmi.tasks.get("signal", reading=reading)
        design = Design.of(task, checkpoints=[1, 20])
        for other in others:
            assert_alike(other[reading], first[reading], design)


@pytest.mark.slow
@pytest.mark.skipif(os.uname().machine not in ("x86_64", "amd64"), reason="kernels of x86 alone")
def test_a_store_of_one_machine_is_extended_by_another(tmp_path):
    one, other = MACHINES[0], MACHINES[-1]
    whole = sampled(one, tmp_path / "whole", seeds=32, readings=["vector"])["vector"]
    design = Design.of(fedmi.tasks.get("signal"), checkpoints=[1, 20])
    for name, (before, after) in dict(there=(one, other), back=(other, one)).items():
        half = sampled(before, tmp_path / name, seeds=16, readings=["vector"])["vector"]
        both = sampled(after, tmp_path / name, seeds=32, readings=["vector"])["vector"]
        np.testing.assert_array_equal(both[:16], half)  # what was there is not touched
        assert_alike(both, whole, design)
