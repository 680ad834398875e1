"""What a training step gave, kept on the device until the host asks for it.

R replica, S state component, T time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class StepRecord:
    """One step's figures, for the replicas that took it.

    step: which update, 1-based; lr: its learning rate; seeds: (R,), the replicas.
    loss_R: mean training loss.
    norm_R: the gradient's norm before clipping, float64.
    clipped_R, healthy_R: bool; healthy as long as loss, gradient and parameters have been finite.
    penalty_R: the regulariser's, None where there is none.
    adjoint_RST: adjoint norms of a probed step, float64.
    measured: PROBE.NAME: tensor (R, ...), what the probes that were due found.
    """

    step: int
    lr: float
    seeds: list[int]
    loss_R: Tensor
    norm_R: Tensor
    clipped_R: Tensor
    healthy_R: Tensor
    penalty_R: Tensor | None
    adjoint_RST: Tensor | None
    measured: dict[str, Tensor]


@dataclass(frozen=True)
class ReplicaStep:
    """One replica's figures of one step, as plain numbers."""

    seed: int
    loss: float
    norm: float
    clipped: bool
    healthy: bool
    penalty: float | None


def read(records: list[StepRecord]) -> Iterator[tuple[StepRecord, list[ReplicaStep]]]:
    """The figures of steps that the same replicas took, in one transfer from the device."""
    figures_PFR = torch.stack([torch.stack([figure.double() for figure in _figures(r)]) for r in records])
    for record, (loss, norm, clipped, healthy, *more) in zip(records, figures_PFR.tolist(), strict=True):
        penalty = more[0] if more else [None] * len(record.seeds)
        rows = zip(record.seeds, loss, norm, clipped, healthy, penalty, strict=True)
        yield record, [ReplicaStep(seed, a, b, bool(c), bool(d), e) for seed, a, b, c, d, e in rows]


def _figures(record: StepRecord) -> list[Tensor]:
    figures = [record.loss_R, record.norm_R, record.clipped_R, record.healthy_R]
    return figures if record.penalty_R is None else [*figures, record.penalty_R]
