"""What each seed of a comparison of aggregators has: trained clients, and all their data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from fedmi import scopes
from fedmi.progress import track
from fedmi.sampling.design import Design
from fedmi.sampling.download import Constants, constants, starting
from fedmi.sampling.replay import draw
from fedmi.sampling.sgd import train_on
from fedmi.sampling.tiles import TILE, block_size, compute_tiles
from fedmi.study.params import Aggregation
from fedmi.tasks.task import Data


class State(NamedTuple):
    """What one seed has: K checkpoints of Q clients with t parameters.

    Attributes:
        data, held_out: of all clients, arrays (Q, examples, ...).
        starts: (Q, t), where each client started.
        download: (t,), their mean: where all started, unless each has a download of its own.
        thetas: (K, Q, t), the clients' parameters.
        pooled: (K, t), what training on the clients' data together reaches in as many steps.
        longer: (K, t), and in as many steps as all clients took together.
        further: (K, Q, t), the clients after other numbers of steps (see `state_of`).
    """

    data: Data
    held_out: Data
    starts: Array
    download: Array
    thetas: Array
    pooled: Array
    longer: Array
    further: Array


@dataclass(frozen=True)
class Comparison:
    """One setting to compare aggregators in.

    Attributes:
        design: what the clients depend on; its task has held-out data.
        setting: what tables call it.
        fitting_seeds: on which what has to be learnt is fitted.
        judged_seeds: on which everything is judged, none of them a fitting seed.
        oracle_seeds: how many of the judged seeds the oracles see, and of the fitting seeds the
            choice of the server step.
        held_out_examples: of each client, to judge on; all that it has by default.
    """

    design: Design
    setting: str
    fitting_seeds: int
    judged_seeds: int
    oracle_seeds: int
    held_out_examples: int | None = None

    @classmethod
    def of(cls, plan: Aggregation, setting: str) -> Self:
        """One setting of a params file."""
        sizes = {"fitting_seeds", "judged_seeds", "oracle_seeds", "held_out_examples"}
        return cls(plan.study(setting).design(), setting, **plan.model_dump(include=sizes))

    @property
    def first_judged(self) -> int:
        """The first seed that is judged: that of the tile after the last fitting seed."""
        return TILE * -(-self.fitting_seeds // TILE)

    def at(self, k: int) -> dict[str, Any]:
        """The columns that name the setting at its k-th checkpoint."""
        task, iteration = self.design.task.name, self.design.checkpoints[k]
        return dict(task=task, setting=self.setting, iteration=iteration)

    def over(
        self,
        of_state: Callable[[State], Any],
        first: int,
        seeds: int,
        what: str,
        further: Sequence[int] | None = None,
    ) -> Any:
        """A function of a seed's state over many seeds, a tile at a time.

        Args:
            of_state: makes a pytree of arrays of one seed's state.
            first: index of the first seed, a multiple of `TILE`.
            seeds: how many.
            what: shown while it runs.
            further: as `state_of` takes it.

        Returns:
            NumPy arrays (seeds, ...).
        """
        design = self.design
        trained = state_of(design, design.checkpoints, self.held_out_examples, further)

        def of_seeds(root: Array, seeds: Array, given: Constants) -> Any:
            return jax.vmap(lambda seed: of_state(trained(root, seed, given)))(seeds)

        tiles = range(first // TILE, first // TILE + -(-seeds // TILE))
        block = block_size(TILE, design.clients, design.task.parameter_count)
        computed = compute_tiles(
            of_seeds,
            design.root,
            constants([design], design.task.assets()),
            tile=TILE,
            block=block,
            pending=tiles,
            what=what,
        )
        parts = [part for _, part in track(computed, total=len(tiles), what=what, unit="tile")]
        return jax.tree.map(lambda *a: np.concatenate(a)[:seeds], *parts)


def state_of(
    design: Design,
    checkpoints: Sequence[int],
    held_out_examples: int | None = None,
    further: Sequence[int] | None = None,
) -> Callable[[Array, Array, Constants], State]:
    """The function (root key, seed, constants) that trains a seed's clients, and pooled references.

    Pooled training takes its order, dropout and, where every client has its own, its download from
    the keys of one client more.

    Args:
        design: of clients with equally many data.
        checkpoints: iterations of the epoch.
        held_out_examples: how many of its held-out data a client keeps; all by default.
        further: after how many steps instead of each checkpoint clients are looked at beside,
            beyond the epoch if they are more; after as many by default.
    """
    clients, kept = design.clients, np.asarray(checkpoints)
    longer = sorted({*kept, *(clients * kept)})
    beside = kept if further is None else np.asarray(further)
    every = sorted({*kept, *beside})

    def trained(root: Array, seed: Array, given: Constants) -> State:
        assets, downloads = given
        (begun,) = starting([design], downloads)
        task = begun.task
        together = replace(task, examples=clients * task.examples)
        an_epoch = task.steps // task.epochs
        through = replace(task, epochs=max(task.epochs, -(-every[-1] // an_epoch)))

        def keys_of(client: Array | int) -> dict[str, Array]:
            return scopes.client_keys(root, design.scopes, seed=seed, client=client)

        def one(client: Array) -> tuple[Data, Data, Array, Array]:
            keys = keys_of(client)
            data, held_out = draw(task, keys, assets, held_out_examples)
            download = ravel_pytree(task.init(keys))[0]
            return data, held_out, download, train_on(through, keys, data, checkpoints=every)[0]

        data, held_out, downloads, thetas = jax.vmap(one)(jnp.arange(clients))
        pool = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), data)
        pooled = train_on(together, keys_of(clients), pool, checkpoints=longer)[0]
        thetas = jnp.swapaxes(thetas, 0, 1)
        return State(
            data=data,
            held_out=held_out,
            starts=downloads,
            download=jnp.mean(downloads, axis=0),
            thetas=thetas[np.searchsorted(every, kept)],
            pooled=pooled[np.searchsorted(longer, kept)],
            longer=pooled[np.searchsorted(longer, clients * kept)],
            further=thetas[np.searchsorted(every, beside)],
        )

    return trained
