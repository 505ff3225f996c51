"""What the devices that JAX sees can hold."""

import jax


def memory() -> int | None:
    """Bytes of memory of the smallest local device; None where they do not say, as on a CPU."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    limits = [entry["bytes_limit"] for entry in stats if entry and "bytes_limit" in entry]
    return min(limits, default=None)


def power_of_two(most: int) -> int:
    """The largest power of two up to `most`; 1 below that."""
    return 2 ** (max(most, 1).bit_length() - 1)
