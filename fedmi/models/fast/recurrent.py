"""The network of `fedmi.models.recurrent`, laid out for speed under `jax.vmap`.

`recurrent_stack(params, x, masks)` predicts what `RecurrentRegressor` predicts, from the same
parameters. The plain network vmapped over seeds becomes millions of batched 4x4 products, which XLA
compiles to crawling loops on a CPU. Here the same arithmetic is arranged so that every operation
runs along a long contiguous axis:

*Seeds last.* Arrays inside this file end in (examples, seeds). A product with a 4x4 matrix is
written out as 4 multiply-adds of such arrays, each a vector loop over the seeds.

*Wavefront.* Layer l at time t needs layer l - 1 at time t and its own state at t - 1. One scan
therefore moves all layers together, each one time behind the layer below:

    scan step      0     1     2     3    ...    T-1    T    ...   T+L-2
    layer 0       t=0   t=1   t=2   t=3         t=T-1   *            *
    layer 1        .    t=0   t=1   t=2         t=T-2  t=T-1         *
    layer 2        .     .    t=0   t=1         t=T-3  t=T-2         *
    layer L-1      .     .     .     .           ...                t=T-1

A layer that has not started (.) is kept at its initial state 0 by switching its bias off, since
tanh(0) = 0. What a layer computes after its last time (*) reaches nobody. The scan carries the
states of all layers, shape (layers, units, examples, seeds), and takes T + L - 1 steps.

*Backwards by hand.* The forward scan keeps nothing but its states. The backward scan runs the
wavefront in reverse, carries the gradient with respect to the arguments of tanh (`dz`), and adds up
the weights' gradients as it goes, so that they never exist for every time.

*Two operations that batch themselves.* `_forward` and `_backward` take a leading axis of seeds.
`jax.vmap` of either merges the new axis into that one, so that vmap, vmap of vmap, jit, scan and
grad, in any order, all end in the same scan. The code that calls them never sees the layout.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jax.custom_derivatives import SymbolicZero

Weights = tuple[jax.Array, jax.Array, jax.Array]
"""Kernels (layers, units in, units), recurrent kernels of that shape, biases (layers, units)."""


def recurrent_stack(
    params: Mapping[str, Any], x: jax.Array, masks: jax.Array | None = None
) -> jax.Array:
    """Predicts as `RecurrentRegressor.apply({"params": params}, x, masks)` does, only faster.

    Differentiable once, in reverse mode, with respect to `params`.

    Args:
        params: The "params" of a `RecurrentRegressor`; their type is the type of the computation.
        x: Sequences, shape (examples, time, features), with no more features than units.
        masks: Dropout masks scaled by 1 / keep, shape (examples, layers, units), as
            `dropout_masks` draws them; None means no dropout.

    Returns:
        Predictions, shape (examples, outputs).

    Raises:
        ValueError: If there are more features than units.
        NotImplementedError: If differentiated with respect to `x` or `masks`.
    """
    weights = _stack_layers(params)
    layers, units = weights[2].shape
    dtype = weights[0].dtype
    if masks is None:
        masks = jnp.ones((len(x), layers, units), dtype)
    masks = masks.astype(dtype)
    state = _top_state(weights, x.astype(dtype), masks) * masks[:, -1]
    return state @ params["head"]["kernel"] + params["head"]["bias"]


def _stack_layers(params: Mapping[str, Any]) -> Weights:
    """Stacks the layers' parameters; the first kernel gains zero rows for inputs it lacks."""
    layers = sum(name.startswith("layer_") for name in params)
    cells = [params[f"layer_{layer:02d}"]["cell"] for layer in range(layers)]
    features, units = cells[0]["i"]["kernel"].shape
    if features > units:
        raise ValueError(f"the stack takes at most {units} features, one a unit, got {features}")
    first = jnp.pad(cells[0]["i"]["kernel"], ((0, units - features), (0, 0)))
    kernels = jnp.stack([first] + [cell["i"]["kernel"] for cell in cells[1:]])
    recurrent = jnp.stack([cell["h"]["kernel"] for cell in cells])
    biases = jnp.stack([cell["i"]["bias"] for cell in cells])
    return kernels, recurrent, biases


# The operation: the last state of the top layer, and its gradient.


@jax.custom_vjp
def _top_state(weights: Weights, x: jax.Array, masks: jax.Array) -> jax.Array:
    """Returns the top layer's last state, shape (examples, units), before its mask."""
    return _one_seed(_forward, weights, x, masks)[0]


def _top_state_fwd(weights, x, masks):
    if any(leaf.perturbed for leaf in (x, masks)):
        raise NotImplementedError(
            "recurrent_stack differentiates with respect to params only; "
            "use RecurrentRegressor for gradients with respect to x or masks"
        )
    values = jax.tree.map(lambda leaf: leaf.value, (weights, x, masks))
    last, states = _one_seed(_forward, *values)
    return last, (*values, last, states)


def _top_state_bwd(residuals, cotangent):
    if isinstance(cotangent, SymbolicZero):
        return jax.tree.map(jnp.zeros_like, residuals[0]), None, None
    return _one_seed(_backward, *residuals, cotangent), None, None


_top_state.defvjp(_top_state_fwd, _top_state_bwd, symbolic_zeros=True)


def _one_seed(operation: Callable, *args):
    """Calls an operation over seeds for a single one."""
    out = operation(*jax.tree.map(lambda a: a[None], args))
    return jax.tree.map(lambda a: a[0], out)


def _over_seeds(function: Callable) -> Callable:
    """Makes `jax.vmap` of a function over seeds (axis 0 of all arrays) a call with more seeds."""
    operation = custom_vmap(function)

    @operation.def_vmap
    def merge_into_seeds(axis_size, in_batched, *args):
        def merge(a, batched):
            a = a if batched else jnp.broadcast_to(a, (axis_size, *a.shape))
            return a.reshape(-1, *a.shape[2:])

        out = operation(*jax.tree.map(merge, args, tuple(in_batched)))
        out = jax.tree.map(lambda a: a.reshape(axis_size, -1, *a.shape[1:]), out)
        return out, jax.tree.map(lambda _: True, out)

    return functools.wraps(function)(operation)


@_over_seeds
def _forward(weights, x, masks):
    """Runs the wavefront.

    Args:
        weights: `Weights` with a leading axis of seeds.
        x: Sequences, shape (seeds, examples, time, features).
        masks: Masks, shape (seeds, examples, layers, units).

    Returns:
        The top layer's last state, shape (seeds, examples, units), and the states of all layers
        before every scan step, shape (seeds, steps, layers, units, examples).
    """
    (kernels, recurrent, biases), x, masks, live = _seeds_last(weights, x, masks)

    def step(states, now):
        live, x_now = now
        inputs = _inputs(x_now, states, masks)
        z = (live[:, None, None] * biases)[:, :, None]
        z = z + _product(kernels, inputs) + _product(recurrent, states)
        return jnp.tanh(z), states

    states, before = lax.scan(step, jnp.zeros_like(masks), (live, x))
    return jnp.transpose(states[-1], (2, 1, 0)), jnp.moveaxis(before, -1, 0)


@_over_seeds
def _backward(weights, x, masks, last, before, cotangent):
    """Runs the wavefront in reverse.

    Args:
        weights, x, masks: As `_forward` takes them.
        last, before: As `_forward` returns them.
        cotangent: Gradient with respect to `last`, of the same shape.

    Returns:
        Gradient with respect to `weights`.
    """
    (kernels, recurrent, biases), x, masks, live = _seeds_last(weights, x, masks)
    before = jnp.moveaxis(before, 0, -1)
    kernels_t, recurrent_t = kernels.swapaxes(1, 2), recurrent.swapaxes(1, 2)

    def step(carry, now):
        dz, states, (d_kernels, d_recurrent, d_biases) = carry
        t, live, x_now = now
        inputs = _inputs(x_now, states, masks)
        d_weights = (
            d_kernels + _outer(inputs, dz),
            d_recurrent + _outer(states, dz),
            d_biases + live[:, None, None] * sum(dz[:, :, e] for e in range(dz.shape[2])),
        )
        d_inputs = _product(kernels_t, dz)
        from_above = jnp.concatenate([d_inputs[1:], jnp.zeros_like(d_inputs[:1])])
        d_states = _product(recurrent_t, dz) + masks * from_above
        # Fetched one step ahead and carried: XLA's CPU backend vectorises operations that read the
        # carry, but not those that read a slice of `before` several times.
        states_before = lax.dynamic_index_in_dim(before, jnp.maximum(t - 1, 0), keepdims=False)
        return (d_states * (1 - states * states), states_before, d_weights), None

    top = jnp.transpose(cotangent * (1 - last * last), (2, 1, 0))
    dz = jnp.zeros_like(masks).at[-1].set(top)
    d_weights = jax.tree.map(jnp.zeros_like, (kernels, recurrent, biases))
    carry = (dz, before[-1], d_weights)
    (_, _, d_weights), _ = lax.scan(step, carry, (jnp.arange(len(x)), live, x), reverse=True)
    return jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0), d_weights)


# What both of them use. Shapes: L layers, K units in, J units out, B examples, S seeds.


def _seeds_last(weights, x, masks):
    """Moves the seeds last and lines the sequences up with the scan.

    Returns:
        Weights (L, K, J, S) and (L, J, S); sequences padded with zeros to all scan steps and all
        units, (steps, K, B, S); masks (L, K, B, S); and, 1 or 0, which layers have started at
        each scan step, (steps, L).
    """
    weights = jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), weights)
    x = jnp.transpose(x, (2, 3, 1, 0))
    masks = jnp.transpose(masks, (2, 3, 1, 0))
    layers, units = masks.shape[:2]
    x = jnp.pad(x, ((0, layers - 1), (0, units - x.shape[1]), (0, 0), (0, 0)))
    live = jnp.arange(len(x))[:, None] >= jnp.arange(layers)
    return weights, x, masks, live.astype(masks.dtype)


def _inputs(x_now, states, masks):
    """What each layer reads from below, (L, K, B, S): the sequence or the masked states."""
    return jnp.concatenate([x_now[None], (states * masks)[:-1]])


def _product(matrices, vectors):
    """Multiplies (L, K, J, S) matrices into (L, K, B, S) vectors: (L, J, B, S)."""
    return sum(matrices[:, k, :, None] * vectors[:, k, None] for k in range(vectors.shape[1]))


def _outer(inputs, outputs):
    """Outer products of (L, K, B, S) and (L, J, B, S), summed over examples: (L, K, J, S)."""
    return sum(inputs[:, :, None, e] * outputs[:, None, :, e] for e in range(inputs.shape[2]))
