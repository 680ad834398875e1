"""What a run's JSON must look like: anything else that parses is damage as well.

A checksum tells what was changed by accident. A folder from a stranger may carry a right one over anything, so that
whoever reads these files can count on their shape alone.
"""

import functools
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from rnnlab.contract import Count, CountOrZero, Finite, NonNegative, Seed
from rnnlab.runs.damage import DamagedError

Number = Finite | None
Step = Annotated[int, Field(ge=0, lt=2**53)]
DEPTH = 16
"""Objects and lists within one another, at most. Runs write 4; whoever walks through a file does so by recursion."""


class _Object(BaseModel):
    """Unknown keys are let through: a later version may say more."""

    model_config = ConfigDict(strict=True, extra="allow")


class _Digest(_Object):
    bytes: Step
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Task(_Object):
    baseline: Number
    unit: str
    metric: str
    metric_unit: str
    metric_better: Literal["higher", "lower"]
    solved_when: str


class _Session(_Object):
    start: str = ""
    from_step: Step
    to_step: Step = 0
    training_seconds: NonNegative = 0.0
    training_steps: Step = 0


class Manifest(_Object):
    """manifest.json. `files`: a digest for each file of the folder; `configuration`: hash of what determines the run,
    but for its sources; `sources`: hashes of the user's own code and data files; `continues`: the shorter run whose
    training this one went on with."""

    run_id: str
    name: str
    status: Literal["running", "finished", "interrupted", "failed"]
    versions: dict[str, str]
    git_commit: str | None
    device: str
    engine: str
    threads: Count
    seeds: Annotated[list[Seed], Field(min_length=1)]
    parameters: Count
    task: _Task
    start: str
    end: str | None
    sessions: Annotated[list[_Session], Field(min_length=1)]
    configuration: str
    configuration_without_steps: str = ""
    continues: str | None = None
    sources: dict[str, str]
    files: dict[Annotated[str, Field(pattern=r"^(probes/)?[A-Za-z0-9_-][A-Za-z0-9._-]*$")], _Digest]


class _SeedSummary(_Object):
    seed: Seed
    status: Literal["solved", "unsolved", "diverged"]
    steps: Step
    steps_to_solve: Step | None
    final_eval_loss: Number
    best_eval_loss: Number
    milestones: dict[str, CountOrZero]


class Summary(_Task):
    """summary.json. A seed's entries for the metric carry its name."""

    run_id: str
    milestones: list[str]
    parameters: Count
    seconds_per_step: NonNegative | None
    seeds: Annotated[list[_SeedSummary], Field(min_length=1)]

    @model_validator(mode="after")
    def _metric_of_every_seed(self) -> "Summary":
        for seed in self.seeds:
            for key in (f"final_eval_{self.metric}", f"best_eval_{self.metric}"):
                if not is_number((seed.model_extra or {}).get(key, "")):
                    raise ValueError(f"seed {seed.seed} has no number {key}")
        return self


@functools.cache
def _adapter(kind: type[BaseModel]) -> TypeAdapter[BaseModel]:
    return TypeAdapter(kind)


def read_json(path: Path, content: bytes) -> Any:
    """What a JSON file says.

    Args:
        path: for the message.
    Raises:
        DamagedError: it is none, or nested deeper than any that a run writes.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedError(path, f"cannot be read: {error}") from None
    level = [found]
    for _ in range(DEPTH + 1):
        level = [inner for node in level for inner in _inner(node)]
    if level:
        raise DamagedError(path, f"is nested more than {DEPTH} deep")
    return found


def _inner(node: Any) -> Iterable[Any]:
    return node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


def check_shape(path: Path, content: Any, kind: type[BaseModel]) -> dict[str, Any]:
    """The content in the shape: what was not said, of what need not be, has its default.

    Raises:
        DamagedError: it is of another shape; the first thing that is wrong is named.
    """
    if not isinstance(content, dict):
        raise DamagedError(path, "is not what a run writes (no object)")
    try:
        return _adapter(kind).validate_python(content).model_dump()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedError(path, f"is not what a run writes ({where + ': ' if where else ''}{first['msg']})") from None
    except (OverflowError, RecursionError) as error:
        raise DamagedError(path, f"is not what a run writes ({error})") from None


def is_number(value: Any) -> bool:
    """A finite number or null, as JSON lines hold them; also true and false."""
    try:
        return value is None or (isinstance(value, int | float) and math.isfinite(value))
    except OverflowError:
        return False


def is_row(row: dict[str, Any]) -> bool:
    """Whether it is a line of metrics.jsonl."""
    return (
        row.get("split") in ("train", "eval")
        and all(_whole(row.get(key)) for key in ("step", "seed"))
        and all(is_number(value) for key, value in row.items() if key != "split")
    )


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
