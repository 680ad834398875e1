"""Forward and backward through a sequence: the fused engine against torch.nn, the loop with hooks, JAX and the floor.

All get the same inputs (which need no gradient), the same weights and a random cotangent at every step, and are held
against each other before they are timed: the same outputs, gradients of the parameters and adjoint norms, as far as
they give them.

    rnnlab      the fused engine, the norm of every state's adjoint recorded at every step
    silent      the same without norms, against `norms on`: the two take turns with nothing in between
    torch.nn    torch.nn.RNN, LSTM or GRU, which records nothing; once per replica
    hooks       the autograd engine, with the same norms
    plain       the autograd engine without
    jax         a jitted scan with the same norms
    floor       the flops of the products at the best speed of one large product, taken in the same rounds

T time, R replica, B batch, I input, H hidden.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from math import nan

import torch
from torch import Tensor

from benchmarks import floor, jax_scan
from benchmarks.agreement import Candidate, Numbers, check_agreement
from benchmarks.figures import Figure, interleaved, milliseconds, ratio
from benchmarks.work import Name, problem
from rnnlab.bptt.fused import operators
from rnnlab.bptt.fused.library import KernelUnavailable
from rnnlab.bptt.fused.unroll import fused_unroll
from rnnlab.bptt.unroll import Unrolled, unroll
from rnnlab.cells.cell import Cell
from rnnlab.cells.torch_nn import to_torch

RATIOS: dict[tuple[str, str], float | dict[str, float]] = {
    ("rnnlab", "torch.nn"): {"rnn": 0.35, "gru": 0.35, "lstm": 0.60},
    ("rnnlab", "hooks"): 0.33,
    ("rnnlab", "jax"): 0.40,
    ("rnnlab", "floor"): 1.5,
    ("norms on", "silent"): 1.03,
    ("hooks", "plain"): 1.25,
}
"""What is divided by what, and the most that it should be: for each cell, or for all."""
LEAST_S = 0.05
"""A turn lasts at least so long; a short candidate is called several times."""


def measure(
    *,
    cell: Name = "lstm",
    length: int = 200,
    batch: int = 32,
    hidden: int = 128,
    inputs: int = 2,
    replicas: int = 1,
    threads: int = 1,
    repetitions: int = 15,
    seconds: int = 600,
) -> Iterator[Figure]:
    """Times of forward and backward, and their ratios. What cannot run here is NaN, with the reason.

    Args:
        seconds: after so many no further round begins, once three have counted.
    """
    data = problem(cell, T=length, R=replicas, B=batch, I=inputs, H=hidden)
    flops = floor.unroll_flops(cell, length=length, replicas=replicas, batch=batch, inputs=inputs, hidden=hidden)
    torch.set_num_threads(threads)
    candidates, absent = _candidates(cell, data, threads)
    check_agreement(candidates, "hooks")
    works = {name: candidate.run for name, candidate in candidates.items()}
    # A difference of a few per cent needs rounds in which both find the same caches, and more of them.
    pair = {name: works.pop(name) for name in ("norms on", "silent") if name in works}
    products = floor.products()
    # The check was the warm-up.
    taken = interleaved({**works, **products}, repetitions, warm_up=0, least_s=LEAST_S, seconds=seconds)
    taken |= interleaved(pair, 2 * repetitions, least_s=LEAST_S, seconds=seconds / 2)
    product_s = min(min(taken.pop(name)) for name in products)
    taken["floor"] = [product_s * flops / floor.PRODUCT_FLOPS]
    yield from (milliseconds(name, times) for name, times in taken.items())
    yield Figure(f"one product of {floor.SIDE}", floor.PRODUCT_FLOPS / product_s / 1e9, "GFLOP/s")
    yield from (Figure(name, nan, "ms", note=why) for name, why in absent.items())
    for (above, below), target in RATIOS.items():
        if above in taken and below in taken:
            held = target[cell] if isinstance(target, dict) else target
            yield ratio(f"{above} / {below}", (taken[above], taken[below]), held)


def _candidates(
    name: Name, data: tuple[Cell, Tensor, Tensor], threads: int
) -> tuple[dict[str, Candidate], dict[str, str]]:
    """The candidates in the order of their turns, and why some are missing."""
    candidates, absent = {}, {}
    try:
        operators.kernel()
        fused = partial(fused_unroll, threads=threads)
        candidates["rnnlab"] = candidates["norms on"] = engine(fused, *data)
        candidates["silent"] = engine(fused, *data, record=False)
    except KernelUnavailable as error:
        absent["rnnlab"] = str(error)
    candidates["torch.nn"] = torch_nn(*data)
    candidates["hooks"] = engine(unroll, *data)
    candidates["plain"] = engine(unroll, *data, record=False)
    if why := jax_scan.why_not():
        absent["jax"] = why
    else:
        candidates["jax"] = jax_scan.jax_candidate(name, *data, threads)
    return candidates, absent


def engine(
    unroller: Callable[..., Unrolled], cell: Cell, input_TRBI: Tensor, cotangent_TRBH: Tensor, *, record: bool = True
) -> Candidate:
    """One of our engines."""

    def run() -> Unrolled:
        cell.zero_grad(set_to_none=True)
        unrolled = unroller(cell, input_TRBI, record=record)
        unrolled.output_KRBH.backward(cotangent_TRBH)
        return unrolled

    def numbers(unrolled: Unrolled) -> Numbers:
        gradients = {n: p.grad.clone() for n, p in cell.named_parameters() if p.grad is not None}
        norm = {} if unrolled.adjoint_norm_STRB is None else {"norm": unrolled.adjoint_norm_STRB}
        return gradients | norm | {"output": unrolled.output_KRBH.detach()}

    return Candidate(run, numbers)


def torch_nn(cell: Cell, input_TRBI: Tensor, cotangent_TRBH: Tensor) -> Candidate:
    """torch.nn's module, once per replica."""
    R = input_TRBI.shape[1]
    twins = [to_torch(deepcopy(cell).cpu(), r).to(input_TRBI.device) for r in range(R)]
    # torch.nn gets each replica's data as it would have them alone: contiguous.
    alone = [(input_TRBI[:, r].contiguous(), cotangent_TRBH[:, r].contiguous()) for r in range(R)]

    def run() -> list[Tensor]:
        outputs_TBH = []
        for twin, (input_TBI, cotangent_TBH) in zip(twins, alone, strict=True):
            twin.zero_grad(set_to_none=True)
            outputs_TBH.append(twin(input_TBI)[0])
            outputs_TBH[-1].backward(cotangent_TBH)
        return outputs_TBH

    return Candidate(run, lambda outputs_TBH: {"output": torch.stack(outputs_TBH, dim=1).detach()})
