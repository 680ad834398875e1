"""Which of the two marked numbers an answer to the adding problem follows.

R replica (one), B batch.
"""

import torch
from torch import Tensor

from rnnlab.architectures.model import Model
from rnnlab.bptt.engine import Engine
from rnnlab.bptt.passage import Passage
from rnnlab.tasks.adding import Adding
from rnnlab.tasks.task import Batch, Task


@torch.no_grad()
def addends(model: Model, task: Task, engine: Engine, batches: list[Batch]) -> tuple[float, float] | None:
    """(a, b) of answer = a x1 + b x2 + c by least squares, x1 the number that comes first.

    None of another task, or where an answer is not finite.
    """
    if not isinstance(task, Adding):
        return None
    numbers, answers = [], []
    for batch in batches:
        shared = batch.shared(1)
        passage = Passage(engine, scored=task.scored, mask_TRB=shared.mask)
        answers.append(model(shared, passage)[0, 0, :, 0])
        numbers.append(_in_order(task.marked(batch), batch.input[..., 0]))
    x_N2, y_N = torch.cat(numbers), torch.cat(answers)
    design_N3 = torch.cat([x_N2, torch.ones_like(x_N2[:, :1])], dim=1)
    if not y_N.isfinite().all():
        return None
    first, second, _ = torch.linalg.lstsq(design_N3, y_N.unsqueeze(1)).solution[:, 0].tolist()
    return first, second


def _in_order(marked_TB: Tensor, value_TB: Tensor) -> Tensor:
    """(B, 2): the marked numbers of every example, the earlier one first."""
    return value_TB.T[marked_TB.T].view(-1, 2)
