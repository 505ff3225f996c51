"""fedmi: how federated clients' parameters depend on each other."""

from fedmi import distance, mi, tasks
from fedmi.sampling.replay import held_out_metric
from fedmi.sampling.sampler import finite, sample
from fedmi.tasks import Task

__all__ = [
    "Task",
    "distance",
    "finite",
    "held_out_metric",
    "mi",
    "sample",
    "tasks",
]
