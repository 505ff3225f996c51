"""Mutual information of every pair of clients, and of two arrays as the case of two clients."""

from collections.abc import Mapping, Sequence
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
from fedmi.mi.variants.shrinkage import pairs as shrunk_pairs


def _neural_pairs(*arguments: Any, **options: Any) -> list[PairEstimate]:
    from fedmi.mi.variants import neural  # brings Flax and Optax, which nothing else here needs

    return neural.pairs(*arguments, **options)


ESTIMATORS = {
    "gaussian": gaussian_pairs,
    "gaussian_copula": copula_pairs,
    "ksg": ksg_pairs,
    "gaussian_shrunk": shrunk_pairs,
    "neural": _neural_pairs,
}
RANDOMISED = {"gaussian_shrunk", "neural"}  # these draw at random themselves


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
    **options,
) -> list[PairEstimate]:
    """Estimate every pair of clients, and each again over re-paired seeds.

    What belongs to one client (its whitening, its distances) is computed once.

    Args:
        clients: Q >= 2 arrays (N, p_q); row i of each is seed i.
        estimator: "gaussian", "gaussian_copula", "gaussian_shrunk", "ksg" or
            "neural".
        permutations: m, the number of re-pairings; 0 for none.
        key: a JAX random key for the re-pairings, and for what the estimator itself draws;
            `jax.random.key(0)` if none is given.
        **options: of the estimator (`rtol`; `ties`; `k`, `metric`, `variant`, `scale`; see the
            functions of their names).

    Returns:
        One `PairEstimate` for each pair (0, 1), (0, 2), ..., (1, 2), ...; for several `k`, one for
        each k of each pair.

    Raises:
        ValueError: input that the estimator cannot take, naming the client.
    """
    names = [f"clients[{q}]" for q in range(len(clients))]
    return _pairwise(clients, names, estimator, permutations, default_key(key), options)


def gaussian(
    x: ArrayLike,
    y: ArrayLike,
    *,
    rtol: float | None = None,
    shrinkage: str | None = None,
    key: jax.Array | None = None,
) -> Estimate:
    """Mutual information of x and y by the Gaussian formula (Eqs 1-5), its bias removed.

    Computed in float64 on the support of the samples. Mean and variance of `raw_bits` under
    independence are exact for Gaussian samples of any covariance, and so is `bits` on average
    there; `p_value`, from Wilks' Lambda, is valid only for Gaussian samples. For others compare
    with `permutation_null`.

    Args:
        x, y: (N, p) and (N, q), row i of each from the same seed; one dimension is one column.
        rtol: a column whose standard deviation is no more than rtol times its root mean square as
            it came counts as constant, and so does a direction no wider than that once every column
            is divided by its root mean square. By default 4 eps of the precision of the array
            passed: a column with an offset says nothing if it varies by less than 4 eps of that.
            Pass it if the samples were computed in a lower precision, or in thousands of steps.
        shrinkage: "ledoit-wolf" or "oas" to shrink the correlation matrix first, which works for
            fewer samples than dimensions too. `null_bits` and `null_sd` are then simulated; there
            is no interval, and dependence is underestimated (see `fedmi.mi.variants.shrinkage`).
        key: a JAX random key for these simulations.

    Returns:
        An `Estimate`; `interval` is bits +- 1.96 sqrt(null variance + R / (N - 1)), where R
        estimates the sum of squared population canonical correlations.

    Raises:
        ValueError: fewer samples than rank_x + rank_y + 1, or arrays that are not samples.
    """
    if shrinkage is None:
        return _pairwise([x, y], ["x", "y"], "gaussian", 0, None, {"rtol": rtol})[0].estimate
    options = {"shrinkage": shrinkage}
    return _pairwise([x, y], ["x", "y"], "gaussian_shrunk", 0, key, options)[0].estimate


def gaussian_copula(
    x: ArrayLike, y: ArrayLike, *, ties: str = "refuse", rtol: float | None = None
) -> Estimate:
    """Mutual information of x and y by the Gaussian formula on normal scores.

    Every component's ranks are mapped to normal quantiles, which leaves the MI as it is, and
    `gaussian` is taken of these: exact on average for a Gaussian copula with any margins. The null
    is that of `gaussian`, nearly: scores have a fixed spread, which normal samples have not.

    Args:
        x, y: (N, p) and (N, q), row i of each from the same seed; one dimension is one column.
        ties: "refuse" more than 1 % of tied samples in a component, or "average" to take any;
            they get their mean rank.
        rtol: see `gaussian`.

    Returns:
        An `Estimate`.

    Raises:
        ValueError: too many ties (as in a constant component), or what `gaussian` refuses.
    """
    options = {"ties": ties, "rtol": rtol}
    return _pairwise([x, y], ["x", "y"], "gaussian_copula", 0, None, options)[0].estimate


def ksg(
    x: ArrayLike,
    y: ArrayLike,
    *,
    k: int | Sequence[int] = 3,
    metric: str = "euclidean",
    variant: int = 1,
    scale: str = "raw",
) -> Estimate | list[Estimate]:
    """Mutual information of x and y by nearest neighbours (Eq. 6).

    I = psi(k) - <psi(n_x + 1) + psi(n_y + 1)> + psi(N) nats: the first estimator of Kraskov,
    Stögbauer and Grassberger, Phys. Rev. E 69, 066138 (2004). Where the paper writes eps(i) for the
    distance to the k-th neighbour and counts within eps(i)/2, Kraskov's eps(i) is twice that
    distance. As in Kraskov's work, n_x(i) counts the points strictly nearer to x_i than the k-th
    neighbour of z_i = (x_i, y_i) is to z_i, where distances between z are the larger of those
    between x and between y.

    Args:
        x, y: (N, p) and (N, q), row i of each from the same seed; one dimension is one column.
            Computed in float64 if either is float64, else in float32.
        k: the number of neighbours, or several, for which the distances are computed once.
        metric: the distance within x and within y, "euclidean" or "chebyshev".
        variant: 1 for Kraskov's first estimator, which the paper uses; 2 for the second,
            I = psi(k) - 1/k - <psi(n_x) + psi(n_y)> + psi(N), where n_x(i) counts the points at
            most as far from x_i as the farthest, in x, of the k joint neighbours.
        scale: "raw" for distances between the samples as they are; "standardised" to divide each
            component by its standard deviation first, which a single far sample may decide;
            "scores" to put the normal quantile of its rank in place of each value, tied ones
            taking their mean rank (constant components then say nothing). The MI is the same, the
            neighbours and so the estimate are not: scores are far better where tails are heavy.

    Returns:
        An `Estimate`; for several k a list of them. Its `ceiling_bits` is psi(N) - psi(k + 1) in
        bits, the most that is read where no distance in x equals one in y. Exact copies, as in
        I(x; x), have such distances and read psi(N) - psi(k) with the first estimator. Its `ties`
        says how many samples of x and of y repeat another. As many as their precision explains are
        taken, for example a handful among 10,000 of one component in float32: the estimate is what
        tiny noise on the samples would give.

    Raises:
        ValueError: more duplicate samples than their precision explains (rounded or discrete
            values, copies), constant components that are to be standardised, k out of range, or
            arrays that are not samples.
    """
    options = dict(k=k, metric=metric, variant=variant, scale=scale)
    found = _pairwise([x, y], ["x", "y"], "ksg", 0, None, options)
    return found[0].estimate if np.ndim(k) == 0 else [pair.estimate for pair in found]


def neural(x: ArrayLike, y: ArrayLike, *, key: jax.Array, **options) -> Estimate:
    """A lower bound of the mutual information of x and y by a trained critic (InfoNCE).

    Args:
        x, y: (N, p) and (N, q), row i of each from the same seed; one dimension is one column.
        key: a JAX random key for the parts of the seeds, the critics and their batches.
        **options: of `variants.neural.Training`: objective ("infonce" or "nwj"), batch_size,
            epochs, patience, restarts, learning_rate, width, embedding.

    Returns:
        An `Estimate` whose `ceiling_bits` is the logarithm of the batch size for InfoNCE. A bound
        on average, not for every data set; below zero where the critic has learnt noise.

    Raises:
        ValueError: constant components, too few samples for a batch, impossible options, or
            training that fails.
    """
    return _pairwise([x, y], ["x", "y"], "neural", 0, key, options)[0].estimate


def permutation_null(
    x: ArrayLike,
    y: ArrayLike,
    *,
    estimator: str = "gaussian",
    m: int = 20,
    key: jax.Array | None = None,
    **options,
) -> np.ndarray:
    """Corrected estimates over re-paired seeds: what the estimator reads without dependence.

    Args:
        x, y: (N, p) and (N, q).
        estimator: "gaussian", "gaussian_copula", "gaussian_shrunk", "ksg" or
            "neural".
        m: the number of re-pairings, fewer than N.
        key: a JAX random key; `jax.random.key(0)` if none is given.
        **options: of the estimator.

    Returns:
        (m,) values of `bits`; for several `k`, (len(k), m).

    Raises:
        ValueError: what the estimator refuses, and m out of range.
    """
    found = _pairwise([x, y], ["x", "y"], estimator, m, default_key(key), options)
    values = [pair.permuted for pair in found]
    return values[0] if np.ndim(options.get("k", 0)) == 0 else np.stack(values)


def one_estimate(
    x: ArrayLike,
    y: ArrayLike,
    *,
    estimator: str,
    permutations: int,
    key: jax.Array | None,
    options: Mapping[str, Any],
) -> PairEstimate:
    """The estimate of two clients, where there can be only one.

    Raises:
        ValueError: several k, or what the estimator refuses.
    """
    if np.ndim(options.get("k", 0)):
        raise ValueError(f"k is {options['k']!r}; name a single number of neighbours here")
    return _pairwise([x, y], ["x", "y"], estimator, permutations, key, dict(options))[0]


def _pairwise(
    clients: Sequence[ArrayLike],
    names: Sequence[str],
    estimator: str,
    permutations: int,
    key: jax.Array | None,
    options: dict,
) -> list[PairEstimate]:
    check_estimator(estimator)
    if len(clients) < 2:
        raise ValueError(f"{len(clients)} clients; mutual information needs at least two")
    arrays = [as_samples(x, name) for x, name in zip(clients, names, strict=True)]
    check_lengths(arrays, names)
    for array, name in zip(arrays, names, strict=True):
        check_varies(array, name)
    repairs = repairing(len(arrays[0]), permutations, key)
    if estimator in RANDOMISED:
        if key is None:
            raise ValueError(f"{estimator} needs key=, for example jax.random.key(0)")
        options = options | {"key": key}
    return ESTIMATORS[estimator](arrays, names, repairs, **options)
