"""Neighbour counts of KSG, exactly, one tile of query points at a time.

A tile holds, for each client, the distances from all N points (first axis) to B query points
(last axis), and serves everything that is asked of them: all client pairs, both counts, and all
re-pairings. The layout makes reductions over points run along contiguous queries:

                 query i0 ... i0+B-1 | i0+B ... i0+B+m-1
    point 0    [  ............................. ]
      ...      [  ............................. ]
    point N-1  [  ............................. ]
    0 .. m-1   [  ............................. ]   the first m points again

Re-pairing s reads client b's tile at offset (s, s): see `fedmi.mi.null`.
"""

from functools import partial
from math import isqrt

import jax
import jax.numpy as jnp
from jax import lax

from fedmi.mi.result import client_pairs

CHUNK = 16
"""Components that one pass of `direct_distances` takes together."""

SEARCHED = 10
"""Up to this k neighbours are searched for one by one; beyond it a value is found bit by bit."""


def block_size(n: int) -> int:
    """Points a block: a power of two between a quarter and a half of the root of N."""
    return max(1, 2 ** (isqrt(n).bit_length() - 2))


def product_distances(points: jax.Array, queries: jax.Array) -> jax.Array:
    """Squared Euclidean distances (M, B) of points (M, d) and queries (B, d), by one product.

    Each is precise to the rounding of its own point's and query's squared norm.
    """
    product = jnp.dot(points, queries.T, precision=lax.Precision.HIGHEST)
    norms = (points**2).sum(axis=1)[:, None] + (queries**2).sum(axis=1)
    return jnp.maximum(norms - 2 * product, 0)


def direct_distances(points: jax.Array, queries: jax.Array, *, metric: str) -> jax.Array:
    """Distances (M, B), squared for metric "euclidean", precise to their own rounding."""
    padding = (0, 0), (0, -points.shape[1] % CHUNK)
    points, along = jnp.pad(points, padding), jnp.pad(queries, padding).T

    def add(c: jax.Array, far: jax.Array) -> jax.Array:
        p = lax.dynamic_slice_in_dim(points, c * CHUNK, CHUNK, axis=1)
        q = lax.dynamic_slice_in_dim(along, c * CHUNK, CHUNK, axis=0)
        for t in range(CHUNK):
            difference = p[:, t, None] - q[t]
            chebyshev = metric == "chebyshev"
            far = jnp.maximum(far, jnp.abs(difference)) if chebyshev else far + difference**2
        return far

    start = jnp.zeros((points.shape[0], queries.shape[0]), points.dtype)
    return lax.fori_loop(0, points.shape[1] // CHUNK, add, start)


def joint_kth(x: jax.Array, y: jax.Array, s: jax.Array, ks: tuple[int, ...]) -> jax.Array:
    """The k-th smallest joint distance of each query for every k, (len(ks), B).

    The points are cut into R blocks of size S, block r holding points r, r + R, r + 2R, ..., so
    that the minima of all blocks are the elementwise minimum of S contiguous slices. The k smallest
    distances lie in the k blocks of smallest minima, so only these are looked at twice.

    Args:
        x: (N, B) distances to x.
        y: (N + m, B + m) distances to y, of which rows s..s+N and columns s..s+B are meant.
    """
    n, width = x.shape
    size = block_size(n)
    blocks = n // size
    if max(ks) > min(SEARCHED, blocks):
        return kth_by_bits(_joint(x, y, s, 0, n), ks)
    minima = _joint(x, y, s, 0, blocks)
    for i in range(1, size):
        minima = jnp.minimum(minima, _joint(x, y, s, i * blocks, blocks))
    # Without the barrier XLA computes the minima anew for each of the k searches.
    minima = lax.optimization_barrier(minima)
    lanes = jnp.arange(width)
    candidates = [_joint(x, y, s, size * blocks, n - size * blocks)]
    for _ in range(max(ks)):
        block = minima.argmin(axis=0)
        minima = minima.at[block, lanes].set(jnp.inf)
        rows = blocks * jnp.arange(size)[:, None] + block
        candidates.append(jnp.maximum(x[rows, lanes], y[rows + s, lanes + s]))
    nearest = lax.optimization_barrier(jnp.concatenate(candidates))
    return jnp.stack([kth_smallest(nearest, k) for k in ks])


def kth_smallest(values: jax.Array, k: int) -> jax.Array:
    """The k-th smallest of each column of (M, B), ties counted, as (B,); code for every k."""
    smallest = jnp.full(values.shape[1], -jnp.inf, values.dtype)
    found = jnp.zeros(values.shape[1], jnp.int32)
    for _ in range(k):
        following = jnp.where(values > smallest, values, jnp.inf).min(axis=0)
        ties = (values == following).sum(axis=0, dtype=jnp.int32)
        smallest = jnp.where(found < k, following, smallest)
        found = found + ties
    return smallest


def kth_by_bits(values: jax.Array, ks: tuple[int, ...]) -> jax.Array:
    """The k-th smallest of each column of (M, B) for every k, ties counted, as (len(ks), B).

    Numbers that are not negative are ordered as their bits are, read as whole numbers. The k-th
    smallest is the largest number that fewer than k are below: its bits are found from the first to
    the last, in code and time that do not grow with k.
    """
    width = 8 * values.dtype.itemsize
    integer = jnp.dtype(f"int{width}")
    bits = lax.bitcast_convert_type(values, integer)
    wanted = jnp.array(ks)[:, None]

    def add_bit(i: jax.Array, found: jax.Array) -> jax.Array:
        trial = found | (jnp.ones((), integer) << (width - 2 - i).astype(integer))
        below = lax.map(lambda bound: count_below(bits, 0, len(bits), bound), trial)
        return jnp.where(below < wanted, trial, found)

    nothing = jnp.zeros((len(ks), values.shape[1]), integer)
    found = lax.fori_loop(0, width - 1, add_bit, nothing)
    return lax.bitcast_convert_type(found, values.dtype)


def count_below(far: jax.Array, s: int | jax.Array, n: int, bound: jax.Array) -> jax.Array:
    """How many of rows s..s+n of each column of `far` from column s on are below bound, (B,)."""
    # Slices are added elementwise, as XLA on the CPU turns one long sum into slow code.
    slices = block_size(n)
    rows = n // slices

    def below(first: int, rows: int) -> jax.Array:
        part = lax.dynamic_slice(far, (s + first, s), (rows, len(bound)))
        return (part < bound).astype(jnp.int32)

    total = sum(below(i * rows, rows) for i in range(slices))
    rest = below(slices * rows, n - slices * rows)
    return lax.optimization_barrier(total).sum(axis=0) + rest.sum(axis=0)


def _joint(x: jax.Array, y: jax.Array, s: jax.Array, first: int, rows: int) -> jax.Array:
    """Joint distances of `rows` points from `first` on."""
    part = lax.dynamic_slice(y, (s + first, s), (rows, x.shape[1]))
    return jnp.maximum(x[first : first + rows], part)


@partial(jax.jit, static_argnames=("m", "ks", "metric", "product"))
def tile_counts(
    clients: tuple[jax.Array, ...],
    queries: jax.Array,
    *,
    m: int,
    ks: tuple[int, ...],
    metric: str,
    product: bool,
) -> tuple[jax.Array, jax.Array]:
    """How many neighbours in x and in y alone are nearer than the k-th joint one, of some queries.

    Args:
        clients: each (N + m, p_q), the first m points again at the end.
        queries: (B + m,) the points asked for, each below N; where m > 0 they follow each other,
            the first point after the last.
        product: whether Euclidean distances come from a matrix product.

    Returns:
        (pairs, 1 + m, len(ks), 2, B) counts n_x and n_y, and (pairs, 1 + m, len(ks), B) the k-th
        joint distances (squared for metric "euclidean"); index 0 of the second axis is the pairing
        as it is, index s re-pairing s.
    """
    n = clients[0].shape[0] - m
    tile = len(queries) - m
    far = partial(_distances, m=m, metric=metric, product=product)
    distances = [far(points, queries) for points in clients]

    def count(x: jax.Array, y: jax.Array, s: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _counts(x, y, s, n, tile, ks)

    shifts = jnp.arange(1 + m)
    found = [
        lax.map(partial(count, distances[a], distances[b]), shifts)
        for a, b in client_pairs(len(clients))
    ]
    counts, nearest = zip(*found, strict=True)
    return jnp.stack(counts), jnp.stack(nearest)


@partial(jax.jit, static_argnames=("metric", "product"))
def tile_distances(
    points: jax.Array, queries: jax.Array, *, metric: str, product: bool
) -> jax.Array:
    """The (N, B) distances of one client that a tile holds, without re-pairings."""
    return _distances(points, queries, m=0, metric=metric, product=product)


@partial(jax.jit, static_argnames="ks")
def pair_counts(x: jax.Array, y: jax.Array, *, ks: tuple[int, ...]) -> jax.Array:
    """(len(ks), 2, B) counts n_x and n_y as `tile_counts` has them, of two `tile_distances`."""
    return _counts(x, y, jnp.zeros((), int), x.shape[0], x.shape[1], ks)[0]


@partial(jax.jit, static_argnames="k")
def part_counts(
    x: jax.Array, y: jax.Array, labels: jax.Array, of_queries: jax.Array, *, k: int
) -> jax.Array:
    """(2, B) counts n_x and n_y among the points of a query's own part, of two `tile_distances`.

    Args:
        labels: (N,) the part of each point.
        of_queries: (B,) that of each query.
    """
    apart = labels[:, None] != of_queries
    within = (jnp.where(apart, jnp.inf, far) for far in (x, y))
    return pair_counts(*within, ks=(k,))[0]


def _distances(
    points: jax.Array, queries: jax.Array, *, m: int, metric: str, product: bool
) -> jax.Array:
    """(N + m, B) distances of a client's points to queries, infinite to itself."""
    n, lanes = points.shape[0] - m, jnp.arange(len(queries))
    if product:
        far = product_distances(points, points[queries])
    else:
        far = direct_distances(points, points[queries], metric=metric)
    far = far.at[queries, lanes].set(jnp.inf)
    again = jnp.where(queries < m, queries + n, queries)
    return far.at[again, lanes].set(jnp.inf)


def _counts(
    x: jax.Array, y: jax.Array, s: jax.Array, n: int, tile: int, ks: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """Counts (len(ks), 2, B) and k-th joint distances (len(ks), B) at an offset of y."""

    def nearer(bound: jax.Array) -> jax.Array:
        return jnp.stack([count_below(x, 0, n, bound), count_below(y, s, n, bound)])

    nearest = joint_kth(x[:n, :tile], y, s, ks)
    return lax.map(nearer, nearest), nearest
