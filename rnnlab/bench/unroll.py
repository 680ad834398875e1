"""Forward and backward through a sequence: our loop without hooks, with hooks, and torch.nn.

All three get the same inputs, the same weights and a random cotangent at every step. The loop with hooks
gives the adjoint norm of every state at every step; torch.nn gives none, and runs once per replica.

T time, R replica, B batch, I input, H hidden.
"""

from collections.abc import Callable
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from rnnlab.bench.timing import interleaved, report, spread_table
from rnnlab.bench.work import random_cell, torch_threads
from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell
from rnnlab.cells.torch_nn import to_torch

HOOKS_TARGET = 1.25
"""hooks / plain should be at most this."""


def measure(
    *,
    cell: str,
    length: int,
    batch: int,
    hidden: int,
    inputs: int,
    replicas: int,
    threads: int,
    repetitions: int,
) -> dict[str, Any]:
    """`plain_s`, `hooks_s`, `torch_nn_s`: median seconds of forward and backward, and their ratios.

    The ratios of the lowest are given too: on a machine with other work they vary less than those of the medians.
    """
    generator = torch.Generator().manual_seed(1)
    made = random_cell(cell, replicas=replicas, inputs=inputs, hidden=hidden)
    input_TRBI = torch.randn(length, replicas, batch, inputs, generator=generator)
    cotangent_TRBH = torch.randn(length, replicas, batch, hidden, generator=generator)
    with torch_threads(threads):
        spreads = interleaved(_candidates(made, input_TRBI, cotangent_TRBH), repetitions)
    result = report(spreads)
    lowest = {name: spread.lowest for name, spread in spreads.items()}
    return {
        **result,
        "hooks/plain": result["hooks_s"] / result["plain_s"],
        "hooks/torch_nn": result["hooks_s"] / result["torch_nn_s"],
        "lowest hooks/plain": lowest["hooks"] / lowest["plain"],
        "lowest hooks/torch_nn": lowest["hooks"] / lowest["torch_nn"],
        "target hooks/plain": HOOKS_TARGET,
    }


def _candidates(cell: Cell, input_TRBI: Tensor, cotangent_TRBH: Tensor) -> dict[str, Callable[[], None]]:
    R = input_TRBI.shape[1]
    twins = [to_torch(cell, r) for r in range(R)]
    # torch.nn gets each replica's data as it would have them alone: contiguous.
    alone = [(input_TRBI[:, r].contiguous(), cotangent_TRBH[:, r].contiguous()) for r in range(R)]

    def ours(record: bool) -> None:
        cell.zero_grad(set_to_none=True)
        unroll(cell, input_TRBI, record=record).output_KRBH.backward(cotangent_TRBH)

    def torch_nn() -> None:
        for twin, (input_TBI, cotangent_TBH) in zip(twins, alone, strict=True):
            _forward_backward(twin, input_TBI, cotangent_TBH)

    return {"plain": lambda: ours(False), "hooks": lambda: ours(True), "torch_nn": torch_nn}


def _forward_backward(module: nn.RNNBase, input_TBI: Tensor, cotangent_TBH: Tensor) -> None:
    module.zero_grad(set_to_none=True)
    module(input_TBI)[0].backward(cotangent_TBH)


def show(result: dict[str, Any]) -> list[Table | str]:
    """The three medians, and the ratios."""
    table = spread_table("forward + backward", result)
    ratios = (
        f"hooks/plain {result['hooks/plain']:.2f} (target <= {HOOKS_TARGET}), "
        f"hooks/torch_nn {result['hooks/torch_nn']:.2f}; "
        f"of the lowest: {result['lowest hooks/plain']:.2f}, {result['lowest hooks/torch_nn']:.2f}"
    )
    return [table, ratios]
