"""The jacobian probe: how one step, and all steps to the end, stretch a small change of the state.

R replica, B batch, P time steps looked at, D state width (all components side by side).
"""

import math
from typing import ClassVar

import torch
from torch import Tensor

from rnnlab.bptt.passage import Call
from rnnlab.contract import Count, component
from rnnlab.plan import Plan, Refusal
from rnnlab.probes.probe import Moment, Named, joined
from rnnlab.probes.spectrum import singular_values, spectral_radius
from rnnlab.probes.trajectory import Trajectory, random_frame, spread


@component
class Jacobian:
    """Singular values and spectral radius of J_t = ds_t / ds_{t-1}, and singular values of ds_{T-1} / ds_{t-1}.

    s is the whole state: of an LSTM, h and c side by side. In float64, along trajectories of the batch. Figures, with
    NaN where an example does not have the step, or its trajectory does not stay finite:

    - `time` (R, P): t, evenly spread from 1 to T-1;
    - `singular_values` (R, B, P, D), falling, and `spectral_radius` (R, B, P), of J_t;
    - `product.log10_largest`, `product.log10_geometric_mean`, `product.log10_smallest` (R, B, P): decades, of
      ds_{T-1} / ds_{t-1} = J_{T-1} ... J_t. They are accumulated by QR, so they neither under- nor overflow. Where a
      step is singular to rounding (dead ReLUs), the smallest and the geometric mean say no more than that it is;
    - `median_largest`, `median_spectral_radius` (R,): over examples and time steps.

    The product bounds what a loss at the end can send back to t (Pascanu, Mikolov & Bengio 2013); J_t alone says how
    near to an isometry a step is (Pennington, Schoenholz & Ganguli 2017).

    A measurement as its YAML has it takes 0.4 s for an Elman net, 0.6 s for a GRU and 1.8 s for an LSTM (H=128, T=100,
    one replica, one thread), whatever the batch size. It grows with T and the cube of D.

    Args:
        examples: of the batch, evenly spread.
        times: how many t, P; fewer where T-1 is less.
    """

    examples: Count
    times: Count

    needs: ClassVar[tuple[str, ...]] = ()

    def why_not(self, plan: Plan) -> Refusal:
        return None if plan.cell.states else f"{plan.chosen('cell')} takes no steps"

    def measure(self, moment: Moment) -> Named:
        return joined((call, self._of_call(moment, call)) for call in moment.calls)

    def _of_call(self, moment: Moment, call: Call) -> Named:
        trajectory = Trajectory(moment, call, self.examples)
        T, R = trajectory.input_TRBI.shape[:2]
        times = spread(min(1, T - 1), T - 1, self.times)
        steps = _side_by_side([_of_a_step(trajectory.jacobian(t)) for t in times])
        figures = steps | _side_by_side(_of_products(moment, trajectory, times))
        measured_RBP = (trajectory.live_TRB & trajectory.finite_RB)[times].permute(1, 2, 0)
        for name, value in figures.items():
            figures[name] = value.where(measured_RBP.view(*measured_RBP.shape, *[1] * (value.ndim - 3)), math.nan)
        return {
            "time": torch.tensor(times, device=measured_RBP.device).expand(R, -1),
            **figures,
            "median_largest": figures["singular_values"][..., 0].flatten(1).nanmedian(1).values,
            "median_spectral_radius": figures["spectral_radius"].flatten(1).nanmedian(1).values,
        }


def _side_by_side(figures: list[Named]) -> Named:
    """Figures (R, B, ...) of P time steps as figures (R, B, P, ...)."""
    return {name: torch.stack([one[name] for one in figures], dim=2) for name in figures[0]}


def _of_a_step(jacobian_RBDD: Tensor) -> Named:
    return {"singular_values": singular_values(jacobian_RBDD), "spectral_radius": spectral_radius(jacobian_RBDD)}


def _of_products(moment: Moment, trajectory: Trajectory, times: list[int]) -> list[Named]:
    """One per time step, in their order. From a random frame, see `_Product`."""
    D = trajectory.before_TRBD.shape[-1]
    product, found = _Product(random_frame(moment, trajectory, D)), {}
    for t, factor_RBDD in trajectory.sweep(product.frame_RBDD):
        product.extend(factor_RBDD)
        if t in times:
            found[t] = {f"product.log10_{name}": value / math.log(10) for name, value in product.logs().items()}
        if t == times[0]:
            break
    return [found[t] for t in times]


class _Product:
    """A product of triangular matrices R_t ... R_{T-1}, kept as diag(e^log) U with rows of U no larger than 1.

    From a random frame the diagonal falls from row to row like the singular values themselves, so U stays well
    conditioned, and both ends of the spectrum keep their digits however far apart they are.
    """

    def __init__(self, frame_RBDD: Tensor) -> None:
        self.frame_RBDD = frame_RBDD
        self.log_RBD = torch.zeros_like(frame_RBDD[..., 0])
        self.log_determinant_RB = torch.zeros_like(frame_RBDD[..., 0, 0])
        self.unit_RBDD = torch.eye(frame_RBDD.shape[-1], dtype=frame_RBDD.dtype, device=frame_RBDD.device)

    def extend(self, factor_RBDD: Tensor) -> None:
        """Multiply by one more from the left."""
        self.log_determinant_RB = self.log_determinant_RB + _log_determinant(factor_RBDD)
        # Row i meets the rows from i on: measured against the largest of these, none overflows.
        top_RBD = self.log_RBD.flip(-1).cummax(-1).values.flip(-1)
        weight_RBDD = (self.log_RBD.unsqueeze(-2) - top_RBD.unsqueeze(-1)).clamp(max=0).exp()
        rows_RBDD = (factor_RBDD * weight_RBDD) @ self.unit_RBDD
        size_RBD = rows_RBDD.abs().amax(-1)
        size_RBD = size_RBD.where(size_RBD != 0, 1.0)
        self.log_RBD, self.unit_RBDD = top_RBD + size_RBD.log(), rows_RBDD / size_RBD.unsqueeze(-1)

    def logs(self) -> Named:
        """Natural logarithms of singular values, (R, B)."""
        log, unit, D = self.log_RBD, self.unit_RBDD, self.log_RBD.shape[-1]
        high_RB, low_RB = log.amax(-1), log.amin(-1)
        scaled_RBDD = (log - high_RB.unsqueeze(-1)).exp().unsqueeze(-1) * unit
        inverse_RBDD = torch.linalg.solve_triangular(
            unit, torch.diag_embed((low_RB.unsqueeze(-1) - log).exp()), upper=True
        )
        smallest_RB = low_RB - singular_values(inverse_RBDD)[..., 0].log()
        singular_RB = self.log_determinant_RB == -math.inf
        return {
            "largest": high_RB + singular_values(scaled_RBDD)[..., 0].log(),
            "geometric_mean": self.log_determinant_RB / D,
            "smallest": smallest_RB.where(~singular_RB, -math.inf),
        }


def _log_determinant(triangular_RBDD: Tensor) -> Tensor:
    return triangular_RBDD.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
