"""What a diagnosis finds, as plain numbers: verdicts, page and figure are made from this record alone. No torch.

T time. A curve over time has one number per time step; where a number belongs to the way from step t back to step
t-1, it stands at t, and the first is NaN.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class History:
    """What one seed's lines in metrics.jsonl say; NaN where they say nothing.

    Attributes:
        clipped: share of the updates that clipping changed.
        grad_norm: median of the logged gradient norms, before clipping.
        burst: the largest ratio of a logged gradient norm to the median of the lines before it; `burst_at`, the update.
        last_norm: the last logged gradient norm that was finite.
    """

    clipped: float = math.nan
    grad_norm: float = math.nan
    burst: float = math.nan
    burst_at: int = 0
    last_norm: float = math.nan


@dataclass(frozen=True, eq=False)
class Measured:
    """What one seed's net does on the diagnostic batch, with the parameters of the checkpoint.

    Attributes:
        loss: on held-out examples.
        gain_T: the adjoint of the last step's loss at every step, relative to that at the last step: mean over examples
            of |dl/ds_t| / |dl/ds_T|, of the state component s that carries the gradient. NaN where no example has the
            step.
        gains: the same of every cell of the net by its name, the one above first.
        causes: log10 of the factor that each cause has on the adjoint's way from t to t-1, (T,) by cause; they add up
            to the step's change of log10 gain. `slope` and `weights` of an ungated cell, `gate` and `detours` of a
            gated one; empty where neither split is exact.
        contribution_T: |G_t| / sum |G|, where G_t is what step t adds to the gradient of the recurrent weights;
            empty for a cell that has none.
        units: figures in [0, 1] of the units at every step, (T,) by name: mean slopes, mean gates, saturated shares.
        saturated: share of (unit, step, example) with a slope below 0.05, by the name of an activation that can be flat
            at both ends.
        dead: share of units that no example moves, by the name of an activation.
        weights: figures of the recurrent weights by name.
        recurrent_gradient: norm of the gradient of the recurrent weights; NaN for a cell that has none.
        addends: how much of each marked number the answer follows, in their order of time (adding task).
        marked: share of the inputs that the answer uses most which are those it depends on; `chance`, of a random pick.
    """

    loss: float
    gain_T: np.ndarray
    gains: dict[str, np.ndarray] = field(default_factory=dict)
    causes: dict[str, np.ndarray] = field(default_factory=dict)
    contribution_T: np.ndarray = field(default_factory=lambda: np.empty(0))
    units: dict[str, np.ndarray] = field(default_factory=dict)
    saturated: dict[str, float] = field(default_factory=dict)
    dead: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    recurrent_gradient: float = math.nan
    addends: tuple[float, float] | None = None
    marked: float = math.nan
    chance: float = math.nan


@dataclass(frozen=True, eq=False)
class Replica:
    """One seed.

    Attributes:
        status: solved, unsolved, diverged or undecided.
        updates: made so far.
        measured: None where the checkpoint's parameters are not finite.
    """

    seed: int
    status: str
    updates: int
    history: History
    measured: Measured | None


@dataclass(frozen=True, eq=False)
class Findings:
    """One run.

    Attributes:
        path: the run folder; state: as `rnnlab.runs.state` tells it.
        update: that the checkpoint was written after; steps: that the run has at most.
        config: keys with dots; a group's own key, `cell`, holds the option's name.
        length: T, time steps; lag: how many steps before the last the earliest input lies that the answer depends on,
            in the median example; marked: whether the task tells (else all inputs count); scored: how many last steps
            are.
        call: what begins the names of the cell that reads the input, whose figures these are: '' of the only one.
        carrier: the state component that carries the gradient.
        cuts: 0-based steps that nothing flows back from.
        baseline: loss of the best strategy that remembers nothing; unit: of the loss.
        recorded: per probed update, log10 of the recorded adjoint norm at the lag over that at the last step, the
            median over the seeds.
        examples: in the diagnostic batch.
        changed: names of code and data of the user's own that are not those of the run any more.
    """

    path: Path
    state: str
    update: int
    steps: int
    config: dict[str, Any]
    length: int
    lag: int
    marked: bool
    scored: int
    carrier: str
    cuts: tuple[int, ...]
    baseline: float
    unit: str
    replicas: list[Replica]
    recorded: dict[int, float] = field(default_factory=dict)
    examples: int = 0
    call: str = ""
    changed: str = ""

    @property
    def measured(self) -> list[tuple[int, Measured]]:
        """(seed, what was measured) of the seeds that have not diverged; where all have, of all that are finite.

        What a diverged seed's net does with its last finite parameters is of after the accident.
        """
        finite = [(replica, replica.measured) for replica in self.replicas if replica.measured is not None]
        alive = [(replica.seed, measured) for replica, measured in finite if replica.status != "diverged"]
        return alive or [(replica.seed, measured) for replica, measured in finite]

    @property
    def cells(self) -> list[str]:
        """Names of the net's cells, where it has several."""
        names = next((list(m.gains) for _, m in self.measured), [])
        return names if len(names) > 1 else []

    def seeds_where(self, sick: Callable[[Measured], bool], *, diverged: bool = False) -> list[int]:
        """The seeds with finite parameters that a condition holds for; of the diverged ones only where asked for."""
        return [
            replica.seed
            for replica in self.replicas
            if replica.measured is not None and (diverged or replica.status != "diverged") and sick(replica.measured)
        ]

    def among(self, seeds: Sequence[int]) -> list[Measured]:
        """What was measured of these seeds."""
        return [r.measured for r in self.replicas if r.measured is not None and r.seed in seeds]

    def of(self, seeds: Sequence[int], figure: Callable[[Measured], float]) -> list[float]:
        """One figure of what was measured of these seeds."""
        return [figure(measured) for measured in self.among(seeds)]

    def of_all(self, figure: Callable[[Measured], float]) -> list[float]:
        """One figure of every measured seed."""
        return [figure(measured) for _, measured in self.measured]

    def histories(self, figure: Callable[[History], float], seeds: Sequence[int] | None = None) -> list[float]:
        """One figure of the history of every seed, or of these."""
        return [figure(r.history) for r in self.replicas if seeds is None or r.seed in seeds]

    def has(self, override: str) -> bool:
        """Whether the run was made with every KEY=VALUE of an override already."""
        pairs = (pair.split("=", 1) for pair in override.split())
        return all(str(self.config.get(key)) == value for key, value in pairs)
