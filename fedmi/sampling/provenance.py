"""What ran, where, and from which code."""

import contextlib
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


def arithmetic() -> str:
    """A short hash of all that decides how XLA rounds: processor or device, flags, versions.

    Where it is the same, samples are the same to the last digit.
    """
    told = [device.device_kind for device in jax.local_devices()[:1]]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        names = ("vendor_id", "cpu family", "model\t", "model name", "flags", "Features")
        told += [line for line in lines if line.startswith(names)]
    told += sorted(os.environ.get("XLA_FLAGS", "").split())
    told += [importlib.metadata.version(name) for name in ("jax", "jaxlib")]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


PRODUCTS = ("figures", "RESULTS.md")
"""What is made from results, and makes none itself."""


def code() -> dict[str, Any]:
    """The git commit of fedmi's own folder, and whether tracked files are other than there.

    `PRODUCTS` do not count. Both are None where no git is.
    """

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

    made = [f":(top,exclude){path}" for path in PRODUCTS]
    status = git("status", "--porcelain", "--untracked-files=no", "--", ":(top)", *made)
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def made(params: Path | None, seconds: float) -> dict[str, Any]:
    """What is written down of results: from which code, with what, where, when, in what time.

    Args:
        params: the params file that they follow from, if any.
        seconds: that it took.
    """
    described = None
    if params is not None:
        digest = hashlib.sha256(params.read_bytes()).hexdigest()[:16]
        described = dict(file="/".join(params.resolve().parts[-3:]), hash=digest)
    return dict(
        code=code(),
        params=described,
        versions=versions(),
        hardware=hardware(),
        arithmetic=arithmetic(),
        seconds=round(seconds, 1),
        end=now(),
    )


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
