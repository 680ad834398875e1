"""The TensorBoard sink: event files read back with TensorBoard's own reader."""

import math
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import torch
from support import composed
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from rnnlab.build import build
from rnnlab.experiment import Experiment
from rnnlab.runs.adjoints import AdjointRecord, summarise
from rnnlab.runs.identity import run_id, run_name
from rnnlab.runs.progress import Result
from rnnlab.schema import validate
from rnnlab.sinks import figures
from rnnlab.sinks.address import comparison_address
from rnnlab.sinks.tensorboard import TensorBoard, middle

STATES = ("h", "c")


def experiment(*overrides: str) -> Experiment:
    return build(validate(composed("task=adding", "task.length=10", "cell.hidden=4", "seeds=3", *overrides)))


def read(folder: Path) -> EventAccumulator:
    everything = {"scalars": 0, "tensors": 0, "images": 0}
    return EventAccumulator(str(folder), size_guidance=everything).Reload()


def scalars(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(tag)]


def make_older(folder: Path) -> None:
    """TensorBoard reads event files in the order of the seconds in their names; a test takes less than one."""
    (file,) = folder.iterdir()
    file.rename(folder / re.sub(r"tfevents\.\d+", "tfevents.1000000000", file.name))


class Session:
    """Feeds a sink as the training loop does, with made-up numbers."""

    def __init__(self, folder: Path, *overrides: str, start: int = 0) -> None:
        self.experiment = experiment(*overrides)
        self.folder, self.seeds = folder, self.experiment.config.seeds
        self.results = {seed: Result() for seed in self.seeds}
        self.record = AdjointRecord(self.seeds, STATES, self.experiment.task.steps)
        self.sink = TensorBoard(self.experiment, folder, start, 123)
        self.sink.progress(start, self.results)

    def evaluate(self, step: int, losses: list[float], metric: float = 0.5) -> None:
        rows = [{"step": step, "seed": s, "loss": v} for s, v in zip(self.seeds, losses, strict=False)]
        common = {"split": "eval", "baseline": self.experiment.task.baseline, "accuracy": metric}
        self.sink.rows([row | common for row in rows])

    def train(self, step: int, losses: list[float], norm: float | None = None) -> None:
        """One logged step; `norm`: of the last time step, ten times less per step back."""
        rows = [
            {"step": step, "seed": s, "split": "train", "loss": v, "baseline": self.experiment.task.baseline}
            | {"grad_norm": 2.0 * v, "clip_fraction": 0.25, "lr": 0.001}
            for s, v in zip(self.seeds, losses, strict=False)
        ]
        if norm is not None:
            stored_RST = self.record.add(step, self.seeds[: len(rows)], self.norms(norm, len(rows)))
            for row, norm_ST in zip(rows, stored_RST, strict=False):
                for state, norm_T in zip(STATES, norm_ST, strict=True):
                    found = summarise(norm_T, 0.0)
                    row |= {f"adjoint_slope_{state}": found.slope, f"adjoint_ratio_{state}": found.ratio}
                    row[f"adjoint_live_{state}"] = found.live
        self.sink.rows(rows)
        if norm is not None:
            self.sink.adjoints(self.record)
        for result in self.results.values():
            result.steps = step
        self.sink.progress(step, self.results)

    def norms(self, last: float, replicas: int) -> torch.Tensor:
        T = self.experiment.task.steps
        norm_T = last * 10.0 ** torch.arange(1 - T, 1, dtype=torch.float64)
        return norm_T.expand(replicas, len(STATES), T)

    def close(self, *statuses: str) -> EventAccumulator:
        for result, status in zip(self.results.values(), statuses or ["unsolved"] * 3, strict=True):
            result.status = status
        self.sink.close(self.results, self.record)
        return read(self.folder)


@pytest.fixture
def no_drawing(monkeypatch):
    """For tests that look at something else: drawing takes a second."""
    monkeypatch.setattr(figures, "pixels", lambda figure: np.zeros((4, 4, 3), dtype=np.uint8))


def test_one_probed_step_is_a_curve_and_no_map(tmp_path):
    session = Session(tmp_path)
    session.train(1, [0.1, 0.4, 0.2], norm=1.0)
    assert set(session.close().Tags()["images"]) == {f"adjoint/curves_{s}" for s in STATES}


def test_everything_a_user_looks_for_is_there(tmp_path):
    session = Session(tmp_path)
    session.evaluate(0, [1.0, 3.0, 2.0])
    for step in (1, 2):
        session.train(step, [0.1, 0.4, 0.2], norm=1.0)
    events = session.close()
    tags = events.Tags()
    spread = [f"{tag}{end}" for tag in ("loss/train", "loss/eval", "accuracy/eval") for end in ENDS]
    single = ["loss/baseline", "gradient/norm_before_clipping", "gradient/clip_fraction", "learning_rate"]
    adjoint = [f"adjoint_{f}/{s}" for f in ("slope", "ratio", "live", "nonfinite") for s in STATES]
    outcome = ["Outcome/solved_share", "Outcome/diverged_share"]
    assert set(tags["scalars"]) == {*spread, *single, *adjoint, *outcome}
    assert set(tags["images"]) == {f"adjoint/{p}_{s}" for p in ("heat_map", "curves") for s in STATES}
    assert [value for _, value in scalars(events, "loss/baseline")] == pytest.approx([1 / 6] * 3)
    assert [scalars(events, f"loss/eval{end}")[0] for end in ENDS] == [(0, 2.0), (0, 1.0), (0, 3.0)]
    assert scalars(events, "adjoint_slope/h")[0] == (1, pytest.approx(1.0))  # decades per time step
    assert scalars(events, "adjoint_ratio/h")[0] == (1, pytest.approx(-9.0))
    assert scalars(events, "adjoint_live/h")[0] == (1, 1.0)
    width = events.Images("adjoint/heat_map_h")[0].width
    assert width >= 600  # TensorBoard does not enlarge


ENDS = ("", "_lowest_seed", "_highest_seed")


def test_the_number_of_tags_does_not_grow_with_the_sequence(tmp_path, no_drawing):
    counts = []
    for length in (10, 200):
        session = Session(tmp_path / str(length), f"task.length={length}")
        session.train(1, [0.1, 0.4, 0.2], norm=1.0)
        tags = session.close().Tags()
        counts.append([len(tags[kind]) for kind in ("scalars", "images", "tensors")])
    assert counts[0] == counts[1]


def test_a_single_seed_has_no_spread(tmp_path, no_drawing):
    session = Session(tmp_path, "seeds=1")
    session.train(1, [0.1])
    assert not [tag for tag in session.close("unsolved").Tags()["scalars"] if tag.endswith("_seed")]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_what_is_not_finite_is_written_or_counted(tmp_path, no_drawing, value, caplog):
    session = Session(tmp_path)
    with np.errstate(all="ignore"):
        session.train(1, [value] * 3, norm=abs(value))
    session.train(2, [value, 0.5, 0.7], norm=0.0)
    session.evaluate(2, [value] * 3, metric=value)
    events = session.close("diverged", "diverged", "diverged")
    assert len(scalars(events, "loss/train")) == 2
    assert [count for _, count in scalars(events, "adjoint_nonfinite/h")][1] == 3
    assert scalars(events, "Outcome/diverged_share")[-1] == (2, 1.0)
    assert not caplog.records  # a diverged run does not flood the terminal


def test_nothing_is_written_that_was_not_measured(tmp_path, no_drawing):
    session = Session(tmp_path)
    session.sink.rows([])
    session.train(1, [0.1, 0.2, 0.3])
    tags = session.close().Tags()
    assert not tags["images"]
    assert not [tag for tag in tags["scalars"] if tag.startswith(("adjoint", "accuracy"))]


def test_a_resumed_session_hides_what_came_after_its_checkpoint(tmp_path, no_drawing):
    first = Session(tmp_path)
    for step in (5, 10, 15):
        first.train(step, [1.0] * 3, norm=1.0)
    first.close("running", "running", "running")
    make_older(tmp_path)
    second = Session(tmp_path, start=10)
    rows = first.record.state_dict()
    second.record.load_state_dict({"step": rows["step"][:2], "norm": rows["norm"][:2]})
    second.train(15, [2.0] * 3, norm=1.0)
    events = second.close()
    assert scalars(events, "loss/train") == [(5, 1.0), (10, 1.0), (15, 2.0)]
    assert second.sink.drawn == 3, "the pictures show the earlier session too"


def test_a_session_from_nothing_hides_what_a_dead_one_left(tmp_path, no_drawing):
    dead = Session(tmp_path)
    dead.train(5, [1.0] * 3)
    dead.sink.writer.flush()
    make_older(tmp_path)
    second = Session(tmp_path)
    second.train(1, [2.0] * 3)
    assert scalars(second.close(), "loss/train") == [(1, 2.0)]


def test_hyper_parameters_are_in_the_run_itself(tmp_path, no_drawing):
    session = Session(tmp_path, "cell=rnn", "clipping=value")
    session.train(1, [0.1] * 3)
    session.sink.writer.flush()
    tags = ("SESSION_START_INFO_TAG", "EXPERIMENT_TAG", "SESSION_END_INFO_TAG")
    start, columns, end = (getattr(metadata, tag) for tag in tags)
    content = read(tmp_path).summary_metadata
    assert end not in content  # while it runs
    assert columns not in content, "one run's columns would stand for those of all runs"
    chosen = metadata.parse_session_start_info_plugin_data(content[start].plugin_data.content).hparams
    assert (chosen["cell"].string_value, chosen["clipping.max_value"].number_value) == ("rnn", 1.0)
    assert end in session.close().summary_metadata
    assert not [entry for entry in tmp_path.iterdir() if entry.is_dir()]


def test_how_the_run_stands_is_written_at_evaluations_and_at_the_end(tmp_path, no_drawing):
    session = Session(tmp_path)
    session.evaluate(0, [0.2] * 3)
    session.train(40, [0.1] * 3)
    for result, steps in zip(session.results.values(), (10, None, 20), strict=True):
        result.steps_to_solve, result.final_loss, result.final_metric = steps, 0.1, 0.9
    events = session.close()
    assert scalars(events, "Outcome/solved_share") == [(0, 0.0), (40, pytest.approx(2 / 3))]
    assert scalars(events, "Outcome/steps_to_solve") == [(40, 20.0)]


def test_pictures_are_drawn_again_when_there_is_twice_as_much_and_at_the_end(tmp_path, no_drawing):
    session = Session(tmp_path)
    for step in range(1, 12):
        session.train(step, [1.0] * 3, norm=1.0)
    events = session.close()
    assert [event.step for event in events.Images("adjoint/heat_map_h")] == [2, 4, 8, 11]


def test_of_probes_there_is_what_is_one_number_per_seed(tmp_path):
    session = Session(tmp_path)
    shares = {"gates.forget.mean_at_step": np.full((3, 10), 0.5), "gates.forget.mean": np.array([0.1, np.nan, 0.3])}
    session.sink.probes(1, session.seeds, shares)
    tags = session.close().Tags()["scalars"]
    assert [tag for tag in tags if tag.startswith("gates")] == ["gates/forget.mean"]


def test_middle():
    assert middle([3.0, math.nan, 1.0]) == 2.0
    assert math.isnan(middle([math.nan]))
    assert math.isnan(middle([]))


def test_comparison_address_colours_by_technique_and_shows_curves():
    query = parse_qs(urlsplit(comparison_address()).query)
    config = experiment("cell=gru").config
    run = f"name-1/{run_id(config, device='cpu', engine='autograd', sources={})}/tensorboard"
    kind, _, pattern = query["runColorGroup"][0].partition(":")
    found = re.search(pattern, run)
    assert kind == "regex"
    assert found is not None
    assert found.group(1) == run_name(config)
    cards = [
        "loss/train",
        "loss/eval",
        "loss/baseline",
        "recall_accuracy/eval",
        "adjoint_slope/h",
        "adjoint_ratio/h",
    ]
    others = [
        "loss/eval_lowest_seed",
        "adjoint/heat_map_h",
        "learning_rate",
        "gradient/clip_fraction",
    ]
    assert all(re.search(query["tagFilter"][0], tag) for tag in cards)
    assert not any(re.search(query["tagFilter"][0], tag) for tag in others)


def test_a_solved_seed_keeps_its_place_in_the_evaluation_medians(tmp_path, no_drawing):
    session = Session(tmp_path)
    session.evaluate(0, [3.0, 2.0, 1.0])
    solved = session.results[session.seeds[2]]
    solved.status, solved.final_loss, solved.final_metric = "solved", 0.001, 1.0
    session.sink.progress(5, session.results)
    session.evaluate(10, [3.0, 2.0])
    events = session.close("unsolved", "unsolved", "solved")
    assert [e.value for e in events.Scalars("loss/eval")] == [2.0, 2.0]
    assert events.Scalars("loss/eval_lowest_seed")[-1].value == pytest.approx(0.001)


def test_a_seed_that_diverges_leaves_the_medians_to_the_others(tmp_path, no_drawing):
    session = Session(tmp_path)
    session.train(5, [1.0, 2.0, 3.0])
    session.results[session.seeds[0]].status = "diverged"
    session.train(7, [float("nan")])  # the line that only the diverging seed writes
    events = session.close("diverged", "unsolved", "unsolved")
    assert [(e.step, e.value) for e in events.Scalars("loss/train")] == [(5, 2.0)]
