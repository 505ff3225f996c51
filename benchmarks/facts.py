"""The machine and the versions, found out in a process of its own."""

import importlib.metadata
import json

import jax
import numpy as np
from threadpoolctl import threadpool_info

from benchmarks.work import Work
from fedmi.sampling import provenance


def facts() -> Work:
    """All facts as JSON in the note."""
    try:
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        torch = "not installed"
    np.ones((2, 2)) @ np.ones((2, 2))
    device = jax.devices()[0]
    found = dict(
        hardware=provenance.hardware(),
        gpu=device.device_kind if device.platform == "gpu" else "",
        commit=provenance.code(),
        when=provenance.now(),
        versions=provenance.versions() | {"torch": torch},
        threads=[
            f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads"
            for pool in threadpool_info()
            if pool["user_api"] == "blas"
        ],
    )
    return Work(lambda: None, note=json.dumps(found))
