"""A replica computes, bit for bit, what it would compute alone: with a mask and a rule, readout, gradient norms."""

import pytest
import torch
from support import CELLS, DTYPES, component, drawn_cell, net_of, right_aligned_mask, uniform
from torch import Tensor

from rnnlab.bptt.unroll import unroll
from rnnlab.cells.cell import Cell
from rnnlab.clipping.gradient_step import gradient_norm

R = 4
SHAPES = {"odd": (5, 7, 3, 5), "narrow": (3, 1, 1, 2), "prime": (2, 13, 2, 17)}  # T, B, I, H


def alone(cell: Cell, replica: int, *build: object, **sizes: object) -> Cell:
    """A cell of one replica with that replica's parameters."""
    single = drawn_cell(*build, replicas=1, **sizes)
    with torch.no_grad():
        for one, many in zip(single.parameters(), cell.parameters(), strict=True):
            one.copy_(many[replica : replica + 1])
    return single


def everything(cell: Cell, inputs: Tensor, cotangent: Tensor, mask: Tensor | None, rule: object) -> dict[str, Tensor]:
    """Outputs, gradients and adjoint norms, each with the replica axis first."""
    inputs = inputs.clone().requires_grad_()
    unrolled = unroll(cell, inputs, mask_TRB=mask, rule=rule, record=True)
    (unrolled.output_KRBH * cotangent).sum().backward()
    assert unrolled.adjoint_norm_STRB is not None
    assert inputs.grad is not None
    result = {name: parameter.grad for name, parameter in cell.named_parameters()}
    result["output"] = unrolled.output_KRBH.transpose(0, 1).detach()
    result["adjoint norm"] = unrolled.adjoint_norm_STRB.permute(2, 0, 1, 3)
    result["input"] = inputs.grad.transpose(0, 1)
    return result


def assert_replicas_equal_solo(
    option: str, activation: str, dtype: torch.dtype, shape: str, masked: bool = False, rule: object = None
) -> None:
    T, B, width, H = SHAPES[shape]
    sizes = {"inputs": width, "hidden": H, "dtype": dtype}
    cell = drawn_cell(option, activation, replicas=R, **sizes)
    mask = right_aligned_mask(T, R, B) if masked else None
    inputs = cell.told(uniform(T, R, B, width, seed=1, dtype=dtype), mask, None)
    cotangent = uniform(T, R, B, cell.width, seed=2, dtype=dtype)
    together = everything(cell, inputs, cotangent, mask, rule)
    for r in range(R):
        one = slice(r, r + 1)
        single = alone(cell, r, option, activation, **sizes)
        solo = everything(single, inputs[:, one], cotangent[:, one], None if mask is None else mask[:, one], rule)
        for name, value in solo.items():
            assert torch.equal(together[name][one], value), f"{name} of replica {r}"


@pytest.mark.parametrize("rule", ["clip_norm", "clip_value", "truncate"])
@pytest.mark.parametrize("option", CELLS)
def test_unrolling_with_mask_and_rule(option: str, rule: str) -> None:
    changes = {"every": 2} if rule == "truncate" else {"max_norm" if rule == "clip_norm" else "max_value": 0.1}
    made = component("adjoint", rule, **changes)
    assert_replicas_equal_solo(option, "tanh", torch.float32, "odd", masked=True, rule=made)


@pytest.mark.parametrize("outputs", [1, 2, 3, 9])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("K", "B", "H"), [(1, 7, 5), (3, 1, 2), (5, 13, 17), (1, 1, 3)])
def test_the_readout(K: int, B: int, H: int, dtype: torch.dtype, outputs: int) -> None:
    def read(replica: slice) -> dict[str, Tensor]:
        replicas = len(range(R)[replica])
        model = net_of(drawn_cell("rnn", replicas=replicas, hidden=H, dtype=dtype), outputs=outputs)
        model = model.to(dtype)
        with torch.no_grad():
            model.weight_output.copy_(uniform(R, H, outputs, seed=3)[replica])
            model.bias_output.copy_(uniform(R, 1, outputs, seed=4)[replica])
        # As `unroll` stores them: replica by replica.
        output = uniform(R, K, B, H, seed=5, dtype=dtype)[replica].requires_grad_()
        prediction = model.readout(output.transpose(0, 1))
        (prediction * uniform(R, K, B, outputs, seed=6, dtype=dtype)[replica]).sum().backward()
        result = {"prediction": prediction.detach(), "output": output.grad}
        return {**result, "weight": model.weight_output.grad, "bias": model.bias_output.grad}

    together = read(slice(None))
    expected = uniform(R, K, B, H, seed=5) @ uniform(R, 1, H, outputs, seed=3) + uniform(R, 1, 1, outputs, seed=4)
    torch.testing.assert_close(together["prediction"].double(), expected, rtol=1e-5, atol=1e-5)
    for r in range(R):
        for name, value in read(slice(r, r + 1)).items():
            assert torch.equal(together[name][r : r + 1], value), f"{name} of replica {r}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_norm(dtype: torch.dtype) -> None:
    shapes = [(3, 5), (1, 7), (17, 13), (1, 1)]
    gradients = [uniform(R, *shape, seed=k, dtype=dtype) for k, shape in enumerate(shapes)]
    norm = gradient_norm(gradients)
    assert norm.dtype == torch.float64
    expected = torch.cat([g.double().flatten(1) for g in gradients], dim=1).norm(dim=1)
    torch.testing.assert_close(norm, expected, rtol=1e-12, atol=0)
    for r in range(R):
        assert torch.equal(norm[r : r + 1], gradient_norm([g[r : r + 1] for g in gradients]))
    tiny = gradient_norm([g.double() * 1e-30 for g in gradients])
    torch.testing.assert_close(tiny, norm * 1e-30, rtol=1e-12, atol=0)
    assert (gradient_norm([(g * 1e-30) for g in gradients]) > 0).all(), "squares must not be zero in float32"
