"""A decoder that hears itself: one step after the other, as no engine does it.

K decoder step, T source step, R replica, B batch, W beam, H hidden, O output.
"""

import copy

import torch
from torch import Tensor
from torch.nn import functional

from rnnlab.architectures.architecture import Parts
from rnnlab.cells.cell import Cell, State


class Speaker:
    """What decoder, attention and readout say, for sources that were read.

    Args:
        parts: of the net.
        cell: its decoder as it is in evaluation.
        source_TRBH, mask_TRB: what is attended to; None without attention.
    """

    def __init__(self, parts: Parts, cell: Cell, source_TRBH: Tensor | None, mask_TRB: Tensor | None) -> None:
        self.decoder, self.attention, self.readout = parts["decoder"], parts.get("attention"), parts["output"]
        self.outputs: int = self.readout.outputs
        self.cell, self.source_TRBH, self.mask_TRB = cell, source_TRBH, mask_TRB

    def attend(self, state_KRBH: Tensor) -> Tensor:
        """What the readout sees, (K, R, B, H)."""
        if self.attention is None:
            return state_KRBH
        return self.attention(state_KRBH, self.source_TRBH, self.mask_TRB)

    def speak(
        self, steps: int, state: State, target_KRBO: Tensor | None = None, coin_KRB: Tensor | None = None
    ) -> Tensor:
        """(K, R, B, O): what the decoder hears of every step: classes as one-hot, numbers as they are.

        Args:
            state: that it starts from.
            target_KRBO, coin_KRB: where the coin is True, the target stands in the place of what it says.
        """
        R, B, _ = state[0].shape
        said, told_KRBX = list[Tensor](), self._told(steps, R, B)
        for j in range(steps):
            score_RBO, state = self._step(told_KRBX[j], said[-1] if said else None, state)
            one_RBO = score_RBO
            if self.outputs > 1:
                one_RBO = functional.one_hot(score_RBO.argmax(-1), self.outputs).to(score_RBO)
            if target_KRBO is not None and coin_KRB is not None:
                one_RBO = torch.where(coin_KRB[j].unsqueeze(-1), target_KRBO[j], one_RBO)
            said.append(one_RBO)
        return torch.stack(said)

    def best(self, steps: int, state: State, width: int) -> Tensor:
        """(K, R, B): the most probable classes that a beam of this width finds."""
        R, B, _ = state[0].shape
        many, O = self._beams(width), self.outputs
        state = tuple(component.repeat_interleave(width, dim=1) for component in state)
        said_RBWJ = torch.zeros(R, B, width, 0, dtype=torch.int64, device=state[0].device)
        # At first all that a beam holds is the same: one of them counts.
        total_RBW = state[0].new_full((R, B, width), -torch.inf)
        total_RBW[..., 0] = 0
        told_KRNX, heard_RNO = self._told(steps, R, B * width), None
        for j in range(steps):
            score_RNO, state = many._step(told_KRNX[j], heard_RNO, state)
            next_RBWO = total_RBW.unsqueeze(-1) + torch.log_softmax(score_RNO, -1).view(R, B, width, O)
            total_RBW, at_RBW = next_RBWO.flatten(2).topk(width)
            from_RBW, class_RBW = at_RBW // O, at_RBW % O
            said_RBWJ = said_RBWJ.gather(2, from_RBW.unsqueeze(-1).expand(-1, -1, -1, j))
            said_RBWJ = torch.cat([said_RBWJ, class_RBW.unsqueeze(-1)], dim=-1)
            state = tuple(_taken(component, from_RBW) for component in state)
            heard_RNO = functional.one_hot(class_RBW.flatten(1), O).to(score_RNO)
        return said_RBWJ[:, :, 0].permute(2, 0, 1)

    def _beams(self, width: int) -> "Speaker":
        """The same for the members of beams, which stand side by side."""
        many = copy.copy(self)
        if self.source_TRBH is not None:
            many.source_TRBH = self.source_TRBH.repeat_interleave(width, dim=2)
        if self.mask_TRB is not None:
            many.mask_TRB = self.mask_TRB.repeat_interleave(width, dim=2)
        return many

    def _told(self, steps: int, replicas: int, batch: int) -> Tensor:
        """(K, R, B, X): the inputs as the cell's steps take them, but for what is heard; the first is the start."""
        weight = self.decoder.weight_input
        told_KRBI = weight.new_zeros(steps, replicas, batch, self.outputs + 1)
        told_KRBI[0, ..., -1] = 1
        return self.decoder.told(told_KRBI, None, None)

    def _step(self, told_RBX: Tensor, heard_RBO: Tensor | None, state: State) -> tuple[Tensor, State]:
        """(R, B, O) scores or numbers, and the state."""
        if heard_RBO is not None:
            told_RBX = torch.cat([heard_RBO, told_RBX[..., self.outputs :]], dim=-1)
        output_RBH, state = self.cell.step(told_RBX, state)
        return self.readout(self.attend(output_RBH.unsqueeze(0)))[0], state


def _taken(value_RNH: Tensor, from_RBW: Tensor) -> Tensor:
    """Of every beam, the members with these numbers."""
    R, B, W = from_RBW.shape
    value_RBWH = value_RNH.view(R, B, W, -1)
    return value_RBWH.gather(2, from_RBW.unsqueeze(-1).expand_as(value_RBWH)).flatten(1, 2)
