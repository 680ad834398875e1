"""The fused engine on a CUDA device in one call: is it right there, how fast is it, and what bounds it.

Parts, each guarded: one that fails yields its error as NaN, and the others go on. Parity comes first; then tiles are
tried, and the fastest of each cell serve in what follows. Everything is IEEE float32 unless it names another precision,
cuDNN's products too. (`pytest -m cuda` holds the engine to its laws there, the same bits in every run among them.)

T time, R replica, B batch, I input, H hidden.
"""

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from math import nan
from statistics import median
from typing import Literal

import torch
from torch import Tensor

from benchmarks import jax_scan
from benchmarks.agreement import Numbers, difference
from benchmarks.figures import Figure, Pair, interleaved, ratio
from benchmarks.floor import unroll_bytes, unroll_flops
from benchmarks.train import against_scripts
from benchmarks.unroll import engine, torch_nn
from benchmarks.work import CELLS, Name, Shape, problem
from rnnlab.bptt.fused import launch
from rnnlab.bptt.fused.precision import PRECISIONS
from rnnlab.bptt.fused.unroll import fused_unroll
from rnnlab.bptt.unroll import Unrolled, unroll
from rnnlab.cells.cell import Cell

Data = tuple[Cell, Tensor, Tensor]
INPUTS = 10


@dataclass(frozen=True)
class Scale:
    """How much is measured. Sizes of `parity` are (T, R, B, I, H)."""

    typical: Shape = (500, 64, 128)
    shapes: Sequence[Shape] = (
        (500, 64, 64), (500, 64, 128), (500, 64, 256), (500, 32, 128), (500, 128, 128), (200, 64, 128), (2000, 64, 128)
    )  # fmt: skip
    parity: Sequence[tuple[int, int, int, int, int]] = (
        (40, 2, 37, 3, 67), (7, 1, 5, 2, 512), (1, 3, 1, 1, 9), (30, 2, 16, 10, 128)
    )  # fmt: skip
    tiles: Sequence[tuple[int, int, int, int, int]] = (
        (4, 128, 128, 16, 1), (8, 128, 128, 8, 1), (4, 64, 32, 8, 2), (8, 64, 32, 4, 2), (8, 64, 32, 8, 3),
        (8, 128, 32, 8, 2), (16, 64, 32, 8, 2), (16, 128, 32, 8, 2),
    )  # fmt: skip
    training: Shape = (500, 50, 128)
    replicas: int = 16
    side: int = 8192
    repetitions: int = 7
    runs: int = 1
    steps: int = 40


TINY = Scale((3, 2, 4), [(3, 2, 4)], [(2, 2, 2, 1, 3)], [(2, 4, 4, 4, 1)], (10, 2, 4), 2, 64, 1, 1, 2)
"""Measures nothing, and shows that the script runs."""


def measure(
    *, cells: Sequence[Name] = CELLS, seconds: int = 420, device: Literal["cuda", "cpu"] = "cuda"
) -> Iterator[Figure]:
    """The figures of all parts; eight minutes at most.

    Args:
        seconds: after so many no further part begins.
        device: with `cpu` the script runs at tiny sizes.
    """
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("benchmarks cuda: there is no CUDA device")
    print(torch.cuda.get_device_name() if device == "cuda" else "no device", torch.__version__, file=sys.stderr)
    torch.backends.cudnn.allow_tf32 = False
    bench, began = Bench(device, TINY if device == "cpu" else Scale()), time.perf_counter()
    order = (bench.parity, bench.search, bench.steps, bench.replicas, bench.hooks, bench.precision, bench.jax)
    parts = [(f"{cell} {part.__name__}", partial(part, cell)) for part in (*order, bench.training) for cell in cells]
    for name, part in [("device", bench.limits), *parts]:
        if time.perf_counter() - began > seconds:
            yield Figure(name, nan, note=f"not begun: {seconds} s were over")
            continue
        try:  # figure by figure: what came before an error counts
            yield from (figure._replace(what=f"{name}: {figure.what}") for figure in part())
        except Exception as error:
            yield Figure(name, nan, note=f"FAILED: {type(error).__name__}: {str(error).partition(chr(10))[0]}")


class Bench:
    """The parts, and the tiles that were the fastest."""

    def __init__(self, device: str, scale: Scale) -> None:
        self.device, self.scale = device, scale
        self.tiles: dict[Name, launch.Tiles] = {}
        self.flops_per_s = self.bytes_per_s = nan

    def limits(self) -> Iterator[Figure]:
        """What a step's flops and bytes are held against: the speed of a large product, and of a large copy."""
        side = self.scale.side
        a, b, into = (torch.randn(side, side, device=self.device) for _ in range(3))
        product, copy = self._seconds(lambda: torch.mm(a, b), lambda: into.copy_(a))
        self.flops_per_s, self.bytes_per_s = 2 * side**3 / median(product), 2 * a.nbytes / median(copy)
        yield Figure("products", self.flops_per_s / 1e12, "TFLOP/s")
        yield Figure("memory, read and written", self.bytes_per_s / 1e9, "GB/s")

    def parity(self, name: Name) -> Iterator[Figure]:
        """Every number against the autograd engine in float64 on the CPU, relative to the largest of its kind."""
        for dtype, allowed in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
            worst, where = 0.0, ""
            for T, R, B, I, H in self.scale.parity:
                data = problem(name, T=T, R=R, B=B, I=I, H=H)
                expected = _numbers(unroll, _moved(data, "cpu", torch.float64))
                off = difference(_numbers(fused_unroll, _moved(data, self.device, dtype)), expected)
                if not (off <= worst or worst != worst):  # NaN is the worst, and stays
                    worst, where = off, f"at T={T} R={R} B={B} H={H}"
            yield Figure(f"largest difference, {dtype}", worst, "", allowed, where)

    def search(self, name: Name) -> Iterator[Figure]:
        """Times with other tiles (rows, columns, depth, warps, stages) over the default's."""
        work, fastest = engine(fused_unroll, *self._data(name)).run, 1.0
        for sizes in self.scale.tiles:
            what, tiles = f"{sizes} / default", launch.Tiles(*sizes)
            try:
                found = ratio(what, self._seconds(_with(tiles, work), work))
            except Exception as error:  # too much shared memory, say
                found = Figure(what, nan, note=type(error).__name__)
            if found.value < fastest:
                fastest, self.tiles[name] = found.value, tiles
            yield found

    def steps(self, name: Name) -> Iterator[Figure]:
        """Forward and backward with all norms, against cuDNN, which records none; and the share of the limits."""
        ratios = []
        for T, B, H in self.scale.shapes:
            data = self._data(name, (T, B, H))
            taken = self._seconds(self._ours(name, data), torch_nn(*data).run)
            sizes = {"length": T, "replicas": 1, "batch": B, "inputs": INPUTS, "hidden": H}
            flops, moved = unroll_flops(name, **sizes), unroll_bytes(name, **sizes)
            share = max(flops / self.flops_per_s, moved / self.bytes_per_s) / median(taken[0])
            note = f"{flops / 1e9:.1f} GFLOP, {moved / 1e9:.2f} GB: {share:.1%} of the limit"
            yield (found := ratio(f"T={T} B={B} H={H} / cuDNN", taken, note=note))
            ratios.append(found.value)
        yield Figure("median / cuDNN", median(ratios), "", 1.3)

    def replicas(self, name: Name) -> Iterator[Figure]:
        """Many replicas against one."""
        many, one = (self._ours(name, self._data(name, R=R)) for R in (self.scale.replicas, 1))
        yield ratio(f"{self.scale.replicas} replicas / 1", self._seconds(many, one), 2.0)

    def hooks(self, name: Name) -> Iterator[Figure]:
        """Against the autograd engine with the same norms."""
        ours, loop = self._ours(name, self._data(name)), engine(unroll, *self._data(name)).run
        yield ratio("fused / hooks", self._seconds(ours, loop), 1 / 20)

    def precision(self, name: Name) -> Iterator[Figure]:
        """Each against IEEE, with the largest difference relative to the largest number of its kind."""
        data = self._data(name)
        expected = _numbers(fused_unroll, data)
        for kind in PRECISIONS[1:] if self.device == "cuda" else ():
            rounded = partial(fused_unroll, precision=kind)
            taken = self._seconds(engine(rounded, *data).run, self._ours(name, data))
            yield ratio(f"{kind} / IEEE", taken, note=f"off by {difference(_numbers(rounded, data), expected):.1e}")
        torch.backends.cudnn.allow_tf32 = True
        taken = self._seconds(self._ours(name, data), torch_nn(*data).run)
        torch.backends.cudnn.allow_tf32 = False
        yield ratio("IEEE / cuDNN with tf32", taken)

    def jax(self, name: Name) -> Iterator[Figure]:
        """Many replicas against a jitted, vmapped scan with the same norms on the same device."""
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else it takes the memory that torch needs
        jax = importlib.import_module("jax")
        if self.device == "cuda" and jax.devices()[0].platform == "cpu":
            raise RuntimeError("JAX is installed without CUDA")
        jax.config.update("jax_default_matmul_precision", "highest")
        data = self._data(name, R=self.scale.replicas)
        taken = self._seconds(self._ours(name, data), jax_scan.compiled(jax, name, *data))
        yield ratio(f"{self.scale.replicas} replicas / JAX", taken, 0.5)

    def training(self, name: Name) -> Iterator[Figure]:
        """Whole runs with norms and metrics at every step, against plain scripts one after the other."""
        seeds, counts = self.scale.replicas, {"steps": self.scale.steps, "rounds": self.scale.runs}
        with launch.using(self.tiles[name]) if name in self.tiles else nullcontext():
            taken = against_scripts(name, self.scale.training, seeds, **counts, device=self.device)
        yield ratio(f"{seeds} seeds / scripts", taken, 0.15)

    def _seconds(self, ours: Callable[[], object], theirs: Callable[[], object]) -> Pair:
        """They take turns; one is done when the device is."""

        def waited(work: Callable[[], object]) -> None:
            work()
            if self.device == "cuda":
                torch.cuda.synchronize()

        works = {"ours": partial(waited, ours), "theirs": partial(waited, theirs)}
        taken = interleaved(works, self.scale.repetitions, warm_up=2)
        return taken["ours"], taken["theirs"]

    def _ours(self, name: Name, data: Data) -> Callable[[], None]:
        work = engine(fused_unroll, *data).run
        return _with(self.tiles[name], work) if name in self.tiles else work

    def _data(self, name: Name, shape: Shape | None = None, R: int = 1) -> Data:
        T, B, H = shape or self.scale.typical
        return _moved(problem(name, T=T, R=R, B=B, I=INPUTS, H=H), self.device, torch.float32)


def _moved(data: Data, device: str, dtype: torch.dtype) -> Data:
    cell, input_TRBI, cotangent_TRBH = data
    return cell.to(device, dtype), input_TRBI.to(device, dtype), cotangent_TRBH.to(device, dtype)


def _numbers(unroller: Callable[..., Unrolled], data: Data) -> Numbers:
    candidate = engine(unroller, *data)
    return candidate.numbers(candidate.run())


def _with(tiles: launch.Tiles, work: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        with launch.using(tiles):
            work()

    return run
