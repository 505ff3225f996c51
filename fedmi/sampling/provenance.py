"""What ran, where, and from which code."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

PACKAGES = ("fedmi", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "xarray", "zarr")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version()} | {
        package: importlib.metadata.version(package) for package in PACKAGES
    }


def devices() -> list[str]:
    """The devices that this process computes on, one entry each."""
    return [f"{device.platform}:{device.id} {device.device_kind}" for device in jax.local_devices()]


def hardware() -> str:
    """The machine in words: processor, cores and memory where the system tells."""
    name = platform.processor() or platform.machine()
    memory = ""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        memory = f", {pages / 2**30:.0f} GiB"
    except (OSError, StopIteration, ValueError):
        pass  # not a Linux: the plain name will do
    return f"{name}, {os.cpu_count()} cores{memory}"


def code() -> dict[str, Any]:
    """The git commit of fedmi's own folder and whether the tree was dirty; None where no git is."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=Path(__file__).parent,
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    status = git("status", "--porcelain")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def run_begins(**what: Any) -> dict[str, Any]:
    """What a store records of a run that begins; when it ends, `end` and `seconds` are filled in.

    Args:
        **what: is done in it.
    """
    return dict(
        run=uuid.uuid4().hex,
        **what,
        versions=versions(),
        devices=devices(),
        hardware=hardware(),
        code=code(),
        start=now(),
        end=None,
        seconds=None,
    )


def now() -> str:
    """The present time, UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def digest(arrays: Any) -> str | None:
    """A short hash of a pytree of arrays, bytes and structure; None if it holds none."""
    leaves, structure = jax.tree.flatten(arrays)
    if not leaves:
        return None
    checksum = hashlib.sha256(str(structure).encode())
    for leaf in leaves:
        array = np.ascontiguousarray(leaf)
        checksum.update(f"{array.dtype}{array.shape}".encode())
        checksum.update(array.tobytes())
    return checksum.hexdigest()[:16]
