"""One way of a batch through a net: every use of a cell over a sequence goes through here, and is remembered.

T time, K trailing steps, R replica, B batch, I input, H hidden, O output, S state component.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import EllipsisType

import torch
from torch import Tensor
from torch.nn import functional

from rnnlab.adjoints.none import NoRule
from rnnlab.adjoints.rule import AdjointRule
from rnnlab.bptt.dilation import fold, folded_mask, unfold
from rnnlab.bptt.engine import Engine
from rnnlab.bptt.ticks import held, needed, ticks
from rnnlab.bptt.unroll import Unrolled
from rnnlab.cells.cell import Cell, State
from rnnlab.dropout.dropout import Dropout, Noise

ONLY = "cell"
"""The name of the cell of a net that has one."""


LAYER = ("h",)
"""States of a part that is no cell: its values."""


def prefix(name: str) -> str:
    """What stands before a figure of a cell: `layer2.` for `layer2`, and nothing where there is one cell."""
    return "" if name == ONLY else f"{name.rstrip('_')}."


@dataclass(frozen=True)
class Recorded:
    """The adjoint norms of one call, or of one layer, (S, T, R, B) float64, in the order of the sequence's steps.

    mask_TRB: which steps there are; None for all.
    """

    prefix: str
    states: tuple[str, ...]
    norm_STRB: Tensor
    mask_TRB: Tensor | None


@dataclass(frozen=True, eq=False)
class Call:
    """One cell over one sequence.

    name: of the cell among the parts of the net.
    cell: as the net has it; its recurrent weights are the effective ones.
    input_TRBI: in the order of the steps that it takes, before anything is dropped; mask_TRB: likewise, False where
        an example has no such step.
    unrolled: outputs and, after the backward pass, adjoints.
    backward: whether its first step is the sequence's last.
    state: that it starts from; None for zeros.
    dilation: d, where a step of its takes d of the sequence's, as d examples side by side; see rnnlab.bptt.dilation.
    every: d, where it steps at every d-th of the sequence's steps only; see rnnlab.bptt.ticks.
    steps: the sequence's, T.
    """

    name: str
    cell: Cell
    input_TRBI: Tensor
    mask_TRB: Tensor | None
    unrolled: Unrolled
    backward: bool = False
    state: State | None = None
    dilation: int = 1
    every: int = 1
    steps: int = 0

    @property
    def prefix(self) -> str:
        return prefix(self.name)

    @property
    def live(self) -> Tensor:
        """(T, R, B): 1 where an example has the step, else 0."""
        if self.mask_TRB is None:
            return self.input_TRBI.new_ones(self.input_TRBI.shape[:3])
        return self.mask_TRB.to(self.input_TRBI)

    def start(self) -> State:
        """The state that it starts from, without a graph."""
        if self.state is None:
            return self.cell.zero_state(self.input_TRBI[0])
        return tuple(component.detach() for component in self.state)

    @property
    def stride(self) -> int:
        """How many of the sequence's steps lie between two of its own that follow each other."""
        return self.dilation * self.every

    def on_sequence(self, value_TRBX: Tensor) -> Tensor:
        """Values (T', R, d B, ...) of its own steps as values (T, R, B, ...) of the sequence's: held between ticks."""
        if self.every > 1:
            return held(value_TRBX, self.every, self.steps)
        return unfold(value_TRBX, self.dilation, self.steps) if self.dilation > 1 else value_TRBX

    @property
    def there(self) -> Tensor | None:
        """(T, R, B): at which of the sequence's steps an example has a state that this call made; None for all."""
        mask_TRB = self.mask_TRB
        if mask_TRB is None and (self.steps - 1) % self.every:  # before the first tick nothing is held
            mask_TRB = torch.ones_like(self.input_TRBI[..., 0], dtype=torch.bool)
        return None if mask_TRB is None else self.on_sequence(mask_TRB)

    def recorded(self) -> Recorded:
        """Once the backward pass is over, where that was to be recorded."""
        norm_STRB = self.unrolled.adjoint_norm_STRB
        assert norm_STRB is not None
        norm_STRB = self.on_sequence(norm_STRB.movedim(0, -1)).movedim(-1, 0)
        return Recorded(self.prefix, self.cell.states, norm_STRB, self.there)


@dataclass(frozen=True, eq=False)
class Layer:
    """Values of a part that is no cell, watched at every step: `norm_TRB` is filled by the backward pass."""

    name: str
    norm_TRB: Tensor
    mask_TRB: Tensor | None

    def recorded(self) -> Recorded:
        return Recorded(prefix(self.name), LAYER, self.norm_TRB.unsqueeze(0), self.mask_TRB)


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
        target_KRBO: what should be predicted, see `rnnlab.tasks.task.Batch.target_outputs`, where the net may be shown
            it: in training. None elsewhere.
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
        target_KRBO: Tensor | None = None,
        dropout: Dropout | None = None,
        rule: AdjointRule | None = None,
        update: Update | None = None,
        record: bool = False,
        whole: bool = False,
    ) -> None:
        self.engine, self.scored, self.mask_TRB, self.update, self.record = engine, scored, mask_TRB, update, record
        self.last, self.target_KRBO = None if whole else scored, target_KRBO
        self.calls: list[Call] = []
        self._recording: list[Call | Layer] = []
        self._seen_TRBX: Tensor | None = None
        self._dropout, self._rule = dropout, rule or NoRule()
        self._rules: dict[int, AdjointRule] = {}
        self._drawn: Noise | None = None

    def __call__(
        self,
        name: str,
        cell: Cell,
        input_TRBI: Tensor,
        *,
        last: int | None = None,
        backward: bool = False,
        dilation: int = 1,
        every: int = 1,
        state: State | None = None,
        mask_TRB: Tensor | EllipsisType | None = ...,
    ) -> Unrolled:
        """Call a cell over a sequence.

        Args:
            last: how many trailing outputs are needed; None for all.
            backward: whether it reads the sequence from its end to its beginning.
            dilation: d: its state comes from d steps ago.
            every: d: it steps at every d-th step only, the last one among them, and its outputs are held in between.
                It is not both dilated and slow.
            state: that it starts from; zeros when None.
            mask_TRB: of these inputs, where that is not the batch's.
        """
        mask_TRB, T = self.mask_TRB if mask_TRB is ... else mask_TRB, len(input_TRBI)
        self._seen_TRBX = input_TRBI
        if backward:
            input_TRBI, mask_TRB = input_TRBI.flip(0), None if mask_TRB is None else mask_TRB.flip(0)
        wanted = T if last is None else last
        if every > 1:
            input_TRBI, mask_TRB = ticks(input_TRBI, every), None if mask_TRB is None else ticks(mask_TRB, every)
            last = min(needed(wanted, every), len(input_TRBI))
        if dilation > 1:
            mask_TRB = folded_mask(mask_TRB, input_TRBI, dilation)
            input_TRBI = fold(input_TRBI, dilation)
            last = len(input_TRBI) - (T - wanted) // dilation  # of its own steps
        acting, seen_TRBI = self._dropped(cell, input_TRBI)
        input_TRBI, seen_TRBI = (cell.told(x, mask_TRB, self.target_KRBO) for x in (input_TRBI, seen_TRBI))
        unrolled = self.engine.unroll(
            acting,
            seen_TRBI,
            state=state,
            mask_TRB=mask_TRB,
            rule=self._rule_for(input_TRBI),
            record=self.record,
            last=last,
        )
        # Tensors of their own, whose gradients are of the states' further use alone: an output may be a state itself.
        unrolled = replace(unrolled, state=tuple(component.view_as(component) for component in unrolled.state))
        call = Call(name, cell, input_TRBI, mask_TRB, unrolled, backward, state, dilation, every, T)
        self.calls.append(call)
        self._recording.append(call)
        if every > 1:
            return replace(unrolled, output_KRBH=held(unrolled.output_KRBH, every, wanted))
        if dilation > 1:
            kept = T - dilation * (len(input_TRBI) - len(unrolled.output_KRBH))
            return replace(unrolled, output_KRBH=unfold(unrolled.output_KRBH, dilation, kept)[-wanted:])
        return unrolled

    def watch(self, name: str, value_TRBH: Tensor, mask_TRB: Tensor | EllipsisType | None = ...) -> Tensor:
        """Values of a part that is no cell, at every step; their adjoints are recorded like those of a cell.

        Args:
            mask_TRB: of these values, where that is not the batch's.
        """
        self._seen_TRBX = value_TRBH
        if self.record:
            mask_TRB = self.mask_TRB if mask_TRB is ... else mask_TRB
            layer = Layer(name, value_TRBH.new_zeros(value_TRBH.shape[:3], dtype=torch.float64), mask_TRB)
            self._recording.append(layer)
            if value_TRBH.requires_grad:
                value_TRBH = value_TRBH.view_as(value_TRBH)  # a hook of its own
                value_TRBH.register_hook(lambda adjoint: _measure(adjoint, layer.norm_TRB))
        return value_TRBH

    def nothing(self) -> Tensor:
        """(R,): zeros, like the values that went through the net."""
        assert self._seen_TRBX is not None
        return self._seen_TRBX.new_zeros(self._seen_TRBX.shape[1])

    def recorded(self) -> list[Recorded]:
        """The adjoint norms of all calls and layers, in their order, once the backward pass is over."""
        return [part.recorded() for part in self._recording]

    def leave(self, output_KRBH: Tensor) -> Tensor:
        """What the readout is given of the net's last outputs: those of the scored steps, in training with dropout."""
        output_KRBH = self.only_scored(output_KRBH)
        if self._dropout is None or self.update is None:
            return output_KRBH
        return self._dropout.drop_outputs(output_KRBH, self._noise(output_KRBH))

    def only_scored(self, output_KRBH: Tensor) -> Tensor:
        """The net's last outputs at the scored steps."""
        return output_KRBH[-self.scored :] if len(output_KRBH) > self.scored else output_KRBH

    def resting(self, cell: Cell) -> Cell:
        """The cell as it is in evaluation."""
        return cell if self._dropout is None else self._dropout.expected(cell)

    def _dropped(self, cell: Cell, input_TRBI: Tensor) -> tuple[Cell, Tensor]:
        if self._dropout is None or self.update is None:
            return self.resting(cell), input_TRBI
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


def _measure(adjoint_TRBH: Tensor, norm_TRB: Tensor) -> None:
    torch.linalg.vector_norm(adjoint_TRBH.detach(), dim=-1, dtype=torch.float64, out=norm_TRB)


def adjoint_norms(recorded: Sequence[Recorded]) -> Tensor:
    """(R, S, T) float64, the state components of all calls one after the other, in the mean over the batch.

    NaN at the end where a call has fewer steps than another.
    """
    of_calls = [batch_mean(one.norm_STRB, one.mask_TRB) for one in recorded]
    T = max(norm_RST.shape[-1] for norm_RST in of_calls)
    return torch.cat([functional.pad(n, (0, T - n.shape[-1]), value=torch.nan) for n in of_calls], dim=1)


def batch_mean(norm_STRB: Tensor, mask_TRB: Tensor | None) -> Tensor:
    """(R, S, T) float64: the mean over the examples that have the step; NaN where none has it."""
    if mask_TRB is None:
        return norm_STRB.mean(-1).permute(2, 0, 1)
    live = mask_TRB.to(norm_STRB.dtype)
    return ((norm_STRB * live).sum(-1) / live.sum(-1)).permute(2, 0, 1)
