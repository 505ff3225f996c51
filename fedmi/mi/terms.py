"""What each point adds to Eq. 6, from all distances, a tile at a time, or from trees."""

from collections.abc import Sequence
from math import log, log2

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import psi

from fedmi import devices
from fedmi.mi import trees
from fedmi.mi.neighbours import pair_counts, part_counts, tile_counts, tile_distances
from fedmi.mi.null import Repairing
from fedmi.progress import track

CPU_TILE, LARGEST_TILE = 64, 4096
"""Query points a tile: on a CPU few enough that three clients' distances stay in its cache."""


def local_terms(
    points: Sequence[np.ndarray],
    repairing: Repairing,
    *,
    ks: Sequence[int],
    metric: str,
    product: bool = False,
    queries: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """What each query point adds to Eq. 6, in bits: the estimate is the mean of its terms.

    Args:
        points: Q arrays (N, p_q) of one precision, in which distances are computed.
        metric: within x and within y, "euclidean" or "chebyshev".
        product: whether Euclidean distances come from a product, for which pass centred points.
        queries: places of query points in the re-pairing's order, by default all; without
            re-pairings these may be any.

    Returns:
        (pairs, len(ks), 1 + m, queries) terms, and as many k-th joint distances (squared for metric
        "euclidean"); index 0 of the third axis is the pairing as it is, index s re-pairing s.
    """
    n, m = repairing.n, repairing.m
    queries = np.arange(n) if queries is None else queries
    tile = min(queries_a_tile(n, len(points), devices.memory()), len(queries))
    options = dict(m=m, ks=tuple(int(k) for k in ks), metric=metric, product=product)
    with jax.enable_x64(points[0].dtype == np.float64):
        clients = tuple(jnp.asarray(repairing.extended(x)) for x in points)
        starts = range(0, len(queries), tile)
        places = [np.take(queries, np.arange(s, s + tile + m), mode="wrap") for s in starts]
        tiles = [tile_counts(clients, place, **options) for place in places]
        counts, nearest = (
            np.concatenate([np.asarray(part) for part in parts], axis=-1)[..., : len(queries)]
            for parts in zip(*tiles, strict=True)
        )
    return terms_of(counts, n, ks), nearest.swapaxes(1, 2)


def terms_against(
    x: np.ndarray,
    others: Sequence[np.ndarray],
    queries: np.ndarray,
    *,
    k: int,
    metric: str,
    product: bool,
    what: str = "",
) -> np.ndarray:
    """What query points add to Eq. 6 of one client with each of others, (J, queries) bits.

    The one's distances are computed once. Arguments as of `local_terms`, whose terms these are;
    `what` is said of its progress, if anything is.
    """
    n = len(x)
    tile = min(queries_a_tile(n, 2, devices.memory()), len(queries))
    with jax.enable_x64(x.dtype == np.float64):
        points = [jnp.asarray(client) for client in (x, *others)]
        counts = []
        starts = range(0, len(queries), tile)
        for start in track(starts, what=what, unit="tile") if what else starts:
            place = jnp.asarray(np.take(queries, np.arange(start, start + tile), mode="wrap"))
            far = (tile_distances(of, place, metric=metric, product=product) for of in points)
            first = next(far)
            counts.append(np.stack([pair_counts(first, other, ks=(k,)) for other in far]))
    together = np.concatenate(counts, axis=-1)[..., : len(queries)]
    return terms_of(together[:, None], n, (k,))[:, 0, 0]


def terms_on_parts(
    x: np.ndarray,
    y: np.ndarray,
    labels: np.ndarray,
    sizes: Sequence[int],
    *,
    k: int,
    metric: str,
    product: bool,
) -> np.ndarray:
    """What every point adds to Eq. 6 among the points of its own part, (splits, N) bits.

    The distances are computed once for all splits.

    Args:
        labels: (splits, N) the part of each point.
        sizes: of every split, the points a part.
        k, metric, product: as `local_terms` has them.
    """
    n = len(x)
    tile = queries_a_tile(n, 2, devices.memory())
    options = dict(metric=metric, product=product)
    with jax.enable_x64(x.dtype == np.float64):
        points, counts = [jnp.asarray(client) for client in (x, y)], []
        for start in track(range(0, n, tile), what="neighbours within parts", unit="tile"):
            place = np.take(np.arange(n), np.arange(start, start + tile), mode="wrap")
            far = [tile_distances(of, jnp.asarray(place), **options) for of in points]
            found = [part_counts(*far, label, label[place], k=k) for label in labels]
            counts.append(np.stack(found))
    together = np.concatenate(counts, axis=-1)[..., :n]
    return np.stack(
        [
            terms_of(of_split[None, None, None], size, (k,))[0, 0, 0]
            for of_split, size in zip(together, sizes, strict=True)
        ]
    )


def tree_terms(
    clients: Sequence[np.ndarray], repairing: Repairing, *, ks: Sequence[int], metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """What `local_terms` returns for all queries (distances not squared), by trees in float64."""
    points = prepared(clients, np.float64)
    counts, nearest = trees.tree_counts(points, repairing, ks=ks, metric=metric)
    return terms_of(counts, repairing.n, ks), nearest.swapaxes(1, 2)


def terms_of(counts: np.ndarray, n: int, ks: Sequence[int]) -> np.ndarray:
    """Eq. 6's terms in bits, (pairs, len(ks), 1 + m, queries), from the counts of `tile_counts`."""
    # psi of counts is looked up: they are small integers, and there are many of them.
    table = psi(np.arange(1, n + 1))
    local = psi(np.array(ks)[:, None]) + psi(n) - table[counts].sum(axis=3)
    return local.swapaxes(1, 2) / log(2)


def prepared(
    clients: Sequence[np.ndarray], dtype: type, *, centred: bool = False
) -> list[np.ndarray]:
    """The samples in a common unit, a power of two, in which no squared distance overflows.

    Args:
        dtype: of the result, in which the largest squares just fit, for small ones need the room.
        centred: whether each client is moved to its componentwise median (of a thousand samples,
            as it need not be exact): a mean would follow a single far sample.
    """
    wide = [x.astype(np.result_type(x, np.float32), copy=False) for x in clients]
    exponent = np.frexp(max(_largest(x) for x in wide))[1]
    moved = [np.ldexp(x, -2 - exponent) for x in wide]  # so that no difference overflows
    if centred:
        for x in moved:
            x -= np.median(x[:: max(1, len(x) // 1000)], axis=0).astype(x.dtype)
    components = max(x.shape[1] for x in moved)
    room = int(np.finfo(dtype).maxexp - 3 - log2(components)) // 2
    unit = np.ldexp(1.0, room - np.frexp(max(_largest(x) for x in moved))[1])
    return [(x * np.result_type(x, dtype).type(unit)).astype(dtype, copy=False) for x in moved]


def _largest(x: np.ndarray) -> float:
    return float(max(x.max(), -x.min()))


def queries_a_tile(n: int, clients: int, memory: int | None) -> int:
    """How many query points are taken together; no count depends on it.

    Args:
        memory: of the device in bytes, of which at most a quarter is taken; None for a CPU.
    """
    if memory is None:
        return min(CPU_TILE, n)
    a_query = 8 * n * (clients + 2)  # every client's distances, and what a pair makes of them
    return min(devices.power_of_two(memory // 4 // a_query), LARGEST_TILE, n)
