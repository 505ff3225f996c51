"""The objective on the plane through three clients of one seed."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array

from fedmi.aggregation import MEAN
from fedmi.sampling.download import constants
from fedmi.sampling.replay import objective
from fedmi.study.methods import LINE, LONGER, PLANE
from fedmi.study.oracles import best_on_plane, best_step
from fedmi.study.states import Comparison, state_of

SURFACE_COLUMNS = ["task", "setting", "iteration", "what", "x", "y", "objective"]
SURFACE_POINTS = 41


def surface(plan: Comparison, seed: int) -> pd.DataFrame:
    """F on the plane through the first three clients of a seed at the last checkpoint.

    Args:
        plan: the setting, of three clients or more.
        seed: the seed.

    Returns:
        A table with the columns of `SURFACE_COLUMNS`: `what` is "grid" or what is marked there (the
        pooled solution and the best step lie off the plane: their place is that of their
        projection, their objective their own). Coordinates are distances along two orthogonal axes
        from the mean of the clients.

    Raises:
        ValueError: for fewer than three clients.
    """
    if plan.design.clients < 3:
        raise ValueError(f"clients: {plan.design.clients} do not span a plane; it takes three")
    task = plan.design.task
    trained = state_of(plan.design, plan.design.checkpoints[-1:])
    state = jax.jit(trained)(
        plan.design.root, jnp.int32(seed), constants([plan.design], task.assets())
    )
    thetas = state.thetas[0, :3]
    mean = jnp.mean(thetas, axis=0)
    axes = np.linalg.qr(np.asarray(thetas[1:] - thetas[0], np.float64).T)[0].T
    update = mean - state.download

    def f(w: Array) -> Array:
        return objective(task, state.data, w)

    step = jax.jit(lambda: best_step(lambda s: f(state.download + s * update)))()
    marked = {f"client {q}": thetas[q] for q in range(3)} | {
        MEAN: mean,
        PLANE: jax.jit(lambda: best_on_plane(f, thetas))(),
        LINE: state.download + step * update,
        LONGER: state.longer[0],
    }
    places = [axes @ np.asarray(w - mean, np.float64) for w in marked.values()]
    rows = [
        dict(what=name, x=x, y=y, objective=float(f(w)))
        for (name, w), (x, y) in zip(marked.items(), places, strict=True)
    ]
    reach = 1.3 * np.abs(places).max()
    line = np.linspace(-reach, reach, SURFACE_POINTS)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    points = np.asarray(mean) + grid @ axes
    values = jax.jit(lambda p: jax.lax.map(f, p))(jnp.asarray(points, mean.dtype))
    rows += [
        dict(what="grid", x=x, y=y, objective=float(v))
        for (x, y), v in zip(grid, values, strict=True)
    ]
    table = pd.DataFrame(rows, columns=SURFACE_COLUMNS[3:])
    return table.assign(**plan.at(-1)).reindex(columns=SURFACE_COLUMNS)
