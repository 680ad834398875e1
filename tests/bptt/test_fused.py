"""The fused engine against the autograd engine, finite differences, and itself: what may not change its bits.

S state component, T time, R replica, B batch, I input, H hidden, K trailing steps kept.
"""

import gc
import importlib.util
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from processes import PATIENCE
from support import ACTIVATIONS, DTYPES, FUSED_CELLS, component, drawn_cell, right_aligned_mask, uniform
from torch import Tensor, nn

from rnnlab.adjoints.none import NoRule
from rnnlab.bptt.fused import memory, operators
from rnnlab.bptt.fused.form import FORMS
from rnnlab.bptt.fused.library import KernelUnavailable
from rnnlab.bptt.fused.unroll import fused_unroll, why_not
from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell
from rnnlab.cells.rnn import RNN


@pytest.fixture(autouse=True)
def kernel() -> None:
    """Without a compiler there is nothing to test; any other reason for having no kernel is a failure."""
    try:
        operators.kernel()
    except KernelUnavailable as error:
        if "no C++ compiler was found" not in str(error):
            raise
        pytest.skip(str(error))


RULES = {
    "none": component("adjoint", "none"),
    "clip_norm": component("adjoint", "clip_norm", max_norm=0.4),
    "clip_value": component("adjoint", "clip_value", max_value=0.15),
    "truncate": component("adjoint", "truncate", every=3),
}
SHAPES = {  # T, R, B, I, H
    "usual": (8, 3, 4, 2, 5),
    "one step": (1, 1, 3, 2, 32),
    "one example": (7, 3, 1, 1, 17),
    "several slices": (4, 1, 37, 3, 33),
    "wide input": (3, 1, 2, 200, 40),
    "wide state": (3, 1, 2, 1, 300),
}
EPSILON = {torch.float32: 2.0**-23, torch.float64: 2.0**-52}


@dataclass
class Case:
    """A problem: a cell, and all that is given beside it."""

    cell: Cell
    input: Tensor
    cotangent: Tensor
    state: tuple[Tensor, ...]
    mask: Tensor | None
    rule: Any

    def final(self) -> list[Tensor]:
        """Cotangents of the final states."""
        return [uniform(*state.shape, seed=90 + s, dtype=state.dtype) for s, state in enumerate(self.state)]


def case(
    option: str,
    activation: str = "tanh",
    rule: str = "none",
    dtype: torch.dtype = torch.float64,
    shape: tuple[int, ...] = SHAPES["usual"],
    *,
    masked: bool = False,
    last: int | None = None,
) -> Case:
    T, R, B, width, H = shape
    # Weights small enough that nothing grows over T: the comparison is of arithmetic, not of chaos.
    cell = drawn_cell(option, activation, replicas=R, inputs=width, hidden=H, dtype=dtype, bound=(width + H) ** -0.5)
    state = tuple(uniform(R, B, H, seed=70 + s, dtype=dtype).requires_grad_() for s in range(len(cell.states)))
    return Case(
        cell,
        uniform(T, R, B, width, seed=1, dtype=dtype).requires_grad_(),
        uniform(last or T, R, B, H, seed=2, dtype=dtype),
        state,
        right_aligned_mask(T, R, B) if masked else None,
        RULES[rule],
    )


def everything(
    given: Case, engine: Any = fused_unroll, record: bool = True, final: list[Tensor] | None = None, **options: Any
) -> dict[str, Tensor]:
    """Outputs, final states, adjoint norms and every gradient, for random cotangents of outputs and final states."""
    leaves = {"input": given.input, **dict(given.cell.named_parameters())}
    leaves |= {f"initial {n}": s for n, s in zip(given.cell.states, given.state, strict=True)}
    for leaf in leaves.values():
        leaf.grad = None
    unrolled = engine(
        given.cell,
        given.input,
        state=given.state,
        mask_TRB=given.mask,
        rule=given.rule,
        record=record,
        last=len(given.cotangent),
        **options,
    )
    loss = (unrolled.output_KRBH * given.cotangent).sum()
    for state, cotangent in zip(unrolled.state, given.final() if final is None else final, strict=True):
        loss = loss + (state * cotangent).sum()
    loss.backward()
    result = {"output": unrolled.output_KRBH.detach()}
    result |= {f"final {n}": s.detach() for n, s in zip(given.cell.states, unrolled.state, strict=True)}
    if record:
        assert unrolled.adjoint_norm_STRB is not None
        result["adjoint norm"] = unrolled.adjoint_norm_STRB
    else:
        assert unrolled.adjoint_norm_STRB is None
    for name, leaf in leaves.items():
        result[name] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    return result


def assert_same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


# The same answer as the autograd engine


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("option", FUSED_CELLS)
def test_the_engines_agree(option: str, activation: str, rule: str, dtype: torch.dtype) -> None:
    for at, (name, shape) in enumerate(SHAPES.items()):
        for masked in (False, True):
            last = None if (at + masked) % 2 else 1
            given = case(option, activation, rule, dtype, shape, masked=masked, last=last)
            expected, got = everything(given, unroll), everything(given, threads=2)
            assert expected.keys() == got.keys()
            for what, value in expected.items():
                # Rounding errors add up over the sums that a number is made of; relative to the largest of its kind.
                tolerance = 64 * EPSILON[dtype] * float(value.abs().max())
                difference = float((got[what] - value).abs().max())
                assert difference <= tolerance, f"{name}, masked={masked}: {what} differs by {difference}"


@pytest.mark.parametrize("rule", ["none", "truncate"])  # what the others compute is not a gradient of anything
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("option", FUSED_CELLS)
def test_gradients_are_those_of_finite_differences(option: str, activation: str, rule: str) -> None:
    given = case(option, activation, rule, shape=(3 if rule == "none" else 2, 2, 2, 2, 3), masked=rule == "none")
    if rule == "truncate":
        given.rule = RULES["none"]
    names = [name for name, _ in given.cell.named_parameters()]

    def outputs(inputs: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        parameters, state = others[: len(names)], others[len(names) :]
        for name, parameter in zip(names, parameters, strict=True):
            owner, _, leaf = name.rpartition(".")
            module = given.cell.get_submodule(owner)
            module._parameters.pop(leaf, None)
            setattr(module, leaf, parameter)
        unrolled = fused_unroll(given.cell, inputs, state=state, mask_TRB=given.mask, rule=given.rule)
        return (unrolled.output_KRBH, *unrolled.state)

    parameters = [p.detach().clone().requires_grad_() for p in given.cell.parameters()]
    assert torch.autograd.gradcheck(outputs, (given.input, *parameters, *given.state))


@pytest.mark.parametrize("option", FUSED_CELLS)
def test_norms_whose_float32_squares_are_zero_are_recorded(option: str) -> None:
    given = case(option, dtype=torch.float32, shape=(150, 1, 3, 2, 6), last=1)
    expected, got = everything(given, unroll)["adjoint norm"], everything(given)["adjoint norm"]
    assert 0 < got.min() < 1e-24
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("hidden", [32, 33], ids=["full rows", "padded rows"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("option", FUSED_CELLS)
def test_what_is_not_finite_stays_visible_and_stays_where_it_is(
    option: str, activation: str, value: float, hidden: int
) -> None:
    given = case(option, activation, shape=(6, 2, 3, 2, hidden))
    with torch.no_grad():
        given.input[2, 0, 0, 0] = value
    expected, got = everything(given, unroll), everything(given)
    for what, reference in expected.items():
        assert torch.equal(got[what].isfinite(), reference.isfinite()), what


@pytest.mark.parametrize("option", FUSED_CELLS)
def test_an_adjoint_of_zero_is_not_clipped_to_nan(option: str) -> None:
    given = case(option, rule="clip_norm")
    unrolled = fused_unroll(given.cell, given.input, rule=given.rule, record=True)
    (unrolled.output_KRBH * 0).sum().backward()
    assert unrolled.adjoint_norm_STRB is not None
    assert (unrolled.adjoint_norm_STRB == 0).all()
    assert given.input.grad is not None
    assert (given.input.grad == 0).all()


@pytest.mark.parametrize("shape", [(70, 2, 17, 3, 9), (5, 1, 80, 2, 520)], ids=["many chunks", "large slices"])
@pytest.mark.parametrize("activation", ["tanh", "modrelu"])
@pytest.mark.parametrize("option", FUSED_CELLS)
def test_the_engines_agree_where_sums_are_taken_in_many_parts(
    option: str, activation: str, shape: tuple[int, ...]
) -> None:
    given = case(option, activation, shape=shape)
    expected, got = everything(given, unroll), everything(given, threads=2)
    for what, value in expected.items():
        difference = float((got[what] - value).abs().max())
        assert difference <= 256 * EPSILON[torch.float64] * float(value.abs().max()), what


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_are_accurate_near_zero_and_far_out(dtype: torch.dtype) -> None:
    sizes = torch.logspace(-30, 3, 800, dtype=torch.float64)
    a = torch.cat([-sizes, sizes]).to(dtype).view(1, 1, -1, 1)
    for activation, exact in (("tanh", torch.tanh), ("sigmoid", torch.sigmoid)):
        cell = drawn_cell("rnn", activation, inputs=1, hidden=1, dtype=dtype)
        with torch.no_grad():
            for parameter in cell.parameters():
                parameter.fill_(float(parameter is cell.weight_input))
        got = fused_unroll(cell, a).output_KRBH.detach().double()
        lowest = torch.finfo(dtype).tiny / EPSILON[dtype]
        torch.testing.assert_close(got, exact(a.double()), rtol=4 * EPSILON[dtype], atol=lowest)


# What may not change a bit


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("option", FUSED_CELLS)
def test_the_number_of_threads_changes_no_bit(option: str, dtype: torch.dtype) -> None:
    given = case(option, "modrelu", "clip_norm", dtype, (6, 3, 37, 3, 19), masked=True)
    alone = everything(given, threads=1)
    for threads in (2, 3, 16):
        assert_same_bits(everything(given, threads=threads), alone)


@pytest.mark.parametrize("batch", [1, 19, 40, 100])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("option", FUSED_CELLS)
def test_a_replica_among_eight_computes_what_it_computes_alone(option: str, dtype: torch.dtype, batch: int) -> None:
    sizes = (option, "modrelu", "clip_norm", dtype)
    given = case(*sizes, (5, 8, batch, 3, 21), masked=True)
    assert given.mask is not None
    together = everything(given, threads=2)
    for r in range(8):
        one = slice(r, r + 1)
        single = case(*sizes, (5, 1, batch, 3, 21))
        with torch.no_grad():
            for own, stacked in zip(single.cell.parameters(), given.cell.parameters(), strict=True):
                own.copy_(stacked[one])
        single.input = given.input[:, one].detach().clone().requires_grad_()
        single.cotangent, single.mask = given.cotangent[:, one], given.mask[:, one]
        single.state = tuple(s[one].detach().clone().requires_grad_() for s in given.state)
        solo = everything(single, final=[f[one] for f in given.final()])
        for what, value in solo.items():
            axis = {"output": 1, "input": 1, "adjoint norm": 2}.get(what, 0)
            assert torch.equal(value, together[what].narrow(axis, r, 1)), what


@pytest.mark.parametrize("last", [None, 1, 4])
@pytest.mark.parametrize("masked", [False, True], ids=["full", "masked"])
@pytest.mark.parametrize("option", FUSED_CELLS)
def test_recomputing_states_changes_no_bit(option: str, masked: bool, last: int | None) -> None:
    given = case(option, "modrelu", "truncate", shape=(11, 2, 18, 3, 5), masked=masked, last=last)
    kept = everything(given)
    for every in (2, 3, 5, 11, 50):
        assert_same_bits(everything(given, recompute=every, threads=2), kept)


@pytest.mark.parametrize("option", FUSED_CELLS)
def test_recording_and_grad_mode_change_no_bit(option: str) -> None:
    given = case(option, dtype=torch.float32)
    recorded, silent = everything(given), everything(given, record=False)
    del recorded["adjoint norm"]
    assert_same_bits(recorded, silent)
    with torch.no_grad():
        unrolled = fused_unroll(given.cell, given.input, state=given.state)
    assert torch.equal(unrolled.output_KRBH, recorded["output"])
    assert not unrolled.output_KRBH.requires_grad


@pytest.mark.parametrize("option", FUSED_CELLS)
def test_memory_layout_of_what_is_given_changes_no_bit(option: str) -> None:
    given = case(option, masked=True)
    expected = everything(given)
    given.cotangent = given.cotangent.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    given.input = given.input.detach().permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0).requires_grad_()
    assert given.mask is not None
    given.mask = given.mask.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert_same_bits(everything(given), expected)


# Operators


@pytest.mark.parametrize(("masked", "record", "last", "keep"), [(0, 0, 3, 1), (1, 0, 1, 1), (1, 1, 2, 2)])
@pytest.mark.parametrize("activation", ["tanh", "modrelu"])
@pytest.mark.parametrize("option", FUSED_CELLS)
def test_opcheck(option: str, activation: str, masked: int, record: int, last: int, keep: int) -> None:
    given = case(option, activation, shape=(3, 2, 3, 2, 5))
    form, parameters = FORMS[option], dict(given.cell.named_parameters())
    biases = [p for name, p in parameters.items() if "activation" in name] or [None] * len(form.activation_biases)
    own = [parameters[n] for n in ("weight_input", "weight_recurrent", "bias", *form.parameters)]
    mask = right_aligned_mask(3, 2, 3) if masked else None
    norm = torch.zeros(len(form.states), 3, 2, 3, dtype=torch.float64) if record else None
    options = (activation, 0.0, "clip_norm", 0.5, 0, last, keep, 2, "ieee")
    operator = getattr(torch.ops.rnnlab, option).default
    torch.library.opcheck(operator, (given.input, *own, *biases, *given.state, mask, norm, *options))


@pytest.mark.parametrize("wrong", ["input", "state", "mask", "dtype", "last"])
@pytest.mark.parametrize("option", FUSED_CELLS)
def test_what_does_not_fit_is_refused_before_any_memory_is_read(option: str, wrong: str) -> None:
    given = case(option, shape=(4, 2, 3, 2, 5))
    change: dict[str, Any] = {
        "input": {"input_TRBI": torch.zeros(4, 2, 3, 3, dtype=torch.float64)},
        "state": {"state": tuple(torch.zeros(2, 3, 6, dtype=torch.float64) for _ in given.state)},
        "mask": {"mask_TRB": torch.ones(4, 2, 3)},
        "dtype": {"input_TRBI": given.input.float()},
        "last": {"last": 5},
    }[wrong]
    arguments: dict[str, Any] = {"cell": given.cell, "input_TRBI": given.input, "state": given.state, **change}
    with pytest.raises(Exception, match=r"must be|mask_TRB"):
        fused_unroll(**arguments)


@pytest.mark.parametrize("option", FUSED_CELLS)
def test_an_output_changed_in_place_is_noticed(option: str) -> None:
    given = case(option)
    output = fused_unroll(given.cell, given.input).output_KRBH
    with torch.no_grad():
        output.mul_(2)
    with pytest.raises(RuntimeError, match="inplace"):
        output.sum().backward()


@pytest.mark.parametrize("option", FUSED_CELLS)
def test_it_says_that_it_can_be_differentiated_once_only(option: str) -> None:
    given = case(option)
    output = fused_unroll(given.cell, given.input).output_KRBH
    (gradient,) = torch.autograd.grad(output.square().sum(), given.input, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()


@pytest.mark.parametrize("option", FUSED_CELLS)
def test_saved_tensors_may_be_taken_away_and_brought_back(option: str) -> None:
    given = case(option, shape=(5, 2, 3, 2, 5))
    expected = everything(given)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.clone(), lambda tensor: tensor.clone()):
        assert_same_bits(everything(given), expected)


def test_what_it_serves() -> None:
    cpu, double, none = torch.device("cpu"), torch.float64, RULES["none"]
    for option in FUSED_CELLS:
        for activation in ACTIVATIONS:
            for rule in RULES.values():
                assert why_not(drawn_cell(option, activation), rule, cpu, double) is None

    class Other(RNN):
        """A user's cell may override `step`."""

    class Rule(NoRule):
        """A user's adjoint rule."""

    tanh = drawn_cell("rnn")
    other = Other(hidden=2, activation=nn.Tanh, replicas=1, inputs=1)
    soft = RNN(hidden=2, activation=nn.Softsign, replicas=1, inputs=1)
    assert "Other" in str(why_not(other, none, cpu, double))
    assert "Softsign" in str(why_not(soft, none, cpu, double))
    assert "Rule" in str(why_not(tanh, Rule(), cpu, double))
    assert "mps" in str(why_not(tanh, none, torch.device("mps"), double))
    without_triton = importlib.util.find_spec("triton") is None
    assert ("Triton" in str(why_not(tanh, none, torch.device("cuda"), double))) == without_triton
    assert "bfloat16" in str(why_not(tanh, none, cpu, torch.bfloat16))


# Memory


@pytest.mark.parametrize(("option", "numbers"), [("rnn", 1), ("lstm", 6), ("gru", 5)])
@pytest.mark.parametrize("last", [None, 1])
def test_backward_keeps_so_many_numbers_per_unit_example_and_step(option: str, numbers: int, last: int | None) -> None:
    T, R, B, H = 40, 2, 5, 64
    cell = drawn_cell(option, replicas=R, inputs=1, hidden=H, dtype=torch.float32)
    inputs = uniform(T, R, B, 1, seed=1, dtype=torch.float32)
    own = {p.untyped_storage().data_ptr() for p in (*cell.parameters(), inputs)}

    def kept(**options: Any) -> int:
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            unrolled = fused_unroll(cell, inputs, last=last, **options)
        del unrolled
        initial_states = len(cell.states) * R * B * H * 4
        return sum(size for at, size in sizes.items() if at not in own) - initial_states

    state = R * B * H * 4
    assert kept() == numbers * T * state
    outputs = T if last is None else last
    assert kept(recompute=10) == (len(cell.states) * 3 + outputs) * state


def test_memory_is_used_again_once_nothing_refers_to_it() -> None:
    given = case("lstm", dtype=torch.float32, shape=(60, 1, 64, 3, 96))

    def step() -> set[int]:
        """Where the free blocks lie after a forward and backward pass."""
        fused_unroll(given.cell, given.input).output_KRBH.sum().backward()
        gc.collect()
        return {block.ctypes.data for block in (*(b for _, b in memory._free), *memory._returned)}

    blocks = step()
    assert len(blocks) >= 3, "outputs, cell states and gates"
    assert step() == blocks
    assert step() == blocks
    held = [fused_unroll(given.cell, given.input) for _ in range(3)]
    assert len({u.output_KRBH.untyped_storage().data_ptr() for u in held}) == 3


def test_graphs_that_live_side_by_side_do_not_share_memory() -> None:
    first, second = case("gru", dtype=torch.float32), case("gru", dtype=torch.float32)
    with torch.no_grad():
        second.input.mul_(-0.5)
    expected = [everything(given) for given in (first, second)]
    unrolled = [fused_unroll(g.cell, g.input, state=g.state, record=True) for g in (first, second)]
    for given, one, before in reversed(list(zip((first, second), unrolled, expected, strict=True))):
        assert torch.equal(one.output_KRBH, before["output"])
        gradients = []
        for _ in range(2):
            given.cell.zero_grad()
            one.output_KRBH.backward(given.cotangent, retain_graph=True)
            gradients.append([p.grad for p in given.cell.parameters()])
        alone = fused_unroll(given.cell, given.input, state=given.state)
        given.cell.zero_grad()
        alone.output_KRBH.backward(given.cotangent)
        for parameter, first_time, second_time in zip(given.cell.parameters(), *gradients, strict=True):
            assert torch.equal(first_time, parameter.grad)
            assert torch.equal(second_time, parameter.grad)


def test_leases_do_not_overlap_and_the_pool_does_not_grow() -> None:
    held = [memory.lease((257_000,), torch.float64) for _ in range(5)]
    for k, tensor in enumerate(held):
        tensor.fill_(k)
        assert tensor.data_ptr() % 64 == 0
    assert [float(t.sum()) for t in held] == [257_000.0 * k for k in range(5)]
    before = {t.data_ptr() for t in held}
    view = held[0][3:5]
    address = held[0].data_ptr()
    del held, tensor
    again = [memory.lease((257_000,), torch.float64) for _ in range(4)]
    assert {t.data_ptr() for t in again} == before - {address}, "the block with a view of it alive is not free"
    assert float(view.sum()) == 0
    reference = weakref.ref(again[0])
    del again
    assert reference() is None
    assert memory.lease((0, 3), torch.float32).shape == (0, 3)


def test_a_tensor_in_a_cycle_may_be_collected_while_another_is_leased() -> None:
    """The collector runs a finalizer wherever it likes, also inside the pool: that must not wait for itself."""

    class Cycle:
        def __init__(self) -> None:
            self.own, self.held = self, memory.lease((1 << 18,), torch.float32)

    def work() -> None:
        for _ in range(300):
            Cycle()

    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        worker.join(PATIENCE)
        assert not worker.is_alive()
    finally:
        gc.set_threshold(*thresholds)


def test_the_pool_forgets_a_large_run() -> None:
    found = importlib.util.spec_from_file_location("pool_of_its_own", memory.__file__)
    assert found is not None
    assert found.loader is not None
    pool = importlib.util.module_from_spec(found)
    found.loader.exec_module(pool)
    large = pool.lease((50 << 20,), torch.uint8)
    del large
    pool.lease((2 << 20,), torch.uint8)
    assert sum(block.nbytes for _, block in pool._free) == 50 << 20, "kept, for it may come again"
    for _ in range(pool._PATIENCE + 2):
        pool.lease((2 << 20,), torch.uint8)
    assert pool._free == []
