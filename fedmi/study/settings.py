"""The plan of a comparison of aggregators over many rounds: settings, and what is tried in each."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from fedmi import scopes
from fedmi.sampling.server import check_aggregator
from fedmi.study import refusals
from fedmi.study.plan import Distinct, Keys, OfTask, Plan, Several, Two, check_covariance
from fedmi.study.ways import ATTACKS, AVERAGE, WAYS, way_of
from fedmi.tasks.task import Task


class Setting(Keys):
    """What a setting changes of the plan's federation; nothing by default."""

    name: Annotated[str, Field(pattern=r"^[\w -]+$")]
    """What tables, figures and files call it."""
    options: dict[str, Any] = {}
    """Options of the task that are others."""
    clients: Two | None = None
    """The number of clients, Q."""
    participants: PositiveInt | None = None
    """How many of them take part in a round; all if only `clients` is given."""
    fewest_examples: PositiveInt | None = None
    """Training examples of the client with the fewest; the others have ever more, evenly on a
    logarithmic scale, up to the task's own number. By default all have that."""
    attack: str | None = None
    """What dishonest clients upload."""
    dishonest: NonNegativeInt = 0
    """How many clients are."""
    also: list[str] = []
    """Ways to train that are tried here beside the best of the first setting."""


class Training(Plan, OfTask):
    """A comparison of aggregators over many rounds of federated learning."""

    clients: Two
    """The number of clients, Q."""
    participants: PositiveInt
    """How many of them take part in a round, drawn anew each."""
    coupling: str = "shared-source"
    """A named coupling."""
    rounds: PositiveInt
    """How many rounds there are."""
    judged: Distinct[NonNegativeInt]
    """The rounds after which models are judged, 0 for the first download, and the last round."""
    judged_seeds: Annotated[int, Field(ge=4)]
    """Seeds on which ways to train are judged: half of them to choose by, half to say how good."""
    tuning_seeds: PositiveInt
    """Other seeds, on which all is tuned."""
    lowest_rate: PositiveFloat = 0.1
    """The lowest of the clients' rates that are tried, in units of the task's own."""
    highest_rate: PositiveFloat = 10.0
    """The highest."""
    ways: Distinct[str] | None = None
    """Ways to train in the first setting, of those that fedmi knows by name (by default all), or
    `package.module:attribute` of aggregators of your own."""
    best: PositiveInt = 5
    """How many of these, the best, are tried in the other settings beside federated averaging."""
    along: Distinct[PositiveInt] = [1]
    """Rounds in which mutual information and distances are read, under federated averaging."""
    along_seeds: NonNegativeInt = 0
    """Seeds that go on from one download of each of these rounds, 0 to read nothing."""
    settings: Several[Setting]
    """The first changes nothing."""

    PARTS = ("settings",)

    @property
    def first_ways(self) -> list[str]:
        """The ways to train in the first setting, federated averaging first."""
        able = [name for name, way in WAYS.items() if way.serves(self.task, self.participants)]
        return able if self.ways is None else list(dict.fromkeys([AVERAGE, *self.ways]))

    @property
    def seeds(self) -> range:
        """All seeds: those that are judged, and then those that are tuned on."""
        return range(self.judged_seeds + self.tuning_seeds)

    def federation(self, setting: Setting) -> Mapping[str, Any]:
        """The arguments of `Federation` in a setting, but what hangs on the way to train."""
        task = refusals.make_task(self.task, self.options | setting.options)
        clients = setting.clients or self.clients
        own = clients if setting.clients else self.participants
        # What makes a client unlike the others is another in every seed: else all that is found
        # would be of the few clients that were drawn once.
        skews = {name for name, role in task.streams.items() if role == "skew"}
        return dict(
            task=task,
            scopes=scopes.resolve(self.coupling, task.streams)
            | dict.fromkeys(skews, "independent"),
            clients=clients,
            participants=setting.participants or own,
            rounds=self.rounds,
            examples=examples_of(task, clients, setting.fewest_examples),
            attack=ATTACKS[setting.attack] if setting.attack else None,
            dishonest=setting.dishonest,
            judged=tuple(self.judged),
            root_seed=self.root_seed,
        )

    @model_validator(mode="after")
    def _settings_possible(self) -> Self:
        if len({setting.name for setting in self.settings}) < len(self.settings):
            raise ValueError("settings: each needs a name of its own")
        if self.settings[0] != Setting(name=self.settings[0].name):
            raise ValueError("settings.0: the first setting changes nothing; put another before it")
        for i, setting in enumerate(self.settings):
            own = self.options | setting.options
            with refusals.telling(self.task, own, f"settings.{i}."):
                self._check_setting(setting)
        return self

    def check(self, task: Task) -> None:
        """Refuses rounds beyond the last, ways that are none, and a task without held-out data."""
        if max(self.judged) != self.rounds or 0 not in self.judged:
            raise ValueError(f"judged: {self.judged} must hold 0 and the last round, {self.rounds}")
        if max(self.along) > self.rounds:
            raise ValueError(f"along: {max(self.along)} is beyond the last round, {self.rounds}")
        if self.highest_rate <= self.lowest_rate:
            raise ValueError(f"highest_rate: {self.highest_rate} is not above the lowest")
        if task.held_out is None:
            raise ValueError(f"task: {self.task!r} has no held-out data to judge on")
        if self.along_seeds:
            check_covariance(self.along_seeds, task, ", or 0 `along_seeds`")
        self._check_ways("ways", self.ways or [], self.participants)

    def _check_setting(self, setting: Setting) -> None:
        if setting.attack is not None and setting.attack not in ATTACKS:
            raise ValueError(f"attack: {refusals.no_such(setting.attack, list(ATTACKS), 'attack')}")
        if (setting.attack is None) != (setting.dishonest == 0):
            raise ValueError("dishonest: it and `attack` go together; give both or neither")
        of = self.federation(setting)
        if of["participants"] > of["clients"]:
            raise ValueError(f"participants: {of['participants']} of {of['clients']} clients")
        if setting.dishonest >= of["clients"]:
            raise ValueError(f"dishonest: {setting.dishonest} leave no honest client")
        self._check_ways("also", setting.also, of["participants"])

    def _check_ways(self, key: str, names: list[str], participants: int) -> None:
        for name in names:
            try:
                way = way_of(name)
                if name not in WAYS:
                    check_aggregator(name, self.make_task().parameter_count, [1] * participants)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from error
            if not way.serves(self.task, participants):
                raise ValueError(
                    f"{key}: {name!r} is not for the task {self.task!r} with {participants} "
                    "clients a round"
                )


def examples_of(task: Task, clients: int, fewest: int | None) -> tuple[int, ...]:
    """(Q,) n_q, whole minibatches each.

    Raises:
        ValueError: if the fewest are less than a minibatch, or more than the task has.
    """
    if fewest is None:
        return (task.examples,) * clients
    if not task.batch_size <= fewest <= task.examples:
        raise ValueError(
            f"fewest_examples: {fewest} is not from a minibatch, {task.batch_size}, to the task's "
            f"{task.examples}"
        )
    batches = np.geomspace(fewest, task.examples, clients) / task.batch_size
    return tuple(int(b) * task.batch_size for b in np.round(batches))
