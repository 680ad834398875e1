"""TensorBoard: curves, pictures and profiles of one run, in one event folder.

P probed training steps, R replica, S state component, T time.
"""

import math
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto import summary_pb2
from tensorboard.plugins.hparams import plugin_data_pb2
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import histogram_raw, hparams

from rnnlab.build import Experiment
from rnnlab.probes.adjoint_record import LIVE, AdjointRecord
from rnnlab.schema import COMPONENTS, Config
from rnnlab.sinks import figures
from rnnlab.sinks.sink import Sink

_messages: Any = summary_pb2  # classes made at run time, unseen by a type checker
_hparams_messages: Any = plugin_data_pb2

TRAINING_TAGS = {
    "grad_norm": "gradient/norm_before_clipping",
    "clip_fraction": "gradient/clip_fraction",
    "lr": "learning_rate",
}
SHOWN_FIRST = ("activation", "adjoint", "cell", "clipping", "initialiser")
"""Columns that the hparams tab shows without being asked for."""
DRAWING_SHARE = 0.02
"""Pictures during training may take this share of the elapsed time. At the end they are drawn in any case."""
FIRST_DRAWING = 1.0
"""Seconds that a round of pictures is taken to cost before one was timed."""
BUCKETS = 30
"""TensorBoard's front end makes 30 buckets of any histogram; exactly so many pass through it unchanged."""
OFFSET = -round(math.log10(LIVE))
"""Added to log10 of a norm in a profile, which holds no negative numbers: a step of height 0 is not live."""
HIGHEST_BAR = 2 * OFFSET
"""A profile's largest height: one infinite norm must not flatten all others."""


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
        choices = hyper_parameters(experiment, parameters)
        columns, values, self.ended = hparams(choices, dict.fromkeys(outcome_tags(self.task.metric), 0))
        _show_first(columns, SHOWN_FIRST)
        self._write(columns)
        self._write(values)
        self.results: dict[int, Any] = {}
        self.medians_ST: list[np.ndarray] = []  # of every probed step
        self.began, self.drawing, self.last_drawing = time.monotonic(), 0.0, FIRST_DRAWING
        self.drawn_step = -1

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
            metrics = _column(rows, self.task.metric) + [r.final_metric for r in resting]
            scalars |= self._with_spread("loss/eval", losses) | self._with_spread(f"{self.task.metric}/eval", metrics)
        else:
            scalars |= self._with_spread("loss/train", _column(rows, "loss"))
            scalars |= {tag: middle(_column(rows, key)) for key, tag in TRAINING_TAGS.items()}
        self._scalars(scalars | _adjoint_figures(rows) | _replicas(self.results), rows[0]["step"])

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
        step = record.step[-1]
        self._take_medians(record)
        for state, median_T in zip(record.states, self.medians_ST[-1], strict=True):
            self._write(_profile_summary(state, median_T), step)
        elapsed = time.monotonic() - self.began
        if self.drawing + self.last_drawing < DRAWING_SHARE * elapsed:
            self._draw(record)

    def probes(self, step: int, seeds: list[int], measured: dict[str, np.ndarray]) -> None:
        """Medians over the seeds of what is one number per replica, where it is finite: tag PROBE/NAME."""
        numbers = {name: values_R for name, values_R in measured.items() if values_R.ndim == 1}
        medians = {name.replace(".", "/", 1): middle(values_R.tolist()) for name, values_R in numbers.items()}
        self._scalars({tag: value for tag, value in medians.items() if math.isfinite(value)}, step)

    def progress(self, step: int, results: dict[int, Any]) -> None:
        self.results = results

    def close(self, results: dict[int, Any], record: AdjointRecord) -> None:
        self._take_medians(record)
        if record.step and record.step[-1] != self.drawn_step:
            self._draw(record)
        last = max((r.steps for r in results.values()), default=0)
        self._scalars(_replicas(results), last)
        if all(r.status != "running" for r in results.values()):
            self._scalars(_outcome(results, self.task.metric), last)
            self._write(self.ended)
        self.writer.close()

    def _take_medians(self, record: AdjointRecord) -> None:
        """Those of an earlier session too; each probed step once, since a long record takes seconds."""
        for norm_RST in record.norm_RST[len(self.medians_ST) :]:
            self.medians_ST.append(figures.median_over_seeds(norm_RST))

    def _draw(self, record: AdjointRecord) -> None:
        """Every picture anew from the whole record, under one tag: TensorBoard shows only some per tag."""
        began = time.monotonic()
        step, unit, seeds = record.step, self.task.unit, len(record.seeds)
        for index, state in enumerate(record.states):
            norms_PRT = [norm_RST[:, index] for norm_RST in record.norm_RST]
            drawn = {f"adjoint/curves_{state}": figures.curves(step, norms_PRT, state=state, unit=unit)}
            if len(step) > 1:  # one training step is no map, and the curve shows it
                median_PT = np.stack([median_ST[index] for median_ST in self.medians_ST])
                heat_map = figures.heat_map(step, median_PT, state=state, unit=unit, seeds=seeds)
                drawn[f"adjoint/heat_map_{state}"] = heat_map
            for tag, figure in drawn.items():
                self.writer.add_image(tag, figures.pixels(figure), step[-1], dataformats="HWC")
        self.last_drawing, self.drawn_step = time.monotonic() - began, step[-1]
        self.drawing += self.last_drawing

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


def profile(median_T: np.ndarray) -> np.ndarray:
    """(BUCKETS,): mean over a bucket's time steps of log10 of the norm plus OFFSET, from 0 to HIGHEST_BAR.

    Bucket i of n covers the steps from i T / n to (i + 1) T / n, at least one. Missing values do not count.
    """
    height_T = np.clip(figures.log10(median_T) + OFFSET, 0, HIGHEST_BAR)
    first = np.arange(BUCKETS) * len(height_T) // BUCKETS
    after = np.maximum(-(-np.arange(1, BUCKETS + 1) * len(height_T) // BUCKETS), first + 1)
    parts = [height_T[a:b][~np.isnan(height_T[a:b])] for a, b in zip(first, after, strict=True)]
    return np.array([part.mean() if part.size else 0.0 for part in parts])


def _profile_summary(state: str, median_T: np.ndarray) -> Any:
    """A histogram that is none: its buckets lie along t, its counts are profile heights."""
    steps, height = len(median_T), profile(median_T)
    border = np.linspace(0, steps, BUCKETS + 1)
    centre = (border[1:] + border[:-1]) / 2
    return histogram_raw(
        f"adjoint/profile_over_t_log10_plus_{OFFSET}_{state}",
        min=0.0,
        max=float(steps),
        num=float(height.sum()),
        sum=float(height @ centre),
        sum_squares=float(height @ centre**2),
        bucket_limits=border[1:].tolist(),
        bucket_counts=height.tolist(),
    )


def _replicas(results: dict[int, Any]) -> dict[str, float]:
    if not results:
        return {}
    return {
        "replicas/solved": sum(r.steps_to_solve is not None for r in results.values()),
        "replicas/diverged": sum(r.status == "diverged" for r in results.values()),
    }


def _outcome(results: dict[int, Any], metric: str) -> dict[str, float]:
    """Medians over all seeds at the end of a run, those that have ended earlier included.

    A seed that never solved the task has taken infinitely many steps; one that diverged counts as the worst
    loss and metric. Where that is so for the median seed, the figure is left out and its cell stays empty.
    """
    ends = [r for r in results.values() if r.status != "diverged"]
    missing = len(results) - len(ends)
    solve = [math.inf if r.steps_to_solve is None else r.steps_to_solve for r in results.values()]
    loss = [r.final_loss for r in ends if r.final_loss is not None] + [math.inf] * missing
    value = [r.final_metric for r in ends if r.final_metric is not None] + [-math.inf] * missing
    figures = zip(_OUTCOMES, (solve, loss, value), strict=True)
    outcome = {tag.format(metric=metric): middle(values) for tag, values in figures}
    return {tag: value for tag, value in outcome.items() if math.isfinite(value)}


_OUTCOMES = ("final/steps_to_solve", "final/loss", "final/{metric}")


def outcome_tags(metric: str) -> list[str]:
    """Scalar tags that the hparams tab has as columns; the first five are shown without being asked for."""
    outcomes = [tag.format(metric=metric) for tag in _OUTCOMES]
    return ["loss/eval", f"{metric}/eval", "replicas/solved", *outcomes, "replicas/diverged"]


def hyper_parameters(experiment: Experiment, parameters: int) -> dict[str, str | float]:
    """What the hparams tab shows of a run.

    The tab takes its columns from whichever run it meets first, so every run has the same ones: a name per
    group, the numbers that all options have, and what else an option has as text.
    """
    config, task = experiment.config, experiment.task
    names = {group: config.option(group) for group in COMPONENTS}
    numbers = {
        "cell.hidden": config.components["cell"]["hidden"],
        "optimiser.lr": config.components["optimiser"]["lr"],
        "task.batch": task.batch,
        "sequence_steps": task.steps,
        "parameters": parameters,
        "steps": config.steps,
        "seeds": len(config.seeds),
    }
    return {
        **names,
        **numbers,
        **{f"{group}.settings": _settings(config, group, numbers) for group in COMPONENTS},
    }


def _show_first(columns: Any, names: tuple[str, ...]) -> None:
    """The tab shows five columns: those said to differ between runs, then others, in the alphabet's order."""
    plugin = columns.value[0].metadata.plugin_data
    data = _hparams_messages.HParamsPluginData.FromString(plugin.content)
    for column in data.experiment.hparam_infos:
        column.differs = column.name in names
    plugin.content = data.SerializeToString()


def _settings(config: Config, group: str, shown: dict[str, Any]) -> str:
    """An option's hyper-parameters but for those that have a column."""
    items = config.components[group].items()
    rest = [(k, v) for k, v in items if k != "_target_" and f"{group}.{k}" not in shown]
    return " ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in rest) or "-"
