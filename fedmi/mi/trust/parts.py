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


def gaussian_on_parts(
    x: Whitened, y: Whitened, order: np.ndarray, parts: Sequence[int]
) -> list[np.ndarray] | None:
    """Eqs 1-5 with their bias removed, on the support of all samples.

    Parts overlap: the second moments of the pieces between all their ends are computed once, and
    added up. Float32 products move an estimate by some 1e-6 / `CLEAR` of its plug-in value at most.

    Args:
        x, y: all N samples.
        order: (N,) in which they are cut.
        parts: into how many parts of one size they are cut, each in turn.

    Returns:
        Of each number of parts their bits; None where samples are too few, or a part has no full
        rank or is so close to sharing a direction that these products are not precise enough.
    """
    n, ranks = len(order), (x.rank, y.rank)
    if n // max(parts) < sum(ranks) + 1:
        return None
    scale = np.sqrt(n)
    z = np.hstack([np.ones((n, 1)), x.basis * scale, y.basis * scale]).astype(np.float32)[order]
    ends = [n // m * np.arange(m + 1) for m in parts]
    cuts = np.unique(np.concatenate(ends))
    moments = [z[a:b].T @ z[a:b] for a, b in pairwise(cuts)]
    found = []
    for m, cut in zip(parts, ends, strict=True):
        size, bits = n // m, np.empty(m)
        for part, (a, b) in enumerate(pairwise(np.searchsorted(cuts, cut))):
            together = np.asarray(np.sum(moments[a:b], axis=0, dtype=np.float64))
            nats = _nats(together / size, x.rank)
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
