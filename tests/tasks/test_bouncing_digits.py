"""Bouncing digits: frames drawn again by hand, reflection, what is read and told, and the copy of the last frame."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from support import component, composed

from rnnlab.contract import ConfigError
from rnnlab.laws.ground import DTYPES
from rnnlab.schema import validate
from rnnlab.streams import generator
from rnnlab.tasks.bouncing_digits import BouncingDigits, copy_error, corners
from rnnlab.tasks.image_files import load
from rnnlab.tasks.task import stack

pytest.importorskip("sklearn")


def bouncing(**changes: Any) -> BouncingDigits:
    return component("task", "bouncing_digits", **{"batch": 6, **changes})


def reflected(start: float, velocity: float, frames: int, room: int) -> list[float]:
    """Where something is that turns round at 0 and at `room`, one step after the other."""
    places, at = [], start
    for _ in range(frames):
        places.append(at)
        at += velocity
        while not 0 <= at <= room:
            at = -at if at < 0 else 2 * room - at
            velocity = -velocity
    return places


@pytest.mark.parametrize("velocity", [0.0, 0.7, -1.3, 5.0, 23.5])
def test_a_digit_flies_straight_on_and_is_reflected(velocity: float) -> None:
    start = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 8
    found = corners(start, torch.full((50,), velocity, dtype=torch.float64), 40, 8)
    assert found.min() >= 0
    assert found.max() <= 8
    for places, s in zip(found.T.tolist(), start.tolist(), strict=True):
        for place, exact in zip(places, reflected(s, velocity, 40, 8), strict=True):
            assert abs(place - exact) <= 0.5 + 1e-9


def test_a_mirror_is_a_mirror() -> None:
    """From the other side with the velocity reversed it is the mirror image; and 2 L later in space nothing differs."""
    start = torch.rand(200, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 8
    velocity = torch.linspace(-3, 3, 200, dtype=torch.float64) + 0.0123
    there = corners(start, velocity, 30, 8)
    assert torch.equal(8 - corners(8 - start, -velocity, 30, 8), there)
    assert torch.equal(corners(start + 16, velocity, 30, 8), there)
    assert torch.equal(corners(-start, -velocity, 30, 8), there), "behind the wall there is its image"


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_frames_are_the_images_at_their_places(digits: int) -> None:
    task = bouncing(digits=digits, side=13, speed=1.7, length=9, told=4)
    drawn = task.draw(6, generator(3, "data"))
    film = task.film(drawn).view(10, 6, 13, 13).numpy()
    images = (load("digits")[0][0].numpy() > 127.5).reshape(-1, 8, 8)
    digit, start, velocity = (part.tolist() for part in drawn)
    for n in range(6):
        expected = np.zeros((10, 13, 13), bool)
        for d in range(digits):
            assert math.hypot(*velocity[n][d]) == pytest.approx(1.7, rel=1e-6)
            ys, xs = (reflected(start[n][d][axis], velocity[n][d][axis], 10, 5) for axis in (0, 1))
            for t, (y, x) in enumerate(zip(ys, xs, strict=True)):
                row, column = math.floor(y + 0.5), math.floor(x + 0.5)
                expected[t, row : row + 8, column : column + 8] |= images[digit[n][d]]
        assert (film[:, n] == expected).all()


def test_the_next_frame_is_the_target_of_the_last_steps() -> None:
    task = bouncing(length=7, told=3)
    batch = task.training_batch(0, 1)
    film = task.film(task.draw(6, generator(0, "data", 1))).float()
    assert batch.input.shape == (7, 6, 256)
    assert batch.target.shape == (3, 6, 256)
    assert torch.equal(batch.input, film[:7])
    assert torch.equal(batch.target, film[5:])
    assert torch.equal(batch.target[:-1], batch.input[-2:])
    assert task.image == (1, 16, 16)


def test_held_out_digits_are_those_of_test_images() -> None:
    task = bouncing()
    training, test = (len(images) for images, _ in load("digits"))
    trained, held = task.draw(20_000, generator(0, "data"))[0], task.draw_held_out(20_000, generator(0, "data"))[0]
    assert set(trained.flatten().tolist()) == set(range(training))
    assert set(held.flatten().tolist()) == set(range(training, training + test))
    frames = next(iter(task.evaluation_batches(5))).input[0].view(5, 16, 16)
    drawn = task.draw_held_out(5, generator(2**32, "evaluation"))
    assert torch.equal(frames.flatten(1), task.film(drawn)[0].float())


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_baseline_is_the_best_single_confidence_in_a_copy(dtype: torch.dtype) -> None:
    task = bouncing(side=12, length=6, told=4)
    batch = stack([task.write(task.draw_held_out(1000, generator(2**32, "evaluation")))])
    batch = batch.to(torch.device("cpu"), dtype)
    frame_RKBO = batch.input[-4:].transpose(0, 1)

    def loss(doubt: float) -> float:
        logit = math.log((1 - doubt) / doubt)
        return task.losses(logit * (2 * frame_RKBO - 1), batch).mean().item()

    error = (frame_RKBO != batch.target.transpose(0, 1)).double().mean().item()
    assert copy_error(task) == pytest.approx(error, rel=1e-12)
    assert loss(error) == pytest.approx(task.baseline, rel=1e-5)
    assert min(loss(0.9 * error), loss(1.1 * error)) > task.baseline * (1 + 1e-4)
    hard = task.metrics(1e4 * (2 * frame_RKBO - 1), batch)
    assert hard.mean().item() == pytest.approx(error, rel=1e-5), "a copy's squared error is the share that changes"
    assert task.metrics(torch.zeros_like(frame_RKBO), batch).unique().tolist() == [0.25]
    assert task.losses(torch.zeros_like(frame_RKBO), batch).mean().item() == pytest.approx(144 * math.log(2), rel=1e-6)


def test_a_fixed_set_is_of_training_digits_too() -> None:
    task = bouncing(examples=12)
    seen = torch.cat([task.training_batch(0, step).input for step in (1, 2)], dim=1)
    again = torch.cat([task.training_batch(0, step).input for step in (3, 4)], dim=1)
    key = [sorted(films.transpose(0, 1).flatten(1).tolist()) for films in (seen, again)]
    assert key[0] == key[1]


@pytest.mark.parametrize(
    "changes",
    [
        *(["task.side=8"], ["task.side=28", "task.source=mnist5k"], ["task.told=20"], ["task.examples=3"]),
        *(["task.speed=17"], ["task.digits=10"], ["task.side=4097"]),
    ],
)
def test_what_cannot_be_filmed_is_refused(changes: list[str]) -> None:
    key = changes[0].split("=")[0].replace(".", r"\.")
    with pytest.raises(ConfigError, match=rf"^{key}=.*not allowed"):
        validate(composed("task=bouncing_digits", *changes))


def test_the_copy_is_not_measured_before_somebody_asks() -> None:
    """Also not when the task is made: it may be one that there is no room for."""
    copy_error.cache_clear()
    task = bouncing(length=5, told=2)
    assert copy_error.cache_info().currsize == 0
    assert task.baseline > 0
    assert copy_error.cache_info().currsize == 1


def test_an_example_as_text() -> None:
    task = bouncing(length=4, told=2, side=10)
    scored, heads, *rows = task.describe(generator(0, "example")).splitlines()
    assert "of the last 2 steps" in scored
    assert heads.split() == ["input", "0", "input", "1", "input", "2", "input", "3", "target", "4"]
    film = task.film(task.draw(1, generator(0, "example")))[:, 0].view(5, 10, 10).tolist()
    for y, row in enumerate(rows):
        assert row.split() == ["".join(".#"[pixel] for pixel in frame[y]) for frame in film]
