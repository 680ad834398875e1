"""How far a run has come, and how each of its replicas stands."""

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from rnnlab.contract import CountOrZero


@dataclass
class Result:
    """How one replica stands."""

    status: Literal["running", "solved", "unsolved", "diverged"] = "running"
    steps: CountOrZero = 0
    steps_to_solve: CountOrZero | None = None
    final_loss: float | None = None
    final_metric: float | None = None
    best_loss: float | None = None
    best_metric: float | None = None
    milestones: dict[str, CountOrZero] = field(default_factory=dict)
    clipped: CountOrZero = 0  # clipped updates since the last line of metrics
    updates: CountOrZero = 0  # updates since the last line of metrics


@dataclass
class Progress:
    """How far a run has come; with the population's state, all that a checkpoint needs.

    evaluated: the last step with an evaluation, -1 before the first.
    """

    step: CountOrZero
    results: dict[int, Result]
    evaluated: Annotated[int, Field(ge=-1)] = -1

    def state_dict(self) -> dict[str, Any]:
        results = {str(s): asdict(r) for s, r in self.results.items()}
        return {"step": self.step, "results": results, "evaluated": self.evaluated}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> "Progress":
        """What a checkpoint tells, checked; ValueError where a run does not write the like."""
        try:
            progress = TypeAdapter(cls).validate_python(state)
        except ValidationError:
            progress = None
        # Not the same again: something was taken for a number though it is none, or was left out.
        if progress is None or repr(progress.state_dict()) != repr(state) or progress.evaluated > progress.step:
            raise ValueError("its progress is not what a run writes")
        return progress

    def reopen(self, stop_when_solved: bool) -> None:
        """Whoever ended for having no steps left goes on, should there be more."""
        for result in self.results.values():
            if result.status == "unsolved" or (result.status == "solved" and not stop_when_solved):
                result.status = "running"
