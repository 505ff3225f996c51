"""Streams of randomness, the scopes they may have, and the keys that follow.

Two clients' parameters depend on each other only through randomness that the clients share *and*
that changes from seed to seed. Every source of randomness is therefore a named stream, and every
stream has one of four scopes:

=============  =====================  =======================
scope          differs between seeds  differs between clients
=============  =====================  =======================
`fixed`        no                     no
`client`       no                     yes
`shared`       yes                    no
`independent`  yes                    yes
=============  =====================  =======================

With no stream `shared`, the clients are independent and their mutual information is exactly zero.
"""

import zlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

GENERATOR = "threefry2x32"
"""The random generator of all samples, whichever JAX would take by default."""

SCOPES = ("fixed", "client", "shared", "independent")
ROLES = ("init", "source", "variation", "order", "dropout", "skew")

NULL = dict(init="fixed", source="client", variation="client", order="independent")
SHARED_SOURCE = NULL | dict(source="shared", variation="independent")

COUPLINGS: Mapping[str, Mapping[str, str]] = {
    name: dict.fromkeys(ROLES, "independent") | scopes | dict(skew="client")
    for name, scopes in {
        "null": NULL,
        "independent": {},
        "shared-source": SHARED_SOURCE,
        "shared-source-order": SHARED_SOURCE | dict(order="shared"),
        "shared-init": NULL | dict(init="shared"),
        "shared-order": NULL | dict(order="shared", dropout="shared"),
    }.items()
}
"""Name -> role -> scope. `skew`, what makes a client unlike the others, is always its own."""


def resolve(coupling: str | Mapping[str, str], streams: Mapping[str, str]) -> dict[str, str]:
    """The scope of every stream of a task under a coupling, in the order of `streams`.

    Args:
        coupling: a name out of `COUPLINGS`, or a mapping stream -> scope that names every stream.
        streams: the task's streams, a mapping stream -> role (one of `ROLES`).

    Raises:
        ValueError: an unknown coupling, stream, role or scope, a stream left out, or a named
            coupling that shares only what the task does not draw.
    """
    for stream, role in streams.items():
        if role not in ROLES:
            raise ValueError(
                f"streams: {stream!r} has the unknown role {role!r}; known roles: "
                f"{', '.join(ROLES)}"
            )
    if isinstance(coupling, str):
        if coupling not in COUPLINGS:
            raise ValueError(
                f"coupling: unknown name {coupling!r}; known couplings: {', '.join(COUPLINGS)} "
                "(or a mapping of every stream to its scope)"
            )
        resolved = _named(coupling, streams)
        shared = [role for role, scope in COUPLINGS[coupling].items() if scope == "shared"]
        if shared and "shared" not in resolved.values():
            raise ValueError(
                f"coupling: {coupling!r} shares {' and '.join(shared)} alone, which this task does "
                "not draw, so that its clients would share nothing; take another, or `null`"
            )
        return resolved
    if not isinstance(coupling, Mapping):
        raise ValueError(f"coupling: {coupling!r} is neither a name nor a mapping of streams")
    unknown = [stream for stream in coupling if stream not in streams]
    if unknown:
        raise ValueError(
            f"coupling: unknown stream {unknown[0]!r}; this task's streams: {', '.join(streams)}"
        )
    missing = [stream for stream in streams if stream not in coupling]
    if missing:
        raise ValueError(
            f"coupling: no scope for the stream {missing[0]!r}; give one of {', '.join(SCOPES)}"
        )
    for stream, scope in coupling.items():
        if scope not in SCOPES:
            raise ValueError(
                f"coupling: stream {stream!r} has the unknown scope {scope!r}; known scopes: "
                f"{', '.join(SCOPES)}"
            )
    return {stream: coupling[stream] for stream in streams}


def check_varies(scopes: Mapping[str, str]) -> None:
    """Raises ValueError for scopes under which all seeds are one: no stream differs."""
    if not any(differs_between_seeds(scope) for scope in scopes.values()):
        raise ValueError(
            "coupling: no stream differs between seeds, so that all seeds are one; make one "
            "stream shared or independent"
        )


def name_of(scopes: Mapping[str, str], streams: Mapping[str, str]) -> str:
    """The name of the coupling that gives a task's streams these scopes, "custom" if none does."""
    named = (name for name in COUPLINGS if _named(name, streams) == dict(scopes))
    return next(named, "custom")


def _named(coupling: str, streams: Mapping[str, str]) -> dict[str, str]:
    return {stream: COUPLINGS[coupling][role] for stream, role in streams.items()}


def differs_between_seeds(scope: str) -> bool:
    """Whether a stream of this scope is drawn anew for every seed."""
    return scope in ("shared", "independent")


def differs_between_clients(scope: str) -> bool:
    """Whether a stream of this scope is drawn anew for every client."""
    return scope in ("client", "independent")


def root_key(seed: int) -> Array:
    """The key of all randomness that follows from a seed in 0..2**32-1, under any setting of JAX.

    It is that of `jax.random.key`, without the offset that a setting can add to all seeds. Of the
    generator's two versions, which draw different numbers, JAX's default
    (`jax_threefry_partitionable`) is set for the process.
    """
    if not jax.threefry_partitionable.value:
        jax.config.update("jax_threefry_partitionable", True)
    return jax.random.wrap_key_data(jnp.asarray(np.array([0, seed], np.uint32)), impl=GENERATOR)


def stream_key(
    root: Array, stream: str, scope: str, *, seed: Array | int, client: Array | int
) -> Array:
    """The key of one stream for one client of one seed.

    It depends on nothing but its arguments: never on the tile, the device or the process. The
    stream enters by a checksum of its name, so that adding a stream to a task leaves the others'
    draws as they were. `seed` is the global index, from 0.
    """
    key = jax.random.fold_in(root, zlib.crc32(stream.encode()))
    if differs_between_clients(scope):
        key = jax.random.fold_in(key, client)
    if differs_between_seeds(scope):
        key = jax.random.fold_in(key, seed)
    return key


def client_keys(
    root: Array, scopes: Mapping[str, str], *, seed: Array | int, client: Array | int
) -> dict[str, Array]:
    """Stream -> key, of all streams for one client of one seed.

    They are those of `stream_key`, but streams of one scope are folded together, as every fold adds
    to the program.
    """
    found: dict[str, Array] = {}
    for scope in dict.fromkeys(scopes.values()):
        streams = [stream for stream, own in scopes.items() if own == scope]
        keys = _fold_in(root, np.array([zlib.crc32(s.encode()) for s in streams], np.uint32))
        if differs_between_clients(scope):
            keys = _fold_in(keys, client)
        if differs_between_seeds(scope):
            keys = _fold_in(keys, seed)
        found |= dict(zip(streams, keys, strict=True))
    return {stream: found[stream] for stream in scopes}


def _fold_in(keys: Array, numbers: Array | np.ndarray | int) -> Array:
    """Folds a number into each key, or each of several into one."""
    return jax.vmap(
        jax.random.fold_in, (0 if keys.ndim else None, 0 if np.ndim(numbers) else None)
    )(keys, numbers)
