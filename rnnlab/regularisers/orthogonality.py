"""A soft pull towards orthogonal recurrent weights (Vorontsov, Trabelsi, Kadoury & Pal 2017)."""

import torch
from torch import Tensor

from rnnlab.bptt.passage import Call
from rnnlab.contract import Positive, component
from rnnlab.plan import Plan, Refusal
from rnnlab.regularisers.regulariser import Regulariser


@component
class Orthogonality(Regulariser):
    """P = strength sum_blocks |W^T W - I|_F^2, over the gate blocks W of the recurrent weights.

    0 for orthogonal blocks, and with each singular value s it grows as (s^2 - 1)^2.

    Args:
        strength: > 0.
    """

    strength: Positive

    def why_not(self, plan: Plan) -> Refusal:
        if plan.parametrisation.orthogonal:
            return f"With {plan.chosen('parametrisation')} its penalty is the same wherever the weights are"
        if not (plan.cell.square and plan.cell.multiplies):
            return f"It is for square blocks that states are multiplied by; {plan.chosen('cell')} has none"
        return None

    def penalty(self, call: Call) -> Tensor:
        cell = call.cell
        identity = torch.eye(cell.hidden, dtype=cell.weight_recurrent.dtype, device=cell.weight_recurrent.device)
        blocks = [cell.block(cell.weight_recurrent, name) for name in cell.blocks]
        apart = [torch.bmm(block.mT, block) - identity for block in blocks]
        return self.strength * torch.stack([a.flatten(1).square().sum(1) for a in apart]).sum(0)
