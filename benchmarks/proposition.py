"""How often do the tests of Proposition 1 reject, where they should not and where they should?

Simulates additive models (the size of each test: 5 % is right) and models that break one
implication (its power). Writes figures/proposition-size.csv.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from benchmarks.counting import Each, share, spread
from benchmarks.output import publish, say
from fedmi.study import proposition

D, N, LEVEL = 20, 1000, 0.05
MIX = np.random.default_rng(0).standard_normal((D, D)) / np.sqrt(D)

Clients = list[np.ndarray]


def additive(draw: np.random.Generator, shared: float = 1.0) -> Clients:
    """One thing plus independent noise, of another law and size at every client."""
    p = draw.standard_normal((N, D)) @ MIX * shared
    noises = (
        draw.standard_normal((N, D)),
        draw.standard_t(8, (N, D)) * 0.7,
        draw.uniform(-2, 2, (N, D)) @ MIX,
        draw.standard_normal((N, D)) @ MIX,
    )
    return [p + noise for noise in noises]


def uneven(draw: np.random.Generator) -> Clients:
    """As trained networks are: few directions shared, scales over two decades, heavy tails."""
    scales = np.geomspace(0.01, 1, D)
    p = draw.standard_t(5, (N, 5)) @ MIX[:5]
    return [scales * (p + draw.standard_t(5, (N, D)) @ MIX) for _ in range(4)]


def turned(draw: np.random.Generator) -> Clients:
    """Y has what is shared turned by a rotation: the cross-covariance is not symmetric."""
    p, turn = draw.standard_normal((N, D)), np.linalg.qr(MIX)[0]
    return _noisy(draw, [p, p @ turn, p, p])


def unequal(draw: np.random.Generator) -> Clients:
    """Z has more of what is shared."""
    p = draw.standard_normal((N, D))
    return _noisy(draw, [p, p, 1.5 * p, p])


def opposed(draw: np.random.Generator) -> Clients:
    """In two of twenty directions clients go opposite ways."""
    p = draw.standard_normal((N, D))
    signs = np.r_[-np.ones(2), np.ones(D - 2)]
    return _noisy(draw, [p, p * signs, p * signs[::-1], p])


def noisier(draw: np.random.Generator) -> Clients:
    """The noise is larger where what is shared is: uncorrelated with it, and not independent."""
    p = draw.standard_normal((N, D))
    scale = np.exp(0.4 * p[:, :1])
    return [p + scale * draw.standard_normal((N, D)) for _ in range(4)]


def _noisy(draw: np.random.Generator, parts: Clients) -> Clients:
    return [part + draw.standard_normal((N, D)) for part in parts]


@dataclass(frozen=True)
class Model:
    """A law of four clients, and the names of the tests that are put to it.

    Attributes:
        make: generator -> clients.
        tests: out of `TESTS`.
        additive: whether it is an additive model, so that rejections are errors.
    """

    make: Callable[[np.random.Generator], Clients]
    tests: tuple[str, ...]
    additive: bool = False


def _third(clients: Clients, draws: int, seeds: int) -> list[proposition.Outcome]:
    return proposition.third_client(clients[:3], draws=draws, seeds=seeds)


def _noise(clients: Clients, *_: int) -> list[proposition.Outcome]:
    found = proposition.noise_dependence(clients)
    return [found.on_shared, found.on_each_other]


GROUPS: dict[str, Callable[[Clients, int, int], list[proposition.Outcome]]] = {
    "symmetry": lambda c, draws, _: [proposition.symmetry(*c[:2], draws=draws)],
    "equality": lambda c, draws, _: [proposition.equality(c[:3], draws=draws)],
    "definiteness": lambda c, *_: [proposition.definiteness(c[:3])],
    "third client": _third,
    "noise": _noise,
}
ALL = tuple(GROUPS)
MODELS = {
    "additive": Model(additive, ALL, additive=True),
    "additive, uneven": Model(uneven, ALL, additive=True),
    "nothing shared": Model(partial(additive, shared=0.0), ("definiteness",), additive=True),
    "turned": Model(turned, ("symmetry",)),
    "unequal": Model(unequal, ("equality",)),
    "opposed": Model(opposed, ("definiteness",)),
    "noise with the shared": Model(noisier, ("third client", "noise")),
}


def p_values(model: str, draws: int, seeds: int, i: int) -> dict[str, float]:
    """Test -> p-value, in simulation i of a model."""
    clients = MODELS[model].make(np.random.default_rng([list(MODELS).index(model), i]))
    found = [t for group in MODELS[model].tests for t in GROUPS[group](clients, draws, seeds)]
    return {test.name: test.p_value for test in found}


def rows(model: str, simulations: int, draws: int, seeds: int, each: Each) -> Iterator[dict]:
    """The rows of a model, one a test.

    Args:
        model: out of `MODELS`.
        simulations: how many.
        draws: behind each null.
        seeds: of the distance correlation.
        each: runs the simulations.
    """
    found = pd.DataFrame(list(each(partial(p_values, model, draws, seeds), simulations)))
    for test, values in found.items():
        yield dict(
            kind="size" if MODELS[model].additive else "power",
            model=model,
            test=test,
            d=D,
            n=N,
            draws=draws,
            simulations=simulations,
            level=LEVEL,
            **share(values <= LEVEL, "rejected"),
        )


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proposition", description=__doc__)
    parser.add_argument("--simulations", type=int, default=1000, help="of each additive model")
    parser.add_argument("--power-simulations", type=int, default=200, help="of each other model")
    parser.add_argument("--draws", type=int, default=199, help="behind each null")
    parser.add_argument("--seeds", type=int, default=N, help="of the distance correlation")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    given = parser.parse_args()
    table = []
    with spread(given.workers, "simulation") as each:
        for name, model in MODELS.items():
            say(name)
            count = given.simulations if model.additive else given.power_simulations
            table += rows(name, count, given.draws, given.seeds, each)
    publish(pd.DataFrame(table), "proposition-size")


if __name__ == "__main__":
    main()
