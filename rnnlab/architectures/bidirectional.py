"""Two cells that read the sequence in both directions (Schuster & Paliwal 1997), in layers (Graves et al. 2013)."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from rnnlab.architectures.architecture import Architecture, MakeCell, Parts, Sizes
from rnnlab.bptt.passage import Passage
from rnnlab.contract import Repeats, component
from rnnlab.plan import Plan, Refusal


@component
class Bidirectional(Architecture):
    """f_t = cell(x_t, f_{t-1}),  b_t = cell'(x_t, b_{t+1}),  y_t = [f_t; b_t] goes to the next layer, and the readout.

    As torch.nn's `bidirectional`. The steps of the backward cell are counted as it takes them: its first is the
    sequence's last.

    Args:
        layers: how many pairs of cells.
        read: `steps`: the readout sees [f_t; b_t] at every scored step t. `ends`: [f_T; b_1], each cell's own last
            output, for a task that scores the last step alone.
    """

    looks_ahead: ClassVar[bool] = True

    layers: Repeats
    read: Literal["steps", "ends"]

    def why_not(self, plan: Plan) -> Refusal:
        if self.read == "steps" and plan.task.scored == 1:
            return {"read": f"{plan.chosen('task')} scores the last step, of which b has seen no other; allowed: ends"}
        if self.read == "ends" and plan.task.scored > 1:
            return {"read": f"{plan.chosen('task')} scores {plan.task.scored} steps; allowed: steps"}
        return None

    def parts(self, cell: MakeCell, sizes: Sizes) -> dict[str, nn.Module]:
        made, inputs = dict[str, nn.Module](), sizes.inputs
        for k in range(self.layers):
            ahead, back = self._names(k)
            made[ahead], made[back] = first, _ = cell(inputs), cell(inputs)
            inputs = 2 * first.width
        return made

    def run(self, parts: Parts, input_TRBI: Tensor, passage: Passage) -> Tensor:
        for k in range(self.layers):
            ahead, back = self._names(k)
            f_TRBH = passage(ahead, parts[ahead], input_TRBI).output_KRBH
            b_TRBH = passage(back, parts[back], input_TRBI, backward=True).output_KRBH
            if self.read == "ends" and k == self.layers - 1:
                return torch.cat([f_TRBH[-1:], b_TRBH[-1:]], dim=-1)
            input_TRBI = torch.cat([f_TRBH, b_TRBH.flip(0)], dim=-1)
        return input_TRBI

    def width(self, parts: Parts) -> int:
        return 2 * super().width(parts)

    def _names(self, k: int) -> tuple[str, str]:
        number = str(k + 1) if self.layers > 1 else ""
        return f"forward{number or '_'}", f"backward{number}"
