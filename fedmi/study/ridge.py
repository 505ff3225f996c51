"""What the data of a regression task allow: ridge regression on a client's own examples."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from sklearn.linear_model import RidgeCV

from fedmi.sampling.design import Design
from fedmi.sampling.replay import draw
from fedmi.sampling.sgd import over_seeds_and_clients

PENALTIES = tuple(10.0**power for power in range(-4, 4))


def errors(design: Design, *, seeds: int) -> xr.Dataset:
    """The mean squared error of each target on held-out examples.

    Inputs are the numbers of an example, and each client's penalty is chosen by leaving out one of
    its training examples after the other.

    Args:
        design: of a task with targets.
        seeds: how many, from the first on.

    Returns:
        For each target an array (seed, client, iteration), where the only iteration is the last of
        training, as for instance "mse of shift".
    """
    assets = design.task.assets()
    drawn = over_seeds_and_clients(
        lambda keys: draw(design.task, keys, assets), design.root, design.scopes, design.clients
    )
    own, fresh = jax.device_get(jax.jit(drawn)(jnp.arange(seeds)))
    found = np.empty((seeds, design.clients, len(design.task.targets)))
    for seed in np.ndindex(seeds, design.clients):
        (x, y), (x_new, y_new) = ([np.asarray(a[seed], float) for a in of] for of in (own, fresh))
        fitted = RidgeCV(PENALTIES).fit(x.reshape(len(x), -1), y)
        found[seed] = np.mean((fitted.predict(x_new.reshape(len(x_new), -1)) - y_new) ** 2, axis=0)
    dims = ("seed", "client", "iteration")
    return xr.Dataset(
        {
            f"{design.task.metric} of {target}": (dims, found[:, :, [at]])
            for at, target in enumerate(design.task.targets)
        },
        coords=dict(seed=np.arange(seeds), iteration=[design.task.steps]),
    )
