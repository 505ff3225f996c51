"""Functions to be compiled, told apart by what they depend on.

JAX keeps what it has compiled for the life of a process, by the function itself. A function that is
made anew by every call would be compiled by every call; as a `Program` it is the one that was
compiled before, if it depends on the same. Of very many programs only the last ones are kept.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import jax
from jax import Array

from fedmi import devices
from fedmi.scopes import root_key

KEPT = 64
"""Programs that a process keeps compiled. XLA maps each into memory in hundreds of pieces, of which
Linux grants a process 65,530; beyond that compiling fails, or the process dies."""
_kept: set[Hashable] = set()


@dataclass(frozen=True)
class Program:
    """A function that is equal to another if it depends on the same.

    Attributes:
        function: the function. It depends on nothing else that may change.
        depends_on: all that it depends on, the kind of function it is among it.
    """

    function: Callable[..., Any] = field(compare=False)
    depends_on: Hashable

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)


@dataclass(frozen=True, eq=False)
class Itself:
    """A value of which no other is taken for the same, though it may compare equal to it."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Itself) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def compiled(program: Program, *args: Any) -> Any:
    """What a program makes of its arguments, compiled once while it is kept."""
    make_room(program)
    return devices.jit(_call)(program, *args)


def make_room(program: Hashable) -> None:
    """Forgets what has been compiled if a program, which is about to be, is one too many.

    What is forgotten is compiled again when it is called, which JAX's cache on disk makes quick.
    """
    if program not in _kept and len(_kept) >= KEPT:
        jax.clear_caches()
        _kept.clear()
    _kept.add(program)


def _call(program: Program, *args: Any) -> Any:
    return program(*args)


def streams_read(function: Callable[..., Any], streams: Iterable[str], *rest: Any) -> list[str]:
    """The streams that a function draws from.

    Args:
        function: of keys, stream -> key.
        streams: all that there are.
        rest: its other arguments.
    """
    names = sorted(streams)

    def of_keys(keys: list[Array]) -> Any:
        return function(dict(zip(names, keys, strict=True)), *rest)

    program = jax.make_jaxpr(of_keys)([root_key(0) for _ in names]).jaxpr
    used = {id(variable) for equation in program.eqns for variable in equation.invars}
    used |= {id(variable) for variable in program.outvars}
    return [name for name, key in zip(names, program.invars, strict=True) if id(key) in used]
