"""Attention of a decoder to the states of an encoder (Bahdanau, Cho & Bengio 2015; Luong, Pham & Manning 2015).

T source step, K decoder step, R replica, B batch, H hidden.
"""

from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from rnnlab.bptt.passage import LAYER
from rnnlab.cells.cell import Initialiser, draw_weights


class Attention(nn.Module):
    """alpha_ji = softmax_i score(s_j, h_i),  c_j = sum_i alpha_ji h_i,  y_j = tanh([c_j; s_j] W).

    Scores: `dot` s_j . h_i; `general` s_j A . h_i; `additive` v . tanh(s_j A + h_i U). The state s_j is that after the
    decoder's step, as Luong et al. have it, with all three: so what a step of the decoder hears does not depend on its
    scores, and those of all steps are one product.

    Args:
        replicas, width: R, H.
        score: which.
    """

    states: ClassVar[tuple[str, ...]] = LAYER

    def __init__(self, *, replicas: int, width: int, score: str) -> None:
        super().__init__()
        self.score = score
        self.weight_combine = nn.Parameter(torch.zeros(replicas, 2 * width, width))
        if score != "dot":
            self.weight_query = nn.Parameter(torch.zeros(replicas, width, width))
        if score == "additive":
            self.weight_key = nn.Parameter(torch.zeros(replicas, width, width))
            self.weight_score = nn.Parameter(torch.zeros(replicas, width, 1))

    def forward(self, state_KRBH: Tensor, source_TRBH: Tensor, mask_TRB: Tensor | None) -> Tensor:
        """(K, R, B, H): y.

        Args:
            source_TRBH: h, in any order.
            mask_TRB: False where an example has no such source step, to which nothing attends.
        """
        K, R, B, H = state_KRBH.shape
        if len(source_TRBH) == 1:  # the gradient of a product over one row has other last bits alone than in a batch
            there_TRB = torch.ones_like(source_TRBH[..., 0], dtype=torch.bool) if mask_TRB is None else mask_TRB
            mask_TRB = torch.cat([there_TRB, torch.zeros_like(there_TRB)])
            source_TRBH = torch.cat([source_TRBH, torch.zeros_like(source_TRBH)])
        alpha_NKT = self.weights(state_KRBH, source_TRBH, mask_TRB).flatten(0, 1)
        context_NKH = torch.bmm(alpha_NKT, _by_example(source_TRBH))
        both_NKD = torch.cat([context_NKH, _by_example(state_KRBH)], dim=-1)
        y_RMH = torch.bmm(both_NKD.view(R, B * K, 2 * H), self.weight_combine).tanh()
        return y_RMH.view(R, B, K, H).permute(2, 0, 1, 3)

    def weights(self, state_KRBH: Tensor, source_TRBH: Tensor, mask_TRB: Tensor | None) -> Tensor:
        """(R, B, K, T): alpha."""
        score_RBKT = self._scores(state_KRBH, source_TRBH)
        if mask_TRB is not None:
            score_RBKT = score_RBKT.masked_fill(~mask_TRB.permute(1, 2, 0).unsqueeze(2), -torch.inf)
        return torch.softmax(score_RBKT, dim=-1)

    def _scores(self, state_KRBH: Tensor, source_TRBH: Tensor) -> Tensor:
        _, R, B, _ = state_KRBH.shape
        query_NKH, key_NTH = _by_example(state_KRBH), _by_example(source_TRBH)
        if self.score != "dot":
            query_NKH = _times(query_NKH, self.weight_query)
        if self.score != "additive":
            return torch.bmm(query_NKH, key_NTH.mT).unflatten(0, (R, B))
        key_NTH = _times(key_NTH, self.weight_key)
        seen_NKTH = (query_NKH.unsqueeze(2) + key_NTH.unsqueeze(1)).tanh()
        # Summed along memory: a product with one column has other last bits alone than in a batch.
        return (seen_NKTH.unflatten(0, (R, B)) * self.weight_score.mT[:, :, None, None]).sum(-1)

    def draw(self, replica: int, weight: Initialiser, bias: Initialiser, generator: Generator) -> None:
        """Draw one replica's parameters; the initialiser sees the weights as torch has them, (out, in)."""
        with torch.no_grad():
            for parameter in self.parameters():
                draw_weights(parameter[replica], weight, generator)


def _by_example(value_TRBH: Tensor) -> Tensor:
    """(N, T, H), N = R * B with R outermost."""
    return value_TRBH.permute(1, 2, 0, 3).flatten(0, 1)


def _times(value_NTH: Tensor, weight_RHH: Tensor) -> Tensor:
    """One product per replica."""
    N, T, H = value_NTH.shape
    R = len(weight_RHH)
    return torch.bmm(value_NTH.reshape(R, N // R * T, H), weight_RHH).view(N, T, -1)
