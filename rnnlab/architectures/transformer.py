"""The transformer, the control without recurrence (Vaswani et al. 2017; Radford et al. 2018)."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from rnnlab.architectures.architecture import Architecture, MakeCell, Parts, Sizes
from rnnlab.architectures.block import Block, Embedding, Norm
from rnnlab.bptt.passage import Passage
from rnnlab.contract import Count, Repeats, component
from rnnlab.plan import Plan, Refusal

EMBEDDING, NORM = "embedding", "norm"


@component
class Transformer(Architecture):
    """x^0_t = x_t W + b + p_t;  y^k = x^{k-1} + Attention(LN(x^{k-1})),  x^k = y^k + phi(LN(y^k) W_1) W_2 for k = 1,
    ..., layers; the readout sees LN(x^layers_t).

    From any step to any later one leads a way of one layer, whatever the lag: what a recurrent net has to carry through
    all steps between. Adjoints are those of x^0 (`embedding.h`) and of every x^k (`layer1.h`, ...). Above the last
    attention a step is by itself: x^layers has an adjoint at the scored steps alone.

    Width H is `cell.hidden`, phi the configured activation; all weights are drawn as input weights are. Without
    positions it sees a set of steps (in causal layers from the second on: sets that grow). No step sees one that its
    example does not have.

    Args:
        layers: how many.
        heads: of each layer, H / heads wide; where that is no whole number, the next one.
        widening: how many times H wide the hidden layer of the feed-forward net is.
        causal: whether a step sees those up to it alone (GPT), or all of them (BERT).
        positions: p. `none`, `sinusoidal` (fixed) or `learned`.
        steps: how many a sequence has.
    """

    layers: Repeats
    heads: Count
    widening: Count
    causal: bool
    positions: Literal["none", "sinusoidal", "learned"]
    steps: Count

    of_cells: ClassVar[bool] = False

    @property
    def looks_ahead(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return not self.causal

    def why_not(self, plan: Plan) -> Refusal:
        if self.layers == 1 and not self.causal and plan.task.scored == 1:
            return {"causal": f"{plan.chosen('task')} scores the last step, which sees all in one layer; allowed: true"}
        if plan.cell.states:
            return self.wants_no_cell(plan)
        if plan.cell.hidden < 2:
            return "It normalises over a layer's units, and of one unit that leaves nothing; cell.hidden is at least 2"
        return None

    def parts(self, cell: MakeCell, sizes: Sizes) -> dict[str, nn.Module]:
        R, H = sizes.replicas, sizes.hidden
        made: dict[str, nn.Module] = {
            EMBEDDING: Embedding(replicas=R, inputs=sizes.inputs, outputs=H, positions=self.positions, steps=self.steps)
        }
        for k in range(1, self.layers + 1):
            made[f"layer{k}"] = Block(
                replicas=R,
                width=H,
                heads=self.heads,
                widening=self.widening,
                activation=lambda: sizes.activation(self.widening * H),
            )
        return {**made, NORM: Norm(replicas=R, width=H)}

    def run(self, parts: Parts, input_TRBI: Tensor, passage: Passage) -> Tensor:
        T, R, B, _ = input_TRBI.shape
        mask_TRB = passage.mask_TRB
        if mask_TRB is not None:  # nothing that stands in padding is to be computed with
            input_TRBI = input_TRBI.masked_fill(~mask_TRB.unsqueeze(-1), 0)
        may_look = None if mask_TRB is None else _may_look(mask_TRB, causal=self.causal)

        def watched(name: str, x_RNH: Tensor) -> Tensor:
            x_TRBH = passage.watch(name, x_RNH.view(R, B, T, -1).permute(2, 0, 1, 3))
            return x_TRBH.permute(1, 2, 0, 3).reshape(R, B * T, -1)

        x_RBTH = parts[EMBEDDING].applied(input_TRBI.permute(1, 2, 0, 3).reshape(R, B * T, -1)).view(R, B, T, -1)
        x_RNH = watched(EMBEDDING, (x_RBTH + parts[EMBEDDING].at(mask_TRB, input_TRBI)).view(R, B * T, -1))
        for k in range(1, self.layers + 1):
            x_RNH = watched(f"layer{k}", parts[f"layer{k}"](x_RNH, T, may_look, causal=self.causal))
        K = passage.last or T
        seen_RMH = x_RNH.view(R, B, T, -1)[:, :, -K:].reshape(R, B * K, -1)
        return parts[NORM](seen_RMH).view(R, B, K, -1).permute(2, 0, 1, 3)

    def width(self, parts: Parts) -> int:
        return parts[NORM].gain.shape[-1]


def _may_look(mask_TRB: Tensor, *, causal: bool) -> Tensor:
    """(R B, 1, T, T): whether the row's step is to see the column's.

    A step that an example does not have sees itself: a softmax over nothing is NaN, in the gradients of all others too.
    """
    T = len(mask_TRB)
    itself_TT = torch.eye(T, dtype=torch.bool, device=mask_TRB.device)
    may_look = mask_TRB.permute(1, 2, 0).reshape(-1, 1, 1, T) | itself_TT
    return may_look.tril() if causal else may_look
