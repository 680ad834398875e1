"""TensorBoard's Custom Scalars tab: one page of charts in titled sections, the same for every run that has them.

TensorBoard merges the layouts of all runs by the sections' titles and drops what comes twice. So a section's charts
say nothing that differs between runs of a sweep: where tags depend on the cell, a pattern stands for them.
"""

import re
from collections.abc import Iterable
from typing import Any

from tensorboard.compat.proto import summary_pb2, tensor_pb2, types_pb2
from tensorboard.plugins.custom_scalar import layout_pb2, metadata

from rnnlab.experiment import Experiment

_charts: Any = layout_pb2  # classes made at run time, unseen by a type checker
_messages: Any = summary_pb2
_tensors: Any = tensor_pb2
_types: Any = types_pb2

ADJOINT = {
    "decay slope (decades per time step; above 0: vanishes on its way back)": "adjoint_slope/",
    "log10 of the norm at the first step over that at the last": "adjoint_ratio/",
    "share of time steps with a norm of at least 1e-10": "adjoint_live/",
}
PROBES = {
    "adjoint": {
        "decay slope of the batch's mean (decades per time step)": r"[^.]+\.slope$",
        "standard error of that slope": r"[^.]+\.slope_error$",
        "steps back over which the norm falls by a factor e": r"[^.]+\.e_folding$",
    },
    "attribution": {
        "average precision: are the marked steps those that count?": "average_precision$",
        "precision at k, and that of chance": "(precision_at_k|chance)$",
    },
    "contribution": {
        "agreement of the time steps' gradients (1: all pull the same way)": "agreement$",
        "lag: steps before the last that the signal comes from": "lag$",
    },
    "gates": {
        "mean openness (0 shut, 1 open)": r"[^.]+\.mean$",
        "memory length, median unit (time steps)": r"[^.]+\.memory_length_median$",
        "share of the gradient on the straight path": r"[^.]+\.straight_share$",
    },
    "jacobian": {
        "largest singular value of one step (median)": "median_largest$",
        "spectral radius of one step (median)": "median_spectral_radius$",
    },
    "lyapunov": {
        "adjoint slope, predicted and measured (decades per time step)": r"(slope_predicted|.+\.slope_measured)$",
        "largest exponent (nats per time step)": "largest$",
        "Kaplan-Yorke dimension": "kaplan_yorke$",
    },
    "saturation": {
        "share of saturated units": r"[^.]+\.saturated$",
        "mean derivative": r"[^.]+\.derivative$",
        "share of dead units": r"[^.]+\.dead$",
    },
    "updates": {
        "update over weights (norms)": r"all\.update_to_weight$",
        "cosine of the gradient with that of the step before": r"all\.cosine_with_previous$",
        "signal to noise of the gradient": r"all\.signal_to_noise$",
        "gradient norm after clipping over that before": "clip_factor$",
    },
    "weights": {
        "spectral radius of the recurrent blocks": r"[^.]+\.spectral_radius$",
        "distance from orthogonal (0: orthogonal)": r"[^.]+\.distance_from_orthogonal$",
        "drift from the initial weights": r"[^.]+\.drift$",
    },
}
"""By a probe's module: its charts, patterns of what follows PROBE/ in a tag."""
TITLES = {
    "adjoint": "Adjoint over the batch",
    "attribution": "Attribution",
    "contribution": "Where the gradient arises",
    "gates": "Gates",
    "jacobian": "Jacobian",
    "lyapunov": "Lyapunov exponents",
    "saturation": "Saturation",
    "updates": "Updates",
    "weights": "Recurrent weights",
}


def layout(experiment: Experiment) -> Any:
    """The summary that holds a run's layout: sections of what this run writes, and no others."""
    message = _charts.Layout(category=_sections(experiment))
    tensor = _tensors.TensorProto(dtype=_types.DT_STRING, string_val=[message.SerializeToString()])
    tensor.tensor_shape.SetInParent()  # a scalar
    about = _messages.SummaryMetadata()
    about.plugin_data.plugin_name = metadata.PLUGIN_NAME
    value = _messages.Summary.Value(tag=metadata.CONFIG_SUMMARY_TAG, tensor=tensor, metadata=about)
    return _messages.Summary(value=[value])


def _sections(experiment: Experiment) -> Iterable[Any]:
    config, metric = experiment.config, experiment.task.metric.name
    several, baseline = len(config.seeds) > 1, "loss/baseline"
    yield _section(
        "Loss and metric at evaluation",
        [  # TensorBoard 2.21 shows charts with bands last to first
            _bands(metric, [f"{metric}/eval"], [], several),
            _bands("loss, and the baseline of a net without memory", ["loss/eval"], [baseline], several),
        ],
    )
    yield _section(
        "Training",
        [
            _lines("loss in training (median), and the baseline", "loss/(train|baseline)$"),
            _lines("share of seeds that solved the task", "Outcome/solved_share$"),
            _lines("share of seeds that diverged", "Outcome/diverged_share$"),
        ],
    )
    yield _section(
        "Gradient and clipping",
        [
            _lines("norm before clipping (median)", "gradient/norm_before_clipping$"),
            _lines("share of updates that were clipped", "gradient/clip_fraction$"),
            _lines("learning rate", "learning_rate$"),
        ],
    )
    if config.probe_every:
        yield _section("Adjoint dL/dh_t", [_lines(title, pattern) for title, pattern in ADJOINT.items()])
    for name, probe in experiment.probes.items():
        yield _of_probe(name, type(probe).__module__.rpartition(".")[2])


def _of_probe(name: str, kind: str) -> Any:
    title, charts = TITLES.get(kind, name), PROBES.get(kind, {"all figures": ""})
    title = title if name == kind else f"{title}: {name}"
    lines = [_lines(about, f"{re.escape(name)}/{pattern}") for about, pattern in charts.items()]
    return _section(title, lines, closed=True)  # TensorBoard asks for every chart's curves run by run


def _section(title: str, charts: list[Any], *, closed: bool = False) -> Any:
    return _charts.Category(title=title, chart=charts, closed=closed)


def _lines(title: str, pattern: str) -> Any:
    """Curves of all tags that begin with a pattern."""
    return _charts.Chart(title=title, multiline=_charts.MultilineChartContent(tag=[pattern]))


def _bands(title: str, medians: list[str], alone: list[str], several: bool) -> Any:
    """Medians with a band from the lowest to the highest seed, where there are several; and curves without a band."""
    low, high, over = ("_lowest_seed", "_highest_seed", ": median and range of the seeds") if several else ("", "", "")
    series = [_series(tag, tag + low, tag + high) for tag in medians] + [_series(tag, tag, tag) for tag in alone]
    return _charts.Chart(title=title + over, margin=_charts.MarginChartContent(series=series))


def _series(value: str, lower: str, upper: str) -> Any:
    return _charts.MarginChartContent.Series(value=value, lower=lower, upper=upper)
