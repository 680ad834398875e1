"""A training step as probes see it, of a small experiment."""

from support import composed

from rnnlab.build import build
from rnnlab.experiment import Experiment
from rnnlab.laws.company import moment_of
from rnnlab.probes.probe import Moment
from rnnlab.schema import validate

SMALL = (
    "cell.hidden=5", "task.length=9", "task.batch=4", "dtype=float64", "seeds=2", "engine=autograd", "steps=10",
)  # fmt: skip


def small_experiment(*overrides: str) -> Experiment:
    """One with every probe, whatever their schedules; `overrides` after the small defaults."""
    return build(validate(composed(*SMALL, "probes=full", *overrides)))


def moment(*overrides: str, steps: int = 1, prepare=None) -> Moment:
    """The last training step of a small experiment; see `moment_of`."""
    return moment_of(small_experiment(*overrides), steps=steps, prepare=prepare)
