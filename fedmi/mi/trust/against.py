"""What KSG reads of one client with each of many others, and on parts of the samples.

Distances are computed once for all that is read from them, and where a standard error is asked for
at some points only, since an estimate is a mean over points. All samples stay neighbours of these.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from fedmi.mi import trees
from fedmi.mi.ksg import scaled
from fedmi.mi.null import repairing
from fedmi.mi.rounding import ROUNDING, ways_of
from fedmi.mi.terms import prepared, terms_against, terms_on_parts, tree_terms

PILOT = 1024
"""Points that are read first, to see how many are needed."""

SPOT_CHECKS, SPOT_CHECKED = 16, 4
"""At how many of them, and against how many clients, rounding is measured."""


def ksg_against(
    x: np.ndarray,
    others: Sequence[np.ndarray],
    *,
    error: float,
    key: jax.Array,
    k: int = 3,
    metric: str = "euclidean",
    scale: str = "raw",
) -> tuple[np.ndarray, np.ndarray]:
    """The first KSG estimate (Eq. 6) of x with each other client, and how far a part falls short.

    Args:
        x: (N, p).
        others: J arrays (N, q).
        error: standard error in bits that the choice of points may have, 0 for all of them.
        key: a JAX random key for that choice.
        k, metric, scale: of `fedmi.mi.ksg`.

    Returns:
        (J,) bits and the (J,) standard errors that they have for being a part's: of a mean over a
        random part of finitely many terms, whatever these depend on. (Cochran, Sampling Techniques,
        3rd edition, Wiley, 1977, section 2.6.)
    """
    named = {"x": x} | {f"others[{j}]": y for j, y in enumerate(others)}
    asked = scaled(named, k, metric, scale)
    n, components = len(x), max(points.shape[1] for points in asked.points)
    if trees.worthwhile(n, 0, components, k):
        first, *rest = asked.points
        return np.array([_by_trees([first, y], k, metric) for y in rest]), np.zeros(len(rest))
    draw = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    order = draw.permutation(n)
    terms, read = _precise(asked.points, order[:PILOT], k, metric)
    spread = terms.std(axis=1, ddof=1).max()
    # The error of m of n terms is spread * sqrt(1 / m - 1 / n).
    needed = int(np.ceil(1 / (1 / n + (error / max(spread, 1e-300)) ** 2)))
    if needed > PILOT:
        (first, others), product = read
        rest = terms_against(
            first,
            others,
            order[PILOT:needed],
            k=k,
            metric=metric,
            product=product,
            what="their nearest neighbours",
        )
        terms = np.concatenate([terms, rest], axis=1)
    left = 1 / terms.shape[1] - 1 / n
    return terms.mean(axis=1), terms.std(axis=1, ddof=1) * np.sqrt(left)


def _by_trees(pair: Sequence[np.ndarray], k: int, metric: str) -> float:
    """The estimate from trees, which answer for a few components in no time."""
    terms, _ = tree_terms(pair, repairing(len(pair[0]), 0), ks=(k,), metric=metric)
    return float(terms.mean())


def _precise(
    clients: Sequence[np.ndarray], queries: np.ndarray, k: int, metric: str
) -> tuple[np.ndarray, tuple[tuple[np.ndarray, list[np.ndarray]], bool]]:
    """Terms of some points by the quickest way that is precise enough, and what it read.

    That is seen at a few points, from differences in float64; see `fedmi.mi.rounding`.
    """
    quick = np.float32 if all(x.dtype.itemsize <= 4 for x in clients) else np.float64
    ways = ways_of(quick, max(x.shape[1] for x in clients), metric)
    options: dict[str, Any] = dict(k=k, metric=metric)

    def read(dtype: type, product: bool) -> tuple[np.ndarray, list[np.ndarray]]:
        first, *others = prepared(clients, dtype, centred=product)
        return first, others

    some = np.linspace(0, len(clients) - 2, min(SPOT_CHECKED, len(clients) - 1)).astype(int)
    finest = prepared([clients[0], *(clients[1 + j] for j in some)], np.float64)
    few = queries[:SPOT_CHECKS]
    exact = terms_against(finest[0], finest[1:], few, product=False, **options)
    del finest
    for way in ways:
        points = read(*way)
        terms = terms_against(*points, queries, product=way[1], **options)
        moved = np.abs(terms[some, : len(few)] - exact).mean(axis=1).max()
        if moved <= ROUNDING or way == ways[-1]:
            break
    return terms, (points, way[1])


def ksg_on_parts(
    x: np.ndarray,
    y: np.ndarray,
    splits: Sequence[np.ndarray],
    *,
    k: int = 3,
    metric: str = "euclidean",
    scale: str = "raw",
) -> list[np.ndarray]:
    """The first KSG estimate (Eq. 6) on every part of several splits of the samples.

    Args:
        x, y: (N, p) and (N, q); a scale is that of all samples.
        splits: of each (parts, size) samples, each at most once.
        k, metric, scale: of `fedmi.mi.ksg`.

    Returns:
        Of each split (parts,) bits.
    """
    asked = scaled({"x": x, "y": y}, k, metric, scale)
    smallest = min(split.shape[1] for split in splits)
    if k >= smallest:
        raise ValueError(f"k is {k}; in parts of {smallest} samples it must be below that")
    n, components = len(x), max(points.shape[1] for points in asked.points)
    if trees.worthwhile(n, 0, components, k):
        return [
            np.array([_by_trees([of[rows] for of in asked.points], k, metric) for rows in split])
            for split in splits
        ]
    _, ((first, (other,)), product) = _precise(asked.points, np.arange(n)[:SPOT_CHECKS], k, metric)
    labels = np.full((len(splits), n), -1, np.int32)
    for label, split in zip(labels, splits, strict=True):
        label[split] = np.arange(len(split))[:, None]
    options: dict[str, Any] = dict(k=k, metric=metric, product=product)
    terms = terms_on_parts(first, other, labels, [split.shape[1] for split in splits], **options)
    return [of[split].mean(axis=1) for of, split in zip(terms, splits, strict=True)]
