"""The picture of a diagnosis: four panels over the time steps, the seeds' median with their range.

T time, N seeds.
"""

import math
import textwrap
from collections.abc import Callable

import numpy as np

from rnnlab.diagnose import decay
from rnnlab.diagnose.findings import Findings, Measured
from rnnlab.diagnose.page import headline
from rnnlab.diagnose.verdict import Verdict
from rnnlab.diagnose.verdicts.vanishing import LOST
from rnnlab.messages import shown
from rnnlab.plotting import Axes, Figure, MaxNLocator, PercentFormatter, by_default
from rnnlab.report.figures.style import WIDTH, Drawing, band, png, style
from rnnlab.sinks.figures import log10, median_over_seeds, scale

HEIGHT = 6.2
GREY = "0.35"
CAUSES = {
    "slope": "slopes of the activation",
    "weights": "recurrent weights",
    "gate": "carrying gate",
    "detours": "all other paths",
}
UNITS = {"slope": "mean slope", "saturated": "share with a slope below 0.05"}
LEAST_SHARE = 1e-6
"""Below, a step's contribution is not told apart from none."""


@by_default()
def picture(findings: Findings, verdicts: list[Verdict]) -> bytes:
    """A PNG."""
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    for axes, draw in zip(panels.flat, (_gain, _contribution, _units, _causes), strict=True):
        draw(axes, findings)
        _finish(axes, findings, told=draw is _gain)
    for axes in panels[1]:
        axes.set_xlabel("time step t")
    figure.suptitle(_title(findings, verdicts), fontsize="medium")
    words = f"The way of the gradient back through time: {headline(findings, verdicts)}"
    return png(Drawing("diagnosis", "Diagnosis", words, words, figure))


def _title(findings: Findings, verdicts: list[Verdict]) -> str:
    seeds = len(findings.measured)
    lines = textwrap.wrap(headline(findings, verdicts), 90)
    about = f"{shown(findings.path.name)}, update {findings.update}, {seeds} seed{'s' if seeds != 1 else ''}"
    return "\n".join([*textwrap.wrap(about, 90), *lines]).replace("$", r"\$")


def _gain(axes: Axes, findings: Findings) -> None:
    name, lag, T = findings.carrier, findings.lag, findings.length
    gain_NT = _curves(findings, lambda m: m.gain_T)
    if len(gain_NT):
        median_T = _line(axes, gain_NT, 0, "measured", log=True)
        gain_T = median_over_seeds(gain_NT)
        slope = decay.slope(gain_T, lag)
        if not math.isnan(slope):
            way = np.arange(T - 1 - lag, T)
            with np.errstate(divide="ignore"):
                inside = np.isfinite(np.log10(gain_T[way]))
            level = np.log10(gain_T[way][inside]).mean() + slope * (way - way[inside].mean())
            label = f"fit: {abs(slope):.2g} decades {'lost' if slope >= 0 else 'gained'} per step back"
            axes.plot(way + 1, level, color="black", linestyle=(0, (4, 2)), linewidth=1.0, label=label)
        axes.axhline(-LOST, color=GREY, linestyle=(0, (1, 2)), linewidth=1.0, label="vanishing: below here at the lag")
        axes.set_ylim(*scale(median_T))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(rf"$\log_{{10}}\ \|\partial L/\partial {name}_t\|\,/\,\|\partial L/\partial {name}_T\|$")
    axes.set_title("Gradient of the last step, going back")


def _contribution(axes: Axes, findings: Findings) -> None:
    share_NT = _curves(findings, lambda m: m.contribution_T)
    if len(share_NT):
        _line(axes, np.maximum(share_NT, LEAST_SHARE), 0, "share of step t")
        axes.axhline(
            1 / findings.length, color=GREY, linestyle=(0, (1, 2)), linewidth=1.0, label="all steps alike: 1/T"
        )
        axes.set_yscale("log")
        lowest = share_NT[share_NT > LEAST_SHARE].min(initial=1e-3)
        axes.set_ylim(10 ** math.floor(math.log10(lowest)), 1)
    axes.set_ylabel("share of the sum of norms")
    axes.set_title("Share in the gradient of the weights")


def _units(axes: Axes, findings: Findings) -> None:
    names = dict.fromkeys(key for _, m in findings.measured for key in m.units if key != "carrying gate")
    for place, name in enumerate(names):
        curves = _curves(findings, lambda m, name=name: m.units.get(name, np.empty(0)))
        _line(axes, curves, place, UNITS.get(name, name))
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel("mean over units and examples")
    axes.set_title("Gates and activations")


def _causes(axes: Axes, findings: Findings) -> None:
    names = dict.fromkeys(key for _, m in findings.measured for key in m.causes)
    drawn = []
    for place, name in enumerate(names):
        curves = _curves(findings, lambda m, name=name: m.causes.get(name, np.empty(0)))
        drawn.append(_line(axes, curves, place, CAUSES[name]))
    seen = np.concatenate([np.zeros(1), *drawn])
    seen = seen[np.isfinite(seen)]
    low, high = np.quantile(seen, [0.005, 0.995])  # one step's outlier must not flatten the rest
    gap = max(high - low, 0.02) * 0.15
    axes.set_ylim(min(low, 0) - gap, max(high, 0) + gap)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_ylabel(r"decades from $t$ to $t-1$")
    axes.set_title("What takes from the gradient (below 0)")


def _curves(findings: Findings, curve: Callable[[Measured], np.ndarray]) -> np.ndarray:
    """(N, T): one per measured seed that has it."""
    found = [curve(m) for _, m in findings.measured]
    return np.array([one for one in found if len(one) == findings.length]).reshape(-1, findings.length)


def _line(axes: Axes, values_NT: np.ndarray, place: int, label: str, *, log: bool = False) -> np.ndarray:
    """The seeds' median, and a band that spans them; returns the median as drawn."""
    if not len(values_NT):
        return np.empty(0)
    drawn = log10 if log else np.asarray
    time_T, median_T = np.arange(1, values_NT.shape[1] + 1), drawn(median_over_seeds(values_NT))
    axes.plot(time_T, median_T, **style(place), label=label)
    if len(values_NT) > 1:
        lowest_T, highest_T = drawn(np.fmin.reduce(values_NT)), drawn(np.fmax.reduce(values_NT))
        axes.fill_between(time_T, lowest_T, highest_T, **band(place))
    return median_T


def _finish(axes: Axes, findings: Findings, *, told: bool) -> None:
    """Grid, limits, the lag (in the legend where it is `told`) and the legend."""
    axes.title.set_fontsize("medium")
    axes.grid(alpha=0.3)
    axes.set_xlim(1, max(2, findings.length))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if findings.marked:
        label = f"earliest input that counts, {findings.lag} back" if told else None
        axes.axvline(findings.length - findings.lag, color="black", linestyle=":", linewidth=1.4, label=label)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize="x-small", framealpha=0.85)
    if not findings.measured:
        axes.text(0.5, 0.5, "no seed has finite parameters", ha="center", transform=axes.transAxes)
