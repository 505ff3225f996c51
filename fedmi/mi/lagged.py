"""Cross products of two arrays at many lags, for about the price of three.

The product at lag s is sum_i x_i y_(i+s)'. At m lags these are a cross-correlation along i, for
every component of x with every one of y: by the convolution theorem it takes a product for each
frequency in place of one for each lag. The samples are cut into blocks three times as long as
there are lags, so that a product of frequencies sums over blocks, of which there are few, and not
over samples. The transforms are products with cosines and sines: for some hundred points that is
as fast as an FFT, of any length, and in the BLAS that does all the rest.
"""

from collections.abc import Iterator

import numpy as np

FEWEST = 8
"""Below so many lags each is a product of its own."""

LAGS_BYTES, SLAB_BYTES = 2**29, 2**26
"""What the products of the lags taken together, and what one slab of their spectrum, may take."""


def lagged_products(x: np.ndarray, y: np.ndarray, m: int) -> Iterator[np.ndarray]:
    """The m matrices (p, q) sum_i x[i] y[i + s]', for s = 1, ..., m in order.

    Their rounding is that of the arrays' precision, as with the bare product.

    Args:
        x: (N, p).
        y: (N + m, q), of the same precision.
    """
    together = LAGS_BYTES // (x.shape[1] * y.shape[1] * x.itemsize)
    if min(together, m) < FEWEST:
        yield from (x.T @ y[s : s + len(x)] for s in range(1, m + 1))
        return
    for first in range(1, m + 1, together):
        yield from _products(x, y[first:], min(together, m + 1 - first))


def _products(x: np.ndarray, y: np.ndarray, lags: int) -> np.ndarray:
    """(lags, p, q) products, of lags 0, 1, ..."""
    hop, window = 3 * lags, 4 * lags
    # x is 0 from `hop` on in each window of y, so that no product is one of another window's end.
    angles = 2 * np.pi / window * np.outer(np.arange(window // 2 + 1), np.arange(window))
    of_x = _spectrum(_blocks(x, hop, hop), angles)
    of_y = _spectrum(_blocks(y[: len(x) + lags], hop, window), angles)[:, :, : of_x.shape[2]]
    # Of conj(x^) y^, x^ = c - i s: the real part is c c' + s s' and the imaginary one s c' - c s'.
    turned = np.stack([-of_y[:, 1], of_y[:, 0]], axis=1)
    stacked = [part.reshape(len(angles), -1, part.shape[-1]) for part in (of_x, of_y, turned)]
    of_x, *of_y = stacked
    often = np.where(np.arange(len(angles)) % (window // 2), 2, 1)[:, None] / window
    back = np.stack([often * np.cos(angles), -often * np.sin(angles)])[..., :lags]
    back = back.reshape(-1, lags).T.astype(x.dtype)
    p, q = x.shape[1], y.shape[1]
    result = np.empty((lags, p, q), x.dtype)
    rows = min(p, max(1, SLAB_BYTES // (2 * len(angles) * q * x.itemsize)))
    spectrum = np.empty((2, len(angles), rows, q), x.dtype)
    for start in range(0, p, rows):
        part = of_x[..., start : start + rows].swapaxes(1, 2)
        held = spectrum[:, :, : part.shape[1]]
        for side, into in zip(of_y, held, strict=True):
            np.matmul(part, side, out=into)
        products = back @ held.reshape(2 * len(angles), -1)
        result[:, start : start + rows] = products.reshape(lags, -1, q)
    return result


def _blocks(x: np.ndarray, hop: int, length: int) -> np.ndarray:
    """(blocks, length, p): rows from every multiple of `hop` on, with zeros behind the last."""
    count = -(-len(x) // hop)
    padded = np.pad(x, ((0, (count - 1) * hop + length - len(x)), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, length, axis=0)[::hop]
    return windows.swapaxes(1, 2)


def _spectrum(blocks: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """(frequencies, 2, blocks, p): sums of rows times cosines, and times sines."""
    along = angles[:, : blocks.shape[1]]
    waves = np.concatenate([np.cos(along), np.sin(along)]).astype(blocks.dtype)
    found = waves @ blocks
    return found.reshape(len(blocks), 2, len(angles), -1).transpose(2, 1, 0, 3)
