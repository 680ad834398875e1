"""The fused engine on a CUDA device in one call: is it right there, how fast is it, and what bounds it.

Parts, each guarded: one that fails prints its error, and the others go on. Tiles are tried first, and the fastest of
each cell serve in what follows. Everything is IEEE float32 unless it names another
precision, cuDNN's products too. Seconds are those
of CUDA events, medians over repetitions; ratios are of medians within this process.

    step        forward and backward with every state's adjoint norm, against torch.nn (cuDNN), which records none
    replicas    16 replicas against one
    hooks       the autograd engine with the same norms against the fused one
    jax         16 replicas against a jitted, vmapped scan with the same adjoints
    training    a run with 16 seeds and norms at every step, against 16 plain scripts one after the other

T time, R replica, B batch, I input, H hidden.
"""

import importlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from rnnlab.bench import jax_scan, script
from rnnlab.bench.floor import GATES, unroll_flops
from rnnlab.bench.measured_run import BLOCK, WARM_UP, MeasuredRun, whole_blocks
from rnnlab.bench.targets import Target
from rnnlab.bench.timing import small_table
from rnnlab.bench.work import configuration, random_cell
from rnnlab.bptt.fused import launch
from rnnlab.bptt.fused.form import FORMS
from rnnlab.bptt.fused.precision import PRECISIONS
from rnnlab.bptt.fused.unroll import fused_unroll
from rnnlab.bptt.unroll import Unrolled, unroll
from rnnlab.cells.cell import Cell
from rnnlab.cells.torch_nn import to_torch
from rnnlab.experiment import Experiment

Unroller = Callable[..., Unrolled]
CELLS = ("rnn", "gru", "lstm")
TILES = (
    launch.Tiles(4, 128, 128, 16, 1),
    launch.Tiles(8, 128, 128, 8, 1),
    launch.Tiles(4, 64, 32, 8, 2),
    launch.Tiles(8, 64, 32, 4, 2),
    launch.Tiles(8, 64, 32, 8, 3),
    launch.Tiles(8, 128, 32, 8, 2),
    launch.Tiles(16, 64, 32, 8, 2),
    launch.Tiles(16, 128, 32, 8, 2),
)
"""What is tried beside the default."""
CUDA = {
    "step": Target(1.3, 0.8),
    "replicas": Target(2.0, 1.1),
    "training": Target(0.15, 0.08),
    "hooks": Target(1 / 20, 1 / 50),
    "jax": Target(0.5, 0.2),
}
"""By ratio: ours / theirs, 16 replicas / 1, 16 seeds / 16 scripts, fused / hooks loop, ours / JAX."""


@dataclass(frozen=True)
class Scale:
    """How much is measured. `full` is for a device; `tiny` only shows that the script runs."""

    shapes: tuple[tuple[int, int, int], ...]
    tiles: tuple[launch.Tiles, ...]
    typical: tuple[int, int, int]
    replicas: int
    parity: tuple[tuple[int, ...], ...]
    side: int
    repetitions: int
    steps: int


FULL = Scale(
    # (T, B, H)
    shapes=(
        *((500, 64, H) for H in (64, 128, 256)),
        *((500, B, 128) for B in (32, 128)),
        *((T, 64, 128) for T in (200, 2000)),
    ),
    tiles=TILES,
    typical=(500, 64, 128),
    replicas=16,
    # (T, R, B, I, H)
    parity=((40, 2, 37, 3, 67), (7, 1, 5, 2, 512), (1, 3, 1, 1, 9), (30, 2, 16, 10, 128)),
    side=8192,
    repetitions=7,
    steps=40,
)
TINY = Scale(
    shapes=((3, 2, 4),),
    tiles=(launch.Tiles(2, 4, 4, 4, 1),),
    typical=(3, 2, 4),
    replicas=2,
    parity=((2, 2, 2, 1, 3),),
    side=64,
    repetitions=1,
    steps=10,
)


def measure(
    *, cells: list[str], seconds: int, device: str, teraflops: float = 0.0, gigabytes: float = 0.0
) -> dict[str, Any]:
    """Rows of (part, what, figure, target), errors by part, and the tiles that were taken.

    Args:
        cells: which of rnn, gru, lstm.
        seconds: no further part begins after so many.
        teraflops, gigabytes: a second that the device can do, of products and of its memory; 0: measured.
        device: `cuda`; `cpu` runs the script at tiny sizes, which measures nothing.
    """
    if device == "cuda" and not torch.cuda.is_available():
        print("rnnlab.bench cuda: there is no CUDA device", file=sys.stderr)
        raise SystemExit(2)
    bench = _Bench(device, TINY if device == "cpu" else FULL, teraflops, gigabytes)
    parts: list[tuple[str, Callable[[], Iterator[Row]]]] = [("device", bench.limits)]
    for cell in cells:
        parts += [(f"{cell} parity", partial(bench.parity, cell)), (f"{cell} bits", partial(bench.bits, cell))]
    for name in ("search", "steps", "replicas", "hooks", "precision"):
        parts += [(f"{cell} {name}", partial(getattr(bench, name), cell)) for cell in cells]
    parts += [(f"{cell} {name}", partial(getattr(bench, name), cell)) for cell in cells for name in ("jax", "training")]
    began, rows, errors = time.perf_counter(), [], {}
    with _ieee():
        for name, part in parts:
            if time.perf_counter() - began > seconds:
                errors[name] = f"not begun: {seconds} s were over"
                continue
            try:
                for row in part():  # row by row: what came before an error counts
                    rows.append((name, *row))
            except Exception as error:
                errors[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
            print(f"{name}: {errors.get(name, 'done')} ({time.perf_counter() - began:.0f} s)", file=sys.stderr)
    tiles = {cell: str(chosen) for cell, chosen in bench.tiles.items()}
    return {"environment": bench.environment(), "rows": rows, "errors": errors, "tiles": tiles}


Row = tuple[str, str, str]
"""What was measured, the figure, and what it is held to."""


class _Bench:
    def __init__(self, device: str, scale: Scale, teraflops: float = 0.0, gigabytes: float = 0.0) -> None:
        self.device, self.scale = device, scale
        self.tiles: dict[str, launch.Tiles] = {}
        self.flops_per_s, self.bytes_per_s = 1e12 * teraflops, 1e9 * gigabytes

    def environment(self) -> dict[str, str]:
        """What the figures depend on."""
        name = torch.cuda.get_device_name() if self.device == "cuda" else "no device: a trial run"
        versions = {"torch": torch.__version__, "cuDNN": str(torch.backends.cudnn.version())}
        versions["triton"] = getattr(_module("triton"), "__version__", "none")
        return {"device": name, **versions}

    # Parts ------------------------------------------------------------------------------------------------------------

    def limits(self) -> Iterator[Row]:
        """What a step's flops and bytes are divided by: as given, else a large product's and copy's speed."""
        side = self.scale.side
        a, b = (torch.randn(side, side, device=self.device) for _ in range(2))
        copy = torch.empty_like(a)
        self.flops_per_s = self.flops_per_s or 2 * side**3 / self.seconds(lambda: torch.mm(a, b))
        self.bytes_per_s = self.bytes_per_s or 2 * a.nbytes / self.seconds(lambda: copy.copy_(a))
        yield "products, IEEE float32", f"{self.flops_per_s / 1e12:.2f} TFLOP/s", ""
        yield "memory, bytes read and written", f"{self.bytes_per_s / 1e9:.0f} GB/s", ""

    def parity(self, name: str) -> Iterator[Row]:
        """Every figure against the autograd engine in float64 on the CPU, relative to the largest of its kind."""
        for dtype, allowed in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
            worst, where = 0.0, ""
            for T, R, B, I, H in self.scale.parity:
                cell, inputs, cotangent = _problem(name, T=T, R=R, B=B, H=H, I=I)
                expected = _everything(unroll, cell.double(), inputs.double(), cotangent.double())
                moved = (t.to(self.device, dtype) for t in (inputs, cotangent))
                got = _everything(fused_unroll, cell.to(self.device, dtype), *moved)
                for what, value in expected.items():
                    difference = (got[what].cpu().double() - value).abs().max() / value.abs().max()
                    if not (difference <= worst or worst != worst):  # NaN is the worst, and stays
                        worst, where = float(difference), f" ({what}, T={T} H={H})"
            yield f"largest difference, {dtype}{where}", f"{worst:.1e}", f"<= {allowed:g}, {_verdict(worst <= allowed)}"

    def bits(self, name: str) -> Iterator[Row]:
        """A race would show as bits that change, if not every time."""
        T, B, H = self.scale.typical
        cell, inputs, cotangent = self._data(name, T=T, R=3, B=B, H=H)
        runs = [_everything(fused_unroll, cell, inputs, cotangent) for _ in range(5)]
        same = all(torch.equal(runs[0][what], other[what]) for other in runs[1:] for what in runs[0])
        yield "five runs, the same bits", str(same), _verdict(same)
        alone = random_cell(name, replicas=1, inputs=inputs.shape[-1], hidden=H).to(self.device)
        with torch.no_grad():
            for own, stacked in zip(alone.parameters(), cell.parameters(), strict=True):
                own.copy_(stacked[2:])
        single = _everything(fused_unroll, alone, inputs[:, 2:].contiguous(), cotangent[:, 2:].contiguous())
        axes = {"norm": 2, "output": 1}
        unlike = [n for n, value in single.items() if not torch.equal(value, runs[0][n].narrow(axes.get(n, 0), 2, 1))]
        yield "a replica of three, as alone", ", ".join(unlike) or "True", _verdict(not unlike)

    def search(self, name: str) -> Iterator[Row]:
        """Seconds with each tiling; the fastest is used from here on."""
        T, B, H = self.scale.typical
        data = self._data(name, T=T, R=1, B=B, H=H)
        default = launch.tiles(FORMS[name], H, torch.float32, "ieee", launch.shared_memory(torch.device(self.device)))
        found: dict[launch.Tiles, float] = {}
        for tiles in dict.fromkeys((default, *self.scale.tiles)):
            label = f"{tiles.rows} x {tiles.columns}, {tiles.depth} deep, {tiles.warps} warps, {tiles.stages} stages"
            try:
                with launch.using(tiles):
                    found[tiles] = self.seconds(_step(fused_unroll, *data))
                figure = f"{1e3 * found[tiles]:.2f} ms"
            except Exception as error:  # too much shared memory, say
                figure = f"{type(error).__name__}"
            yield label + (" (default)" if tiles == default else ""), figure, ""
        self.tiles[name] = min(found, key=lambda tiles: found[tiles])

    def steps(self, name: str) -> Iterator[Row]:
        """Against cuDNN, and against the least time that the flops and bytes allow."""
        ratios = []
        for T, B, H in self.scale.shapes:
            data = self._data(name, T=T, R=1, B=B, H=H)
            ours = self._ours(name, _step(fused_unroll, *data))
            theirs = self.seconds(_torch_nn(*data))
            ratios.append(ours / theirs)
            inputs = data[1].shape[-1]
            flops = unroll_flops(name, length=T, replicas=1, batch=B, inputs=inputs, hidden=H)
            moved = unroll_bytes(name, length=T, replicas=1, batch=B, inputs=inputs, hidden=H)
            least = max(flops / self.flops_per_s, moved / self.bytes_per_s)
            figure = f"{1e3 * ours:.2f} ms / {1e3 * theirs:.2f} ms = {ours / theirs:.2f}"
            work = f"{flops / 1e9:.1f} GFLOP, {moved / 1e9:.2f} GB: {least / ours:.1%} of the limit"
            yield f"T={T} B={B} H={H} / cuDNN", figure, work
        yield "median / cuDNN", f"{statistics.median(ratios):.2f}", _held(CUDA["step"], statistics.median(ratios))

    def replicas(self, name: str) -> Iterator[Row]:
        T, B, H = self.scale.typical
        one, many = (
            self._ours(name, _step(fused_unroll, *self._data(name, T=T, R=R, B=B, H=H)))
            for R in (1, self.scale.replicas)
        )
        figure = f"{1e3 * many:.2f} ms / {1e3 * one:.2f} ms = {many / one:.2f}"
        yield f"{self.scale.replicas} replicas / 1", figure, _held(CUDA["replicas"], many / one)

    def hooks(self, name: str) -> Iterator[Row]:
        T, B, H = self.scale.typical
        data = self._data(name, T=T, R=1, B=B, H=H)
        loop, ours = self.seconds(_step(unroll, *data), 3), self._ours(name, _step(fused_unroll, *data))
        figure = f"{1e3 * loop:.1f} ms / {1e3 * ours:.2f} ms = {loop / ours:.1f}"
        yield "fused / hooks loop", f"{figure}, inverted {ours / loop:.3f}", _held(CUDA["hooks"], ours / loop)

    def precision(self, name: str) -> Iterator[Row]:
        """Each against IEEE: seconds, and the largest difference relative to the largest number of its kind."""
        T, B, H = self.scale.typical
        data = self._data(name, T=T, R=1, B=B, H=H)
        exact, expected = self._ours(name, _step(fused_unroll, *data)), _everything(fused_unroll, *data)
        if self.device == "cpu":
            yield "none on the CPU", "", ""
            return
        for kind in PRECISIONS[1:]:
            unroller = partial(fused_unroll, precision=kind)
            ours, got = self.seconds(_step(unroller, *data)), _everything(unroller, *data)
            off = max(float((got[n] - value).abs().max() / value.abs().max()) for n, value in expected.items())
            yield (
                f"{kind} / IEEE",
                f"{1e3 * ours:.2f} ms / {1e3 * exact:.2f} ms = {ours / exact:.2f}",
                f"off by {off:.1e}",
            )
        torch.backends.cudnn.allow_tf32 = True
        try:
            theirs = self.seconds(_torch_nn(*data))
        finally:
            torch.backends.cudnn.allow_tf32 = False
        ours = self.seconds(_step(partial(fused_unroll, precision="tf32"), *data))
        yield "tf32 / cuDNN with tf32", f"{1e3 * ours:.2f} ms / {1e3 * theirs:.2f} ms = {ours / theirs:.2f}", ""

    def jax(self, name: str) -> Iterator[Row]:
        """JAX on the same device; its first call, which compiles, is not counted."""
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else it takes the memory that torch needs
        T, B, H = self.scale.typical
        jax = _module("jax")
        if jax is None:
            raise RuntimeError("JAX is not installed")
        kind = jax.devices()[0].platform
        if self.device == "cuda" and kind == "cpu":
            raise RuntimeError("JAX is installed without CUDA")
        jax.config.update("jax_default_matmul_precision", "highest")
        data = self._data(name, T=T, R=self.scale.replicas, B=B, H=H)
        work = jax.vmap(jax_scan._gradients_and_norms(jax, name), in_axes=(0, 1, 1), out_axes=(0, 2))
        weights = {n: p.detach().cpu().numpy() for n, p in data[0].named_parameters()}
        arguments = jax.device_put((weights, *(t.cpu().numpy() for t in data[1:])))
        compiled = jax.jit(work)
        jax.block_until_ready(compiled(*arguments))
        taken = []
        for _ in range(self.scale.repetitions):
            began = time.perf_counter()
            jax.block_until_ready(compiled(*arguments))
            taken.append(time.perf_counter() - began)
        theirs, ours = statistics.median(taken), self._ours(name, _step(fused_unroll, *data))
        figure = f"{1e3 * ours:.2f} ms / {1e3 * theirs:.2f} ms = {ours / theirs:.2f}"
        yield f"{self.scale.replicas} replicas / JAX ({kind})", figure, _held(CUDA["jax"], ours / theirs)

    def training(self, name: str) -> Iterator[Row]:
        """A real run: data, norms and metrics at every step, checkpoints; the scripts make data and train, no more."""
        T, B, H = self.scale.typical if self.device == "cpu" else (500, 50, 128)
        steps, seeds = whole_blocks(self.scale.steps), self.scale.replicas
        overrides = [f"cell={name}", f"cell.hidden={H}", f"task.length={max(T, 10)}", f"task.batch={B}"]
        overrides += [f"seeds={seeds}", f"steps={WARM_UP + steps}", f"device={self.device}", "probe.every=1"]
        config = configuration("+experiment=adding", *overrides, "tensorboard=false", "stop_when_solved=false")
        with ExitStack() as stack:
            if name in self.tiles:
                stack.enter_context(launch.using(self.tiles[name]))
            run = MeasuredRun(config, partial(_scripts, device=self.device, seeds=seeds))
            run.run()
        ours = statistics.median(run.blocks_s()) / BLOCK + run.checkpoint_s()
        theirs = statistics.median(run.other) / BLOCK
        figure = f"{1e3 * ours:.1f} ms / {1e3 * theirs:.1f} ms = {ours / theirs:.3f}"
        yield f"{seeds} seeds / {seeds} scripts (engine {run.engine})", figure, _held(CUDA["training"], ours / theirs)

    # Times ------------------------------------------------------------------------------------------------------------

    def seconds(self, work: Callable[[], Any], repetitions: int | None = None) -> float:
        """The median over repetitions, two calls to warm up not counted."""
        for _ in range(2):
            work()
        taken = []
        for _ in range(repetitions or self.scale.repetitions):
            if self.device == "cuda":
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                torch.cuda.synchronize()
                start.record()
                work()
                end.record()
                torch.cuda.synchronize()
                taken.append(start.elapsed_time(end) / 1e3)
            else:
                began = time.perf_counter()
                work()
                taken.append(time.perf_counter() - began)
        return statistics.median(taken)

    def _ours(self, name: str, work: Callable[[], Any]) -> float:
        with launch.using(self.tiles[name]) if name in self.tiles else ExitStack():
            return self.seconds(work)

    def _data(self, name: str, *, T: int, R: int, B: int, H: int) -> tuple[Cell, Tensor, Tensor]:
        cell, inputs, cotangent = _problem(name, T=T, R=R, B=B, H=H)
        return cell.to(self.device), inputs.to(self.device), cotangent.to(self.device)


# --- Candidates -------------------------------------------------------------------------------------------------------


def _problem(name: str, *, T: int, R: int, B: int, H: int, I: int = 10) -> tuple[Cell, Tensor, Tensor]:
    """A cell, inputs that need no gradient, and a cotangent of the outputs; the same on any device."""
    generator = torch.Generator().manual_seed(1)
    cell = random_cell(name, replicas=R, inputs=I, hidden=H)
    return cell, torch.randn(T, R, B, I, generator=generator), torch.randn(T, R, B, H, generator=generator)


def _everything(unroller: Unroller, cell: Cell, input_TRBI: Tensor, cotangent_TRBH: Tensor) -> dict[str, Tensor]:
    cell.zero_grad(set_to_none=True)
    unrolled = unroller(cell, input_TRBI, record=True)
    unrolled.output_KRBH.backward(cotangent_TRBH)
    assert unrolled.adjoint_norm_STRB is not None
    result = {"output": unrolled.output_KRBH.detach(), "norm": unrolled.adjoint_norm_STRB}
    return result | {n: p.grad.clone() for n, p in cell.named_parameters() if p.grad is not None}


def _step(unroller: Unroller, cell: Cell, input_TRBI: Tensor, cotangent_TRBH: Tensor) -> Callable[[], None]:
    def run() -> None:
        cell.zero_grad(set_to_none=True)
        unroller(cell, input_TRBI, record=True).output_KRBH.backward(cotangent_TRBH)

    return run


def _torch_nn(cell: Cell, input_TRBI: Tensor, cotangent_TRBH: Tensor) -> Callable[[], None]:
    twin = to_torch(cell.cpu(), 0).to(input_TRBI.device)
    cell.to(input_TRBI.device)
    input_TBI, cotangent_TBH = input_TRBI[:, 0].contiguous(), cotangent_TRBH[:, 0].contiguous()

    def run() -> None:
        twin.zero_grad(set_to_none=True)
        twin(input_TBI)[0].backward(cotangent_TBH)

    return run


def _scripts(experiment: Experiment, *, device: str, seeds: int) -> Callable[[], float]:
    """As many plain scripts, one after the other; a call takes all of them a block further."""
    parts = experiment.config.components
    sizes = (parts["task"]["length"], parts["task"]["batch"], parts["cell"]["hidden"])
    runs = [_train(experiment.config.option("cell"), *sizes, device=device, seed=seed) for seed in range(seeds)]
    for run in runs:
        next(run)

    def block() -> float:
        began = time.perf_counter()
        for run in runs:
            for _ in range(BLOCK):
                next(run)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    return block


def _train(cell: str, length: int, batch: int, hidden: int, *, device: str, seed: int) -> Iterator[None]:
    """`rnnlab.bench.script.train` on a device, its data made there."""
    torch.manual_seed(seed)
    net = script.Net(cell, hidden).to(device)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    each = torch.arange(batch, device=device)
    while True:
        values = torch.rand(length, batch, device=device)
        first = torch.randint(0, length // 2, (batch,), device=device)
        second = torch.randint(length // 2, length, (batch,), device=device)
        marks = torch.zeros(length, batch, device=device)
        marks[first, each] = 1.0
        marks[second, each] = 1.0
        loss = torch.nn.functional.mse_loss(
            net(torch.stack([values, marks], dim=-1)), values[first, each] + values[second, each]
        )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        yield


# --- Figures ----------------------------------------------------------------------------------------------------------


def unroll_bytes(cell: str, *, length: int, replicas: int, batch: int, inputs: int, hidden: int) -> int:
    """The fewest bytes of device memory that forward and backward of this design must move, float32; weights left out.

    In units of 4 T R B H: x U + b is written and read; what forward keeps (h; gates; c) is written and read, h a second
    time for dL/dW; the cotangent is read; the gradients of the preactivations are written and read. The input is read
    twice.
    """
    gates, kept = GATES[cell], {"rnn": 1, "gru": 5, "lstm": 6}[cell]
    gradients = {"rnn": 1, "gru": 4, "lstm": 4}[cell]
    units = hidden * (2 * gates + 2 * kept + 1 + 1 + 2 * gradients) + 2 * inputs
    return 4 * length * replicas * batch * units


def _held(target: Any, ratio: float) -> str:
    return f"<= {target.must:g} (aim {target.aim:g}), {_verdict(ratio <= target.must)}"


def _verdict(good: bool) -> str:
    return "reached" if good else "MISSED"


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


class _ieee:  # noqa: N801  (a context manager, used like a function)
    """Products in IEEE float32, cuDNN's too; as it was afterwards."""

    def __enter__(self) -> None:
        self.before = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def __exit__(self, *_: object) -> None:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self.before


def show(result: dict[str, Any]) -> list[Table | str]:
    """One table, the environment above it, errors below it."""
    table = small_table("fused engine on CUDA", "part", "what", "figure", "held to")
    for row in result["rows"]:
        table.add_row(*row)
    environment = ", ".join(f"{key} {value}" for key, value in result["environment"].items())
    tiles = [f"tiles of {cell}: {text}" for cell, text in result["tiles"].items()]
    return [environment, table, *tiles, *(f"FAILED {part}: {text}" for part, text in result["errors"].items())]
