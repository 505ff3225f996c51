"""Where the layers of a network lie in its flat parameters."""

import jax
import numpy as np

from fedmi.scopes import root_key
from fedmi.tasks.task import Task

WHOLE = "whole"
"""What all parameters together are called."""


def layers(task: Task) -> dict[str, slice]:
    """The slice of theta that each layer is, by name, in the order of `ravel_pytree`.

    A layer is what the top level of the parameters' pytree names. Where that names nothing but
    arrays, as in a network of one layer, they are one layer together: `WHOLE`.

    Args:
        task: the task; of its parameters only the shapes are made.
    """
    keys = {stream: root_key(0) for stream in task.streams}
    leaves = jax.tree_util.tree_leaves_with_path(jax.eval_shape(task.init, keys))
    nested = any(len(path) > 1 for path, _ in leaves)
    sizes: dict[str, int] = {}
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path[:1], simple=True) if nested else WHOLE
        sizes[name] = sizes.get(name, 0) + leaf.size
    ends = np.cumsum(list(sizes.values())).tolist()
    return {
        name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)
    }
