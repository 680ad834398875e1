"""The Triton kernels: interpreted against the autograd engine, compiled for a device, and on one where there is one.

What the interpreter cannot show is what threads do to each other, speed, tf32, and the device's own exp and division.

T time, R replica, B batch, I input, H hidden, K trailing steps kept.
"""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from support import ACTIVATIONS, DTYPES, FUSED_CELLS, component, drawn_cell, uniform
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rnnlab.bptt.engine import choose
from rnnlab.bptt.fused import cuda, launch
from rnnlab.bptt.fused.form import FORMS
from rnnlab.bptt.fused.precision import PRECISIONS, products, rounded, within
from rnnlab.bptt.fused.unroll import _ACTIVATIONS, _RULES, _activations
from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell

pytest.importorskip("triton", "3.7", reason="Triton 3.7 is not installed; the extra `triton` brings it")

RULES = {
    "none": component("adjoint", "none"),
    "clip_norm": component("adjoint", "clip_norm", max_norm=0.4),
    "clip_value": component("adjoint", "clip_value", max_value=0.15),
    "truncate": component("adjoint", "truncate", every=2),
}
USUAL = (3, 2, 3, 2, 5)  # T, R, B, I, H
SHAPES = {
    "one step": (1, 1, 2, 3, 4),
    "one unit": (3, 2, 1, 1, 1),
    "one example": (5, 1, 1, 2, 7),
    "exact tiles": (3, 1, 4, 2, 8),
    "long": (7, 1, 2, 1, 3),
}
TILES = {
    "on chip": launch.Tiles(rows=2, columns=8, depth=8, warps=4, stages=1),
    "many": launch.Tiles(rows=2, columns=4, depth=2, warps=4, stages=1),
    "few": launch.Tiles(rows=4, columns=8, depth=4, warps=4, stages=1),
    "deep": launch.Tiles(rows=4, columns=2, depth=16, warps=4, stages=1),
}
EPSILON = {torch.float32: 2.0**-23, torch.float64: 2.0**-52}


@dataclass
class Case:
    """A problem: a cell, and all that is given beside it."""

    option: str
    cell: Cell
    input: Tensor
    cotangent: Tensor
    state: tuple[Tensor, ...]
    final: tuple[Tensor, ...]
    mask: Tensor | None
    rule: Any

    def to(self, device: str) -> "Case":
        def moved(tensors: Any) -> Any:
            return tuple(t.to(device) for t in tensors)

        mask = None if self.mask is None else self.mask.to(device)
        data = (self.input.to(device), self.cotangent.to(device), moved(self.state), moved(self.final), mask)
        return Case(self.option, self.cell.to(device), *data, self.rule)


def case(
    option: str,
    activation: str = "tanh",
    rule: str = "none",
    dtype: torch.dtype = torch.float64,
    shape: tuple[int, ...] = USUAL,
    *,
    masked: bool = False,
    last: int | None = None,
) -> Case:
    T, R, B, width, H = shape
    cell = drawn_cell(option, activation, replicas=R, inputs=width, hidden=H, dtype=dtype, bound=(width + H) ** -0.5)
    # With holes: an example may miss any step, the last one too.
    mask = uniform(T, R, B, seed=5) > -0.3 if masked else None
    return Case(
        option,
        cell,
        uniform(T, R, B, width, seed=1, dtype=dtype),
        uniform(last or T, R, B, H, seed=2, dtype=dtype),
        tuple(uniform(R, B, H, seed=70 + s, dtype=dtype) for s in range(len(cell.states))),
        tuple(uniform(R, B, H, seed=90 + s, dtype=dtype) for s in range(len(cell.states))),
        mask,
        RULES[rule],
    )


def by_autograd(given: Case) -> dict[str, Tensor]:
    """Outputs, final states, adjoint norms and every gradient."""
    leaves = {"input": given.input, **dict(zip(given.cell.states, given.state, strict=True))}
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in leaves.items()}
    given.cell.zero_grad()
    unrolled = unroll(
        given.cell,
        leaves["input"],
        state=tuple(leaves[name] for name in given.cell.states),
        mask_TRB=given.mask,
        rule=given.rule,
        record=True,
        last=len(given.cotangent),
    )
    loss = (unrolled.output_KRBH * given.cotangent).sum()
    for final, cotangent in zip(unrolled.state, given.final, strict=True):
        loss = loss + (final * cotangent).sum()
    loss.backward()
    assert unrolled.adjoint_norm_STRB is not None
    result = {"output": unrolled.output_KRBH.detach(), "norm": unrolled.adjoint_norm_STRB}
    result |= {f"last_{n}": s.detach() for n, s in zip(given.cell.states, unrolled.state, strict=True)}
    return result | {f"d_{name}": zero_or(tensor) for name, tensor in {**leaves, **named(given)}.items()}


def zero_or(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def named(given: Case) -> dict[str, Tensor]:
    """The cell's parameters under the operators' names."""
    biases = FORMS[given.option].activation_biases
    own: dict[str, Any] = dict(given.cell.named_parameters(recurse=False))
    activations = zip(biases, _activations(given.cell), strict=True)
    own |= {name: module.bias for name, module in activations if hasattr(module, "bias")}
    return own


def by_triton(given: Case, tiles: launch.Tiles | None = TILES["many"], **changes: Any) -> dict[str, Tensor]:
    """The same by the kernels."""
    form = FORMS[given.option]
    norm = torch.full((len(form.states), *given.input.shape[:3]), -1.0, dtype=torch.float64, device=given.input.device)
    arguments: dict[str, Any] = dict.fromkeys(form.tensors)
    arguments |= {"input": given.input, "mask": given.mask, "norm": norm, "last": len(given.cotangent), "keep": 1}
    arguments |= {name: tensor.detach() for name, tensor in named(given).items()}
    arguments |= dict(zip(form.states, given.state, strict=True))
    module = _activations(given.cell)[0]
    arguments |= {"activation": _ACTIVATIONS[type(module)], "slope": getattr(module, "slope", 0.0), "threads": 1}
    arguments |= {"precision": "ieee"}
    arguments |= dict(zip(("rule", "threshold", "every"), _RULES[type(given.rule)](given.rule), strict=True)) | changes

    def run() -> dict[str, Tensor]:
        made = dict(zip(cuda.shapes(form, arguments), cuda.forward(form, arguments), strict=True))
        result = {name: tensor for name, tensor in made.items() if not name.startswith("trace")}
        result["output"] = made["output"].transpose(0, 1)
        if arguments["keep"]:
            back = {**arguments, **made, "d_output": given.cotangent.transpose(0, 1)}
            back |= {f"d_{name}": final for name, final in zip(form.states, given.final, strict=True)}
            back |= {"input_gradient": True, "state_gradient": True}
            gradients = zip(form.tensors, cuda.backward(form, back), strict=True)
            result |= {f"d_{name}": gradient for name, gradient in gradients if arguments[name] is not None}
        return result | ({} if arguments["norm"] is None else {"norm": norm})

    if tiles is None:
        return run()
    with launch.using(tiles):
        return run()


def assert_agree(got: dict[str, Tensor], expected: dict[str, Tensor], factor: float = 64) -> None:
    assert got.keys() == expected.keys()
    for what, value in expected.items():
        epsilon = EPSILON[expected["output"].dtype]
        # Rounding errors add up over the sums that a number is made of; relative to the largest of its kind.
        difference = float((got[what].cpu() - value).abs().max())
        assert difference <= factor * epsilon * float(value.abs().max()), f"{what} differs by {difference}"


def assert_same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


# Under the interpreter: the same answer as the autograd engine


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("option", FUSED_CELLS)
def test_every_activation_agrees(option: str, activation: str) -> None:
    """Each with a rule, a mask, a dtype and tiles that another has not."""
    at = FUSED_CELLS.index(option) + ACTIVATIONS.index(activation)
    rule, dtype, tiles = list(RULES)[at % 4], DTYPES[at // 2 % 2], list(TILES.values())[at % 4]
    given = case(option, activation, rule, dtype, masked=at % 2 == 0, last=None if at % 3 else 2)
    assert_agree(by_triton(given, tiles), by_autograd(given))


@pytest.mark.parametrize("masked", [False, True], ids=["full", "masked"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("option", FUSED_CELLS)
def test_every_rule_agrees(option: str, rule: str, masked: bool) -> None:
    given = case(option, "modrelu" if masked else "tanh", rule, torch.float64, (3, 1, 3, 2, 5), masked=masked, last=3)
    assert_agree(by_triton(given, TILES["many" if masked else "on chip"]), by_autograd(given))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("option", FUSED_CELLS)
def test_every_shape_agrees(option: str, name: str) -> None:
    at = list(SHAPES).index(name)
    given = case(option, shape=SHAPES[name], dtype=DTYPES[at % 2], masked=name == "long")
    assert_agree(by_triton(given, TILES["many" if at % 3 else "on chip"]), by_autograd(given))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("option", FUSED_CELLS)
def test_the_tiles_of_a_device_agree(option: str, dtype: torch.dtype) -> None:
    given = case(option, dtype=dtype, shape=(2, 1, 18, 2, 67))
    assert_agree(by_triton(given, None), by_autograd(given))


@pytest.mark.parametrize("option", FUSED_CELLS)
def test_norms_whose_float32_squares_are_zero_are_recorded(option: str) -> None:
    given = case(option, dtype=torch.float32, shape=(3, 1, 2, 1, 3))
    given.cotangent, given.final = given.cotangent * 1e-30, tuple(f * 1e-30 for f in given.final)
    got, expected = by_triton(given)["norm"], by_autograd(given)["norm"]
    assert 0 < got.max() < 1e-28
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("option", FUSED_CELLS)
def test_what_is_not_finite_stays_visible(option: str) -> None:
    given = case(option, shape=(4, 2, 2, 2, 3))
    given.input[2, 0, 0, 0] = torch.nan
    expected, got = by_autograd(given), by_triton(given)
    for what, value in expected.items():
        assert torch.equal(got[what].isnan(), value.isnan()), what


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("activation", "exact"), [("tanh", torch.tanh), ("sigmoid", torch.sigmoid)])
def test_activations_are_accurate_near_zero_and_far_out(activation: str, exact: Any, dtype: torch.dtype) -> None:
    sizes = torch.logspace(-30, 3, 2000, dtype=torch.float64)
    given = case("rnn", activation, dtype=dtype, shape=(1, 1, 4000, 1, 1))
    with torch.no_grad():
        for name, parameter in given.cell.named_parameters():
            parameter.fill_(float(name == "weight_input"))
    given.input = torch.cat([-sizes, sizes]).to(dtype).view(1, 1, -1, 1)
    got = by_triton(given, launch.Tiles(rows=4096, columns=1, depth=1, warps=4, stages=1))["output"].double()
    lowest = torch.finfo(dtype).tiny / EPSILON[dtype]
    torch.testing.assert_close(got, exact(given.input.double()), rtol=4 * EPSILON[dtype], atol=lowest)


# Precision: only the operands of products are rounded

MANTISSA = {"bf16": 8, "fp16": 11}
"""Bits of a number's mantissa, the first one counted."""


class Product(torch.autograd.Function):
    """a @ b of rounded operands, summed in their own type; an adjoint is rounded in backward only to bf16."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, precision: str) -> Tensor:
        ctx.save_for_backward(a, b)
        ctx.precision = within(precision, "backward")
        return rounded(a, precision) @ rounded(b, precision)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        a, b, d = (rounded(t, ctx.precision) for t in (*ctx.saved_tensors, d))
        return d @ b.mT, a.mT @ d, None


class Emulation(TorchFunctionMode):
    """A cell's products within this block, by `Product`; adjoints pass through torch's own rules."""

    def __init__(self, precision: str) -> None:
        super().__init__()
        self.precision = precision

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.bmm:
            return Product.apply(*args, self.precision)
        if func is torch.baddbmm:
            return args[0] + Product.apply(*args[1:], self.precision)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("tiles", "precision"), [("many", "bf16"), ("on chip", "fp16")])
@pytest.mark.parametrize("option", FUSED_CELLS)
def test_the_operands_of_products_are_rounded_and_nothing_else(option: str, tiles: str, precision: str) -> None:
    given = case(option, dtype=torch.float32, shape=(4, 1, 3, 2, 5), masked=True, last=3)
    got = by_triton(given, TILES[tiles], precision=precision)
    with Emulation(precision):
        expected = by_autograd(given)
    # A sum in another order may round an operand the other way; seldom, and by one unit in its last place.
    assert_agree(got, expected, factor=2.0 ** (24 - MANTISSA[precision]) / 4)
    exact = by_autograd(case(option, shape=(4, 1, 3, 2, 5), masked=True, last=3))
    for what, value in exact.items():
        distance = float((got[what] - value).abs().max() / value.abs().max())
        assert distance <= 4 * 2.0 ** -MANTISSA[precision], f"{what}: {distance}"
    plain = by_triton(given, TILES[tiles])
    assert all(not torch.equal(got[what], plain[what]) for what in ("output", "d_weight_recurrent"))


@pytest.mark.parametrize("option", FUSED_CELLS)
def test_adjoints_below_the_smallest_fp16_number_live_on(option: str) -> None:
    given = case(option, dtype=torch.float32, shape=(4, 1, 2, 2, 4), last=1)
    given.cotangent, given.final = given.cotangent * 1e-12, tuple(f * 0 for f in given.final)
    tiny, usual = by_triton(given, TILES["on chip"], precision="fp16"), by_autograd(given)
    torch.testing.assert_close(tiny["norm"], usual["norm"], rtol=0.01, atol=0)
    assert (tiny["norm"] > 0).all()


def test_torchs_own_switch_for_tf32_is_what_it_was() -> None:
    switch = torch.backends.cuda.matmul
    for before in (False, True):
        switch.allow_tf32 = before
        try:
            for precision in PRECISIONS:
                with products(precision):
                    assert switch.allow_tf32 == (precision != "ieee")
                assert switch.allow_tf32 == before
        finally:
            switch.allow_tf32 = False


# What may not change a bit


@pytest.mark.parametrize("option", FUSED_CELLS)
def test_a_replica_among_three_computes_what_it_computes_alone(option: str) -> None:
    given = case(option, "modrelu", "clip_norm", torch.float32, (3, 3, 3, 3, 5), masked=True)
    together = by_triton(given, TILES["few"])
    single = case(option, "modrelu", "clip_norm", torch.float32, (3, 1, 3, 3, 5))
    for r in range(3):
        one = slice(r, r + 1)
        with torch.no_grad():
            for own, stacked in zip(single.cell.parameters(), given.cell.parameters(), strict=True):
                own.copy_(stacked[one])
        assert given.mask is not None
        single.input, single.cotangent = given.input[:, one], given.cotangent[:, one]
        single.mask, single.rule = given.mask[:, one], given.rule
        single.state, single.final = (tuple(s[one] for s in states) for states in (given.state, given.final))
        for name, alone in by_triton(single, TILES["few"]).items():
            replica = {"norm": 2, "output": 1, "d_input": 1}.get(name, 0)
            assert torch.equal(alone, together[name].narrow(replica, r, 1)), name


@pytest.mark.parametrize("option", FUSED_CELLS)
def test_recording_and_keeping_change_no_bit(option: str) -> None:
    given = case(option, dtype=torch.float32, shape=(3, 2, 2, 2, 3), last=2)
    expected = by_triton(given)
    del expected["norm"]
    assert_same_bits(by_triton(given, norm=None), expected)
    forgetful = by_triton(given, norm=None, keep=0)
    assert_same_bits(forgetful, {name: expected[name] for name in forgetful})


@pytest.mark.parametrize("option", FUSED_CELLS)
def test_computing_states_again_changes_no_bit(option: str, monkeypatch: Any) -> None:
    """Blocks of two steps: a launch takes no more, and states are kept at multiples of two."""
    given, tiles = (
        case(option, "modrelu", "truncate", torch.float32, (5, 1, 2, 2, 3), masked=True, last=3),
        TILES["on chip"],
    )
    whole = by_triton(given, tiles)
    monkeypatch.setattr(cuda, "BLOCK", 2 * 2)
    in_blocks = by_triton(given, tiles)
    assert_agree(in_blocks, whole)  # the sums over time have other parts
    for keep in (2, 3):
        assert_same_bits(by_triton(given, tiles, keep=keep), in_blocks)


def test_what_is_kept_are_the_states_of_every_kth_step(monkeypatch: Any) -> None:
    monkeypatch.setattr(cuda, "BLOCK", 2 * 3)
    given = {"input": torch.empty(9, 1, 3, 2), "h": torch.empty(1, 3, 5), "last": 1}
    kept = {keep: cuda.shapes(FORMS["gru"], given | {"keep": keep})["trace_h"][1] for keep in (0, 1, 2, 3, 4, 5, 9)}
    assert kept == {0: 0, 1: 9, 2: 4, 3: 2, 4: 2, 5: 1, 9: 0}


@pytest.mark.parametrize("option", FUSED_CELLS)
def test_states_that_were_moved_between_forward_and_backward_are_found(option: str, monkeypatch: Any) -> None:
    """As by `torch.autograd.graph.save_on_cpu`."""
    given = case(option, shape=(3, 2, 2, 2, 3), last=2)
    expected, states = by_triton(given), cuda._kept
    monkeypatch.setattr(cuda, "_kept", lambda form, made: states(form, {n: clone(t) for n, t in made.items()}))
    assert_same_bits(by_triton(given), expected)


def clone(value: Any) -> Any:
    return value.clone(memory_format=torch.contiguous_format) if isinstance(value, Tensor) else value


def beside_nan(tensor: Tensor) -> Tensor:
    """The same numbers, with NaN before and after them in memory."""
    held = torch.full((tensor.numel() + 512,), torch.nan, dtype=tensor.dtype)
    return held[256 : 256 + tensor.numel()].copy_(tensor.detach().flatten()).view(tensor.shape)


@pytest.mark.parametrize("option", FUSED_CELLS)
def test_nothing_is_read_beside_a_tensor(option: str) -> None:
    """Sizes that fill no tile: on a device such a read would fault, if not every time."""
    given = case(option, "modrelu", shape=(2, 1, 3, 2, 5))
    expected = by_triton(given, TILES["few"])
    given.input, given.cotangent = beside_nan(given.input), beside_nan(given.cotangent)
    given.state = tuple(beside_nan(s) for s in given.state)
    weights = {name: beside_nan(tensor) for name, tensor in named(given).items()}
    assert_same_bits(by_triton(given, TILES["few"], **weights), expected)


@pytest.mark.parametrize("option", FUSED_CELLS)
def test_fake_tensors_are_laid_out_as_real_ones(option: str) -> None:
    given, form = case(option, shape=(3, 2, 2, 2, 3), last=2), FORMS[option]
    seen: list[tuple[Any, ...]] = []

    def both(arguments: dict[str, Any]) -> None:
        real, fake = cuda.forward(form, arguments), cuda.fake_forward(form, arguments)
        seen.extend((a.shape, a.stride(), b.shape, b.stride()) for a, b in zip(real, fake, strict=True))

    for keep in (0, 1, 2):
        arguments: dict[str, Any] = dict.fromkeys((*form.tensors, "mask", "norm"))
        arguments |= {name: tensor.detach() for name, tensor in named(given).items()} | {"input": given.input}
        arguments |= dict(zip(form.states, given.state, strict=True))
        both(
            arguments | {"activation": "tanh", "slope": 0.0, "last": 2, "keep": keep, "threads": 1, "precision": "ieee"}
        )
    for shape, stride, fake_shape, fake_stride in seen:
        assert (shape, stride) == (fake_shape, fake_stride)


# What is refused


@pytest.mark.parametrize(
    ("wrong", "message"),
    [("mask", "mask is"), ("last", "last 1 to T"), ("keep", "keep=-1"), ("precision", "it must be ieee$")],
)
def test_what_does_not_fit_is_refused_before_any_memory_is_read(wrong: str, message: str) -> None:
    changes = {"mask": torch.ones(4, 2, 3), "last": 5, "keep": -1, "precision": "tf32"}
    with pytest.raises(ValueError, match=message):
        by_triton(case("rnn"), **{wrong: changes[wrong]})


@pytest.mark.parametrize("requested", ["auto", "fused"])
def test_the_engine_of_a_cuda_run_needs_no_threads(requested: str) -> None:
    options: dict[str, Any] = {"cell": drawn_cell("gru"), "rule": RULES["none"], "device": torch.device("cuda")}
    options |= {"dtype": torch.float32, "threads": 5, "recompute": 4, "precision": "bf16", "say": lambda text: None}
    engine = choose(requested, **options)
    assert (engine.name, engine.threads) == ("fused", 1)
    assert engine.unroll.keywords == {"recompute": 4, "precision": "bf16"}  # type: ignore[attr-defined]


# Compiled


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("option", FUSED_CELLS)
def test_the_kernels_compile_for_a_device(option: str, dtype: torch.dtype, monkeypatch: Any, tmp_path: Any) -> None:
    """For compute capability 8.0, whether there is such a device or not."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    every: dict[str, Any] = {"H": 67, "activation": "modrelu", "rule": "clip_norm", "masked": True}
    other: dict[str, Any] = {"H": 128, "masked": True}
    low = {torch.float32: ("tf32", "bf16"), torch.float64: ()}
    for direction in ("forward", "backward"):
        for options in (every, other | {"keep": False}, *(other | {"precision": name} for name in low[dtype])):
            binary = launch.compiled(FORMS[option], direction, dtype=dtype, **options)
            assert binary.asm["ptx"]
            assert binary.asm["cubin"]
            assert binary.metadata.shared <= launch.SHARED[80]


# On a device

on_a_device = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


class TestOnADevice:
    pytestmark = on_a_device

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("rule", RULES)
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    @pytest.mark.parametrize("option", FUSED_CELLS)
    def test_agrees_with_the_autograd_engine_on_the_cpu(
        self, option: str, activation: str, rule: str, dtype: torch.dtype
    ) -> None:
        for shape in (USUAL, *SHAPES.values(), (9, 2, 37, 3, 67), (5, 1, 16, 2, 300)):
            for masked in (False, True):
                given = case(option, activation, rule, dtype, shape, masked=masked, last=None if masked else 1)
                expected = by_autograd(given)
                assert_agree(by_triton(given.to("cuda"), None), expected, factor=256)

    @pytest.mark.parametrize("option", FUSED_CELLS)
    def test_repeats_to_the_bit(self, option: str) -> None:
        """A race between a program's threads would show as a difference, if not every time."""
        given = case(option, "tanh", "clip_norm", torch.float32, (200, 4, 50, 3, 128), masked=True).to("cuda")
        first = by_triton(given, None)
        for _ in range(10):
            assert_same_bits(by_triton(given, None), first)

    @pytest.mark.parametrize("precision", ["tf32", *MANTISSA])
    @pytest.mark.parametrize("option", FUSED_CELLS)
    def test_a_precision_is_as_far_from_float64_as_its_format(self, option: str, precision: str) -> None:
        """Tensor cores: real tf32 too, which the interpreter has not."""
        for H in (37, 128, 300):
            expected = by_autograd(case(option, shape=(9, 2, 37, 3, H)))
            got = by_triton(
                case(option, dtype=torch.float32, shape=(9, 2, 37, 3, H)).to("cuda"), None, precision=precision
            )
            for what, value in expected.items():
                distance = float((got[what].cpu() - value).abs().max() / value.abs().max())
                assert 0 < distance <= 16 * 2.0 ** -MANTISSA.get(precision, 11), f"{what}, H={H}: {distance}"

    @pytest.mark.parametrize("option", FUSED_CELLS)
    def test_computing_states_again_changes_no_bit(self, option: str, monkeypatch: Any) -> None:
        monkeypatch.setattr(cuda, "BLOCK", 50 * 20)
        given = case(option, "tanh", "clip_norm", torch.float32, (200, 2, 50, 3, 128), masked=True, last=30).to("cuda")
        kept = by_triton(given, None)
        for keep in (20, 50):
            assert_same_bits(by_triton(given, None, keep=keep), kept)
