"""The scan engine gives what the autograd engine gives, and a replica what it gives alone, to the bit."""

from typing import Any

import pytest
import torch
from helpers import adjoints, metrics, only_run, read, rnnlab
from support import CELLS, DTYPES, component, drawn_cell, right_aligned_mask, uniform
from torch import Tensor

from rnnlab.bptt import recurrence, scan
from rnnlab.bptt.engine import choose
from rnnlab.bptt.recurrence import linear_recurrence, solve, solve_back
from rnnlab.bptt.scan import scan_unroll, why_not
from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell
from rnnlab.cells.linear import LinearCell
from rnnlab.config import config_folder
from rnnlab.contract import ConfigError

LINEAR = [option for option in CELLS if isinstance(drawn_cell(option), LinearCell)]
RULES = {"none": component("adjoint", "none"), "truncate": component("adjoint", "truncate", every=3)}
CLOSE = {"rtol": 1e-10, "atol": 1e-13}
FORMS = {"tree": 10**9, "step by step": 0}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to solve, whatever the sizes; in segments of three steps of the usual shape, so that seams are met."""
    monkeypatch.setattr(recurrence, "SMALL", FORMS[request.param])
    monkeypatch.setattr(scan, "AT_ONCE", 3 * 3 * 5)
    return request.param


def with_gaps(T: int, R: int, B: int) -> Tensor:
    """A mask whose examples lack steps in their middle and at their end, too."""
    return (uniform(T, R, B, seed=30) > -0.2).logical_or(torch.arange(T).view(-1, 1, 1) == 1)


def everything(engine: Any, cell: Cell, T: int, B: int, **options: Any) -> dict[str, Tensor]:
    R, H = len(cell.weight_input), cell.hidden
    dtype = cell.bias.dtype
    inputs = uniform(T, R, B, cell.inputs, seed=1, dtype=dtype).requires_grad_()
    state = tuple(uniform(R, B, H, seed=70 + s, dtype=dtype).requires_grad_() for s in range(len(cell.states)))
    cell.zero_grad()
    unrolled = engine(cell, inputs, state=state, record=True, **options)
    loss = (unrolled.output_KRBH * uniform(*unrolled.output_KRBH.shape, seed=2, dtype=dtype)).sum()
    loss = loss + sum((part * uniform(R, B, H, seed=80, dtype=dtype)).sum() for part in unrolled.state)
    loss.backward()
    assert unrolled.adjoint_norm_STRB is not None
    assert inputs.grad is not None
    result = {f"d {name}": p.grad for name, p in cell.named_parameters() if p.grad is not None}
    result |= {f"d state {k}": torch.zeros_like(s) if s.grad is None else s.grad for k, s in enumerate(state)}
    result |= {f"state {k}": s.detach() for k, s in enumerate(unrolled.state)}
    return result | {
        "output": unrolled.output_KRBH.detach().transpose(0, 1),
        "norms": unrolled.adjoint_norm_STRB.permute(2, 0, 1, 3),
        "d input": inputs.grad.transpose(0, 1),
    }


MASKS = {"full": None, "late": right_aligned_mask, "gaps": with_gaps}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("option", LINEAR)
def test_it_agrees_with_the_autograd_engine(option: str, rule: str, mask: str, form: str) -> None:
    for T, last in ((8, None), (7, 1), (7, 5), (1, None)):
        cell = drawn_cell(option, replicas=2, hidden=5)
        made = MASKS[mask]
        options = {"rule": RULES[rule], "mask_TRB": made(T, 2, 3) if made else None, "last": last}
        found, expected = (everything(engine, cell, T, 3, **options) for engine in (scan_unroll, unroll))
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, **CLOSE, msg=lambda m, name=name: f"{name}: {m}")


def of_replicas(cell: Cell, option: str, replicas: slice, T: int, B: int) -> list[Tensor]:
    """What the engine gives for some replicas of a cell, the replica axis first."""
    R, H, dtype = len(cell.bias), cell.hidden, cell.bias.dtype
    own = drawn_cell(option, replicas=len(range(R)[replicas]), hidden=H, dtype=dtype)
    with torch.no_grad():
        for mine, whole in zip(own.parameters(), cell.parameters(), strict=True):
            mine.copy_(whole[replicas])
    inputs, cotangent = uniform(T, R, B, 3, seed=1, dtype=dtype), uniform(T, R, B, H, seed=2, dtype=dtype)
    mask = right_aligned_mask(T, R, B)
    unrolled = scan_unroll(own, inputs[:, replicas], mask_TRB=mask[:, replicas], record=True)
    (unrolled.output_KRBH * cotangent[:, replicas]).sum().backward()
    assert unrolled.adjoint_norm_STRB is not None
    gradients = [p.grad for p in own.parameters() if p.grad is not None]
    return [unrolled.output_KRBH.detach().transpose(0, 1), unrolled.adjoint_norm_STRB.permute(2, 0, 1, 3), *gradients]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("option", LINEAR)
def test_a_replica_is_what_it_is_alone_to_the_bit(option: str, dtype: torch.dtype, form: str) -> None:
    for T, B, H in ((7, 3, 5), (2, 1, 2), (9, 2, 17)):
        cell = drawn_cell(option, replicas=4, hidden=H, dtype=dtype)
        together = of_replicas(cell, option, slice(None), T, B)
        for r in range(4):
            one = slice(r, r + 1)
            for whole, alone in zip(together, of_replicas(cell, option, one, T, B), strict=True):
                assert torch.equal(whole[one], alone)


@pytest.mark.parametrize("parts", [1, 2], ids=["real", "complex"])
def test_both_forms_solve_the_recurrence_either_way(parts: int, form: str) -> None:
    def number(x: tuple[Tensor, ...]) -> Tensor:
        return torch.complex(x[0], x[1] if parts == 2 else torch.zeros_like(x[0]))

    for T in range(1, 12):
        a, b = (tuple(uniform(2, T, 2, 3, seed=k + p) for p in range(parts)) for k in (1, 10))
        before = tuple(uniform(2, 2, 3, seed=20 + p) for p in range(parts))
        s, expected, back = number(before), [], torch.zeros(2, 2, 3, dtype=torch.complex128)
        for t in range(T):
            s = number(a)[:, t] * s + number(b)[:, t]
            expected.append(s)
        torch.testing.assert_close(number(solve(a, b, before)), torch.stack(expected, dim=1), **CLOSE)
        found = number(solve_back(a, b))
        for t in reversed(range(T)):
            back = number(b)[:, t] + (number(a)[:, t + 1] * back if t + 1 < T else 0)
            torch.testing.assert_close(found[:, t], back, **CLOSE)


@pytest.mark.parametrize("parts", [1, 2], ids=["real", "complex"])
def test_its_gradient_passes_finite_differences(parts: int, form: str) -> None:
    given = [uniform(1, 4, 1, 2, seed=k).requires_grad_() for k in range(2 * parts)]
    given += [uniform(1, 1, 2, seed=9 + k).requires_grad_() for k in range(parts)]

    def solved(*x: Tensor) -> tuple[Tensor, ...]:
        return linear_recurrence(x[:parts], x[parts : 2 * parts], x[2 * parts :], ())

    torch.autograd.gradcheck(solved, given)


def test_it_computes_the_autograd_engine_s_outputs_without_gradients_too(form: str) -> None:
    cell, x = drawn_cell("lru", replicas=2, hidden=5), uniform(8, 2, 3, 3, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(scan_unroll(cell, x, last=2).output_KRBH, unroll(cell, x, last=2).output_KRBH)


# The choice


def taken(requested: str, option: str, **changes: Any) -> Any:
    defaults = {"rule": RULES["none"], "device": torch.device("cpu"), "dtype": torch.float32, "threads": 2}
    more = {"recompute": 0, "precision": "ieee", "say": pytest.fail}
    return choose(requested, cell=drawn_cell(option), **{**defaults, **more, **changes})


@pytest.mark.parametrize("option", LINEAR)
def test_auto_takes_it_for_linear_recurrences_and_says_why(option: str) -> None:
    for requested, why in (("auto", "the cell is a linear recurrence"), ("scan", "it was asked for")):
        engine = taken(requested, option, rule=RULES["truncate"])
        assert (engine.name, engine.threads, engine.unroll, engine.why) == ("scan", 1, scan_unroll, why)
    assert taken("autograd", option).unroll is unroll


RULES_LEFT = sorted({path.stem for path in (config_folder() / "adjoint").glob("*.yaml")} - {*RULES})


@pytest.mark.parametrize("option", RULES_LEFT)
def test_a_rule_that_acts_between_two_steps_is_left_to_autograd(option: str) -> None:
    rule = component("adjoint", option)
    engine = taken("auto", "mingru", rule=rule)
    name = type(rule).__name__
    assert engine.name == "autograd"
    assert engine.why.startswith(f"the scan engine cannot be had: the adjoint rule {name} acts")
    with pytest.raises(ConfigError, match=rf"^engine=scan: not allowed here.*{name}.*Allowed: auto, autograd\.$"):
        taken("scan", "mingru", rule=rule)


def test_other_cells_are_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError, match=r"^engine=scan: not allowed here, because the cell LSTM is no linear recurr"):
        taken("scan", "lstm")
    assert [o for o in CELLS if why_not(drawn_cell(o), RULES["none"]) is None] == LINEAR


def test_what_only_the_fused_engine_has_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^recompute=4: not allowed here\. The scan engine .* Allowed: 0\.$"):
        taken("auto", "lru", recompute=4)
    with pytest.raises(ConfigError, match=r"^precision=tf32: not allowed here\. The scan engine"):
        taken("scan", "lru", precision="tf32")


@pytest.mark.parametrize("option", ["lru", "minlstm"])
def test_a_run_says_which_engine_it_takes_and_agrees_with_autograd(option: str, in_tmp_path, capfd) -> None:
    setting = (f"cell={option}", "task.shortest=4", "seeds=2", "dtype=float64")
    assert rnnlab(*setting, "name=scan", "probes=full") == 0
    assert "engine scan on 1 thread(s): the cell is a linear recurrence" in capfd.readouterr().out
    assert rnnlab(*setting, "name=loop", "engine=autograd") == 0
    fast, slow = only_run("scan"), only_run("loop")
    assert (read(fast, "manifest.json")["engine"], read(slow, "manifest.json")["engine"]) == ("scan", "autograd")
    assert fast.name != slow.name
    losses = [[row["loss"] for row in metrics(folder)] for folder in (fast, slow)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    norms = [torch.from_numpy(adjoints(folder)["norm"]) for folder in (fast, slow)]
    torch.testing.assert_close(*norms, rtol=1e-7, atol=1e-14, equal_nan=True)
