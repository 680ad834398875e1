"""Wherever a run asks whether it is interrupted, it can be stopped, and ends with the same files when it goes on."""

from collections.abc import Callable

import pytest
from helpers import TINY, canonical_files, only_run, read
from support import composed

from rnnlab.config import Config
from rnnlab.entrance import UNTRAINED
from rnnlab.schema import validate
from rnnlab.sinks import console
from rnnlab.tasks import task as tasks
from rnnlab.training.run import run

SETTINGS = [*TINY, "steps=6", "evaluate.every=2", "checkpoint.every=3", "seeds=2", "engine=autograd"]
PROBED = ["probes=full", "probes.jacobian.first=4", "probes.jacobian.every=0", "probes.updates.first=4"]
PROBED += ["cell.hidden=4", "task.length=4", "evaluate.every=6", "clipping=zclip"]


@pytest.fixture(autouse=True)
def several_batches(monkeypatch):
    """An evaluation is asked several times, and the console has something to say each time."""
    monkeypatch.setattr(tasks, "CHUNK", 8)
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", -1.0)


def config(name: str, *more: str) -> Config:
    return validate(composed(*SETTINGS, f"name={name}", *more))


def at_the(number: int) -> Callable[[], bool]:
    """Interrupted from the number-th time on that it is asked."""
    asked = iter(range(10**6))
    return lambda: next(asked) >= number


def test_a_run_that_is_stopped_at_any_place_and_goes_on_has_the_same_files(in_tmp_path):
    asked: list[int] = []
    run(config("whole"), lambda: bool(asked.append(0)))
    whole = canonical_files(only_run("whole"))
    assert len(asked) > 30
    for place in range(0, len(asked), 2):
        name = f"cut{place}"
        with pytest.raises(KeyboardInterrupt) as stopped:
            run(config(name), at_the(place))
        untrained = not (in_tmp_path / "runs" / name).exists()
        assert untrained == (str(stopped.value) == UNTRAINED)
        assert untrained or read(only_run(name), "manifest.json")["status"] == "interrupted"
        run(config(name))
        ours = canonical_files(only_run(name))
        # config.yaml holds the run's name and a checksum.
        assert ours | {"config.yaml": b""} == whole | {"config.yaml": b""}, place


def test_a_step_whose_probes_are_interrupted_is_taken_back(in_tmp_path):
    asked: list[int] = []
    run(config("whole", *PROBED), lambda: bool(asked.append(0)))
    whole = measured_and_canonical("whole")
    for place in range(30, len(asked), 5):
        name = f"cut{place}"
        with pytest.raises(KeyboardInterrupt):
            run(config(name, *PROBED), at_the(place))
        run(config(name, *PROBED))
        assert measured_and_canonical(name) == whole, place


def measured_and_canonical(name: str) -> tuple[dict[str, bytes], dict[str, object]]:
    """Files of probes, and those that do not name the run."""
    probes = {path.name: path.read_bytes() for path in (only_run(name) / "probes").iterdir()}
    return probes, canonical_files(only_run(name)) | {"config.yaml": b""}


def test_stopped_again_and_again_it_ends_with_the_same_files(in_tmp_path):
    run(config("whole"))
    place, stops = 0, 0
    while True:
        try:
            run(config("cut"), at_the(place))
            break
        except KeyboardInterrupt:
            stops, place = stops + 1, place + 1
    assert stops > 5
    ours, whole = canonical_files(only_run("cut")), canonical_files(only_run("whole"))
    assert ours | {"config.yaml": b""} == whole | {"config.yaml": b""}


@pytest.mark.parametrize("more", [(), ("task.examples=50",)], ids=["fresh", "fixed set"])
def test_before_anything_is_trained_nothing_is_left(more, in_tmp_path):
    """Drawing parameters, the held-out examples, the first batches, the first evaluation."""
    asked: list[int] = []
    with pytest.raises(KeyboardInterrupt, match="before anything was trained"):
        run(config("cut", *more), lambda: bool(asked.append(0)) or len(asked) > 12)
    assert not list(in_tmp_path.iterdir())


def test_what_was_there_before_stays(in_tmp_path):
    (in_tmp_path / "runs" / "cut").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        run(config("cut"), at_the(3))
    assert [p.name for p in (in_tmp_path / "runs").iterdir()] == ["cut"]
    run(config("cut"))
    assert read(only_run("cut"), "manifest.json")["status"] == "finished"
