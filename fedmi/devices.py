"""The devices that JAX sees: what they can hold, and how what shares them waits."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import jax
import jax.custom_batching
from jax.experimental import multihost_utils


def memory() -> int | None:
    """Bytes of memory of the smallest local device; None where they do not say, as on a CPU."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    limits = [entry["bytes_limit"] for entry in stats if entry and "bytes_limit" in entry]
    return min(limits, default=None)


def lanes() -> list[jax.Device]:
    """The devices that compute at the same time, one as often as it computes things side by side.

    The first local device of a CPU does as much side by side as there are CPU devices, or cores
    where nobody has said how many devices there shall be: one program, compiled once, serves all.
    Each GPU has programs of its own.
    """
    local = jax.local_devices()
    if local[0].platform != "cpu":
        return local
    count = len(local)
    asked = jax.config.jax_num_cpu_devices  # pyright: ignore[reportAttributeAccessIssue]
    if count == 1 and asked < 1:
        count = cores()
    return local[:1] * count


def compiler_options() -> tuple[tuple[str, int], ...]:
    """With what XLA compiles for the first local device, as (name, value).

    On a CPU without LLVM's last passes, which take a third of the time that compiling takes: what
    they make is no faster (digits are sampled 15 % slower by it), and its numbers are the same to
    the bit.
    """
    if jax.local_devices()[0].platform != "cpu" or jax.config.read(
        "jax_disable_most_optimizations"
    ):
        return ()
    return (("xla_backend_optimization_level", 1),)


def jit(function: Callable[..., Any]) -> Any:
    """`jax.jit` of a function whose first argument is static, with `compiler_options`."""
    return _jitted(function, compiler_options())


@cache
def _jitted(function: Callable[..., Any], options: tuple[tuple[str, int], ...]) -> Any:
    return jax.jit(function, static_argnums=0, compiler_options=dict(options))


def cores() -> int:
    """How many of the processor's cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def power_of_two(most: int) -> int:
    """The largest power of two up to `most`; 1 below that."""
    return 2 ** (max(most, 1).bit_length() - 1)


@contextmanager
def first_process_first() -> Iterator[None]:
    """What the first of several processes (`jax.distributed`) has done when the others do it."""
    if jax.process_index() > 0:
        wait_for_all_processes()
    yield
    if jax.process_index() == 0:
        wait_for_all_processes()


def wait_for_all_processes() -> None:
    """Goes on when all processes have come here; at once where there is one."""
    multihost_utils.sync_global_devices("fedmi")


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes `jax.vmap` of a function a loop, for functions that call LAPACK.

    On a CPU JAX divides a batch of matrices among the threads that XLA computes with, and waits for
    them on one of these. Where as many batches begin at once as there are threads, all wait for
    ever. A single matrix is not divided.
    """
    return jax.custom_batching.sequential_vmap(lambda *arrays: function(*arrays))
