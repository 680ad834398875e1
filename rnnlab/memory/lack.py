"""An allocation that fails all the same. Imports no torch."""

from typing import TYPE_CHECKING

from rnnlab.contract import without_stack

if TYPE_CHECKING:
    from rnnlab.memory.need import Need

TORCH_SAYS = (
    *("not enough memory", "can't allocate memory", "out of memory"),  # each on some machines
    *("Storage size calculation overflowed", "integer multiplication overflow"),  # 64 bits cannot count it
)


def lacks_memory(error: BaseException, need: "Need | None" = None) -> str:
    """What to say of an error that means a lack of memory; '' of another.

    Args:
        need: what the run was thought to need.
    """
    failed = isinstance(error, RuntimeError) and any(words in without_stack(error) for words in TORCH_SAYS)
    if not (failed or isinstance(error, MemoryError)):
        return ""
    of = "cell.hidden, task.length, task.batch, seeds" if need is None else f"{need.most()}; it {need}"
    why = " ".join(without_stack(error).split())
    return f"Not enough memory for these sizes ({of}){f': {why}' if why else ''}."
