"""Memorise a waveform: a sum of sines with known periods, the same for everyone; what no memory can do."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from support import component, composed

from rnnlab.contract import ConfigError
from rnnlab.schema import validate
from rnnlab.streams import generator
from rnnlab.tasks.task import evaluated_on, stack
from rnnlab.tasks.waves import Waves


def waves(**changes: Any) -> Waves:
    return component("task", "waves", **changes)


def lines_of(waveform: torch.Tensor, periods: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """(amplitude of each sine, what is left) of a waveform by least squares on constant, sines and cosines."""
    time = np.arange(len(waveform))
    angles = [2 * np.pi * time / period for period in periods]
    design = np.stack([np.ones(len(time)), *map(np.sin, angles), *map(np.cos, angles)], axis=1)
    weights = np.linalg.lstsq(design, waveform.numpy(), rcond=None)[0]
    n = len(periods)
    return np.hypot(weights[1 : n + 1], weights[n + 1 :]), waveform.numpy() - design @ weights


@pytest.mark.parametrize("periods", [[8.0, 32.0, 80.0, 160.0], [10.0], [6.5, 41.0]])
@pytest.mark.parametrize("phases", [0, 7])
def test_it_is_a_sum_of_equal_sines_with_its_periods_from_minus_one_to_one(periods: list[float], phases: int) -> None:
    waveform = waves(periods=periods, phases=phases).waveform
    amplitudes, left = lines_of(waveform, periods)
    np.testing.assert_allclose(left, 0, atol=1e-12)
    np.testing.assert_allclose(amplitudes, amplitudes[0], rtol=1e-11)
    assert waveform.min() == -1
    assert waveform.max() == 1


def test_the_spectrum_has_four_lines() -> None:
    """320 steps hold each period a whole number of times: the power is at 2, 4, 10 and 40 turns, and nowhere else."""
    power = torch.fft.rfft(waves().waveform).abs()[1:]
    assert sorted((power.topk(4).indices + 1).tolist()) == [2, 4, 10, 40]
    assert power.sort().values[-5] < 1e-10 * power.max()


def test_the_seed_of_the_phases_is_the_waveform() -> None:
    assert torch.equal(waves(phases=3).waveform, waves(phases=3).waveform)
    assert not torch.allclose(waves(phases=3).waveform, waves(phases=4).waveform, atol=0.1)


@pytest.mark.parametrize("where", ["every_step", "first_step"])
def test_the_input_tells_nothing_of_the_time(where: str) -> None:
    batch = waves(input=where, batch=3).training_batch(5, 9)
    expected = torch.ones(320) if where == "every_step" else torch.eye(320)[0]
    assert torch.equal(batch.input[..., 0], expected.unsqueeze(1).expand(320, 3))
    assert torch.equal(batch.target, waves().waveform.float().unsqueeze(1).expand(320, 3))


def test_it_is_evaluated_on_the_sequence_that_it_is_trained_on() -> None:
    task = waves()
    (held_out,) = task.evaluation_batches(500)
    assert torch.equal(held_out.target, task.training_batch(0, 1).target)
    assert evaluated_on(task, 500) == "the sequence that it is trained on"


def test_the_mean_is_the_best_constant_and_its_error_the_baseline() -> None:
    task = waves(batch=2)
    batch = stack([task.training_batch(0, 1)]).to(torch.device("cpu"), torch.float64)

    def told(values: torch.Tensor) -> tuple[float, float]:
        prediction = values.double().expand(320).view(1, 320, 1, 1).expand(1, 320, 2, 1)
        return task.losses(prediction, batch)[0, 1].item(), task.metrics(prediction, batch)[0, 1].item()

    mean = task.waveform.mean()
    loss, nmse = told(mean)
    assert loss == pytest.approx(task.baseline, rel=1e-6)
    assert nmse == pytest.approx(1, rel=1e-6)
    assert min(told(mean + 0.01)[0], told(mean - 0.01)[0]) > loss
    assert told(batch.target[:, 0, 0]) == (0, 0)
    assert task.solved(1.0, 0.0999)
    assert not task.solved(0.0, 0.1)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        (["task.periods=[]"], "task.periods"),
        (["task.periods=[8,1.5]"], "task.periods"),
        (["task.periods=[320001]"], "task.periods"),
        (["task.length=1"], "task.length"),
    ],
)
def test_what_is_no_waveform_is_refused(changes: list[str], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}=.*not allowed"):
        validate(composed("task=waves", *changes))


def test_an_example_as_text() -> None:
    given, target, *rows = waves(length=9, periods=[4]).describe(generator(0, "example")).splitlines()
    assert given == "input   1 at every step"
    assert target == "target  y_0 to y_8"
    assert (rows[0][:6], rows[-1][:6]) == ("     1", "    -1")
    level = {at: row for row, line in enumerate(rows) for at, mark in enumerate(line[8:]) if mark == "*"}
    told = [1 - 2 * level[at] / 10 for at in range(9)]
    expected = waves(length=9, periods=[4]).waveform.tolist()
    assert all(math.isclose(a, b, abs_tol=0.11) for a, b in zip(told, expected, strict=True))
