"""Forward and backward through a sequence: the fused engine against torch.nn, the loop with hooks, JAX and the floor.

All get the same inputs (which need no gradient), the same weights and a random cotangent at every step, and are held
against each other before they are timed: the same gradients of the parameters, the same adjoint norms.

    rnnlab      the fused engine, the norm of every state's adjoint recorded at every step
    silent      the same without norms, against `norms_on`: the two take turns with nothing in between
    torch_nn    torch.nn.RNN, LSTM or GRU, which records nothing; once per replica
    hooks       the autograd engine, with the same norms
    plain       the autograd engine without
    jax         a jitted scan with the same norms
    gemm_floor  the flops of the products at the best speed of one large product, taken in the same rounds

T time, R replica, B batch, I input, H hidden.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from rnnlab.bench import floor, jax_scan
from rnnlab.bench.agreement import Candidate, Outcome, check_agreement
from rnnlab.bench.targets import unroll_targets
from rnnlab.bench.timing import interleaved, report, spread_table
from rnnlab.bench.work import fused_unroller, random_cell, torch_threads
from rnnlab.bptt.unroll import Unrolled, unroll
from rnnlab.cells.cell import Cell
from rnnlab.cells.gru import GRU
from rnnlab.cells.torch_nn import load_torch, to_torch

RATIOS = {
    "rnnlab/torch_nn": ("rnnlab", "torch_nn"),
    "rnnlab/hooks": ("rnnlab", "hooks"),
    "rnnlab/jax": ("rnnlab", "jax"),
    "rnnlab/floor": ("rnnlab", "gemm_floor"),
    "norms on/off": ("norms_on", "silent"),
    "hooks/plain": ("hooks", "plain"),
    "hooks/torch_nn": ("hooks", "torch_nn"),
}
"""What is divided by what."""
HOOKS_TARGET = 1.25
"""hooks / plain should be at most this."""
LEAST_S = 0.05
"""A turn lasts at least so long; a short candidate is called several times."""


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
    seconds: float,
    plain: bool,
) -> dict[str, Any]:
    """`NAME_s`: median seconds of forward and backward; the ratios, and those of the lowest.

    On a machine with other work the ratios of the lowest vary less than those of the medians. What could not run is
    None, and `absent` says why.
    """
    generator = torch.Generator().manual_seed(1)
    made = random_cell(cell, replicas=replicas, inputs=inputs, hidden=hidden)
    input_TRBI = torch.randn(length, replicas, batch, inputs, generator=generator)
    cotangent_TRBH = torch.randn(length, replicas, batch, hidden, generator=generator)
    flops = floor.unroll_flops(
        cell, length=length, replicas=replicas, batch=batch, inputs=inputs, hidden=hidden
    )  # fmt: skip
    with torch_threads(threads):
        candidates, absent = _candidates(cell, made, input_TRBI, cotangent_TRBH, threads)
        if not plain:
            del candidates["plain"]
            absent["plain"] = "left out"
        check_agreement(candidates, "hooks")
        works = {name: candidate.run for name, candidate in candidates.items()}
        # A difference of a few per cent needs rounds in which both find the same caches, and more of them.
        pair = {name: works.pop(name) for name in ("norms_on", "silent") if name in works}
        products = floor.products()
        # The check was the warm-up.
        spreads = interleaved({**works, **products}, repetitions, warm_up=0, least_s=LEAST_S, seconds=seconds)
        spreads |= interleaved(pair, 2 * repetitions, least_s=LEAST_S, seconds=seconds / 2)
    product_s = min(spreads.pop(name).lowest for name in products)
    floor_s = product_s * flops / floor.product_flops()
    medians = {name: spread.median for name, spread in spreads.items()} | {"gemm_floor": floor_s}
    lowest = {name: spread.lowest for name, spread in spreads.items()} | {"gemm_floor": floor_s}
    targets = unroll_targets(cell)
    return {
        **report(spreads),
        **{f"{name}_s": None for name in absent},
        "gemm_floor_s": floor_s,
        "gemm_gflop_per_s": floor.product_flops() / product_s / 1e9,
        "absent": absent,
        **{ratio: _quotient(medians, ratio) for ratio in RATIOS},
        **{f"lowest {ratio}": _quotient(lowest, ratio) for ratio in RATIOS},
        **{f"target {ratio}": target.must for ratio, target in targets.items()},
        **{f"aim {ratio}": target.aim for ratio, target in targets.items()},
        "target hooks/plain": HOOKS_TARGET,
    }


def _quotient(seconds: Mapping[str, float], ratio: str) -> float | None:
    above, below = RATIOS[ratio]
    return seconds[above] / seconds[below] if above in seconds and below in seconds else None


def _candidates(
    name: str, cell: Cell, input_TRBI: Tensor, cotangent_TRBH: Tensor, threads: int
) -> tuple[dict[str, Candidate], dict[str, str]]:
    """The candidates in the order of their turns, and why some are missing."""
    data = (cell, input_TRBI, cotangent_TRBH)
    candidates, absent = {}, {}
    fused = fused_unroller(threads)
    if isinstance(fused, str):
        absent |= dict.fromkeys(("rnnlab", "norms_on", "silent"), fused)
    else:
        candidates["rnnlab"] = candidates["norms_on"] = _engine(fused, *data, record=True)
        candidates["silent"] = _engine(fused, *data, record=False)
    candidates["torch_nn"] = _torch_nn(*data)
    candidates["hooks"] = _engine(unroll, *data, record=True)
    candidates["plain"] = _engine(unroll, *data, record=False)
    reason = jax_scan.why_not(threads)
    if reason is None:
        candidates["jax"] = jax_scan.jax_candidate(name, *data, threads)
    else:
        absent["jax"] = reason
    return candidates, absent


def _engine(
    unroller: Callable[..., Unrolled], cell: Cell, input_TRBI: Tensor, cotangent_TRBH: Tensor, *, record: bool
) -> Candidate:
    def run() -> Unrolled:
        cell.zero_grad(set_to_none=True)
        unrolled = unroller(cell, input_TRBI, record=record)
        unrolled.output_KRBH.backward(cotangent_TRBH)
        return unrolled

    def outcome(unrolled: Unrolled) -> Outcome:
        gradients = {n: p.grad.clone() for n, p in cell.named_parameters() if p.grad is not None}
        return Outcome(gradients, unrolled.adjoint_norm_STRB)

    return Candidate(run, outcome, records=record)


def _torch_nn(cell: Cell, input_TRBI: Tensor, cotangent_TRBH: Tensor) -> Candidate:
    R = input_TRBI.shape[1]
    twins = [to_torch(cell, r) for r in range(R)]
    # torch.nn gets each replica's data as it would have them alone: contiguous.
    alone = [(input_TRBI[:, r].contiguous(), cotangent_TRBH[:, r].contiguous()) for r in range(R)]

    def run() -> None:
        for twin, (input_TBI, cotangent_TBH) in zip(twins, alone, strict=True):
            twin.zero_grad(set_to_none=True)
            twin(input_TBI)[0].backward(cotangent_TBH)

    def outcome(_: None) -> Outcome:
        return Outcome(_gradients_of(twins, cell), None)

    return Candidate(run, outcome, records=False)


def _gradients_of(twins: list[nn.RNNBase], cell: Cell) -> dict[str, Tensor]:
    """Their gradients by the cell's parameter names: carried over as weights are."""
    target = deepcopy(cell)
    for r, twin in enumerate(twins):
        carrier = deepcopy(twin)
        with torch.no_grad():
            for weight, parameter in zip(carrier.parameters(), twin.parameters(), strict=True):
                weight.copy_(torch.zeros_like(weight) if parameter.grad is None else parameter.grad)
            # Weights add torch's two biases up; their gradients are equal, and one of them is the bias's here.
            same = 2 * cell.hidden if isinstance(cell, GRU) else None
            carrier.get_parameter("bias_hh_l0")[:same] = 0
        load_torch(target, r, carrier)
    return {name: parameter.detach() for name, parameter in target.named_parameters()}


def show(result: dict[str, Any]) -> list[Table | str]:
    """The medians, the floor, the ratios with their targets, and what is missing."""
    table = spread_table("forward + backward", result)
    floor_ms, speed = 1e3 * result["gemm_floor_s"], result["gemm_gflop_per_s"]
    table.add_row("gemm floor", f"{floor_ms:.2f}", "", "")
    lines = [f"{name:16}{_figures(result, name)}" for name in RATIOS if result[name] is not None]
    missing = [f"no {name}: {why}" for name, why in result["absent"].items() if name != "norms_on"]
    return [table, *lines, f"one product of {floor.SIDE}: {speed:.0f} GFLOP/s", *missing]


def _figures(result: Mapping[str, Any], ratio: str) -> str:
    text = f"{result[ratio]:.2f}, of the lowest {result[f'lowest {ratio}']:.2f}"
    if f"target {ratio}" in result:
        text += f"; target <= {result[f'target {ratio}']:g}"
    if f"aim {ratio}" in result:
        text += f", aim {result[f'aim {ratio}']:g}"
    return text
