"""The saturation probe: how steep the nonlinearities still are where training has taken them.

T time, R replica, B batch, H hidden.
"""

import copy
from typing import ClassVar

import torch
from torch import Tensor, nn

from rnnlab.contract import NonNegative, Positive, component
from rnnlab.plan import Plan, Refusal
from rnnlab.probes.probe import Moment, Named, joined
from rnnlab.probes.steps import AllSteps, Path, paths, side_by_side


@component
class Saturation:
    """Derivatives of every activation and gate of the cell, at the arguments that the training batch gives them.

    By the activation's name in the cell (`activation`, `candidate_activation`, ...) and the gate's (`forget`, ...):
    `derivative` (R,) and `derivative_at_step` (R, T), the mean of phi', or of a gate's sigma' = g (1 - g), over units,
    examples and steps; `saturated` (R,) and `saturated_at_step` (R, T), the share with |phi'| < saturated; `dead` (R,),
    the share of units with |phi'| <= dead at all steps of all examples, or whose outputs there span no more than dead.
    Steps that an example does not have do not count; NaN at a step that none has.

    Args:
        saturated: below this slope a unit counts as saturated, at one step of one example. (tanh's slope is at most 1
            and below 0.05 where |tanh| > 0.975; a sigmoid's is at most 1/4 and below 0.05 outside 0.053 to 0.947.)
        dead: up to this slope throughout, or this range of outputs, a unit counts as dead.
    """

    saturated: Positive
    dead: NonNegative

    needs: ClassVar[tuple[str, ...]] = ()

    def why_not(self, plan: Plan) -> Refusal:
        return None if plan.cell.states else f"{plan.chosen('cell')} takes no steps"

    def measure(self, moment: Moment) -> Named:
        model = copy.deepcopy(moment.model).requires_grad_(False)
        with torch.no_grad():
            taken, _ = paths(model, moment.batch, moment.passage)
        return joined((path.call, self._of_call(path)) for path in taken)

    def _of_call(self, path: Path) -> Named:
        along, cell, result = AllSteps.of(path), path.call.cell, Named()
        with torch.no_grad():
            gates = cell.gates(along.input_RNI, along.state)
        slopes = {
            name: _slope(activation, side_by_side([argument for argument, _ in path.applied[activation]]))
            for name, activation in cell.named_children()
            if path.applied[activation]
        }
        slopes |= {name: (gate * (1 - gate), gate) for name, gate in gates.items()}
        for name, (slope_RNH, output_RNH) in slopes.items():
            saturated_RNH = (slope_RNH.abs() < self.saturated).to(slope_RNH.dtype)
            figures = along.means("derivative", slope_RNH) | along.means("saturated", saturated_RNH)
            figures["dead"] = self._dead(along, slope_RNH, output_RNH)
            result |= {f"{name}.{key}": value for key, value in figures.items()}
        return result

    def _dead(self, along: AllSteps, slope_RNH: Tensor, output_RNH: Tensor) -> Tensor:
        steepest_RH = along.apart(slope_RNH.abs(), absent=0.0).flatten(1, 2).amax(1)
        highest_RH = along.apart(output_RNH, absent=-torch.inf).flatten(1, 2).amax(1)
        lowest_RH = along.apart(output_RNH, absent=torch.inf).flatten(1, 2).amin(1)
        dead_RH = (steepest_RH <= self.dead) | (highest_RH - lowest_RH <= self.dead)
        return dead_RH.double().mean(-1)


def _slope(activation: nn.Module, argument_RNH: Tensor) -> tuple[Tensor, Tensor]:
    """phi' and phi, element by element: an activation acts on every element alone."""
    output = activation(argument_RNH.requires_grad_())
    (slope,) = torch.autograd.grad(output.sum(), argument_RNH)
    return slope, output
