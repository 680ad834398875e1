"""Trajectories that a net takes through a batch, and how a step's Jacobian acts along them: by backward alone.

T time, R replica, B batch, I input, K directions. D is the width of all state components side by side: H of an
Elman net, 2H of an LSTM's (h, c).
"""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from rnnlab.bptt.passage import Call
from rnnlab.bptt.walk import walk
from rnnlab.interruption import obey
from rnnlab.probes.probe import Moment
from rnnlab.streams import generator


class Trajectory:
    """Some examples of a call, run again in float64 with the moment's parameters.

    Of a cell it takes no more than `step` and that autograd can go back through it, as training must. A direction is
    carried by a copy of its example in the batch, so one backward pass serves K directions: as fast as a vectorised
    map, and right for every cell that can be trained (forward-mode differentiation is not, where a cell brings its own
    backward pass). A step that an example does not have is the identity, as in unrolling. Adjoint rules do not act.

    Args:
        examples: how many, evenly spread over the batch; all, if it has fewer.
    Raises:
        Interrupted: the moment says so, which is asked at each time step, here and in `pull`.
    """

    def __init__(self, moment: Moment, call: Call, examples: int) -> None:
        self.interrupted = moment.interrupted
        self.cell = copy.deepcopy(call.cell).double().requires_grad_(False)
        chosen = spread(0, call.input_TRBI.shape[2] - 1, examples)
        self.input_TRBI = call.input_TRBI[:, :, chosen].double()
        mask = call.mask_TRB
        T, R, B, _ = self.input_TRBI.shape
        self.live_TRB = self.input_TRBI.new_ones(T, R, B, dtype=torch.bool) if mask is None else mask[:, :, chosen]
        self.widths, start = self.cell.widths, call.start()
        self.start = tuple(component[:, chosen].double() for component in start)
        self.before_TRBD = self._run()
        self.finite_RB = self.before_TRBD.isfinite().all(-1).all(0)

    def pull(self, t: int, cotangent_RBKD: Tensor) -> Tensor:
        """v J_t for every row v: (R, B, K, D), with J_t = ds_t / ds_{t-1} of each example."""
        obey(self.interrupted)
        R, B, K, D = cotangent_RBKD.shape
        input_RBI = self.input_TRBI[t].repeat_interleave(K, dim=1)
        with torch.enable_grad():
            before_RBD = self.before_TRBD[t].repeat_interleave(K, dim=1).requires_grad_()
            after_RBD = self._step(input_RBI, before_RBD)
        (pulled,) = torch.autograd.grad(after_RBD, before_RBD, cotangent_RBKD.reshape(R, B * K, D))
        return torch.where(self.live_TRB[t, :, :, None, None], pulled.view(R, B, K, D), cotangent_RBKD)

    def jacobian(self, t: int) -> Tensor:
        """J_t = ds_t / ds_{t-1}, (R, B, D, D); rows are the new state's."""
        _, R, B, D = self.before_TRBD.shape
        return self.pull(t, torch.eye(D, dtype=torch.float64, device=self.before_TRBD.device).expand(R, B, D, D))

    def sweep(self, frame_RBDK: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Carry orthonormal columns Q from the last step back to the first: J_t^T Q = Q' R, and on with Q'.

        Yields (t, R), R upper triangular (R, B, K, K), for t = T-1, ..., 0; their product R_t ... R_{T-1} has the
        singular values of (ds_{T-1} / ds_{t-1})^T on the frame, however large or small they get.
        """
        for t in reversed(range(len(self.input_TRBI))):
            pulled_RBKD = self.pull(t, frame_RBDK.mT)
            frame_RBDK, factor_RBKK = torch.linalg.qr(pulled_RBKD.mT)
            yield t, factor_RBKK

    def _step(self, input_RBI: Tensor, state_RBD: Tensor) -> Tensor:
        return torch.cat(self.cell.step(input_RBI, state_RBD.split(self.widths, dim=-1))[1], dim=-1)

    def _run(self) -> Tensor:
        """The state before every step."""
        before = []
        with torch.no_grad():
            for step in walk(self.cell, self.input_TRBI, self.start, self.live_TRB):
                obey(self.interrupted)
                before.append(torch.cat(step.before, dim=-1))
        return torch.stack(before)


def random_frame(moment: Moment, trajectory: Trajectory, directions: int) -> Tensor:
    """Orthonormal columns (R, B, D, K) for a sweep to begin with, one draw per replica.

    Random, since unit vectors never turn towards the leading directions of, say, a diagonal net.
    """
    _, _, B, D = trajectory.before_TRBD.shape
    streams = [generator(seed, "probe", moment.step) for seed in moment.seeds]
    drawn = [torch.randn(D, directions, generator=stream, dtype=torch.float64) for stream in streams]
    frame_RDK = torch.linalg.qr(torch.stack(drawn).to(trajectory.before_TRBD.device))[0]
    return frame_RDK.unsqueeze(1).expand(-1, B, -1, -1)


def spread(first: int, last: int, count: int) -> list[int]:
    """Whole numbers from first to last, evenly spread both ends among them; one alone is the first."""
    count = min(count, last - first + 1)  # all of them
    return sorted({round(at) for at in torch.linspace(first, last, count, dtype=torch.float64).tolist()})
