"""Ways to make one model of the clients' models: pure functions, one a file, for `jax.vmap`.

Each takes the clients' parameters (Q, t) and their weights n_q / n (Q,), and what else it needs by
name, and returns one vector (t,). `over_seeds` checks samples and maps an aggregator over them.
"""

from fedmi.aggregation.mapping import over_seeds
from fedmi.aggregation.means import fisher_mean, inverse_variance_mean, weighted_mean
from fedmi.aggregation.medians import coordinate_median, geometric_median
from fedmi.aggregation.servers import fedexp_step, server_step

MEAN = "mean"
"""What tables call the weighted mean, against which everything else is held."""
DOWNLOAD = "download"
"""And where clients started, on average over them."""

__all__ = [
    "DOWNLOAD",
    "MEAN",
    "coordinate_median",
    "fedexp_step",
    "fisher_mean",
    "geometric_median",
    "inverse_variance_mean",
    "over_seeds",
    "server_step",
    "weighted_mean",
]
