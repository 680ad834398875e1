"""The clockwork net: modules of units that step at rates of their own (Koutník et al. 2014)."""

import operator
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rnnlab.cells.cell import ActivationFactory, Cell, State
from rnnlab.contract import Count, checked
from rnnlab.plan import Plan, Refusal

LINKED: dict[str, Callable[[Any, Any], Any]] = {
    "slow_to_fast": operator.ge,
    "isolated": operator.eq,
    "all": lambda source, target: source + target > 0,  # always
}
"""Whether units of one period hear those of another, by the two periods: source, target."""


class Clockwork(Cell):
    """h_t = phi(x_t U + h_{t-1} W + b) in modules whose period divides t, elsewhere h_t = h_{t-1},
    W_ij = 0 unless T_i >= T_j: slow modules feed fast ones.

    T_i is the period of unit i. The first step of an example is t = 0, where every module steps; at t = 1 only one of
    period 1 does. The whole state is the output, held or not. While a module is held its gradient passes unchanged: by
    itself, one of period T forgets T times more slowly.

    Modules are neighbouring units, the fastest first, of the same size; where H is no multiple of their number the
    faster have one unit more. W is drawn whole and its forbidden entries set to 0, where they stay: of an orthogonal
    draw only the columns that miss none, those of the fastest module, stay orthonormal.

    Args:
        hidden: H, at least one unit per module.
        periods: T of each module in steps, rising; the paper's are 1, 2, 4, ...
        connections: `slow_to_fast`; `isolated`: each module hears itself alone; `all`.
        activation: makes phi.
        replicas, inputs: R, I.
    Raises:
        ValueError: there are no periods, or they do not rise.
    """

    blocks: ClassVar[tuple[str, ...]] = ("hidden",)
    states: ClassVar[tuple[str, ...]] = ("h",)
    period: Tensor
    links: Tensor
    """(R, H, H): 1 where an entry of W may act, else 0."""

    @checked
    def __init__(
        self,
        *,
        hidden: Count,
        periods: list[Count],
        connections: Literal["slow_to_fast", "isolated", "all"],
        activation: ActivationFactory,
        replicas: Count,
        inputs: Count,
    ) -> None:
        if not periods or sorted(set(periods)) != periods:
            raise ValueError(f"periods={periods} must be at least one, and rise")
        super().__init__(replicas=replicas, inputs=inputs, hidden=hidden)
        self.periods, self.connections = periods, connections
        modules = [torch.full((replicas, 1, n), float(T)) for T, n in zip(periods, self.sizes, strict=True)]
        self.register_buffer("period", torch.cat(modules, dim=-1))
        self.register_buffer("links", LINKED[connections](self.period.mT, self.period).to(self.period))
        self.activation = activation()

    def why_not(self, plan: Plan) -> Refusal:
        if self.hidden < len(self.periods):
            return {"hidden": f"{len(self.periods)} modules (cell.periods) need a unit each"}
        if plan.has("parametrisation"):
            return f"Most pairs of its units are not linked; {plan.chosen('parametrisation')} would link them"
        return None

    @property
    def sizes(self) -> list[int]:
        """Units of each module."""
        whole, rest = divmod(self.hidden, len(self.periods))
        return [whole + (k < rest) for k in range(len(self.periods))]

    @property
    def absent(self) -> int:
        modules = list(zip(self.periods, self.sizes, strict=True))
        linked = LINKED[self.connections]
        return sum(a * b for source, a in modules for target, b in modules if not linked(source, target))

    def constrain(self) -> None:
        self.weight_recurrent.detach().mul_(self.links)

    def told(self, input_TRBI: Tensor, mask_TRB: Tensor | None, target_KRBO: Tensor | None) -> Tensor:
        """With t, from 0 at the first step that an example has."""
        live_TRB = torch.ones_like(input_TRBI[..., 0]) if mask_TRB is None else mask_TRB.to(input_TRBI)
        return torch.cat([input_TRBI, live_TRB.cumsum(0).unsqueeze(-1) - 1], dim=-1)

    def step(self, input_RBI: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        input_RBI, t_RB1 = input_RBI.split([self.inputs, 1], dim=-1)
        a = torch.baddbmm(self.from_input(input_RBI), h, self.weight_recurrent * self.links)
        h = torch.where(t_RB1.round() % self.period == 0, self.activation(a), h)
        return h, (h,)
