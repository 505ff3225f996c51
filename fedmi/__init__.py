"""fedmi: how federated clients' parameters depend on each other."""

from fedmi import distance, mi, tasks
from fedmi.evaluation import compare_with_baseline, held_out_metric
from fedmi.sampling import finite, sample
from fedmi.tasks import Task

__all__ = [
    "Task",
    "compare_with_baseline",
    "distance",
    "finite",
    "held_out_metric",
    "mi",
    "sample",
    "tasks",
]
