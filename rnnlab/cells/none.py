"""No cell, for an architecture that has none."""

from typing import ClassVar

from torch import Tensor

from rnnlab.cells.cell import Cell, State
from rnnlab.contract import Count, checked
from rnnlab.plan import Plan, Refusal


class NoCell(Cell):
    """Nothing goes from step to step. H is the width of the architecture's own layers.

    What tells that there is none is that it has no states.

    Args:
        hidden: H.
        replicas, inputs: R, I.
    """

    blocks: ClassVar[tuple[str, ...]] = ()
    states: ClassVar[tuple[str, ...]] = ()

    @checked
    def __init__(self, *, hidden: Count, replicas: Count, inputs: Count) -> None:
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden)

    def why_not(self, plan: Plan) -> Refusal:
        if plan.parts["architecture"].of_cells:
            return f"{plan.chosen('architecture')} is made of cells"
        for group in ("regulariser", "adjoint"):
            if plan.has(group):
                return f"{plan.chosen(group)} acts on the steps of cells, and here are none"
        return None

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        raise NotImplementedError("there is no cell, and so no step")
