"""Sampling that is killed, and what it leaves."""

import signal
import time


def kill_after(child, store, array, shards, *, seconds):
    """Kills a child as soon as its store has so many shards of an array, if it has not ended.

    It may take so many seconds to get there.
    """
    deadline = time.monotonic() + seconds
    while len(list(store.glob(f"{array}/c/*"))) < shards and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()


def bytes_of(store):
    """Every file of the arrays; what was run carries times."""
    return {
        path.relative_to(store): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.relative_to(store).parts[0] not in ("zarr.json", "runs")
    }
