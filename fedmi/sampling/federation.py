"""Federated learning over many rounds: of many clients, some take part in each.

`fedmi.sample` keeps what every client of one round makes of its download. Here the rounds count:
what is kept is how good the server's model is after each. In a round the clients that are drawn
download the model, train it on their data, which are theirs for good, and upload it; an aggregator
(`fedmi.aggregation.stateful`) makes the next model of these.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from fedmi import devices, scopes
from fedmi.aggregation.stateful import Parts, stateful
from fedmi.progress import track
from fedmi.sampling import replay
from fedmi.sampling.checks import check_whole
from fedmi.sampling.programs import Itself, Program
from fedmi.sampling.replay import held_out_of, unraveller
from fedmi.sampling.rounds import round_keys
from fedmi.sampling.sgd import train_on
from fedmi.sampling.tiles import TILE, block_size, compute_tiles
from fedmi.tasks.task import Data, Keys, Params, Task

Numbers = Mapping[str, Array]
"""What may be tuned, by name: `rate`, by which the task's own is multiplied, and what else the
clients' training and the aggregator take."""

PARTICIPATION = "participation"
"""The stream that draws who takes part, anew for every seed."""


@dataclass(frozen=True, kw_only=True)
class Federation:
    """All that federated learning depends on, but for its numbers and the seeds.

    Attributes:
        task: the task.
        scopes: stream -> scope, for every stream of the task.
        clients: number of clients Q.
        participants: how many of them take part in a round, drawn anew each.
        rounds: how many.
        aggregator: numbers -> what aggregates, a function or with a state.
        examples: (Q,), n_q, how many of the task's examples each client has.
        proximal: whether clients are pulled back to their download by the number `proximal`, mu
            (FedProx; Li et al., MLSys 2020).
        controlled: whether they correct their gradients by control variates (SCAFFOLD;
            Karimireddy et al., ICML 2020, its second option).
        attack: of dishonest clients, (upload, download) -> what they upload instead; None if all
            are honest.
        dishonest: how many clients are, the first.
        judged: the rounds after which the model is judged, 0 for the first download; None for all.
        kept: the rounds after which the model itself is kept.
        root_seed: of all randomness.
    """

    task: Task
    scopes: Mapping[str, str]
    clients: int
    participants: int
    rounds: int
    aggregator: Callable[[Numbers], Any]
    examples: tuple[int, ...]
    proximal: bool = False
    controlled: bool = False
    attack: Callable[[Array, Array], Array] | None = None
    dishonest: int = 0
    judged: tuple[int, ...] | None = None
    kept: tuple[int, ...] = ()
    root_seed: int = 0

    @property
    def identity(self) -> Hashable:
        """All that its program depends on, which is given the root key."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        del values["root_seed"]
        values |= dict(task=self.task.identity, scopes=tuple(self.scopes.items()))
        values |= dict(aggregator=Itself(self.aggregator), attack=Itself(self.attack))
        return tuple(values.items())


@dataclass(frozen=True)
class Progress:
    """What goes from round to round.

    Attributes:
        model: (t,), what clients download next.
        server: the aggregator's state.
        clients: its clients' states, stacked, (Q, ...).
        controls: (Q, t), the clients' control variates; empty without them.
    """

    model: Array
    server: Any
    clients: Any
    controls: Array


jax.tree_util.register_dataclass(Progress)


@dataclass(frozen=True)
class Drawn:
    """The clients' data, made once for all that is trained on them.

    Attributes:
        seeds: (n,) ascending.
        data, held_out: pytrees of arrays (n, Q, examples, ...).
    """

    seeds: np.ndarray
    data: Data
    held_out: Data


def draw(federation: Federation, seeds: Sequence[int], *, what: str = "data") -> Drawn:
    """Draws the clients' data at seeds, each of them once.

    Args:
        federation: whose clients they are; nothing counts of it but its task, scopes, clients and
            root seed.
        seeds: of them.
        what: is being done, to be shown.

    Raises:
        ValueError: impossible arguments.
    """
    check(federation)
    task, clients, own = federation.task, federation.clients, dict(federation.scopes)

    def of_places(root: Array, places: Array, given: Any) -> tuple[Data, Data]:
        assets, seeds = given

        def of_client(seed: Array, client: Array) -> tuple[Data, Data]:
            keys = scopes.client_keys(root, own, seed=seed, client=client)
            return replay.draw(task, keys, assets)

        every = jnp.arange(clients)
        return jax.vmap(lambda place: jax.vmap(partial(of_client, seeds[place]))(every))(places)

    known = np.unique(np.asarray(seeds, np.int32))
    program = Program(of_places, ("clients' data", task.identity, tuple(own.items()), clients))
    parts = _by_places(program, federation, (task.assets(), known), len(known), 1, what)
    return Drawn(known, *parts)


def federate(
    federation: Federation,
    seeds: Sequence[int],
    numbers: Mapping[str, Sequence[float]],
    *,
    drawn: Drawn | None = None,
    room: int | None = None,
    what: str = "training",
) -> dict[str, np.ndarray]:
    """Trains a federation at seeds, each with numbers of its own.

    Args:
        federation: what is trained.
        seeds: (n,) of them, which may repeat.
        numbers: name -> (n,) values; `rate` among them.
        drawn: the clients' data at these seeds and maybe others (`draw`), by default drawn here.
        room: for how many it is compiled, by default n; with one room several calls share it.
        what: is being done, to be shown.

    Returns:
        `measures` (n, judged, 3), those of `fedmi.sampling.replay.MEASURES` of the first download
        and of the models after the rounds that are judged, and, if the federation keeps any,
        `models` (n, kept, t). A model that has diverged is not finite.

    Raises:
        ValueError: impossible arguments, or an aggregator that cannot be used.
    """
    check(federation)
    n = len(seeds)
    room = max(n, room or n)
    if not n or any(len(values) != n for values in numbers.values()) or "rate" not in numbers:
        raise ValueError(f"numbers: each of them, `rate` among them, needs {n} values, one a seed")
    drawn = draw(federation, seeds) if drawn is None else drawn
    rows = np.searchsorted(drawn.seeds, seeds)
    if (drawn.seeds[np.minimum(rows, len(drawn.seeds) - 1)] != np.asarray(seeds)).any():
        raise ValueError("drawn: it lacks the data of some of the seeds; draw them all")

    def table(values: Any, dtype: type) -> np.ndarray:
        return np.resize(np.asarray(values, dtype), room)

    given = (
        (drawn.data, drawn.held_out),
        table(rows, np.int32),
        table(seeds, np.int32),
        {name: table(values, np.float32) for name, values in numbers.items()},
    )

    def of_places(root: Array, places: Array, given: Any) -> dict[str, Array]:
        data, *own = given

        def of_place(place: Array) -> dict[str, Array]:
            row, seed, numbers = jax.tree.map(lambda a: a[place], own)
            return _train(federation, root, seed, numbers, *jax.tree.map(lambda a: a[row], data))

        return jax.vmap(of_place)(places)

    tile = devices.power_of_two(min(room, TILE))
    size = block_size(tile, federation.participants, federation.task.parameter_count)
    program = Program(of_places, ("federation", federation.identity, tuple(sorted(numbers))))
    return _by_places(program, federation, given, n, size, what)


def _by_places(
    program: Program, federation: Federation, given: Any, n: int, size: int, what: str
) -> Any:
    """What a program makes of the places 0 to n, so many at a time: a pytree of arrays (n, ...)."""
    parts = compute_tiles(
        program,
        scopes.root_key(federation.root_seed),
        given,
        tile=size,
        block=size,
        pending=range(-(-n // size)),
        what=what,
    )
    found = None
    for i, part in track(parts, what=what, unit="block", total=-(-n // size)):
        if found is None:  # put together as parts come, since all of them are too large for two
            found = jax.tree.map(lambda a: np.empty((n, *a.shape[1:]), a.dtype), part)
        _fill(found, part, i * size)
    return found


def _fill(whole: Any, part: Any, start: int) -> None:
    """Writes the rows of a part from `start` on, but those that are beyond the whole."""

    def fill(of: np.ndarray, own: np.ndarray) -> None:
        rows = of[start : start + len(own)]
        rows[...] = own[: len(rows)]

    jax.tree.map(fill, whole, part)


def check(federation: Federation) -> None:
    """Refuses what cannot be trained, naming the argument and what would be right.

    Raises:
        ValueError: so.
    """
    q, task = federation.clients, federation.task
    check_whole("clients", q, 2)
    check_whole("rounds", federation.rounds, 1)
    check_whole("participants", federation.participants, 1)
    if federation.participants > q:
        raise ValueError(f"participants: {federation.participants} of {q} clients")
    if len(federation.examples) != q:
        raise ValueError(f"examples: {len(federation.examples)} numbers for {q} clients")
    if (federation.attack is None) != (federation.dishonest == 0):
        raise ValueError("attack: it and the number of `dishonest` clients go together; give both")
    if not 0 <= federation.dishonest < q:
        raise ValueError(f"dishonest: {federation.dishonest} of {q} clients leave no honest one")
    for name in ("judged", "kept"):
        for number in getattr(federation, name) or ():
            if not 0 <= number <= federation.rounds:
                raise ValueError(f"{name}: {number} is no round from 0 to {federation.rounds}")
    held_out_of(task)


def _train(
    federation: Federation, root: Array, seed: Array, numbers: Numbers, data: Data, held_out: Data
) -> dict[str, Array]:
    """One seed's federated learning, on the data of its clients."""
    task, every = federation.task, jnp.arange(federation.clients)
    keys = jax.vmap(
        lambda client: scopes.client_keys(root, federation.scopes, seed=seed, client=client)
    )(every)
    aggregator = stateful(federation.aggregator(numbers))
    first = jnp.mean(jax.vmap(lambda own: ravel_pytree(task.init(own))[0])(keys), axis=0)
    drawing = scopes.stream_key(root, PARTICIPATION, "shared", seed=seed, client=0)

    numbers_of_rounds = jnp.arange(1, federation.rounds + 1)
    all_rounds = tuple(range(federation.rounds + 1))
    asked = jnp.asarray(all_rounds if federation.judged is None else federation.judged)

    def judged(model: Array) -> Array:
        return _judged(federation, data, held_out, model)

    def one_round(progress: Progress, number: Array) -> tuple[Progress, tuple[Array, Array]]:
        chosen = participants(federation, jax.random.fold_in(drawing, number))
        made = _round(federation, aggregator, progress, number, chosen, keys, data, numbers)
        # Judging all clients takes longer than training those that take part.
        measures = jax.lax.cond(
            jnp.any(asked == number), judged, lambda model: jnp.zeros(3, model.dtype), made.model
        )
        return made, (measures, made.model if federation.kept else jnp.zeros(0))

    began = Progress(
        model=first,
        server=aggregator.init(first),
        clients=_client_states(aggregator, first, federation.clients),
        controls=jnp.zeros((federation.clients, first.size if federation.controlled else 0)),
    )
    _, (measures, models) = jax.lax.scan(one_round, began, numbers_of_rounds)
    found = dict(measures=jnp.concatenate([judged(first)[None], measures])[asked])
    if federation.kept:
        of_all = jnp.concatenate([first[None], models])
        found["models"] = of_all[jnp.asarray(federation.kept)]
    return found


def participants(federation: Federation, key: Array) -> Array:
    """(P,) who takes part in a round, in order."""
    if federation.participants == federation.clients:
        return jnp.arange(federation.clients)
    chosen = jax.random.permutation(key, federation.clients)[: federation.participants]
    return jnp.sort(chosen)


def _round(
    federation: Federation,
    aggregator: Parts,
    progress: Progress,
    number: Array,
    chosen: Array,
    keys: Keys,
    data: Data,
    numbers: Numbers,
) -> Progress:
    """One round: download, training at the clients chosen, upload, aggregation."""
    task, download = federation.task, progress.model

    def of_chosen(tree: Any) -> Any:
        return jax.tree.map(lambda a: a[chosen], tree)

    examples = jnp.asarray(federation.examples)[chosen]
    correction = jnp.mean(progress.controls, axis=0) - progress.controls[chosen]
    own_keys, own_data = of_chosen(keys), of_chosen(data)
    uploads = jax.vmap(
        lambda key, own, n, c: _local(federation, number, download, key, own, n, c, numbers)
    )(own_keys, own_data, examples, correction)
    controls = progress.controls
    if federation.controlled:
        steps = task.epochs * examples // task.batch_size
        way = (download - uploads) / (steps * task.learning_rate * numbers["rate"])[:, None]
        controls = controls.at[chosen].set(way - correction)
    if federation.attack is not None:
        lied = jax.vmap(federation.attack, (0, None))(uploads, download)
        uploads = jnp.where((chosen < federation.dishonest)[:, None], lied, uploads)
    clients = progress.clients
    if aggregator.client_step is not None:
        uploads, stepped = jax.vmap(aggregator.client_step, (0, 0, None))(
            of_chosen(clients), uploads, download
        )
        clients = jax.tree.map(lambda a, s: a.at[chosen].set(s), clients, stepped)
    beside = {}
    send = aggregator.send
    if send is not None:
        beside["sent"] = jax.vmap(lambda own, theta: send(task, own, theta))(own_data, uploads)
    weights = examples / jnp.sum(examples)
    model, server = aggregator.step(progress.server, uploads, weights, download, **beside)
    return Progress(model.astype(download.dtype), server, clients, controls)


def _local(
    federation: Federation,
    number: Array,
    download: Array,
    keys: Keys,
    data: Data,
    examples: Array,
    correction: Array,
    numbers: Numbers,
) -> Array:
    """(t,), what one client makes of its download in a round."""
    task = federation.task
    unravel = unraveller(task)
    start = unravel(download)

    def adjusted(gradient: Params, params: Params) -> Params:
        if federation.proximal:
            gradient = jax.tree.map(
                lambda g, w, at: g + numbers["proximal"] * (w - at), gradient, params, start
            )
        if federation.controlled:
            gradient = jax.tree.map(jnp.add, gradient, unravel(correction))
        return gradient

    alike = set(federation.examples) == {task.examples}
    thetas, _, _ = train_on(
        task,
        round_keys(task, keys, number),
        data,
        checkpoints=[task.steps],
        params=start,
        examples=None if alike else examples,
        rate=numbers["rate"],
        adjusted=adjusted if federation.proximal or federation.controlled else None,
    )
    return thetas[-1]


def _client_states(aggregator: Parts, download: Array, clients: int) -> Any:
    if aggregator.client_init is None:
        return ()
    one = aggregator.client_init(download)
    return jax.tree.map(lambda a: jnp.broadcast_to(a, (clients, *jnp.shape(a))), one)


def _judged(federation: Federation, data: Data, held_out: Data, model: Array) -> Array:
    """(3,) the measures of a model: F = sum_q (n_q / n) F_q, and means over the held-out data."""
    task = federation.task
    params = unraveller(task)(model)
    honest = slice(federation.dishonest, None)
    examples = jnp.asarray(federation.examples[honest])
    batches = task.examples // task.batch_size

    def of_client(own: Data, others: Data, n: Array) -> Array:
        parts = jax.tree.map(lambda a: a.reshape(batches, task.batch_size, *a.shape[1:]), own)
        losses = jax.vmap(lambda batch: task.loss(params, batch, None)[0])(parts)
        used = jnp.arange(batches) * task.batch_size < n
        objective = jnp.sum(losses * used) / jnp.sum(used)
        loss, metric = task.loss(params, others, None)
        return jnp.stack([objective, loss, metric])

    own, others = jax.tree.map(lambda a: a[honest], (data, held_out))
    found = jax.vmap(of_client)(own, others, examples)
    objective = jnp.sum(found[:, 0] * examples) / jnp.sum(examples)
    return jnp.append(objective, jnp.mean(found[:, 1:], axis=0))
