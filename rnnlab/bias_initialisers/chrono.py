"""Chrono initialisation (Tallec & Ollivier 2018)."""

import torch
from torch import Generator, Tensor

from rnnlab.cells.cell import Cell
from rnnlab.contract import Count, component
from rnnlab.plan import Plan, Refusal


@component
class Chrono:
    """b_f = log(u) with u ~ U(1, T_max - 1) for each unit, and b_i = -b_f; every other bias is 0.

    A gate that is open by sigmoid(b_f) keeps its state for about u + 1 steps, so the units' memories span 1 to T_max.
    f is the gate that the old state is multiplied by (the LSTM's forget gate; the GRU's update gate z, which here, as
    in torch.nn.GRU, multiplies the old state) and i the one that the new content is, where that is a gate of its own.
    The bias is drawn once and in full: nothing is added to it, so the LSTM's forget_bias has to be 0, and `build` sets
    it so. Refused for a cell without such a gate.

    Args:
        t_max: T_max, the longest dependency in steps, at least 3; null: the steps of the task's sequences.
        steps: what null stands for.
    """

    t_max: Count | None
    steps: Count

    def why_not(self, plan: Plan) -> Refusal:
        if self.t_max is not None and self.t_max < 3:
            return {"t_max": "Biases are drawn from log U(1, t_max - 1); at least 3"}
        if not plan.cell.carried:
            return f"It draws the bias of a gate f as in f h_{{t-1}}; {plan.chosen('cell')} has none, cell=lstm has"
        if self.t_max is None and plan.task.steps < 3:
            return {"t_max": f"A sequence has {plan.task.steps} steps; give a number, at least 3"}
        return None

    def overrides(self, plan: Plan) -> dict[str, float]:
        return {"cell.forget_bias": 0.0}

    def __call__(self, bias_H: Tensor, generator: Generator) -> None:
        bias_H.zero_()

    def initialise_gates(self, cell: Cell, replica: int, generator: Generator) -> None:
        """Draw one replica's biases of the gates that carry a state on, in the order of the cell's `carried`."""
        longest = self.t_max or self.steps
        for state, gate in cell.carried.items():
            kept = torch.empty(cell.hidden, dtype=cell.bias.dtype).uniform_(1, longest - 1, generator=generator).log()
            cell.block(cell.bias[replica, 0], gate).copy_(kept)
            if state in cell.admitted:
                cell.block(cell.bias[replica, 0], cell.admitted[state]).copy_(-kept)
