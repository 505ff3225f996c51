"""Searches for the best that a server could have done, which see the clients' data."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fedmi.devices import one_by_one

STEPS = np.r_[0.0, 2 ** np.arange(-3, 6.5, 0.5)]
"""Server step sizes tried, from none to 64 times what the clients went."""

PROBE, FARTHEST, NEWTON_STEPS = 0.125, 2.0, 4
"""On the plane, in units of the clients' root mean square distance from their mean: of the
differences behind derivatives, the longest step, and how many steps."""


def best_step(f: Callable[[Array], Array]) -> Array:
    """The least of a function of a step size: the best of `STEPS`, and then twice between those."""
    steps = jnp.asarray(STEPS, jnp.float32)

    def least(steps: Array) -> tuple[Array, Array]:
        values = jax.lax.map(f, steps)
        at = jnp.argmin(jnp.where(jnp.isfinite(values), values, jnp.inf))
        last = len(steps) - 1
        return steps[at], steps[jnp.array([jnp.maximum(at - 1, 0), jnp.minimum(at + 1, last)])]

    best, ends = least(steps)
    for _ in range(2):
        inner = jnp.linspace(ends[0], ends[1], 9)
        best, ends = least(jnp.sort(jnp.append(inner, best)))
    return best


def best_on_plane(f: Callable[[Array], Array], thetas: Array) -> Array:
    """(t,): the least of a function on the affine hull of points (Q, t), sought from their mean.

    Newton's method on the hull, with derivatives from differences and the curvature's absolute
    value: it needs nothing of the function but its values, and never ends above where it began.
    """
    mean = jnp.mean(thetas, axis=0)
    axes = one_by_one(jnp.linalg.qr)((thetas[1:] - thetas[0]).T)[0].T
    scale = jnp.sqrt(jnp.mean(jnp.sum((thetas - mean) ** 2, axis=1)))  # one unit on the hull
    d = len(axes)
    unit = np.eye(d, dtype=np.float32)
    pairs = [(i, j) for i in range(d) for j in range(i + 1, d)]
    crossed = [unit[i] + unit[j] for i, j in pairs]
    around = PROBE * np.stack([0 * unit[0], *unit, *-unit, *crossed])
    lengths = np.array([0.0, 0.25, 0.5, 1.0, 2.0], np.float32)

    def at(place: Array) -> Array:
        value = f(mean + scale * place @ axes)
        return jnp.where(jnp.isfinite(value), value, jnp.inf)

    def newton(place: Array, _: None) -> tuple[Array, None]:
        values = jax.lax.map(at, place + around)
        here, up, down = values[0], values[1 : d + 1], values[d + 1 : 2 * d + 1]
        slope = (up - down) / (2 * PROBE)
        bend = jnp.diag((up + down - 2 * here) / PROBE**2)
        for (i, j), value in zip(pairs, values[2 * d + 1 :], strict=True):
            mixed = (value - up[i] - up[j] + here) / PROBE**2
            bend = bend.at[i, j].set(mixed).at[j, i].set(mixed)
        curvatures, turn = one_by_one(jnp.linalg.eigh)(bend)
        step = -turn @ ((turn.T @ slope) / jnp.maximum(jnp.abs(curvatures), 1e-6))
        step = step / jnp.maximum(jnp.linalg.norm(step) / FARTHEST, 1)
        tried = place + lengths[:, None] * jnp.nan_to_num(step)
        return tried[jnp.argmin(jax.lax.map(at, tried))], None

    place = jax.lax.scan(newton, jnp.zeros(d), None, length=NEWTON_STEPS)[0]
    return mean + scale * place @ axes
