"""The linear recurrent unit: a diagonal complex recurrence, started on a ring (Orvieto et al. 2023)."""

import math
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, Positive, Share, checked


class LRU(Cell):
    """s_t = lambda s_{t-1} + gamma (x_t B + b),  h_t = phi(Re(s_t C) + x_t D + d),
    lambda = exp(-exp(nu) + i exp(theta)).

    s is complex, with one lambda for each of its H units, |lambda| < 1 whatever is learnt. Its real and imaginary part
    are the state components re and im; h is read from them and not carried on, so its adjoint is that of one step. phi
    is where the paper's block has its nonlinearity; with phi = identity the unit is the paper's (which has no b and
    d). Initialisers of recurrent weights have nothing to draw: lambda is drawn evenly from the ring
    r_min <= |lambda| <= r_max with phases up to max_phase, gamma starts at sqrt(1 - |lambda|^2), C with variance 1/H.
    nu and theta are the recurrent weights; B and D are input weights.

    Args:
        hidden: H.
        r_min, r_max: the ring's radii, 0 <= r_min < r_max <= 1.
        max_phase: largest initial phase, in radians; 2 pi is the whole ring. A small one favours long memory.
        activation: makes phi.
        replicas, inputs: R, I.
    Raises:
        ValueError: r_min is not below r_max.
    """

    blocks: ClassVar[tuple[str, ...]] = ()
    states: ClassVar[tuple[str, ...]] = ("h", "re", "im")

    @checked
    def __init__(
        self,
        *,
        hidden: Count,
        r_min: Share,
        r_max: Share,
        max_phase: Positive,
        activation: ActivationFactory,
        replicas: Count,
        inputs: Count,
    ) -> None:
        if r_min >= r_max:
            raise ValueError(f"r_min={r_min} must be below r_max={r_max}")
        input_blocks = ("real", "imaginary", "direct")
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden, input_blocks=input_blocks)
        self.r_min, self.r_max, self.max_phase = r_min, r_max, max_phase
        self.weight_recurrent = nn.Parameter(torch.zeros(replicas, 2, hidden))
        self.log_gamma = nn.Parameter(torch.zeros(replicas, 1, hidden))
        self.weight_mixing = nn.Parameter(torch.zeros(replicas, 2 * hidden, hidden))
        self.activation = activation()

    def initialise(self, replica: int, generator: Generator) -> None:
        """Draw one replica's lambda and C."""
        # In float64 and off 0: at |lambda| = 0 or 1 to rounding a logarithm would not be finite.
        area, turn = torch.rand(2, self.hidden, generator=generator, dtype=torch.float64).clamp(min=1e-12)
        square = self.r_min**2 + area * (self.r_max**2 - self.r_min**2)
        nu, theta = (-0.5 * square.log()).log(), (self.max_phase * turn).log()
        self.weight_recurrent[replica].copy_(torch.stack([nu, theta]))
        self.log_gamma[replica].copy_(0.5 * torch.log1p(-square))
        nn.init.normal_(self.weight_mixing[replica], std=1 / math.sqrt(self.hidden), generator=generator)

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        _, re, im = state
        lambda_re, lambda_im = self.eigenvalues()
        drive_re, drive_im, direct = self._driven(input_RBI)
        new_re = lambda_re * re - lambda_im * im + drive_re
        new_im = lambda_im * re + lambda_re * im + drive_im
        C_re, C_im = self.weight_mixing.chunk(2, dim=1)
        h = self.activation(torch.baddbmm(torch.baddbmm(direct, new_re, C_re), new_im, C_im, alpha=-1))
        return h, (h, new_re, new_im)

    def eigenvalues(self) -> tuple[Tensor, Tensor]:
        """Real and imaginary part of lambda, (R, 1, H) each."""
        nu, theta = self.weight_recurrent.split(1, dim=1)
        modulus, phase = torch.exp(-torch.exp(nu)), torch.exp(theta)
        return modulus * torch.cos(phase), modulus * torch.sin(phase)

    def _driven(self, input_RBI: Tensor) -> tuple[Tensor, ...]:
        """gamma (x B + b), real and imaginary part, and x D + d."""
        a = torch.baddbmm(self.bias, input_RBI, self.weight_input)
        re, im, direct = a.chunk(3, dim=-1)
        gamma = torch.exp(self.log_gamma)
        return gamma * re, gamma * im, direct
