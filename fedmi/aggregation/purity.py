"""Whether an aggregator is a function of its arguments alone, which JAX can compile."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, errors

from fedmi.aggregation.stateful import Parts

LOOKS_AT_NUMBERS = (
    errors.ConcretizationTypeError,
    errors.NonConcreteBooleanIndexError,
    errors.TracerArrayConversionError,
    errors.TracerIntegerConversionError,
)
CALLBACK = 'jax.pure_callback(yours, clients[0], clients, weights, vmap_method="sequential")'

PRECISIONS = ("highest", "float32")
"""Two names of one precision of products: what has been compiled under one is compiled anew under
the other, so that it shows if a function that is compiled itself remembers something."""


def check_pure(
    aggregator: Callable[..., Array],
    clients: Array,
    weights: Array,
    beside: Mapping[str, Any],
    name: str = "aggregator",
) -> None:
    """Refuses an aggregator with a state, and one that makes no model of the clients' models.

    JAX calls a function once and compiles what it does; what the function remembers from one call
    to the next would stay as it was then. So it is compiled and run twice, on the same clients in
    another order of the seeds, and has to return the same to the bit.

    Args:
        aggregator: the function.
        clients: (2, Q, t), different clients of two seeds.
        weights: (Q,), n_q / n.
        beside: what it needs besides, the same for both.
        name: what messages call it.

    Raises:
        ValueError: naming the aggregator, what was wrong, and what would be right.
    """
    state = (
        f"{name} remembers something from one call to the next, or draws random numbers of its "
        "own; it must be a function of clients, weights and download alone, and return the same "
        "for the same: JAX calls it once, when it compiles a round, and every round would do what "
        "it did then. A state, such as a server's momentum, goes through `init` and `step` "
        "(fedmi.aggregation.stateful)"
    )
    orders, made = (clients, clients[::-1]), []
    try:
        for precision, seeds in zip(PRECISIONS, orders, strict=True):
            with jax.default_matmul_precision(precision):
                run = jax.jit(jax.vmap(lambda of: aggregator(of, weights, **beside)))
                made.append(jax.block_until_ready(run(seeds)))
    except errors.UnexpectedTracerError as error:
        raise ValueError(state) from error
    except LOOKS_AT_NUMBERS as error:
        raise ValueError(
            f"{name} cannot be compiled, as it looks at numbers (by NumPy, `if`, float()); write "
            f"it with jax.numpy, or let it return {CALLBACK} ({_said(error)})"
        ) from error
    except Exception as error:
        raise ValueError(
            f"{name} fails for {clients.shape[1]} clients of {clients.shape[2]} parameters: "
            f"{_said(error)}"
        ) from error
    right = f"it must return one array of floats of shape {clients.shape[2:]}, a model's parameters"
    if not isinstance(made[0], Array):
        raise ValueError(f"{name} returns {type(made[0]).__name__}; {right}")
    if made[0].shape[1:] != clients.shape[2:]:
        raise ValueError(f"{name} returns the shape {made[0].shape[1:]}; {right}")
    if not jnp.issubdtype(made[0].dtype, jnp.floating):
        raise ValueError(f"{name} returns {made[0].dtype}; {right}")
    if not jnp.isfinite(made[0]).all():
        raise ValueError(f"{name} returns numbers that are not finite for clients that are")
    if not np.array_equal(made[0], made[1][::-1]):
        raise ValueError(state)


def check_state(
    aggregator: Parts, clients: Array, weights: Array, download: Array, name: str
) -> None:
    """Refuses a state that a step makes another kind of thing of: rounds could not go on with it.

    Args:
        aggregator: that `check_pure` lets pass.
        clients: (Q, t), clients of one seed.
        weights, download: as its `step` takes them.
        name: what messages call it.

    Raises:
        ValueError: naming the aggregator, what was wrong, and what would be right.
    """

    def both() -> tuple[Any, Any]:
        state = aggregator.init(download)
        return state, aggregator.step(state, clients, weights, download)[1]

    before, after = (
        jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype.name), state)
        for state in jax.eval_shape(both)
    )
    if before != after:
        raise ValueError(
            f"{name}: its state is {after} after a step and {before} before; it must keep its "
            "structure, shapes and types"
        )


LAPACK = {"cholesky", "eig", "eigh", "hessenberg", "lu", "qr", "schur", "svd"}


def check_batches(
    aggregator: Callable[..., Any],
    clients: Array,
    weights: Array,
    beside: Mapping[str, Any],
    name: str,
) -> None:
    """Refuses LAPACK's functions, of which a batch may wait for another without an end.

    See `fedmi.devices.one_by_one`.

    Args:
        aggregator: the function.
        clients: (Q, t), clients of one seed.
        weights, beside: what it takes with these.
        name: what messages call it.

    Raises:
        ValueError: naming what is called, and what would be right.
    """
    program = jax.make_jaxpr(lambda of: aggregator(of, weights, **beside))(clients)
    called = LAPACK & _primitives(program.jaxpr)
    if called:
        raise ValueError(
            f"{name} calls LAPACK ({', '.join(sorted(called))}), of which JAX makes a batch over "
            "seeds; on a CPU two batches may wait for each other for ever. Call it for one matrix "
            "at a time: fedmi.devices.one_by_one(jnp.linalg.solve)(a, b)"
        )


def _primitives(program: Any) -> set[str]:
    """What a program calls, but for what it maps in a loop."""
    found = set()
    for equation in program.eqns:
        found.add(equation.primitive.name)
        if equation.primitive.name != "custom_vmap_call":
            for inner in jax.tree.leaves(
                list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")
            ):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    found |= _primitives(inner)
    return found


def _said(error: Exception) -> str:
    """An exception in one line."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
