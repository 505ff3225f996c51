"""Estimators on a test bench: what they read where the mutual information is known.

The laws have as many dimensions as the user's own parameters, and differ in how the dependence is
spread and in what the tails are like, as every estimator fails at something else.
"""

import zlib
from collections.abc import Callable, Mapping
from math import ceil, nan
from typing import Any

import jax
import numpy as np

from fedmi.mi.pairwise import estimate_pair
from fedmi.mi.trust import laws

COLUMNS = (
    "family dimension n asked_bits true_bits draw estimator net_bits bits perm_bits low high "
    "ceiling_bits why_not"
).split()

BITS_A_DIRECTION = 2.0
DEGREES_OF_FREEDOM = 5.0


def _few(d: int, bits: float) -> laws.Law:
    pairs = max(1, ceil(bits / BITS_A_DIRECTION))
    return laws.Normal(laws.sparse(d, min(pairs, d), bits), d)


def _cube(x: np.ndarray) -> np.ndarray:
    return x**3


FAMILIES: Mapping[str, Callable[[int, float], laws.Law]] = {
    "few directions": _few,
    "all directions": lambda d, bits: laws.Normal(laws.sparse(d, d, bits), d),
    "few, cubed": lambda d, bits: laws.Mapped(_few(d, bits), _cube, _cube),
    "heavy tails": lambda d, bits: laws.StudentT(laws.sparse(d, d, bits), d, DEGREES_OF_FREEDOM),
}
"""Name -> (dimensions of x and of y, bits) -> law.

Normal with the dependence in a few directions (2 bits each at most) or spread over all; the former
with every component cubed, which leaves the MI as it is; and Student's t with five degrees of
freedom, whose common scale adds to the MI asked for.
"""


def reading(
    family: str,
    *,
    dimension: int,
    n: int,
    mi_bits: float,
    draw: int,
    estimator: str,
    options: Mapping[str, Any],
    permutations: int,
    key: jax.Array,
) -> dict[str, Any]:
    """Draws n samples of a law, in float32 as parameters are, and estimates their MI.

    All estimators read the same samples.

    Args:
        dimension: of x, and of y.
        draw: which of several data sets.
        permutations: re-pairings behind the null.
        key: a JAX random key, the same for a whole bench.

    Returns:
        The columns of `COLUMNS`. Where the estimator refuses the samples `bits` is nan and
        `why_not` says why.
    """
    law = FAMILIES[family](dimension, mi_bits)
    place = zlib.crc32(f"{family} {dimension} {n} {mi_bits:g} {draw}".encode())
    sample_key, own_key = jax.random.split(jax.random.fold_in(key, place))
    x, y = (a.astype(np.float32) for a in law.sample(sample_key, n))
    row = dict.fromkeys(COLUMNS, nan) | dict(
        family=family,
        dimension=dimension,
        n=n,
        asked_bits=mi_bits,
        true_bits=law.mi_bits,
        draw=draw,
        estimator=estimator,
        why_not="",
    )
    try:
        pair = estimate_pair(x, y, estimator, permutations=permutations, key=own_key, **options)
    except ValueError as error:
        return row | dict(why_not=str(error))
    low, high = pair.estimate.interval
    return row | dict(
        net_bits=pair.net_bits,
        bits=pair.estimate.bits,
        perm_bits=pair.perm_bits,
        low=low,
        high=high,
        ceiling_bits=pair.estimate.ceiling_bits,
    )
