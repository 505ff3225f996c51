"""What the tasks on augmented digits have in common: a client's data, and how well it is told.

A client has random rotations, zooms and shifts of randomly selected originals. What its network
reads of them, and what of the network is trained, is the task's.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pydantic
from jax import Array

from fedmi.models.lenet import CLASSES
from fedmi.tasks import mnist as image_sources
from fedmi.tasks.augmentation import draw_maps, pack
from fedmi.tasks.task import Assets, Data, Keys, Params, Task

Degrees = Annotated[float, pydantic.Field(ge=0, le=180)]
Fraction = Annotated[float, pydantic.Field(ge=0, lt=1)]
Pixels = Annotated[float, pydantic.Field(ge=0, le=image_sources.SIDE)]
Originals = Literal["all", "even", "odd"]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How a client's digits are drawn.

    Attributes:
        images: where the originals come from, as in `fedmi.tasks.mnist.load`.
        originals: which of these clients draw from, by their number: "all", "even" or "odd".
        examples: originals of a client to train on.
        held_out: further originals to evaluate on.
        rotation, zoom, shift: the ranges of the augmentation, as in
            `fedmi.tasks.augmentation.draw_maps`.
        label_concentration: of the Dirichlet law that skews a client's digits; None for no skew.
    """

    images: str
    originals: Originals = "all"
    examples: int
    held_out: int
    rotation: float
    zoom: float
    shift: float
    label_concentration: float | None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """The drawing that a task's options, which have more besides, ask for."""
        own = {field.name for field in fields(cls)} & options.keys()
        return cls(**{name: options[name] for name in own})

    @property
    def skewed(self) -> bool:
        """Whether clients have digits in shares of their own."""
        return self.label_concentration is not None

    @property
    def streams(self) -> Mapping[str, str]:
        """The streams that data and their order are drawn from, as `Task.streams`."""
        streams = dict(selection="source", augmentation="variation", order="order")
        return streams | (dict(skew="skew") if self.skewed else {})

    def own_of(self, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The originals among images (n, 28, 28), and their labels.

        Raises:
            ValueError: if they are too few for a client.
        """
        chosen = {"all": slice(None), "even": slice(0, None, 2), "odd": slice(1, None, 2)}
        originals, labels = images[chosen[self.originals]], labels[chosen[self.originals]]
        if len(originals) < self.examples + self.held_out:
            raise ValueError(
                f"images: {self.images!r} has {len(originals)} originals; a client needs "
                f"{self.examples} and {self.held_out} to hold out"
            )
        fewest = np.bincount(labels, minlength=CLASSES).min()
        if self.skewed and fewest < self.examples + self.held_out:
            raise ValueError(
                f"images: {self.images!r} has {fewest} images of some digit; a client that has "
                f"that digit alone needs {self.examples} and {self.held_out} to hold out; ask for "
                "fewer"
            )
        return originals, labels

    def own(self, keys: Keys, labels: Array) -> tuple[Array, Array]:
        """A client's originals (examples,) and the maps (2, 3, examples) that augment them."""
        if self.skewed:
            selected = select_labels(keys["selection"], labels, self._shares(keys), self.examples)
        else:
            selected = select(keys["selection"], len(labels), self.examples)
        return selected, self._maps(keys["augmentation"], self.examples)

    def others(self, keys: Keys, labels: Array) -> tuple[Array, Array]:
        """Originals that the client does not train on, and their maps."""
        if self.skewed:
            # From the other end: where clients share a selection, no client has trained on these.
            selected = select_labels(
                keys["selection"], labels, self._shares(keys), self.held_out, from_the_end=True
            )
        else:
            both = select(keys["selection"], len(labels), self.examples + self.held_out)
            selected = both[self.examples :]
        return selected, self._maps(jax.random.fold_in(keys["augmentation"], 1), self.held_out)

    def _shares(self, keys: Keys) -> Array:
        assert self.label_concentration is not None  # of clients whose digits are skewed
        concentration = jnp.full(CLASSES, self.label_concentration, jnp.float32)
        return jax.random.dirichlet(keys["skew"], concentration, dtype=jnp.float32)

    def _maps(self, key: Array, count: int) -> Array:
        return draw_maps(key, count, rotation=self.rotation, zoom=self.zoom, shift=self.shift)


@dataclass(frozen=True, kw_only=True)
class Network:
    """What reads a client's digits, and what of it is trained.

    Attributes:
        init: keys -> the downloaded parameters.
        draws: whether `init` draws them from the stream `init`.
        frozen: (images, labels) -> the task's assets besides the originals, which may be fewer.
        reads: for instance "features": what its inputs are called in the data.
        read: (assets, selected (n,), maps (2, 3, n)) -> the inputs (n, ...).
        predict: (params, inputs) -> logits (n, classes).
    """

    init: Callable[[Keys], Params]
    draws: bool = True
    frozen: Callable[[np.ndarray, np.ndarray], Mapping[str, Any]]
    reads: str
    read: Callable[[Assets, Array, Array], Array]
    predict: Callable[[Params, Array], Array]


def recognition(name: str, network: Network, options: Mapping[str, Any]) -> Task:
    """A task of telling augmented digits.

    Args:
        name: the task's.
        network: that tells them.
        options: the task's arguments, those of `Drawing` and the numbers of SGD among them.
    """
    drawing = Drawing.of(options)
    reads, predict = network.reads, network.predict

    @functools.cache
    @jax.ensure_compile_time_eval()  # what is kept is arrays, though first asked for in a program
    def assets() -> Assets:
        images, of_all = image_sources.load(drawing.images)
        originals, labels = drawing.own_of(images, of_all)
        made = {"packed": pack(originals), "labels": labels, **network.frozen(images, of_all)}
        return jax.tree.map(jnp.asarray, made)

    def drawn(selected: Array, maps: Array, assets: Assets) -> Data:
        return {reads: network.read(assets, selected, maps), "labels": assets["labels"][selected]}

    def loss(params: Params, batch: Data, key: Array | None) -> tuple[Array, Array]:
        return entropy_and_accuracy(predict(params, batch[reads]), batch["labels"])

    def ensemble(params: Params, weights: Array, batch: Data) -> tuple[Array, Array]:
        logits = jax.vmap(lambda p: predict(p, batch[reads]))(params)
        of_client = jnp.log(weights)[:, None, None] + jax.nn.log_softmax(logits)
        return entropy_and_accuracy(jax.nn.logsumexp(of_client, axis=0), batch["labels"])

    return Task(
        name=name,
        streams=(dict(init="init") if network.draws else {}) | dict(drawing.streams),
        init=network.init,
        data=lambda keys, assets: drawn(*drawing.own(keys, assets["labels"]), assets),
        loss=loss,
        examples=drawing.examples,
        metric="accuracy",
        larger_is_better=True,
        held_out=lambda keys, assets: drawn(*drawing.others(keys, assets["labels"]), assets),
        ensemble=ensemble,
        assets=assets,
        learning_rate=options["learning_rate"],
        batch_size=options["batch_size"],
        epochs=options["epochs"],
        options=options,
    )


def entropy_and_accuracy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """The mean cross-entropy of predictions (n, classes) and the share of them that are right."""
    right = jnp.argmax(logits, axis=-1) == labels
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.mean(entropy), jnp.mean(right, dtype=jnp.float32)


def select(key: Array, population: int, count: int) -> Array:
    """Distinct members of `range(population)`, uniformly drawn, in random order.

    Fisher and Yates' shuffle, stopped after `count` swaps and with only the moved entries kept:
    a sort of the whole population would cost a third of everything else that a client's data do.
    A larger count adds to the end of a smaller one's draw.

    Returns:
        (count,) of int32.
    """
    places = jnp.arange(count, dtype=jnp.int32)

    def draw(place: Array) -> Array:
        return jax.random.randint(jax.random.fold_in(key, place), (), place, population, jnp.int32)

    def swap(moved: tuple[Array, Array], swapped: tuple[Array, Array]):
        """Swaps the entries at `place` and `other`; what comes to `place` stays there."""
        at, entries = moved
        place, other = swapped

        def entry(i: Array) -> Array:
            found = at == i
            return jnp.where(jnp.any(found), jnp.sum(found * entries, dtype=jnp.int32), i)

        drawn, displaced = entry(other), entry(place)
        at = jnp.where(at == other, -1, at).at[place].set(other)
        return (at, entries.at[place].set(displaced)), drawn

    nothing = (jnp.full(count, -1, jnp.int32), jnp.zeros(count, jnp.int32))
    return jax.lax.scan(swap, nothing, (places, jax.vmap(draw)(places)))[1]


def select_labels(
    key: Array, labels: Array, shares: Array, count: int, *, from_the_end: bool = False
) -> Array:
    """Distinct indices of labels, in random order, where each label has its share.

    Every place's label is drawn from the shares, and then the next of a random order of all that
    have it. With one key, that order is the same for whoever draws, and so is the random number
    behind each place's label: what two clients with other shares have in common is what their
    shares have.

    Args:
        key: a JAX random key.
        labels: (population,) of int32, from 0.
        shares: (classes,), which sum to one.
        count: at most how many have the rarest label.
        from_the_end: draws labels anew, and takes of each the last of its order first.

    Returns:
        (count,) of int32. A larger count adds to the end of a smaller one's draw.
    """
    mixing, drawing = jax.random.split(key)
    drawing = jax.random.fold_in(drawing, 1) if from_the_end else drawing
    order = jax.random.permutation(mixing, len(labels))
    grouped = order[jnp.argsort(labels[order], stable=True)].astype(jnp.int32)
    sizes = jnp.bincount(labels, length=len(shares))
    places = jnp.arange(count)
    draws = jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(drawing, i), (), jnp.float32))(
        places
    )
    # A share of zero is never drawn, and rounding of the sum never lets the draw fall beside.
    wanted = jnp.searchsorted(jnp.cumsum(shares) / jnp.sum(shares), draws, side="right")
    wanted = jnp.minimum(wanted, len(shares) - 1)
    same = wanted[:, None] == wanted
    earlier = jnp.sum(same & (places < places[:, None]), axis=1)
    ends = jnp.cumsum(sizes)[wanted]
    return grouped[ends - 1 - earlier if from_the_end else ends - sizes[wanted] + earlier]
