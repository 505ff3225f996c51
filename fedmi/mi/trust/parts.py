"""The Gaussian estimate on every part of several splits, from one set of products."""

from collections.abc import Sequence
from itertools import pairwise
from math import log

import numpy as np
from numpy import linalg

from fedmi.mi import wilks
from fedmi.mi.whitening import Whitened

CLEAR = 1e-2
"""What is left of a direction, of 1, once those before it are known, where float32 suffices."""


def joined(x: Whitened, y: Whitened) -> np.ndarray:
    """(N, 1 + rank_x + rank_y) float32: 1, and both bases, whose components have unit variance."""
    scale = np.sqrt(len(x.standard))
    ones = np.ones((len(x.standard), 1))
    return np.hstack([ones, x.basis * scale, y.basis * scale]).astype(np.float32)


def gaussian_on_parts(
    both: np.ndarray, ranks: tuple[int, int], order: np.ndarray, parts: Sequence[int]
) -> list[np.ndarray] | None:
    """Eqs 1-5 with their bias removed, on the support of all samples.

    Parts overlap: the second moments of the pieces between all their ends are computed once, and
    added up. Float32 products move an estimate by some 1e-6 / `CLEAR` of its plug-in value at most.

    Args:
        both: all N samples of x and y, as `joined` makes them.
        ranks: of x and of y.
        order: (N,) in which they are cut.
        parts: into how many parts of one size they are cut, each in turn.

    Returns:
        Of each number of parts their bits; None where samples are too few, or a part has no full
        rank or is so close to sharing a direction that these products are not precise enough.
    """
    n = len(order)
    if n // max(parts) < sum(ranks) + 1:
        return None
    z = both[order]
    ends = [n // m * np.arange(m + 1) for m in parts]
    cuts = np.unique(np.concatenate(ends))
    moments = [z[a:b].T @ z[a:b] for a, b in pairwise(cuts)]
    found = []
    for m, cut in zip(parts, ends, strict=True):
        size, bits = n // m, np.empty(m)
        for part, (a, b) in enumerate(pairwise(np.searchsorted(cuts, cut))):
            together = np.asarray(np.sum(moments[a:b], axis=0, dtype=np.float64))
            nats = _nats(together / size, ranks[0])
            if nats is None:
                return None
            bits[part] = (nats - wilks.null_mean(size, *ranks)) / log(2)
        found.append(bits)
    return found


def _nats(moments: np.ndarray, p: int) -> float | None:
    """Eq. 5 from second moments of 1, x and y, x of rank p: half of log |X| |Y| / |XY|."""
    mean = moments[0, 1:]
    covariance = moments[1:, 1:] - np.outer(mean, mean)
    try:
        whole = np.diag(linalg.cholesky(covariance)) ** 2
        of_y = np.diag(linalg.cholesky(covariance[p:, p:])) ** 2
    except linalg.LinAlgError:
        return None
    if not min(whole.min(), of_y.min()) > CLEAR:
        return None
    return float(np.log(of_y).sum() - np.log(whole[p:]).sum()) / 2
