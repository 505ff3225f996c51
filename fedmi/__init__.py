"""fedmi: how federated clients' parameters depend on each other."""

import hashlib
import importlib
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

if TYPE_CHECKING:
    from fedmi import distance, mi, tasks
    from fedmi.sampling.replay import held_out_metric
    from fedmi.sampling.sampler import finite, sample
    from fedmi.tasks import Task

__all__ = ["Task", "distance", "finite", "held_out_metric", "mi", "sample", "tasks"]

_HOMES = {
    "Task": "fedmi.tasks",
    "finite": "fedmi.sampling.sampler",
    "held_out_metric": "fedmi.sampling.replay",
    "sample": "fedmi.sampling.sampler",
}


_FOLDER = "JAX_COMPILATION_CACHE_DIR"
_BOUNDS = {
    "JAX_COMPILATION_CACHE_MAX_SIZE": 2 * 2**30,  # bytes; what was least used goes first
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0.3,
}


def cache_folder() -> Path:
    """What fedmi keeps is in FEDMI_CACHE, or the system's cache folder for fedmi."""
    return Path(os.environ.get("FEDMI_CACHE") or platformdirs.user_cache_dir("fedmi"))


def _keep_programs() -> None:
    """Has JAX keep what it compiles in fedmi's cache folder, unless it is told to elsewhere.

    XLA takes seconds to compile what then runs in tenths of one, and the next process needs the
    same. JAX is told by its variables, as it need not be imported here.
    """
    jax = sys.modules.get("jax")
    if _FOLDER in os.environ or (jax and jax.config.jax_compilation_cache_dir is not None):
        return
    settings = _BOUNDS | {_FOLDER: str(cache_folder() / "jax" / _processor())}
    if jax is None:
        os.environ.update({name: str(value) for name, value in settings.items()})
        return
    for name, value in settings.items():
        jax.config.update(name.lower(), value)


def _processor() -> str:
    """A name for processors that have the same instructions: what one runs may stop another."""
    about = [platform.system(), platform.machine()]
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        about += sorted({line for line in lines if line.startswith(("flags", "Features"))})
    except OSError:
        about.append(platform.node())
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:12]


_keep_programs()


def __getattr__(name: str) -> Any:
    # Loaded when they are first asked for (PEP 562): the estimators need no networks, and whoever
    # imports them alone should not wait for Flax.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in __all__:
        return importlib.import_module(f"fedmi.{name}")
    raise AttributeError(f"module 'fedmi' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
