"""fedmi: how federated clients' parameters depend on each other."""

import importlib
from typing import TYPE_CHECKING, Any

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
