"""Which pictures there are of what probes measure, and the medians over seeds that they are drawn from.

R replica, P probed training steps, X what a picture's last axis is: time, singular values.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from rnnlab.experiment import Experiment
from rnnlab.plotting import Figure
from rnnlab.sinks import probe_figures
from rnnlab.sinks.figures import median_over_seeds

Parts = dict[str, np.ndarray]


@dataclass
class Panel:
    """One picture of one probe, over all its measurements.

    tag: in TensorBoard.
    pattern: of the measured names that it shows; the first group is the part's name in the picture.
    draw: takes the training steps and, by part, (P, X).
    step, kept: the measurements so far; of each part the median over all its axes but the last, (X,).
    """

    tag: str
    pattern: re.Pattern[str]
    draw: Callable[[list[int], Parts], Figure]
    step: list[int] = field(default_factory=list)
    kept: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def take(self, step: int, measured: Mapping[str, np.ndarray]) -> bool:
        """Keep what the picture needs of one measurement; False where there is nothing of it."""
        found = {match[1]: name for name in measured if (match := self.pattern.fullmatch(name))}
        for part, name in found.items():
            value = measured[name]
            with np.errstate(invalid="ignore"):  # two middle values may be infinite
                median_X = median_over_seeds(value.reshape(-1, value.shape[-1]))
            self.kept.setdefault(part, []).append(median_X)
        self.step += [step] * bool(found)
        return bool(found)

    def figure(self) -> Figure:
        return self.draw(self.step, {part: np.stack(rows_X) for part, rows_X in self.kept.items()})


def panels(experiment: Experiment) -> list[Panel]:
    """The pictures of a run's probes."""
    seeds = len(experiment.config.seeds)
    over = f", median over {seeds} seeds" if seeds > 1 else ""
    return [
        Panel(f"{name}/{picture}", re.compile(re.escape(name) + pattern), partial(draw, over=over))
        for name, probe in experiment.probes.items()
        for picture, pattern, draw in PICTURES.get(type(probe).__module__.rpartition(".")[2], ())
    ]


def _openness(step: list[int], parts: Parts, *, over: str) -> Figure:
    return probe_figures.maps(step, parts, title=f"mean openness of gates{over}", label="0: shut, 1: open")


def _straight(step: list[int], parts: Parts, *, over: str) -> Figure:
    label = "0: nothing, 1: everything"
    parts = {f"through {state}": part for state, part in parts.items()}
    return probe_figures.maps(step, parts, title=f"gradient on the straight path{over}", label=label)


def _saturation(step: list[int], parts: Parts, *, over: str) -> Figure:
    return probe_figures.maps(step, parts, title=f"saturated units{over}", label="share of units and examples")


def _blocks(step: list[int], parts: Parts, *, over: str) -> Figure:
    return probe_figures.spectra(step, parts, title=f"recurrent weights{over}")


def _jacobian(step: list[int], parts: Parts, *, over: str) -> Figure:
    about = {"over examples and times": parts["singular_values"]}
    return probe_figures.spectra(step, about, title=f"Jacobian of one step{over}")


def _product(step: list[int], parts: Parts, *, over: str) -> Figure:
    return probe_figures.products(step, parts["time"][0], parts, title=f"Jacobian from step t to the end{over}")


PICTURES: dict[str, tuple[tuple[str, str, Callable[..., Figure]], ...]] = {
    "gates": (
        ("map_of_openness", r"\.(\w+)\.mean_at_step", _openness),
        ("map_of_straight_path", r"\.(\w+)\.straight_share_at_step", _straight),
    ),
    "saturation": (("map_of_saturation", r"\.(\w+)\.saturated_at_step", _saturation),),
    "weights": (("spectrum", r"\.(\w+)\.singular_values", _blocks),),
    "jacobian": (
        ("spectrum", r"\.(singular_values)", _jacobian),
        ("product", r"\.(?:product\.)?(time|log10_largest|log10_geometric_mean)", _product),
    ),
}
"""By a probe's module: name of the picture, pattern of what it shows, how it is drawn."""
