"""What is compiled: the training of all clients of many seeds."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from fedmi.sampling.design import Design
from fedmi.sampling.download import Constants, starting
from fedmi.sampling.programs import Program
from fedmi.sampling.rounds import train_rounds
from fedmi.sampling.sgd import over_seeds_and_clients, train_on
from fedmi.tasks.task import Data, Keys


def training(designs: Sequence[Design]) -> Program:
    """The function that trains all clients of seeds, to be compiled.

    Args:
        designs: those that differ in nothing that their data depend on, which are drawn once. A
            stream that several of them have has one scope.

    Returns:
        A function (root key, seeds (n,), constants) -> for each design theta of shape (n, clients,
        checkpoints, t), metric (n, clients, steps) and the number of clipped steps (n, clients);
        from the second round on also the download (n, t).
    """
    first = designs[0]
    depends_on = ("training", *(design.identity for design in designs))
    streams = {stream: scope for design in designs for stream, scope in design.scopes.items()}

    def of_seeds(root: Array, seeds: Array, constants: Constants) -> list[dict[str, Array]]:
        assets, downloads = constants
        begun = starting(designs, downloads)

        def one(keys: Keys) -> list[dict[str, Array]]:
            data = first.task.data(keys, assets)
            return [_trained(design, keys, data) for design in begun]

        mapped = over_seeds_and_clients(one, root, streams, first.clients)
        return [_with_one_download(arrays) for arrays in mapped(seeds)]

    return Program(of_seeds, depends_on)


def _trained(design: Design, keys: Keys, data: Data) -> dict[str, Array]:
    """What a store keeps of a client's training."""
    beside = {}
    if design.rounds == 1 and design.alike:
        history = train_on(design.task, keys, data, checkpoints=design.checkpoints)
    else:
        history, servers = train_rounds(design, keys, data)
        beside = dict(download=servers[-2]) if design.rounds > 1 else {}
    theta, metric, clipped = history
    return dict(theta=theta, metric=metric, clipped=jnp.sum(clipped)) | beside


def _with_one_download(arrays: dict[str, Array]) -> dict[str, Array]:
    """The download is the same at all clients, and kept once."""
    if "download" not in arrays:
        return arrays
    return arrays | dict(download=arrays["download"][:, 0])
