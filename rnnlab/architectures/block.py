"""Layers of a transformer with layer normalisation before each of their two parts (Xiong et al. 2020).

T time, R replica, B batch, N = B T rows of a replica, example by example; I input, H width, D width of a head.
"""

from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from rnnlab.architectures.dense import Dense, Perceptron
from rnnlab.bptt.passage import LAYER
from rnnlab.cells.cell import ActivationFactory, Initialiser, draw_weights
from rnnlab.cells.layer_norm import layer_norm

EPSILON = 1e-5
"""Added to the variance, as torch.nn does."""
SLOWEST = 10_000
"""The longest wave of the sinusoids is this many times 2 pi steps."""


class Norm(nn.Module):
    """LN(x) = g (x - mean) / sqrt(variance + epsilon) + b, over H; g starts at 1 and b at 0."""

    def __init__(self, *, replicas: int, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(replicas, 1, width))
        self.bias = nn.Parameter(torch.zeros(replicas, 1, width))

    def forward(self, x_RNH: Tensor) -> Tensor:
        return layer_norm(x_RNH, self.gain, EPSILON) + self.bias

    def draw(self, replica: int, weight: Initialiser, bias: Initialiser, generator: Generator) -> None:
        """Nothing is drawn."""


class Embedding(Dense):
    """y_t = x_t W + b + p_t, p the position's vector: none; sinusoids of it (Vaswani et al. 2017); or learned.

    An example's positions are counted from its own first step, so that padding before it changes nothing.

    Args:
        replicas, inputs, outputs: R, I, H.
        positions: which p: `none`, `sinusoidal` or `learned`.
        steps: how many a sequence has at most.
    """

    states: ClassVar[tuple[str, ...]] = LAYER

    def __init__(self, *, replicas: int, inputs: int, outputs: int, positions: str, steps: int) -> None:
        super().__init__(replicas=replicas, inputs=inputs, outputs=outputs)
        self.kind = positions
        if positions == "learned":
            self.positions = nn.Parameter(torch.zeros(replicas, steps, outputs))

    def at(self, mask_TRB: Tensor | None, like_TRBI: Tensor) -> Tensor | float:
        """p of every step, (R, B, T, H), or broadcast to it."""
        T, R = like_TRBI.shape[:2]
        if self.kind == "none":
            return 0.0
        learned = self.kind == "learned"
        table_RTH = self.positions[:, :T] if learned else sinusoids(T, self.bias.shape[-1]).to(like_TRBI).unsqueeze(0)
        if mask_TRB is None:
            return table_RTH.unsqueeze(1)
        place_RBT = (mask_TRB.cumsum(0) - 1).clamp(min=0).permute(1, 2, 0)
        replica_R11 = torch.arange(R, device=place_RBT.device).view(R, 1, 1) * learned
        return table_RTH[replica_R11, place_RBT]

    def draw(self, replica: int, weight: Initialiser, bias: Initialiser, generator: Generator) -> None:
        """Positions as the weights of so many inputs, of which one is 1."""
        super().draw(replica, weight, bias, generator)
        if self.kind == "learned":
            with torch.no_grad():
                draw_weights(self.positions[replica], weight, generator)


class Block(nn.Module):
    """y = x + concat_heads(softmax(q k' / sqrt(D)) v) W_O + b_O, q, k, v = LN(x) W + b of each head;
    z = y + phi(LN(y) W_1 + b_1) W_2 + b_2.

    Args:
        replicas, width: R, H.
        heads: how many; D = H / heads, rounded up.
        widening: W_1 has so many times H columns.
        activation: phi, for so many units.
    """

    states: ClassVar[tuple[str, ...]] = LAYER

    def __init__(self, *, replicas: int, width: int, heads: int, widening: int, activation: ActivationFactory) -> None:
        super().__init__()
        inner, wide = heads * -(-width // heads), widening * width
        self.heads, self.width, self.inner, self.wide = heads, width, inner, wide
        self.attention_norm = Norm(replicas=replicas, width=width)
        self.heard = Dense(replicas=replicas, inputs=width, outputs=3 * inner)
        self.joined = Dense(replicas=replicas, inputs=inner, outputs=width)
        self.feedforward_norm = Norm(replicas=replicas, width=width)
        self.widened = Perceptron(replicas=replicas, inputs=width, outputs=wide, activation=activation())
        self.narrowed = Dense(replicas=replicas, inputs=wide, outputs=width)

    def forward(self, x_RNH: Tensor, steps: int, may_look: Tensor | None, *, causal: bool) -> Tensor:
        """(R, N, H).

        Args:
            steps: T.
            may_look: (R B, 1, T, T), whether the step of a row is to see that of a column; None for all, or, where it
                is `causal`, for those up to it.
        """
        x_RNH = x_RNH + self.joined.applied(self._attended(self.attention_norm(x_RNH), steps, may_look, causal=causal))
        return x_RNH + self.narrowed.applied(self.widened.applied(self.feedforward_norm(x_RNH)))

    def _attended(self, x_RNH: Tensor, steps: int, may_look: Tensor | None, *, causal: bool) -> Tensor:
        R, N, _ = x_RNH.shape
        q, k, v = self.heard.applied(x_RNH).view(R * N // steps, steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        plain = causal and may_look is None
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=may_look, is_causal=plain)
        return seen.transpose(1, 2).reshape(R, N, self.inner)

    def draw(self, replica: int, weight: Initialiser, bias: Initialiser, generator: Generator) -> None:
        for layer in (self.heard, self.joined, self.widened, self.narrowed):
            layer.draw(replica, weight, bias, generator)

    def numbers_kept(self, rows: int) -> int:
        """At least: what the products and normalisations are differentiated by, q, k, v, and what attention gives."""
        return rows * (6 * self.width + 4 * self.inner + self.wide)


def sinusoids(steps: int, width: int) -> Tensor:
    """(T, H) float64: sin and cos of t / 10000^(2 i / H) in turn, i = 0, 1, ..."""
    at_T1 = torch.arange(steps, dtype=torch.float64).unsqueeze(1)
    column_H = torch.arange(width)
    angle_TH = at_T1 * SLOWEST ** (-2 * (column_H // 2).double() / width)
    return torch.where(column_H % 2 == 0, angle_TH.sin(), angle_TH.cos())
