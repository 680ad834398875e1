"""One way of a batch through a net: every use of a cell over a sequence goes through here, and is remembered.

T time, K trailing steps, R replica, B batch, I input, H hidden, S state component.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rnnlab.adjoints.none import NoRule
from rnnlab.adjoints.rule import AdjointRule
from rnnlab.bptt.engine import Engine
from rnnlab.bptt.unroll import Unrolled
from rnnlab.cells.cell import Cell
from rnnlab.dropout.dropout import Dropout, Noise

ONLY = "cell"
"""The name of the cell of a net that has one."""


def prefix(name: str) -> str:
    """What stands before a figure of a cell: `layer2.` for `layer2`, and nothing where there is one cell."""
    return "" if name == ONLY else f"{name.rstrip('_')}."


@dataclass(frozen=True, eq=False)
class Call:
    """One cell over one sequence.

    name: of the cell among the parts of the net.
    cell: as the net has it; its recurrent weights are the effective ones.
    input_TRBI: in the order of the steps that it takes, before anything is dropped; mask_TRB: likewise, False where
        an example has no such step.
    unrolled: outputs and, after the backward pass, adjoints.
    backward: whether its first step is the sequence's last.
    """

    name: str
    cell: Cell
    input_TRBI: Tensor
    mask_TRB: Tensor | None
    unrolled: Unrolled
    backward: bool = False

    @property
    def prefix(self) -> str:
        return prefix(self.name)

    @property
    def live(self) -> Tensor:
        """(T, R, B): 1 where an example has the step, else 0."""
        if self.mask_TRB is None:
            return self.input_TRBI.new_ones(self.input_TRBI.shape[:3])
        return self.mask_TRB.to(self.input_TRBI)


@dataclass(frozen=True)
class Update:
    """A training step, from which what is drawn in it follows: whose, (R,), and which, 1-based."""

    seeds: list[int]
    step: int


class Passage:
    """Calls cells, one after the other; `calls` are those so far.

    Args:
        engine: that unrolls.
        scored: how many trailing outputs the readout needs.
        mask_TRB: of the batch; None where every example has all steps.
        dropout: what is dropped; None for nothing.
        rule: what happens to adjoints; None for nothing.
        update: the training step that this is a part of, which draws; None outside training: dropout is its mean then,
            and there is no rule.
        record: whether adjoint norms are recorded.
        whole: whether the outputs of all steps are needed, not of the scored alone.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        scored: int,
        mask_TRB: Tensor | None = None,
        dropout: Dropout | None = None,
        rule: AdjointRule | None = None,
        update: Update | None = None,
        record: bool = False,
        whole: bool = False,
    ) -> None:
        self.engine, self.scored, self.mask_TRB, self.update, self.record = engine, scored, mask_TRB, update, record
        self.last = None if whole else scored
        self.calls: list[Call] = []
        self._dropout, self._rule = dropout, rule or NoRule()
        self._rules: dict[int, AdjointRule] = {}
        self._drawn: Noise | None = None

    def __call__(
        self, name: str, cell: Cell, input_TRBI: Tensor, *, last: int | None = None, backward: bool = False
    ) -> Unrolled:
        """Call a cell over a sequence.

        Args:
            last: how many trailing outputs are needed; None for all.
            backward: whether it reads the sequence from its end to its beginning.
        """
        mask_TRB = self.mask_TRB
        if backward:
            input_TRBI, mask_TRB = input_TRBI.flip(0), None if mask_TRB is None else mask_TRB.flip(0)
        acting, seen_TRBI = self._dropped(cell, input_TRBI)
        unrolled = self.engine.unroll(
            acting, seen_TRBI, mask_TRB=mask_TRB, rule=self._rule_for(input_TRBI), record=self.record, last=last
        )
        self.calls.append(Call(name, cell, input_TRBI, mask_TRB, unrolled, backward))
        return unrolled

    def leave(self, output_KRBH: Tensor) -> Tensor:
        """What the readout is given of the net's last outputs: those of the scored steps, in training with dropout."""
        if len(output_KRBH) > self.scored:
            output_KRBH = output_KRBH[-self.scored :]
        if self._dropout is None or self.update is None:
            return output_KRBH
        return self._dropout.drop_outputs(output_KRBH, self._noise(output_KRBH))

    def _dropped(self, cell: Cell, input_TRBI: Tensor) -> tuple[Cell, Tensor]:
        if self._dropout is None:
            return cell, input_TRBI
        if self.update is None:
            return self._dropout.expected(cell), input_TRBI
        return self._dropout.drop(cell, input_TRBI, self._noise(input_TRBI))

    def _noise(self, like: Tensor) -> Noise:
        """The same for all calls: one draw after the other."""
        assert self.update is not None
        self._drawn = self._drawn or Noise(self.update.seeds, self.update.step, like)
        return self._drawn

    def _rule_for(self, input_TRBI: Tensor) -> AdjointRule:
        """One draw for all cells that take as many steps: they are cut at the same."""
        if self.update is None:
            return self._rule
        T = len(input_TRBI)
        if T not in self._rules:
            self._rules[T] = self._rule.draw(self.update.seeds, self.update.step, T, input_TRBI)
        return self._rules[T]


def adjoint_norms(calls: list[Call]) -> Tensor:
    """(R, S, T) float64, the state components of all calls one after the other, in the mean over the batch."""
    return torch.cat([batch_mean(recorded(call), call.mask_TRB) for call in calls], dim=1)


def recorded(call: Call) -> Tensor:
    """(S, T, R, B): the adjoint norms of a call that were to be recorded."""
    norm_STRB = call.unrolled.adjoint_norm_STRB
    assert norm_STRB is not None
    return norm_STRB


def batch_mean(norm_STRB: Tensor, mask_TRB: Tensor | None) -> Tensor:
    """(R, S, T) float64: the mean over the examples that have the step; NaN where none has it."""
    if mask_TRB is None:
        return norm_STRB.mean(-1).permute(2, 0, 1)
    live = mask_TRB.to(norm_STRB.dtype)
    return ((norm_STRB * live).sum(-1) / live.sum(-1)).permute(2, 0, 1)
