"""What every estimator and distance accepts as samples."""

import numpy as np
from numpy.typing import ArrayLike


def as_samples(value: ArrayLike, name: str) -> np.ndarray:
    """Return `value` as a finite (N, p) floating-point array, or say what is wrong with it.

    Args:
        value: (N, p) or (N,) numbers, one row a sample. One dimension is read as one column;
            integers become float64. Floating point keeps its precision, from which the Gaussian
            estimator takes its tolerance.
        name: what the caller calls this argument, for the messages.

    Raises:
        ValueError: not one or two dimensions, empty, not numbers, not finite, or constant.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} has rows of unequal length; pass (N, p) numbers") from None
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise ValueError(
            f"{name} has {array.ndim} dimensions; pass (N, p): one row a sample, one column a "
            "component (reshape or select first)"
        )
    if 0 in array.shape:
        raise ValueError(f"{name} is empty, of shape {array.shape}; pass at least one sample")
    if array.dtype.kind in "biu":
        array = array.astype(np.float64)
    if array.dtype.kind != "f":
        try:  # bfloat16 and its like count as numbers too, but NumPy calls them "V"
            array = array.astype(np.float32) if array.dtype.kind == "V" else None
        except (TypeError, ValueError):
            array = None
    if array is None:
        raise ValueError(f"{name} does not hold real numbers; convert it to a float array")
    finite = np.isfinite(array)
    if not finite.all():
        rows = int(array.shape[0] - finite.all(axis=1).sum())
        raise ValueError(
            f"{name} is not finite in {rows} of {array.shape[0]} samples; drop them from every "
            "client first (fedmi.finite does)"
        )
    return array


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


def check_components_vary(array: np.ndarray, name: str, remedy: str) -> None:
    """Raise ValueError if a component is the same in all samples; the message ends in a remedy."""
    constant = np.flatnonzero((array == array[0]).all(axis=0))
    if len(constant):
        raise ValueError(
            f"{name} has {len(constant)} constant components (the first: {constant[0]}), which "
            f"{remedy}"
        )


def standardised(array: np.ndarray, name: str) -> np.ndarray:
    """The samples with every component at unit standard deviation.

    Raises:
        ValueError: components that do not vary.
    """
    check_components_vary(array, name, "cannot be standardised; drop them, or do not standardise")
    return (array / array.std(axis=0, dtype=np.float64)).astype(array.dtype)
