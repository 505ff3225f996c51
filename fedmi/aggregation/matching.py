"""Matched averaging: clients' hidden units are brought into one order and sign before the mean.

A layer of tanh units computes the same if its units change places, or change sign, and whoever
reads them is told: for four units 4! x 2^4 = 384 ways a layer. Clients that start from different
points may have learnt the same in other places; their plain mean is then a mean of unlike things
(Wang et al., "Federated Learning with Matched Averaging", ICLR 2020; for signs of tanh units,
Sussmann, Neural Networks 5 (1992), 589-593). Clients that start from one point stay in its order.
"""

from collections.abc import Callable, Mapping
from itertools import permutations, product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from fedmi.aggregation.inputs import real
from fedmi.aggregation.means import weighted_mean

Params = Mapping[str, Any]


def signed_permutations(units: int) -> np.ndarray:
    """(units! 2^units, units, units): matrices S, where S^T h is h reordered and with signs."""
    eye = np.eye(units)
    signs = [np.diag(s) for s in product((1.0, -1.0), repeat=units)]
    return np.array([eye[list(p)] @ s for p in permutations(range(units)) for s in signs])


def can_match(params: Params) -> bool:
    """Whether parameters are those of a `RecurrentRegressor`."""
    return "head" in params and any(name.startswith("layer_") for name in params)


def match(params: Params, reference: Params) -> Params:
    """The parameters of `fedmi.models.recurrent`, with the units of every layer as in a reference.

    From the first layer up, of all orders and signs of its units that is taken whose weights into
    the layer (kernel, recurrent kernel, bias) are nearest to the reference's; what reads the layer
    is changed with it. What the network predicts stays as it is.

    Args:
        params: of a `RecurrentRegressor`.
        reference: of the same shapes.

    Returns:
        Parameters of the same shapes.
    """
    layers = sorted(name for name in params if name.startswith("layer_"))
    units = params[layers[0]]["cell"]["h"]["kernel"].shape[0]
    candidates = jnp.asarray(signed_permutations(units), params["head"]["kernel"].dtype)
    matched = {}
    below: Array | None = None  # what became of the layer below: S of h S
    for name in layers:
        cell = _with_inputs(params[name]["cell"], below)
        wanted = reference[name]["cell"]
        apart = jax.vmap(lambda s, cell=cell, wanted=wanted: _distance(_turn(cell, s), wanted))
        below = candidates[jnp.argmin(apart(candidates))]
        matched[name] = {"cell": _turn(cell, below)}
    return matched | {"head": _with_kernel(params["head"], below)}


def _with_inputs(cell: Params, below: Array | None) -> Params:
    """A layer that reads h S where it read h before: S^T W, as S S^T = 1."""
    return {**cell, "i": _with_kernel(cell["i"], below)}


def _with_kernel(dense: Params, below: Array | None) -> Params:
    return dense if below is None else {**dense, "kernel": below.T @ dense["kernel"]}


def _turn(cell: Params, s: Array) -> Params:
    """The layer whose states are h S: W S, S^T U S, b S."""
    into, own = cell["i"], cell["h"]
    turned = into | {"kernel": into["kernel"] @ s, "bias": into["bias"] @ s}
    return {"i": turned, "h": own | {"kernel": s.T @ own["kernel"] @ s}}


def _distance(cell: Params, other: Params) -> Array:
    pairs = zip(jax.tree.leaves(cell), jax.tree.leaves(dict(other)), strict=True)
    return jnp.asarray(sum(jnp.sum((a - b) ** 2) for a, b in pairs))


def matched_mean(clients: Array, weights: Array, *, unravel: Callable[[Array], Params]) -> Array:
    """The weighted mean of clients after each has been matched to the first.

    Args:
        clients: (Q, t), the flat parameters of `RecurrentRegressor`s.
        weights: (Q,), n_q / n.
        unravel: (t,) -> the network's parameters.

    Returns:
        (t,), in the precision that JAX's x64 flag allows.

    Raises:
        ValueError: other shapes or types; weights that do not sum to 1.
    """
    # Parameters have the precision that `unravel` knows, other numbers the least that there is.
    clients = jnp.asarray(real(clients, "clients"))
    clients = clients.astype(jnp.promote_types(clients.dtype, jnp.float32))
    reference = unravel(clients[0])

    def matched(client: Array) -> Array:
        return ravel_pytree(match(unravel(client), reference))[0]

    return weighted_mean(jax.vmap(matched)(clients), weights)
