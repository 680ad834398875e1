"""TensorBoard's Custom Scalars tab: one page of charts in titled sections.

TensorBoard merges the pages of all runs by the sections' titles and drops what comes twice. So a section's charts say
nothing that differs between runs of a sweep: where tags depend on the cell, a pattern stands for them.
"""

import re
from typing import Any

from rnnlab.experiment import Experiment


def layout(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """For SummaryWriter.add_custom_scalars: sections of what this run writes, and no others."""
    metric = experiment.task.metric.name
    sections = {
        "Loss and metric": {
            **_range(metric, experiment),
            **_range("loss", experiment),
            "loss, and the baseline of a net without memory": _lines("loss/(train|eval|baseline)$"),
            "share of seeds that solved the task, or diverged": _lines("Outcome/(solved|diverged)_share$"),
        },
        "Gradient and clipping": {
            "norm before clipping (median)": _lines("gradient/norm_before_clipping$"),
            "share of updates that were clipped": _lines("gradient/clip_fraction$"),
            "learning rate": _lines("learning_rate$"),
        },
    }
    if experiment.config.probe_every:
        sections["Adjoint dL/dh_t"] = {
            "decay slope (decades per time step; above 0: vanishes on its way back)": _lines("adjoint_slope/"),
            "log10 of the norm at the first step over that at the last": _lines("adjoint_ratio/"),
            "share of time steps with a norm of at least 1e-10": _lines("adjoint_live/"),
        }
    return sections


def _lines(pattern: str) -> list[Any]:
    """Curves of all tags that begin with a pattern."""
    return ["Multiline", [pattern]]


def _range(what: str, experiment: Experiment) -> dict[str, list[Any]]:
    """A median with its band; of one seed another chart, or TensorBoard would say that the band's tags are missing."""
    if len(experiment.config.seeds) == 1:
        return {f"{what} at evaluation": _lines(f"{re.escape(what)}/eval$")}
    tags = [f"{what}/eval{end}" for end in ("", "_lowest_seed", "_highest_seed")]
    return {f"{what} at evaluation: median and range of the seeds": ["Margin", tags]}
