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

*Inputs first.* What the first layer adds to its recurrence, x_t W + b (its `drive`), depends on no
state: one product makes it for all times, whatever the number of features.

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
"""Kernels (layers - 1, units in, units) and biases (layers - 1, units) of all layers but the first,
and recurrent kernels (layers, units, units)."""


def recurrent_stack(
    params: Mapping[str, Any], x: jax.Array, masks: jax.Array | None = None
) -> jax.Array:
    """Predicts as `RecurrentRegressor.apply({"params": params}, x, masks)` does, only faster.

    Differentiable once, in reverse mode, with respect to `params`.

    Args:
        params: The "params" of a `RecurrentRegressor` of simple cells; their type is the type of
            the computation.
        x: Sequences, shape (examples, time, features).
        masks: Dropout masks scaled by 1 / keep, shape (examples, layers, units), as
            `dropout_masks` draws them; None means no dropout.

    Returns:
        Predictions, shape (examples, outputs).

    Raises:
        NotImplementedError: If differentiated with respect to `masks`.
    """
    layers = sum(name.startswith("layer_") for name in params)
    first, *above = [params[f"layer_{layer:02d}"]["cell"] for layer in range(layers)]
    dtype = first["i"]["kernel"].dtype
    units = first["h"]["kernel"].shape[0]
    weights = (
        _stacked([cell["i"]["kernel"] for cell in above], (units, units), dtype),
        _stacked([cell["i"]["bias"] for cell in above], (units,), dtype),
        jnp.stack([cell["h"]["kernel"] for cell in (first, *above)]),
    )
    if masks is None:
        masks = jnp.ones((len(x), layers, units), dtype)
    masks = masks.astype(dtype)
    drive = x.astype(dtype) @ first["i"]["kernel"] + first["i"]["bias"]
    state = _top_state(weights, drive, masks) * masks[:, -1]
    return state @ params["head"]["kernel"] + params["head"]["bias"]


def _stacked(leaves: list[jax.Array], shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """The leaves of all layers but the first, which may be the only one."""
    return jnp.stack(leaves) if leaves else jnp.zeros((0, *shape), dtype)


# The operation: the last state of the top layer, and its gradient.


@jax.custom_vjp
def _top_state(weights: Weights, drive: jax.Array, masks: jax.Array) -> jax.Array:
    """Returns the top layer's last state, shape (examples, units), before its mask."""
    return _one_seed(_forward, weights, drive, masks)[0]


def _top_state_fwd(weights, drive, masks):
    if masks.perturbed:
        raise NotImplementedError(
            "recurrent_stack does not differentiate with respect to masks; use RecurrentRegressor"
        )
    values = jax.tree.map(lambda leaf: leaf.value, (weights, drive, masks))
    last, states = _one_seed(_forward, *values)
    return last, (*values, last, states)


def _top_state_bwd(residuals, cotangent):
    if isinstance(cotangent, SymbolicZero):
        return *jax.tree.map(jnp.zeros_like, residuals[:2]), None
    return *_one_seed(_backward, *residuals, cotangent), None


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
def _forward(weights, drive, masks):
    """Runs the wavefront.

    Args:
        weights: `Weights` with a leading axis of seeds.
        drive: What the first layer adds to its recurrence, shape (seeds, examples, time, units).
        masks: Masks, shape (seeds, examples, layers, units).

    Returns:
        The top layer's last state, shape (seeds, examples, units), and the states of all layers
        before every scan step, shape (seeds, steps, layers, units, examples).
    """
    (kernels, biases, recurrent), drive, masks, live = _seeds_last(weights, drive, masks)

    def step(states, now):
        live, drive_now = now
        below = (live[:, None, None] * biases)[:, :, None] + _product(
            kernels, (states * masks)[:-1]
        )
        z = jnp.concatenate([drive_now[None], below]) + _product(recurrent, states)
        return jnp.tanh(z), states

    states, before = lax.scan(step, jnp.zeros_like(masks), (live, drive))
    return jnp.transpose(states[-1], (2, 1, 0)), jnp.moveaxis(before, -1, 0)


@_over_seeds
def _backward(weights, drive, masks, last, before, cotangent):
    """Runs the wavefront in reverse.

    Args:
        weights, drive, masks: As `_forward` takes them.
        last, before: As `_forward` returns them.
        cotangent: Gradient with respect to `last`, of the same shape.

    Returns:
        Gradients with respect to `weights` and `drive`.
    """
    times = drive.shape[2]
    (kernels, biases, recurrent), drive, masks, live = _seeds_last(weights, drive, masks)
    before = jnp.moveaxis(before, 0, -1)
    kernels_t, recurrent_t = kernels.swapaxes(1, 2), recurrent.swapaxes(1, 2)

    def step(carry, now):
        dz, states, (d_kernels, d_biases, d_recurrent) = carry
        t, live = now
        d_weights = (
            d_kernels + _outer((states * masks)[:-1], dz[1:]),
            d_biases + live[:, None, None] * sum(dz[1:, :, e] for e in range(dz.shape[2])),
            d_recurrent + _outer(states, dz),
        )
        d_below = _product(kernels_t, dz[1:])
        from_above = jnp.concatenate([d_below, jnp.zeros_like(dz[:1])])
        d_states = _product(recurrent_t, dz) + masks * from_above
        # Fetched one step ahead and carried: XLA's CPU backend vectorises operations that read the
        # carry, but not those that read a slice of `before` several times.
        states_before = lax.dynamic_index_in_dim(before, jnp.maximum(t - 1, 0), keepdims=False)
        return (d_states * (1 - states * states), states_before, d_weights), dz[0]

    top = jnp.transpose(cotangent * (1 - last * last), (2, 1, 0))
    dz = jnp.zeros_like(masks).at[-1].set(top)
    d_weights = jax.tree.map(jnp.zeros_like, (kernels, biases, recurrent))
    carry = (dz, before[-1], d_weights)
    steps = jnp.arange(len(drive))
    (_, _, d_weights), d_drive = lax.scan(step, carry, (steps, live), reverse=True)
    d_drive = jnp.transpose(d_drive[:times], (3, 2, 0, 1))
    return jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0), d_weights), d_drive


# What both of them use. Shapes: L layers, K units in, J units out, B examples, S seeds.


def _seeds_last(weights, drive, masks):
    """Moves the seeds last and lines the sequences up with the scan.

    Returns:
        Weights (L - 1, K, J, S), (L - 1, J, S) and (L, K, J, S); what drives the first layer,
        padded with zeros to all scan steps, (steps, K, B, S); masks (L, K, B, S); and, 1 or 0,
        which layers above the first have started at each scan step, (steps, L - 1).
    """
    weights = jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), weights)
    drive = jnp.transpose(drive, (2, 3, 1, 0))
    masks = jnp.transpose(masks, (2, 3, 1, 0))
    layers = len(masks)
    drive = jnp.pad(drive, ((0, layers - 1), (0, 0), (0, 0), (0, 0)))
    live = jnp.arange(len(drive))[:, None] >= jnp.arange(1, layers)
    return weights, drive, masks, live.astype(masks.dtype)


def _product(matrices, vectors):
    """Multiplies (L, K, J, S) matrices into (L, K, B, S) vectors: (L, J, B, S)."""
    each = (matrices[:, k, :, None] * vectors[:, k, None] for k in range(vectors.shape[1]))
    return jnp.asarray(sum(each))


def _outer(inputs, outputs):
    """Outer products of (L, K, B, S) and (L, J, B, S), summed over examples: (L, K, J, S)."""
    return sum(inputs[:, :, None, e] * outputs[:, None, :, e] for e in range(inputs.shape[2]))
