"""What an adjoint rule is. How gradients flow back through time is an object that an engine consults."""

from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class AdjointRule(Protocol):
    """Changes the adjoint of a state, dL_b/dh_t for every example b, as the backward pass meets it."""

    acts: ClassVar[bool]
    """Whether `apply` changes anything; an engine leaves it out where it does not."""

    def apply(self, adjoint_RBH: Tensor) -> Tensor:
        """The adjoint that travels on, given the total adjoint of one state component at one step."""
        ...

    def cuts(self, step: int) -> bool:
        """Whether nothing flows back from time step `step` (0-based) into the state before it."""
        ...
