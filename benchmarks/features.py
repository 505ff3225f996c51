"""LeNet's features by themselves: fedmi's layout, and plain Flax convolutions at their best.

Everybody gets random images in the layout that suits them, all of them in memory beforehand.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from benchmarks.work import Work, best
from fedmi import tasks
from fedmi.models.fast.lenet_features import features
from fedmi.models.lenet import LeNet

UNIT = "images"


def fedmi(*, images: int) -> Work:
    """fedmi's layout, a client's images at a time as the digits task has them."""
    task = tasks.get("digits")
    chunk, params = task.examples, task.assets()["lenet"]
    devices = jax.local_devices()
    chunks = max(images // (chunk * len(devices)), 1)
    compiled = jax.jit(lambda params, x: lax.map(partial(features, params), x))
    inputs = [
        jax.device_put((params, _random((chunks, 28, 28, chunk), i)), device)
        for i, device in enumerate(devices)
    ]

    def run() -> None:
        _on_all(lambda x: compiled(*x), inputs)

    run()
    note = f"{chunk} images at a time, {len(devices)} device(s)"
    return Work(run, chunks * chunk * len(devices), UNIT, note)


def flax(*, images: int, batches: list[int]) -> Work:
    """`LeNet.features` compiled, at the quickest batch, on one device or on all."""
    params = tasks.get("digits").assets()["lenet"]
    compiled = jax.jit(lambda params, x: LeNet().apply({"params": params}, x, method="features"))
    counts = sorted({1, jax.local_device_count()})
    trial = min(images, 4 * max(batches))
    ways = {
        (batch, count): _flax_run(compiled, params, trial, batch, count)[0]
        for batch in batches
        for count in counts
    }
    batch, count = best(ways)
    run, done = _flax_run(compiled, params, images, batch, count)
    run()
    return Work(run, done, UNIT, f"best batch {batch} of {batches}, {count} device(s)")


def _flax_run(
    compiled: Callable, params: dict, images: int, batch: int, count: int
) -> tuple[Callable[[], None], int]:
    """Features of about so many images in batches, on so many devices; and how many exactly."""
    calls = max(images // (batch * count), 1)
    inputs = [
        jax.device_put((params, [_random((batch, 28, 28), c) for c in range(calls)]), device)
        for device in jax.local_devices()[:count]
    ]

    def run() -> None:
        _on_all(lambda x: [compiled(x[0], images) for images in x[1]], inputs)

    return run, calls * batch * count


def _on_all(compute: Callable, inputs: list) -> None:
    """Computes each device's part in a thread of its own."""
    with ThreadPoolExecutor(len(inputs)) as pool:
        list(pool.map(lambda x: jax.block_until_ready(compute(x)), inputs))


def _random(shape: tuple[int, ...], seed: int) -> Array:
    return jax.random.uniform(jax.random.key(seed), shape, jnp.float32)
