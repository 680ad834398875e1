"""TensorBoard: curves and two pictures of one run, in one event folder.

P probed training steps, R replica, S state component, T time.
"""

import math
import statistics
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.custom_scalar.metadata import CONFIG_SUMMARY_TAG
from tensorboard.plugins.hparams.metadata import EXPERIMENT_TAG, SESSION_END_INFO_TAG, SESSION_START_INFO_TAG
from torch.utils.tensorboard import SummaryWriter

from rnnlab.experiment import Experiment
from rnnlab.plotting import Figure
from rnnlab.runs.adjoints import AdjointRecord
from rnnlab.sinks import figures
from rnnlab.sinks.hparams import begun_and_ended, outcome
from rnnlab.sinks.layout import layout
from rnnlab.sinks.sink import Sink

_messages: Any = summary_pb2  # classes made at run time, unseen by a type checker
_events: Any = event_pb2

TRAINING_TAGS = {
    "grad_norm": "gradient/norm_before_clipping",
    "clip_fraction": "gradient/clip_fraction",
    "lr": "learning_rate",
    "penalty": "loss/penalty",
}
DESCRIBING = {EXPERIMENT_TAG, SESSION_START_INFO_TAG, SESSION_END_INFO_TAG, CONFIG_SUMMARY_TAG}
"""Tags that say what a run is, not what came of it."""


class TensorBoard(Sink):
    """One run's event folder.

    Each scalar is the median over the seeds still active that have a value. A loss or metric that is not
    finite is written as it is (TensorBoard marks the point). An adjoint figure that is not finite is left
    out, and the seeds that have one are counted in `adjoint_nonfinite`.

    Args:
        experiment: what is run.
        folder: where the event files go.
        start_step: the step that the session starts from; what an earlier session wrote after it is hidden.
        parameters: learned numbers of one replica.
    """

    def __init__(self, experiment: Experiment, folder: Path, start_step: int, parameters: int) -> None:
        self.task, self.several = experiment.task, len(experiment.config.seeds) > 1
        # A start from nothing hides what it finds, too: a session may have died before its first checkpoint.
        self.writer = SummaryWriter(str(folder), purge_step=start_step + 1 if start_step else 0)
        # SummaryWriter.add_hparams would make these a run of their own, and show them only at the end.
        begun, self.ended = begun_and_ended(experiment, parameters)
        self._write(begun)
        self.writer.add_custom_scalars(layout(experiment))
        self.results: dict[int, Any] = {}
        self.medians_ST: list[np.ndarray] = []  # of every probed step
        self.drawn = 0  # how many probed steps the pictures show

    def take_over(self, folder: Path, last: int) -> None:
        """Curves and pictures of another run's events, up to this step; not what describes that run.

        What of them cannot be read is left out: nothing is computed from events.
        """
        for path in filter(Path.is_file, sorted(folder.glob("events.out.tfevents.*"))):
            with suppress(Exception):  # whatever a stranger's file does to the reader
                for content in RawEventFileLoader(str(path)).Load():
                    event = _events.Event.FromString(content)
                    tags = {value.tag for value in event.summary.value}
                    if tags and event.step <= last and not tags & DESCRIBING:
                        self.writer._get_file_writer().add_event(event, event.step, event.wall_time)

    def rows(self, rows: list[dict[str, Any]]) -> None:
        rows = self._of_active_seeds(rows)
        if not rows:
            return
        split = rows[0]["split"]
        scalars = {"loss/baseline": rows[0]["baseline"]}
        if split == "eval":
            # A solved seed rests and counts with its last evaluation, or the median would fall when it leaves.
            active = {row["seed"] for row in rows}
            resting = [r for seed, r in self.results.items() if r.status == "solved" and seed not in active]
            losses = _column(rows, "loss") + [r.final_loss for r in resting]
            metrics = _column(rows, self.task.metric.name) + [r.final_metric for r in resting]
            scalars |= self._with_spread("loss/eval", losses) | self._with_spread(
                f"{self.task.metric.name}/eval", metrics
            )
            scalars |= outcome(self.results, self.task.metric)
        else:
            scalars |= self._with_spread("loss/train", _column(rows, "loss"))
            scalars |= {tag: middle(_column(rows, key)) for key, tag in TRAINING_TAGS.items() if key in rows[0]}
        self._scalars(scalars | _adjoint_figures(rows), rows[0]["step"])

    def _of_active_seeds(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Without a seed that has just diverged, as long as others go on: medians are theirs."""
        status = {seed: result.status for seed, result in self.results.items()}
        if all(s == "diverged" for s in status.values()):
            return rows
        return [row for row in rows if status.get(row["seed"]) != "diverged"]

    def _with_spread(self, tag: str, values: list[float]) -> dict[str, float]:
        """The median and, of a population, its two ends."""
        ends = {f"{tag}_lowest_seed": min, f"{tag}_highest_seed": max} if self.several else {}
        present = [v for v in values if not math.isnan(v)] or [math.nan]
        return {tag: middle(values)} | {name: end(present) for name, end in ends.items()}

    def adjoints(self, record: AdjointRecord) -> None:
        # Each picture shows all that there is. So it is drawn again when there is twice as much, and at the end.
        if len(record.step) >= 2 * max(1, self.drawn):
            self._draw(record)

    def probes(self, step: int, seeds: list[int], measured: dict[str, np.ndarray]) -> None:
        """Medians over the seeds of what is one number per replica, where it is finite: tag PROBE/NAME."""
        numbers = {name: values_R for name, values_R in measured.items() if values_R.ndim == 1}
        medians = {name.replace(".", "/", 1): middle(values_R.tolist()) for name, values_R in numbers.items()}
        self._scalars({tag: value for tag, value in medians.items() if math.isfinite(value)}, step)

    def progress(self, step: int, results: dict[int, Any]) -> None:
        self.results = results

    def close(self, results: dict[int, Any], record: AdjointRecord) -> None:
        if len(record.step) > self.drawn:
            self._draw(record)
        self._scalars(outcome(results, self.task.metric), max(r.steps for r in results.values()))
        if all(r.status != "running" for r in results.values()):
            self._write(self.ended)
        self.writer.close()

    def _draw(self, record: AdjointRecord) -> None:
        """The norms of each state component as curves and, of several training steps, as a heat map."""
        steps, seeds, unit = record.step, len(record.seeds), self.task.unit
        # Those of an earlier session too; each once, since a long record takes seconds.
        self.medians_ST += [figures.median_over_seeds(n_RST) for n_RST in record.norm_RST[len(self.medians_ST) :]]
        for index, state in enumerate(record.states):
            norms_PRT = [norm_RST[:, index] for norm_RST in record.norm_RST]
            self._hang(f"adjoint/curves_{state}", steps, figures.curves(steps, norms_PRT, state=state, unit=unit))
            if len(steps) > 1:
                median_PT = np.stack([median_ST[index] for median_ST in self.medians_ST])
                drawn = figures.heat_map(steps, median_PT, state=state, unit=unit, seeds=seeds)
                self._hang(f"adjoint/heat_map_{state}", steps, drawn)
        if any("." in state for state in record.states):  # of several cells
            drawn = figures.depth_map(steps[-1], self.medians_ST[-1], record.states, unit=unit)
            self._hang("adjoint/depth", steps, drawn)
        self.drawn = len(steps)

    def _hang(self, tag: str, steps: list[int], figure: Figure) -> None:
        self.writer.add_image(tag, figures.pixels(figure), steps[-1], dataformats="HWC")

    def _scalars(self, scalars: dict[str, float], step: int) -> None:
        # One event for all: several times cheaper than add_scalar, which also prints a warning for each NaN.
        values = [_messages.Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._write(_messages.Summary(value=values), step)

    def _write(self, summary: Any, step: int | None = None) -> None:
        self.writer._get_file_writer().add_summary(summary, step)


def middle(values: list[float]) -> float:
    """The median of the values that are not NaN; NaN when there is none."""
    return statistics.median([v for v in values if not math.isnan(v)] or [math.nan])


def _column(rows: list[dict[str, Any]], key: str) -> list[float]:
    return [math.nan if row.get(key) is None else float(row[key]) for row in rows]


def _adjoint_figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The adjoint figures of a line of metrics, where it has any: slope, log10 of the ratio, live share."""
    result: dict[str, float] = {}
    for state in [key.removeprefix("adjoint_slope_") for key in rows[0] if key.startswith("adjoint_slope_")]:
        ratio = [_log10(v) for v in _column(rows, f"adjoint_ratio_{state}")]
        slope, live = _column(rows, f"adjoint_slope_{state}"), _column(rows, f"adjoint_live_{state}")
        broken = sum(not all(map(math.isfinite, figures)) for figures in zip(slope, ratio, live, strict=True))
        result[f"adjoint_nonfinite/{state}"] = broken
        middles = {"slope": middle(slope), "ratio": middle(ratio), "live": middle(live)}
        result |= {f"adjoint_{name}/{state}": value for name, value in middles.items() if math.isfinite(value)}
    return result


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else -math.inf if value == 0 else math.nan
