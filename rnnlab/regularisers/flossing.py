"""Gradient flossing: Lyapunov exponents near zero, so that gradients neither grow nor fade (Engelken 2023).

T time, R replica, B batch, K exponents, D state width (all components side by side).
"""

import torch
from torch import Tensor

from rnnlab.bptt.passage import Call
from rnnlab.bptt.walk import walk
from rnnlab.cells.cell import Cell, State
from rnnlab.contract import Count, CountOrZero, NonNegative, component
from rnnlab.plan import Plan, Refusal
from rnnlab.regularisers.regulariser import Regulariser
from rnnlab.streams import generator


@component
class Flossing(Regulariser):
    """P = strength sum_k l_k^2, l_k = mean_t log R_{t,kk} the leading Lyapunov exponents: J_t^T Q_t = Q_{t-1} R_t,
    J_t = ds_t / ds_{t-1}, from an orthonormal Q_T that is drawn once and for all.

    Each l is a mean over examples too. P is differentiated through the QR and through the trajectory; what the cell
    reads is held, so that dL/dh_t of a cell below stays that of the loss. Nothing is dropped in it. s is the whole
    state, of an LSTM h and c. The sweep goes back, as the lyapunov probe's, which gives the spectrum that the paper's
    sweep forward gives. A step that an example does not have, or whose R is singular to rounding (dead ReLUs; more
    exponents than J has rank), does not count.

    With `updates`, the drawn net is first given so many by sum_k l_k^2 alone, with the run's optimiser, each on a
    training batch: the paper's flossing before training (there some hundreds).

    Args:
        strength: in training, >= 0; 0: it is flossed before training alone.
        exponents: how many, k = 1, 2, ...; fewer where the state has fewer dimensions.
        examples: the first so many of the batch; all, if it has fewer.
        updates: before training; 0: none.
    """

    strength: NonNegative
    exponents: Count
    examples: Count
    updates: CountOrZero

    def why_not(self, plan: Plan) -> Refusal:
        if not (self.strength or self.updates):
            return {"strength": "With updates=0 too it would do nothing"}
        return None

    @property
    def updates_at_first(self) -> int:
        return self.updates

    def penalty(self, call: Call) -> Tensor:
        if not self.strength:
            return call.input_TRBI.new_zeros(call.input_TRBI.shape[1])
        return self.strength * self.penalty_at_first(call)

    def penalty_at_first(self, call: Call) -> Tensor:
        chosen = slice(self.examples)
        input_TRBI = call.input_TRBI[:, :, chosen].detach()
        D, start = sum(call.cell.widths), tuple(part[:, chosen] for part in call.start())
        frame_KD = frame(min(self.exponents, D), D).to(input_TRBI)
        return exponents(call.cell, input_TRBI, start, call.live[:, :, chosen] > 0, frame_KD).square().sum(-1)


def frame(directions: int, width: int) -> Tensor:
    """(K, D), float64: orthonormal rows, always the same. Drawn, since unit vectors may never turn."""
    drawn = torch.randn(width, directions, generator=generator(0, "probe"), dtype=torch.float64)
    return torch.linalg.qr(drawn)[0].T


def exponents(cell: Cell, input_TRBI: Tensor, start: State, live_TRB: Tensor, frame_KD: Tensor) -> Tensor:
    """(R, K), nats per step, differentiable: the mean over examples of each one's mean over the steps that count."""
    T, R, B, _ = input_TRBI.shape
    start = tuple(part.detach().requires_grad_() for part in start)
    states = [step.before for step in walk(cell, input_TRBI, start, live_TRB)]
    frame_RBKD = frame_KD.expand(R, B, *frame_KD.shape).contiguous()
    growth_RBK, count_RB1 = frame_RBKD.new_zeros(R, B, len(frame_KD)), frame_RBKD.new_zeros(R, B, 1)
    for t in reversed(range(T)):
        pulled_RBKD = _pull(cell, input_TRBI[t], states[t], frame_RBKD)
        counts_RB1 = (live_TRB[t] & _regular(pulled_RBKD.detach())).unsqueeze(-1)
        # What does not count is replaced before it is made orthonormal: there the gradient may not be finite.
        frame_RBKD, stretch_RBK = _orthonormal(torch.where(counts_RB1.unsqueeze(-1), pulled_RBKD, frame_RBKD))
        growth_RBK = growth_RBK + torch.where(counts_RB1, stretch_RBK.log(), 0.0)
        count_RB1 = count_RB1 + counts_RB1
    return (growth_RBK / count_RB1.clamp(min=1)).mean(1)


def _pull(cell: Cell, input_RBI: Tensor, before: State, frame_RBKD: Tensor) -> Tensor:
    """q J_t for every row q, (R, B, K, D). A row is carried by a copy of its example: one backward pass serves all."""
    R, B, K, D = frame_RBKD.shape
    copies = tuple(part.repeat_interleave(K, dim=1) for part in before)
    after = cell.step(input_RBI.repeat_interleave(K, dim=1), copies)[1]
    cotangents = frame_RBKD.reshape(R, B * K, D).split([part.shape[-1] for part in copies], dim=-1)
    pulled = torch.autograd.grad(after, copies, cotangents, create_graph=True, materialize_grads=True)
    return torch.cat(pulled, dim=-1).view(R, B, K, D)


def _orthonormal(rows_RBKD: Tensor) -> tuple[Tensor, Tensor]:
    """Rows made orthonormal one after the other (Gram-Schmidt), and the lengths taken out, (R, B, K): R's diagonal.

    By sums along a replica's own memory: a batched QR's backward pass need not give a replica the bits it has alone.
    """
    made, lengths, rest_RBKD = [], [], rows_RBKD
    while rest_RBKD.shape[2]:
        first_RB1D, rest_RBKD = rest_RBKD[:, :, :1], rest_RBKD[:, :, 1:]
        length_RB11 = torch.linalg.vector_norm(first_RB1D, dim=-1, keepdim=True)
        unit_RB1D = first_RB1D / length_RB11
        rest_RBKD = rest_RBKD - (rest_RBKD * unit_RB1D).sum(-1, keepdim=True) * unit_RB1D
        made.append(unit_RB1D)
        lengths.append(length_RB11[..., 0])
    return torch.cat(made, dim=2), torch.cat(lengths, dim=2)


def _regular(rows_RBKD: Tensor) -> Tensor:
    """(R, B) bool: whether no row is, to rounding, made of those before it."""
    left_RBK = _orthonormal(rows_RBKD)[1]
    kind = torch.finfo(rows_RBKD.dtype)
    whole_RBK = torch.linalg.vector_norm(rows_RBKD, dim=-1)
    return (left_RBK > (100 * kind.eps * whole_RBK).clamp(min=kind.tiny)).all(-1)
