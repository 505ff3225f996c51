"""Ways to make one model of the clients' models: pure functions, one a file, for `jax.vmap`.

Each takes the clients' parameters (Q, t) and their weights n_q / n (Q,), and what else it needs by
name, and returns one vector (t,). `over_seeds` checks samples and maps an aggregator over them.
"""

from fedmi.aggregation.mapping import over_seeds
from fedmi.aggregation.means import fisher_mean, inverse_variance_mean, regmean, weighted_mean
from fedmi.aggregation.medians import coordinate_median, geometric_median
from fedmi.aggregation.robust import krum, multi_krum, trimmed_mean
from fedmi.aggregation.servers import (
    PathMean,
    ServerOptimizer,
    fedexp_step,
    fednova_step,
    server_step,
    shrunken_mean,
    ties_step,
)
from fedmi.aggregation.stateful import Aggregator, stateful

MEAN = "mean"
"""What tables call the weighted mean, against which everything else is held."""
DOWNLOAD = "download"
"""And where clients started, on average over them."""

__all__ = [
    "DOWNLOAD",
    "MEAN",
    "Aggregator",
    "PathMean",
    "ServerOptimizer",
    "coordinate_median",
    "fedexp_step",
    "fednova_step",
    "fisher_mean",
    "geometric_median",
    "inverse_variance_mean",
    "krum",
    "multi_krum",
    "over_seeds",
    "regmean",
    "server_step",
    "shrunken_mean",
    "stateful",
    "ties_step",
    "trimmed_mean",
    "weighted_mean",
]
