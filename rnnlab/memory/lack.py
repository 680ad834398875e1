"""An allocation that fails all the same. Imports no torch."""

from typing import TYPE_CHECKING

from rnnlab.contract import without_stack
from rnnlab.messages import one_line

if TYPE_CHECKING:
    from rnnlab.memory.need import Need

TORCH_SAYS = (
    *("not enough memory", "can't allocate memory", "out of memory"),  # each on some machines
    *("Storage size calculation overflowed", "integer multiplication overflow"),  # 64 bits cannot count it
)

LOADER_SAYS = ("failed to map segment", "annot allocate memory", "cannot apply additional memory protection")
"""Of a library that the address space has no room for."""


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


def lacks_room(error: BaseException) -> str:
    """What to say of an import that failed for want of address space; '' of another error."""
    if not isinstance(error, ImportError | OSError) or not any(words in str(error) for words in LOADER_SAYS):
        return ""
    return (
        f"Not enough memory to load what rnnlab is made with ({one_line(error)}). This process may have too little "
        "address space: `ulimit -v` tells how much, and the batch system or the shell's start-up file sets it."
    )
