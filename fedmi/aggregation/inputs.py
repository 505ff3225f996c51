"""What aggregators take for numbers: real ones, in JAX's own precision, and none that is wrong.

While JAX compiles or maps a function its numbers are not known. Only shapes and types are checked
there, and what is not a number stays so.
"""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from numpy.typing import ArrayLike


def known(value: ArrayLike) -> bool:
    """Whether the numbers of an array can be looked at: not while JAX compiles or maps."""
    return not isinstance(value, Tracer)


def masked(value: ArrayLike) -> bool:
    """Whether numbers of an array, or of any in a list, are masked."""
    if isinstance(value, list | tuple):
        return any(map(masked, value))
    return np.ma.is_masked(value)


def real(value: ArrayLike, name: str) -> np.ndarray | Array:
    """Real numbers, as they are: JAX's arrays, and NumPy's of everything else.

    Raises:
        ValueError: masked numbers, rows of unequal length, or anything but real numbers.
    """
    if not isinstance(value, jax.Array):
        try:
            found = np.asarray(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: no array of numbers ({error})") from None
        if masked(value):  # which NumPy forgets
            raise ValueError(f"{name}: some numbers are masked; drop them, or fill them in")
        value = found
    kinds = (jnp.floating, jnp.integer, jnp.bool_)
    if not any(jnp.issubdtype(value.dtype, kind) for kind in kinds):
        raise ValueError(f"{name}: {value.dtype} are not real numbers; pass floats")
    return value


def check_shape(value: np.ndarray | Array, name: str, shape: tuple[int, ...], what: str) -> None:
    """Refuses an array of another shape; NumPy would repeat it to fit.

    Raises:
        ValueError: naming the argument, its shape, and the right one.
    """
    if value.shape != shape:
        raise ValueError(f"{name}: shape {value.shape}; it must be {what}, {shape}")


def floats(value: ArrayLike, name: str) -> Array:
    """Real numbers in the precision that JAX's x64 flag allows, whatever type they come in.

    Raises:
        ValueError: as `real`.
    """
    value, precision = real(value, name), jax.dtypes.canonicalize_dtype(float)
    if isinstance(value, jax.Array):
        return value.astype(precision)
    with np.errstate(over="ignore"):  # what the precision cannot hold is infinite in it
        return jnp.asarray(value.astype(precision))


def shares(value: ArrayLike, name: str, clients: int) -> np.ndarray | Array:
    """The clients' shares n_q / n of all examples, one each.

    Raises:
        ValueError: as `real`; another shape; numbers that are negative or do not sum to 1.
    """
    value = real(value, name)
    check_shape(value, name, (clients,), "one a client")
    if known(value):
        found = np.asarray(value, np.float64)
        # Shares that were rounded are meant to sum to 1; numbers of examples are not.
        if not ((found >= 0).all() and abs(found.sum() - 1) < 1e-3):
            raise ValueError(
                f"{name}: {found.tolist()} are no shares n_q / n, which are 0 or more and sum to "
                "1; divide the clients' numbers of examples by their sum"
            )
    return value


def models(clients: ArrayLike, weights: ArrayLike) -> tuple[Array, Array]:
    """Clients (Q, t) and their weights (Q,) as `floats`.

    Raises:
        ValueError: as `floats`; other shapes; weights that are negative or do not sum to 1.
    """
    clients = floats(clients, "clients")
    if clients.ndim != 2:
        raise ValueError(f"clients: shape {clients.shape}; it must be (clients, parameters)")
    return clients, floats(shares(weights, "weights", len(clients)), "weights")


def at_least_zero(
    value: ArrayLike, name: str, shape: tuple[int, ...]
) -> tuple[np.ndarray | Array, ModuleType]:
    """Numbers from zero on, of which only the ratios count, and what can compute with them.

    That is NumPy with float64 where they are known, so that JAX's precision loses none of them
    before they are put in relation. While JAX compiles, negative numbers become NaN.

    Args:
        value: (Q, t), one number a client and parameter.
        name: the argument's, for messages.
        shape: (Q, t).

    Raises:
        ValueError: as `real`; another shape; numbers that are negative or not a number.
    """
    value = real(value, name)
    check_shape(value, name, shape, "one number a client and parameter")
    if not known(value):
        value = floats(value, name)
        return jnp.where(value < 0, jnp.nan, value), jnp
    value = np.asarray(value, np.float64)
    if not (value >= 0).all():
        raise ValueError(f"{name}: some are negative or not a number; they must be 0 or more")
    return value, np
