"""All three pairs of clients: fedmi's estimators, and the bare products beneath them.

The clients are independent and normal, float32 as the samples are. How long an estimate takes does
not depend on the numbers, with one exception: where a covariance is nearly singular, the Gaussian
estimator takes correlations from orthonormal bases, which is slower; `decades` provokes that.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.work import Work, best
from fedmi import mi
from fedmi.mi.null import repairing
from fedmi.mi.result import client_pairs
from fedmi.mi.terms import local_terms

CLIENTS = 3
UNIT = "estimates"


def samples(n: int, d: int, decades: float = 0) -> list[np.ndarray]:
    """Three clients' samples (n, d); standard deviations fall evenly over so many decades."""
    rng = np.random.default_rng(0)
    scale = np.logspace(0, -decades, d, dtype=np.float32)
    return [rng.standard_normal((n, d), np.float32) * scale for _ in range(CLIENTS)]


def ksg(*, n: int, d: int, permutations: int = 0, metric: str = "euclidean") -> Work:
    """KSG with k = 3, the check of rounding in float64 included."""
    clients, key = samples(n, d), jax.random.key(0)
    some = np.arange(min(n, 64))
    for dtype, m in ((np.float32, permutations), (np.float64, 0)):  # compiles; one tile each
        points = [x.astype(dtype) for x in clients]
        repair = repairing(n, m, key)
        product = dtype == np.float32 and metric == "euclidean"
        local_terms(points, repair, ks=(3,), metric=metric, product=product, queries=some)
    del points
    options = dict(permutations=permutations, metric=metric)

    def run() -> None:
        pairs = mi.pairwise(clients, estimator="ksg", key=key, **options)
        if any(np.isnan(pair.rounding_bits) for pair in pairs):
            raise ArithmeticError("float32 did not suffice for random normal samples")

    return Work(run, 1, UNIT, f"{jax.devices()[0].platform}, k = 3, {permutations} re-pairings")


def gaussian(*, n: int, d: int, permutations: int = 0, decades: float = 0) -> Work:
    """The Gaussian formula."""
    clients, key = samples(n, d, decades), jax.random.key(0)

    def run() -> None:
        mi.pairwise(clients, estimator="gaussian", permutations=permutations, key=key)

    run()
    spread = f", standard deviations over {decades:g} decades" if decades else ""
    return Work(run, 1, UNIT, f"{permutations} re-pairings{spread}")


def repaired(*, n: int, d: int, permutations: int) -> Work:
    """The Gaussian formula and its re-pairings, of which each counts as one unit."""
    whole = gaussian(n=n, d=d, permutations=permutations)
    return Work(whole.run, permutations, "re-pairings", f"{whole.note}, the estimate included")


def cross_products(*, n: int, d: int) -> Work:
    """x' y of every pair in float32: what one re-pairing of all three would cost."""
    clients = samples(n, d)

    def run() -> None:
        for a, b in client_pairs(CLIENTS):
            clients[a].T @ clients[b]

    run()
    return Work(run, 1, "re-pairings", "NumPy, float32")


def calibrated(*, n: int, d: int, draws: int) -> Work:
    """What notebook 02 makes of one pair: both estimators on surrogates, and on parts."""
    x, y, _ = samples(n, d)

    def run() -> None:
        mi.report(x, y, draws=draws, key=jax.random.key(0))

    return Work(run, 1, "reports", f"{draws} draws, 7 truths, 2 families, compilation included")


def distance_products(*, n: int, d: int) -> Work:
    """x x' of every client in float32, tile by tile, by whichever of NumPy and XLA is quicker."""
    clients = samples(n, d)
    makers = {"NumPy": _numpy_products, "XLA": _xla_products}
    tiles = [tile for tile in (64, 256, 1024, 2048) if tile <= n] or [n]
    trials = {
        (name, tile): partial(make(clients[:1], tile), max(tiles))
        for name, make in makers.items()
        for tile in tiles
    }
    name, tile = best(trials)
    products = makers[name](clients, tile)
    products(tile)
    return Work(partial(products, n), 1, UNIT, f"{name}, float32, tiles of {tile} queries")


def _numpy_products(clients: list[np.ndarray], tile: int) -> Callable[[int], None]:
    """A function that multiplies all samples and the first so many, for every client."""
    n = len(clients[0])
    out = np.empty((tile, n), np.float32)

    def run(queries: int) -> None:
        for x in clients:
            for start in range(0, min(queries, n), tile):
                part = x[start : start + tile]
                np.matmul(part, x.T, out=out[: len(part)])

    return run


def _xla_products(clients: list[np.ndarray], tile: int) -> Callable[[int], None]:
    """Likewise."""
    n = len(clients[0])
    arrays = [jnp.asarray(x) for x in clients]

    @jax.jit
    def product(x, start):
        part = jax.lax.dynamic_slice_in_dim(x, start, tile)
        return jnp.dot(x, part.T, precision=jax.lax.Precision.HIGHEST)

    def run(queries: int) -> None:
        for x in arrays:
            for start in range(0, min(queries, n), tile):
                product(x, start).block_until_ready()

    return run


def covariance(*, n: int, d: int) -> Work:
    """z' z in float64 of all clients' components side by side, half of it computed (syrk)."""
    z = np.concatenate(samples(n, d), axis=1).astype(np.float64)

    def run() -> None:
        z.T @ z

    run()
    return Work(run, 1, UNIT, "NumPy, float64, symmetric product (syrk)")
