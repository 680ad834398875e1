"""The linear recurrent unit: a diagonal complex recurrence, started on a ring (Orvieto et al. 2023)."""

import math
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from rnnlab.cells.affine import at_least_two
from rnnlab.cells.cell import ActivationFactory, State
from rnnlab.cells.linear import LinearCell
from rnnlab.contract import Count, Positive, Share, checked


class LRU(LinearCell):
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
    multiplies: ClassVar[bool] = False

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

    def coefficients(self, input_RBI: Tensor) -> tuple[State, State]:
        H, gamma = self.hidden, torch.exp(self.log_gamma)
        re, im = self._of_input(input_RBI, slice(0, 2 * H)).chunk(2, dim=-1)
        return self.eigenvalues(), (gamma * re, gamma * im)

    def read(self, input_RBI: Tensor, s: State) -> Tensor:
        C_re, C_im = self.weight_mixing.chunk(2, dim=1)
        direct = self._of_input(input_RBI, slice(2 * self.hidden, None))
        return self.activation(torch.baddbmm(torch.baddbmm(direct, s[0], C_re), s[1], C_im, alpha=-1))

    def eigenvalues(self) -> tuple[Tensor, Tensor]:
        """Real and imaginary part of lambda, (R, 1, H) each."""
        nu, theta = self.weight_recurrent.split(1, dim=1)
        modulus, phase = torch.exp(-torch.exp(nu)), torch.exp(theta)
        return modulus * torch.cos(phase), modulus * torch.sin(phase)

    def _of_input(self, input_RBI: Tensor, columns: slice) -> Tensor:
        return torch.baddbmm(self.bias[..., columns], *at_least_two(input_RBI, self.weight_input[..., columns]))
