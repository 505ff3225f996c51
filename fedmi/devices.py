"""The devices that JAX sees: what they can hold, and how what shares them waits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.custom_batching
from jax.experimental import multihost_utils


def memory() -> int | None:
    """Bytes of memory of the smallest local device; None where they do not say, as on a CPU."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    limits = [entry["bytes_limit"] for entry in stats if entry and "bytes_limit" in entry]
    return min(limits, default=None)


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
