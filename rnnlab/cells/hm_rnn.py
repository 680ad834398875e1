"""The hierarchical multiscale LSTM, whose layers find out where a segment ends (Chung, Ahn & Bengio 2017).

R replica, B batch, H hidden, L layers, D whatever a boundary is made of.
"""

from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from rnnlab.cells.affine import at_least_two
from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, Finite, Positive, Repeats, checked

GATES = ("input", "forget", "output", "candidate")


class HMRNN(Cell):
    """a^l_t = h^l_{t-1} U^l + z^l_{t-1} h^{l+1}_{t-1} D^l + z^{l-1}_t h^{l-1}_t W^l + b^l with h^0 = x, z^0 = 1, and a
    boundary z^l_t of 0 or 1. COPY, where z^l_{t-1} = z^{l-1}_t = 0: c^l_t = c^l_{t-1}, h^l_t = h^l_{t-1}. UPDATE, where
    they are 0 and 1: c_t = f c_{t-1} + i phi(a_g). FLUSH, where z^l_{t-1} = 1: c_t = i phi(a_g). h_t = o phi(c_t) after
    both; i, f, o = sigmoid of their blocks of a.

    A boundary says that a segment of layer l ends at t: z^l_t = 1 where z~ = hardsigmoid(a_z) > 1/2, else 0, with
    hardsigmoid(a) = max(0, min(1, (slope a + 1) / 2)) and a_z made like a. The top layer has none, so a single layer is
    an LSTM. A layer that copies hears nothing of the layers beside it, but may end its segment, as the equations have
    it.

    The choice among the three is written as a polynomial in z, which passes a gradient to z; from z to z~ it goes as if
    z were z~ (straight through): an estimate, so finite differences do not give it. The paper raises the slope while it
    trains; here it is fixed. FLUSH sets dc_t/dc_{t-1} to 0, and COPY makes it 1, exactly.

    The states are those of every layer, the top one first; the output is [h^1; ...; h^L], so that the readout sees all
    layers (in the paper gates and a ReLU layer stand before it). The gates that it tells of are i, f, o of every layer;
    what carries c on is none of them alone.

    Args:
        hidden: H, of each layer.
        layers: L.
        slope: of the hard sigmoid. It is where boundaries are uncertain, |a_z| < 1 / slope, that they learn.
        boundary_bias: what the boundaries' biases start at; below 0, there are few at first.
        forget_bias: added once to the forget gates' initial biases.
        activation: makes phi, for the candidate and for the output of each layer.
        replicas, inputs: R, I.
    """

    differentiable: ClassVar[bool] = False

    @checked
    def __init__(
        self,
        *,
        hidden: Count,
        layers: Repeats,
        slope: Positive,
        boundary_bias: Finite,
        forget_bias: Finite,
        activation: ActivationFactory,
        replicas: Count,
        inputs: Count,
    ) -> None:
        self.layers, self.slope, self.boundary_bias = layers, slope, boundary_bias
        own = self.blocks[: len(GATES) * layers]
        first = own[: len(GATES)]
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden, input_blocks=first, bias_blocks=own)
        self.bias_shifts = {f"forget{l}": forget_bias for l in range(1, layers + 1)}
        for l in range(1, layers + 1):
            setattr(self, f"candidate_activation{l}", activation())
            setattr(self, f"output_activation{l}", activation())
        for l in range(1, layers):
            width = 2 * hidden + (inputs if l == 1 else hidden)
            setattr(self, f"weight_boundary{l}", nn.Parameter(torch.zeros(replicas, 1, width)))
            setattr(self, f"bias_boundary{l}", nn.Parameter(torch.zeros(replicas, 1, 1)))

    @property
    def blocks(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of U of every layer; of W, up to every layer from the one below; of D, down from the one above."""
        L = self.layers
        layers = [(l, "") for l in range(1, L + 1)]
        layers += [(l, "_up") for l in range(2, L + 1)] + [(l, "_down") for l in range(1, L)]
        return tuple(f"{gate}{l}{way}" for l, way in layers for gate in GATES)

    @property
    def states(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        top, *others = range(self.layers, 0, -1)
        return (f"h{top}", f"c{top}", *(f"{kind}{l}" for l in others for kind in "zhc"))

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(1 if name.startswith("z") else self.hidden for name in self.states)

    @property
    def put_out_states(self) -> tuple[str, ...]:
        return tuple(f"h{l}" for l in range(1, self.layers + 1))

    def initialise(self, replica: int, generator: Generator) -> None:
        """Draw one replica's weights of boundaries from U(-1/sqrt(D), 1/sqrt(D)), of D weights."""
        for l in range(1, self.layers):
            drawn_1D = self.get_parameter(f"weight_boundary{l}")[replica]
            bound = drawn_1D.shape[-1] ** -0.5
            drawn_1D.copy_(torch.empty_like(drawn_1D).uniform_(-bound, bound, generator=generator))
            self.get_parameter(f"bias_boundary{l}")[replica].fill_(self.boundary_bias)

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        new, _ = self._stepped(input_RBI, state)
        made = tuple(new[name] for name in self.states)
        return self.put_out(made), made

    def gates(self, input_RBI: Tensor, state: State) -> dict[str, Tensor]:
        return self._stepped(input_RBI, state)[1]

    def _stepped(self, input_RBI: Tensor, state: State) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The new state and the gates, by name."""
        old, new, gates = dict(zip(self.states, state, strict=True)), dict[str, Tensor](), dict[str, Tensor]()
        heard, ended = input_RBI, None  # z^{l-1}_t h^{l-1}_t, z^{l-1}_t; None: 1
        for l in range(1, self.layers + 1):
            h, c, z = old[f"h{l}"], old[f"c{l}"], old.get(f"z{l}")
            a = torch.baddbmm(self._four(self.bias, l - 1), h, self._own(l))
            a = torch.baddbmm(a, *at_least_two(heard, self._up(l) if l > 1 else self.weight_input))
            if z is not None:
                told = z * old[f"h{l + 1}"]
                a = torch.baddbmm(a, told, self._down(l))
                new[f"z{l}"] = self._boundary(l, torch.cat([h, told, heard], dim=-1))
            gates_a, a_g = a.split((3 * self.hidden, self.hidden), dim=-1)
            i, f, o = torch.sigmoid(gates_a).chunk(3, dim=-1)
            fresh = i * getattr(self, f"candidate_activation{l}")(a_g)
            c_new = f * c + fresh
            # torch.lerp is exact at both ends: what is copied stays as it is, to the bit.
            if ended is not None:
                c_new = torch.lerp(c, c_new, ended)
            if z is not None:
                c_new = torch.lerp(c_new, fresh, z)
            h_new = o * getattr(self, f"output_activation{l}")(c_new)
            if ended is not None:
                h_new = torch.lerp(h_new, h, (1 - ended) if z is None else (1 - ended) * (1 - z))
            new |= {f"h{l}": h_new, f"c{l}": c_new}
            gates |= {f"input{l}": i, f"forget{l}": f, f"output{l}": o}
            ended = new.get(f"z{l}")
            heard = h_new if ended is None else ended * h_new
        return new, gates

    def _boundary(self, l: int, heard_RBD: Tensor) -> Tensor:
        """z^l_t, (R, B, 1)."""
        weight_R1D, bias_R11 = self.get_parameter(f"weight_boundary{l}"), self.get_parameter(f"bias_boundary{l}")
        # A sum, not a product: one with a single column has other last bits alone than in a batch.
        a_RB1 = (heard_RBD * weight_R1D).sum(-1, keepdim=True) + bias_R11
        soft_RB1 = (0.5 * (self.slope * a_RB1 + 1)).clamp(0, 1)
        return (soft_RB1 > 0.5).to(soft_RB1.dtype) + (soft_RB1 - soft_RB1.detach())

    def _own(self, l: int) -> Tensor:
        """U^l, (R, H, 4H)."""
        return self._four(self.weight_recurrent, l - 1)

    def _up(self, l: int) -> Tensor:
        """W^l, of what layer l - 1 says."""
        return self._four(self.weight_recurrent, self.layers + l - 2)

    def _down(self, l: int) -> Tensor:
        """D^l, of what layer l + 1 says."""
        return self._four(self.weight_recurrent, 2 * self.layers + l - 2)

    def _four(self, parameter: Tensor, place: int) -> Tensor:
        """The place-th four blocks of a stacked parameter."""
        width = len(GATES) * self.hidden
        return parameter[..., place * width : (place + 1) * width]
