"""What every estimator and distance accepts as samples."""

from numbers import Real
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy  # its module `stats` takes long to import, and is when it is first used
from numpy.typing import ArrayLike
from scipy.special import ndtri

IDLE = 4.0
"""Eps of their precision, times their root mean square, by which samples may vary and say nothing.

A stored number is off by up to half an eps of its size. Numbers that add up T steps carry about
0.3 sqrt(T) eps: as much as this after some 190 steps.
"""

TIES = ("refuse", "average")
FEW_TIES = 0.01
"""Up to this share of tied samples ties are taken for rounding (float32 has 2^24 numbers)."""


def as_samples(value: ArrayLike, name: str) -> np.ndarray:
    """Return `value` as a finite (N, p) floating-point array, or say what is wrong with it.

    Args:
        value: (N, p) or (N,) numbers, one row a sample. Integers and booleans become float64;
            floating point keeps its precision (bfloat16 and its like too).
        name: what the caller calls this argument, for the messages.

    Raises:
        ValueError: not one or two dimensions, empty, or not finite real numbers throughout.
    """
    try:
        array = np.ma.asarray(value)
        if array.dtype.names:
            raise TypeError(f"its numbers are records of {', '.join(array.dtype.names)}")
    except ValueError:
        raise ValueError(f"{name} has rows of unequal length; pass (N, p) numbers") from None
    except TypeError as error:
        raise ValueError(f"{name} does not hold real numbers: {error}") from error
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise ValueError(
            f"{name} has {array.ndim} dimensions; pass (N, p): one row a sample, one column a "
            "component (reshape or select first)"
        )
    if 0 in array.shape:
        raise ValueError(f"{name} is empty, of shape {array.shape}; pass at least one sample")
    if np.ma.is_masked(array):
        rows = int(np.ma.getmaskarray(array).any(axis=1).sum())
        raise ValueError(
            f"{name} is masked in {rows} of {len(array)} samples; drop them from every client first"
        )
    array = _floating(np.asarray(array.data), name)
    finite = np.isfinite(array)
    if not finite.all():
        rows = int(array.shape[0] - finite.all(axis=1).sum())
        raise ValueError(
            f"{name} is not finite in {rows} of {array.shape[0]} samples; drop them from every "
            "client first (fedmi.finite does)"
        )
    return array


def _floating(array: np.ndarray, name: str) -> np.ndarray:
    """The array in floating point of at most 64 bits; raises ValueError for what is not real."""
    if array.dtype.kind == "O":  # such as a data frame of nullable columns
        others = [v for v in array.flat if not isinstance(v, Real)]
        if others:
            raise ValueError(
                f"{name} does not hold real numbers throughout, but {others[0]!r}; drop such "
                "samples from every client first, or convert it to a float array"
            )
        return array.astype(np.float64)
    # bfloat16 and its like are "V" to NumPy, as the records of a table are.
    kind = array.dtype.kind
    if kind not in "biuf" and not (kind == "V" and jnp.issubdtype(array.dtype, jnp.number)):
        raise ValueError(
            f"{name} does not hold real numbers but {array.dtype}; convert it to a float array"
        )
    if jnp.issubdtype(array.dtype, jnp.floating) and array.dtype.itemsize <= 8:
        return array
    return array.astype(np.float64)


def eps(dtype: np.dtype) -> float:
    """The spacing of floating-point numbers at 1."""
    return float(jnp.finfo(dtype).eps)


class Centred(NamedTuple):
    """Samples less their mean, with what their columns vary by.

    Attributes:
        columns: (N, p) float64 in `units`. What is the same in all samples is exactly 0.
        units: (p,) powers of two that leave no number larger than 2.
        size: (p,) root mean square of the samples as they came, in `units`.
        spread: (p,) standard deviation in `units`; 0 where a column is idle.
    """

    columns: np.ndarray
    units: np.ndarray
    size: np.ndarray
    spread: np.ndarray


def centred(array: np.ndarray, rtol: float | None = None) -> Centred:
    """Takes the mean off, so that its rounding leaves no trace, and finds idle columns.

    A column is idle if it is the same in all samples, or varies by rounding alone: by no more than
    `rtol` (by default `IDLE` eps of the array's precision) of its root mean square.
    """
    n = len(array)
    exponents = np.frexp(np.abs(array).max(axis=0).astype(np.float64))[1] - 1
    columns = np.ldexp(array.astype(np.float64), -exponents)
    size = np.sqrt(np.einsum("np,np->p", columns, columns) / n)
    # Below the smallest normal number rounding falls no further.
    size = np.maximum(size, np.ldexp(float(jnp.finfo(array.dtype).tiny), -exponents))
    # The mean of N equal numbers is another number; that of what it leaves over is less by eps.
    columns -= columns.mean(axis=0)
    columns -= columns.mean(axis=0)
    columns[:, (array == array[0]).all(axis=0)] = 0
    spread = np.sqrt(np.einsum("np,np->p", columns, columns) / n)
    spread[spread <= (IDLE * eps(array.dtype) if rtol is None else rtol) * size] = 0
    return Centred(columns, np.ldexp(1.0, exponents), size, spread)


def check_varies(array: np.ndarray, name: str) -> None:
    """Raise ValueError if all samples are the same: then there is no information to estimate."""
    if (array == array[0]).all():
        raise ValueError(
            f"{name} is constant over all {len(array)} samples, so mutual information with it is "
            "zero by definition and cannot be estimated; pass samples that vary"
        )


def check_lengths(arrays: list[np.ndarray], names: list[str]) -> None:
    """Raise ValueError unless all arrays hold the same number of samples."""
    for array, name in zip(arrays[1:], names[1:], strict=True):
        if len(array) != len(arrays[0]):
            raise ValueError(
                f"{name} holds {len(array)} samples and {names[0]} {len(arrays[0])}; row i of each "
                "must belong to the same seed, so pass arrays of equal length"
            )


def as_pair(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y as samples of the same seeds, or raise ValueError naming the argument."""
    x, y = as_samples(x, "x"), as_samples(y, "y")
    check_lengths([x, y], ["x", "y"])
    return x, y


def check_components_vary(array: np.ndarray, name: str, remedy: str) -> Centred:
    """The samples less their mean; raises ValueError unless all components vary beyond rounding.

    `remedy` is what the message says after "which".
    """
    found = centred(array)
    constant = np.flatnonzero(found.spread == 0)
    if len(constant):
        raise ValueError(
            f"{name} has {len(constant)} constant components (the first: {constant[0]}; variation "
            f"by rounding alone is none), which {remedy}"
        )
    return found


def standardised(array: np.ndarray, name: str) -> np.ndarray:
    """The samples with every component at mean zero and unit standard deviation."""
    remedy = "cannot be standardised; drop them, or do not standardise"
    found = check_components_vary(array, name, remedy)
    return (found.columns / found.spread).astype(array.dtype)


def normal_scores(samples: np.ndarray, name: str, ties: str = "refuse") -> np.ndarray:
    """The standard normal quantiles of rank / (N + 1), component by component.

    Args:
        ties: "refuse" more than 1 % of tied samples in a component, or "average" to take any (a
            component that does not vary, or by rounding alone, then has a constant score and says
            nothing). Tied samples get their mean rank.

    Returns:
        (N, p) float64.
    """
    if ties not in TIES:
        raise ValueError(f"ties is {ties!r}; it must be one of {', '.join(TIES)}")
    ranks = scipy.stats.rankdata(samples.astype(np.float64), axis=0)
    if ties == "refuse":
        ordered = np.sort(samples, axis=0)
        tied = (ordered[1:] == ordered[:-1]).mean(axis=0) > FEW_TIES
        if tied.any():
            raise ValueError(
                f"{name} has tied values in {tied.sum()} of {len(tied)} components (the first: "
                f"{np.argmax(tied)}), whose ranks are not unique: drop these components, if they "
                'are constant, or pass ties="average"'
            )
    ranks[:, centred(samples).spread == 0] = (len(samples) + 1) / 2
    return ndtri(ranks / (len(samples) + 1))
