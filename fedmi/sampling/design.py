"""All that samples depend on, in one value, which is made and checked once."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from jax import Array

from fedmi import scopes, tasks
from fedmi.sampling.checks import check_whole, is_whole
from fedmi.sampling.programs import Itself
from fedmi.sampling.server import MEAN, aggregator_of
from fedmi.tasks.task import Keys, Task, in_json


@dataclass(frozen=True, kw_only=True)
class Design:
    """All that samples depend on, whatever number of seeds is sampled.

    `Design.of` makes one of what a user says.

    Attributes:
        task: the task.
        scopes: stream -> scope, for every stream of the task.
        clients: number of clients Q.
        checkpoints: the iterations whose parameters are kept, ascending.
        root_seed: the seed of all randomness.
        rounds: the round of federated learning whose epoch is sampled, from 1 on.
        aggregator: of the rounds before, by name.
        examples: (Q,), n_q, how many of the task's examples each client has.
    """

    task: Task
    scopes: Mapping[str, str]
    clients: int
    checkpoints: tuple[int, ...]
    root_seed: int
    rounds: int
    aggregator: str
    examples: tuple[int, ...]

    @classmethod
    def of(
        cls,
        task: Task | str,
        *,
        clients: int = 3,
        coupling: str | Mapping[str, str] = "shared-source",
        checkpoints: Sequence[int] | None = None,
        root_seed: int = 0,
        rounds: int = 1,
        aggregator: str = MEAN,
        examples: Sequence[int] | None = None,
    ) -> Self:
        """The design that the arguments of `fedmi.sample`, which explains them, stand for.

        Raises:
            ValueError: naming the argument, what was wrong, and what would be right.
        """
        task = tasks.get(task)
        check_whole("clients", clients, 2)
        check_whole("root_seed", root_seed, 0)
        if root_seed >= 2**32:
            raise ValueError(f"root_seed: {root_seed} is not below 2**32")
        resolved = scopes.resolve(coupling, task.streams)
        scopes.check_varies(resolved)
        check_whole("rounds", rounds, 1)
        aggregator_of(aggregator)
        return cls(
            task=task,
            scopes=resolved,
            clients=int(clients),
            checkpoints=_checkpoints(task, checkpoints),
            root_seed=int(root_seed),
            rounds=int(rounds),
            aggregator=aggregator,
            examples=_examples(task, int(clients), examples),
        )

    @property
    def identity(self) -> Hashable:
        """All that programs for these samples depend on, which are given the root key."""
        numbers = (self.clients, self.checkpoints, self.rounds, self.examples)
        scopes = tuple(self.scopes.items())
        return (self.task.identity, scopes, Itself(aggregator_of(self.aggregator)), *numbers)

    @property
    def root(self) -> Array:
        """The key of all randomness."""
        return scopes.root_key(self.root_seed)

    @property
    def alike(self) -> bool:
        """Whether all clients have all of the task's examples."""
        return set(self.examples) == {self.task.examples}

    def keys(self, *, seed: Array | int, client: Array | int) -> Keys:
        """The keys of one client of one seed, stream -> key."""
        return scopes.client_keys(self.root, self.scopes, seed=seed, client=client)

    def describe(self, *, assets: str | None, tile: int) -> dict[str, Any]:
        """What a store says that its samples depend on, in JSON's types.

        Args:
            assets: a hash of the task's assets (`fedmi.sampling.provenance.digest`).
            tile: seeds computed at once, on which rounding may depend.

        Raises:
            ValueError: if the task's options cannot be written as JSON.
        """
        task = self.task
        description = dict(
            task=task.name,
            options=dict(task.options),
            examples=task.examples,
            batch_size=task.batch_size,
            epochs=task.epochs,
            steps=task.steps,
            learning_rate=task.learning_rate,
            clip_norm=task.clip_norm,
            metric=task.metric,
            parameters=task.parameter_count,
            assets=assets,
            coupling=scopes.name_of(self.scopes, task.streams),
            scopes=dict(self.scopes),
            generator=scopes.GENERATOR,
            root_seed=self.root_seed,
            clients=self.clients,
            checkpoints=self.checkpoints,
            rounds=self.rounds,
            aggregator=self.aggregator,
            client_examples=self.examples,
            tile=int(tile),
        )
        return in_json(description, task)


def _checkpoints(task: Task, checkpoints: Sequence[int] | None) -> tuple[int, ...]:
    """The iterations that are kept, which are the last alone where none is said."""
    if checkpoints is None:
        return (task.steps,)
    kept = list(checkpoints) if isinstance(checkpoints, Iterable) else [checkpoints]
    if not kept or kept != sorted(set(kept)):
        raise ValueError(f"checkpoints: {kept} must be ascending, without repeats, at least one")
    for iteration in kept:
        if not (is_whole(iteration) and 1 <= iteration <= task.steps):
            raise ValueError(
                f"checkpoints: {iteration!r} is not an iteration of the epoch, which are 1 to "
                f"{task.steps}"
            )
    return tuple(int(iteration) for iteration in kept)


def _examples(task: Task, clients: int, examples: Sequence[int] | None) -> tuple[int, ...]:
    """How many examples each client has, which are all where nothing is said."""
    if examples is None:
        return (task.examples,) * clients
    counts = list(examples) if isinstance(examples, Iterable) else [examples]
    if len(counts) != clients:
        raise ValueError(f"examples: {len(counts)} numbers for {clients} clients")
    for count in counts:
        if not is_whole(count) or not 0 < count <= task.examples or count % task.batch_size:
            raise ValueError(
                f"examples: {count} is no multiple of the minibatch, {task.batch_size}, from "
                f"{task.batch_size} to {task.examples}"
            )
    return tuple(int(count) for count in counts)
