"""Mutual information of every pair of clients, and of two arrays as the case of two clients.

Everywhere x and y are (N, p) and (N, q), row i of each from the same seed; an array of one
dimension is one component. Bad samples raise ValueError, naming the client.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from fedmi.mi.gaussian import pairs as gaussian_pairs
from fedmi.mi.ksg import pairs as ksg_pairs
from fedmi.mi.null import default_key, repairing
from fedmi.mi.result import Estimate, PairEstimate
from fedmi.mi.samples import as_samples, check_lengths, check_varies
from fedmi.mi.variants.copula import pairs as copula_pairs
from fedmi.mi.variants.ksg2 import pairs as ksg2_pairs
from fedmi.mi.variants.shrinkage import pairs as shrunk_pairs


def _neural_pairs(*arguments: Any, **options: Any) -> list[PairEstimate]:
    from fedmi.mi.variants import neural  # brings Flax and Optax, which nothing else here needs

    return neural.pairs(*arguments, **options)


ESTIMATORS: Mapping[str, Callable[..., list[PairEstimate]]] = {
    "gaussian": gaussian_pairs,
    "gaussian_copula": copula_pairs,
    "ksg": ksg_pairs,
    "gaussian_shrunk": shrunk_pairs,
    "ksg2": ksg2_pairs,
    "neural": _neural_pairs,
}
"""Name -> a function of clients (name in messages -> (N, p_q)), the re-pairings and options.

It estimates every pair of the clients, and each again over the re-paired seeds.
"""

RANDOMISED = {"gaussian_shrunk", "neural"}
"""These draw at random themselves, and take the option `key`."""


def check_estimator(estimator: str) -> None:
    """Raise ValueError unless there is an estimator of this name."""
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator {estimator!r} is not one of {', '.join(ESTIMATORS)}")


def pairwise(
    clients: Sequence[ArrayLike],
    *,
    estimator: str = "gaussian",
    permutations: int = 20,
    key: jax.Array | None = None,
    **options: Any,
) -> list[PairEstimate]:
    """Estimate every pair of clients, and each again over re-paired seeds.

    What belongs to one client (its whitening, its distances) is computed once.

    Args:
        clients: Q >= 2 arrays (N, p_q); row i of each is seed i.
        estimator: "gaussian", "gaussian_copula", "ksg" or "neural", or one of the variants that
            have no function of their own: "gaussian_shrunk" (`fedmi.mi.variants.shrinkage`, also
            for fewer samples than dimensions) and "ksg2" (`fedmi.mi.variants.ksg2`).
        permutations: the number of re-pairings; 0 for none.
        key: a JAX random key for the re-pairings, and for what the estimator itself draws;
            `jax.random.key(0)` if none is given.
        **options: the keyword arguments of the estimator's function (`rtol`; `ties`; `k`, `metric`,
            `scale`), of `variants.neural.Training`, or `shrinkage` and `simulations`.

    Returns:
        One `PairEstimate` for each pair (0, 1), (0, 2), ..., (1, 2), ...; for several `k`, one for
        each k of each pair.
    """
    named = {f"clients[{q}]": x for q, x in enumerate(clients)}
    return _pairwise(named, estimator, permutations, key, options)


def gaussian(x: ArrayLike, y: ArrayLike, *, rtol: float | None = None) -> Estimate:
    """Mutual information of x and y by the Gaussian formula (Eqs 1-5), its bias removed.

    Computed in float64 on the support of the samples. For Gaussian samples of any covariance the
    mean and variance of `raw_bits` under independence are exact, `bits` is exact on average there,
    and `p_value`, from Wilks' Lambda, is valid. For others compare with `permutation_null`.
    `interval` is bits +- 1.96 sqrt(null variance + R / (N - 1)), where R estimates the sum of
    squared population canonical correlations.

    Args:
        rtol: a column whose standard deviation is no more than rtol times its root mean square as
            it came counts as constant, and so does a direction no wider than that once every column
            is divided by its root mean square. By default 4 eps of the array's precision; pass it
            if the samples were computed in a lower precision, or in thousands of steps.

    Raises:
        ValueError: fewer samples than rank_x + rank_y + 1.
    """
    return estimate_pair(x, y, "gaussian", rtol=rtol).estimate


def gaussian_copula(
    x: ArrayLike, y: ArrayLike, *, ties: str = "refuse", rtol: float | None = None
) -> Estimate:
    """Mutual information of x and y by the Gaussian formula on normal scores.

    Every component's ranks are mapped to normal quantiles, which leaves the MI as it is, and the
    Gaussian formula is taken of these: exact on average for a Gaussian copula with any margins. The
    null is that of `gaussian`, nearly: scores have a fixed spread, which normal samples have not.

    Args:
        ties: "refuse" more than 1 % of tied samples in a component, or "average" to take any;
            they get their mean rank.
        rtol: a direction of the scores no wider than this part of their root mean square counts as
            constant; by default 4 eps of float64.

    Raises:
        ValueError: too many ties (as in a constant component), or fewer samples than rank_x +
            rank_y + 1.
    """
    return estimate_pair(x, y, "gaussian_copula", ties=ties, rtol=rtol).estimate


def ksg(
    x: ArrayLike,
    y: ArrayLike,
    *,
    k: int | Sequence[int] = 3,
    metric: str = "euclidean",
    scale: str = "raw",
) -> Estimate | list[Estimate]:
    """Mutual information of x and y by nearest neighbours (Eq. 6).

    I = psi(k) - <psi(n_x + 1) + psi(n_y + 1)> + psi(N) nats: the first estimator of Kraskov,
    Stögbauer and Grassberger, Phys. Rev. E 69, 066138 (2004). As there, n_x(i) counts the points
    strictly nearer to x_i than the k-th neighbour of z_i = (x_i, y_i) is to z_i, where distances
    between z are the larger of those between x and between y; their eps(i) is twice the distance to
    that neighbour, the paper's eps(i) once. Computed in float64 if x or y is, else in float32.

    Args:
        k: the number of neighbours, or several, for which the distances are computed once.
        metric: the distance within x and within y, "euclidean" or "chebyshev".
        scale: "raw" for distances between the samples as they are; "standardised" to divide each
            component by its standard deviation first, which a single far sample may decide;
            "scores" to put the normal quantile of its rank in place of each value, tied ones
            taking their mean rank (constant components then say nothing). The MI is the same, the
            neighbours and so the estimate are not: scores are far better where tails are heavy.

    Returns:
        An `Estimate`; for several k a list of them. Its `ceiling_bits` is psi(N) - psi(k + 1) in
        bits, the most that is read where no distance in x equals one in y (exact copies, as in
        I(x; x), read psi(N) - psi(k)). Its `ties` says how many samples of x and of y repeat
        another; as many as their precision explains are taken, for which the estimate is what tiny
        noise on the samples would give.

    Raises:
        ValueError: more duplicate samples than their precision explains (rounded or discrete
            values, copies), constant components that are to be standardised, or k out of range.
    """
    found = _pairwise({"x": x, "y": y}, "ksg", 0, None, dict(k=k, metric=metric, scale=scale))
    return found[0].estimate if np.ndim(k) == 0 else [pair.estimate for pair in found]


def neural(x: ArrayLike, y: ArrayLike, *, key: jax.Array | None = None, **options: Any) -> Estimate:
    """A lower bound of the mutual information of x and y by a trained critic (InfoNCE).

    A bound on average, not for every data set; below zero where the critic has learnt noise.
    `ceiling_bits` is the logarithm of the batch size for InfoNCE.

    Args:
        key: a JAX random key for the parts of the seeds, the critics and their batches;
            `jax.random.key(0)` if none is given.
        **options: of `fedmi.mi.variants.neural.Training`: objective ("infonce" or "nwj"),
            batch_size, epochs, patience, restarts, learning_rate, width, embedding.

    Raises:
        ValueError: constant components, too few samples for a batch, impossible options, or
            training that fails.
    """
    return estimate_pair(x, y, "neural", key=key, **options).estimate


def permutation_null(
    x: ArrayLike,
    y: ArrayLike,
    *,
    estimator: str = "gaussian",
    m: int = 20,
    key: jax.Array | None = None,
    **options: Any,
) -> np.ndarray:
    """Corrected estimates over re-paired seeds: what the estimator reads without dependence.

    Args:
        estimator: a name that `pairwise` takes.
        m: the number of re-pairings, fewer than N.
        key: a JAX random key; `jax.random.key(0)` if none is given.
        **options: the keyword arguments of the estimator's own function.

    Returns:
        (m,) values of `bits`, infinite where re-paired samples share a direction; for several `k`,
        (len(k), m).
    """
    found = _pairwise({"x": x, "y": y}, estimator, m, key, options)
    values = [pair.permuted for pair in found]
    return values[0] if np.ndim(options.get("k", 0)) == 0 else np.stack(values)


def estimate_pair(
    x: ArrayLike,
    y: ArrayLike,
    estimator: str,
    *,
    permutations: int = 0,
    key: jax.Array | None = None,
    **options: Any,
) -> PairEstimate:
    """What `pairwise` makes of two clients, for a single k."""
    check_one_k(options)
    return _pairwise({"x": x, "y": y}, estimator, permutations, key, options)[0]


def check_one_k(options: Mapping[str, Any]) -> None:
    """Raise ValueError if an estimator's options name several k."""
    if np.ndim(options.get("k", 0)):
        raise ValueError(f"k is {options['k']!r}; name a single number of neighbours here")


def _pairwise(
    clients: Mapping[str, ArrayLike],
    estimator: str,
    permutations: int,
    key: jax.Array | None,
    options: Mapping[str, Any],
) -> list[PairEstimate]:
    check_estimator(estimator)
    if len(clients) < 2:
        raise ValueError(f"{len(clients)} clients; mutual information needs at least two")
    arrays = {name: as_samples(x, name) for name, x in clients.items()}
    check_lengths(list(arrays.values()), list(arrays))
    for name, array in arrays.items():
        check_varies(array, name)
    own = {"key": default_key(key)} if estimator in RANDOMISED else {}
    n = len(next(iter(arrays.values())))
    return ESTIMATORS[estimator](arrays, repairing(n, permutations, key), **options, **own)
