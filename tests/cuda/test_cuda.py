"""On a CUDA device: the same answers as on the CPU, and the same bits run after run."""

import pytest
import torch
from helpers import metrics, only_run, rnnlab

from rnnlab.activations.tanh import Tanh
from rnnlab.bptt.unroll import unroll
from rnnlab.cells.gru import GRU
from rnnlab.cells.lstm import LSTM
from rnnlab.cells.rnn import RNN

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.mark.parametrize("cell", [RNN, LSTM, GRU])
def test_outputs_adjoints_and_gradients_agree_with_the_cpu(cell):
    options = {"forget_bias": 1.0} if cell is LSTM else {}
    here = cell(hidden=9, inputs=3, replicas=2, activation=Tanh, **options).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in here.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3, generator=generator)
    there = cell(hidden=9, inputs=3, replicas=2, activation=Tanh, **options).double().cuda()
    there.load_state_dict(here.state_dict())
    inputs = torch.randn(11, 2, 4, 3, dtype=torch.float64, generator=generator)
    cotangent = torch.randn(11, 2, 4, 9, dtype=torch.float64, generator=generator)
    results = []
    for module, device in ((here, "cpu"), (there, "cuda")):
        unrolled = unroll(module, inputs.to(device), record=True)
        (unrolled.output_KRBH * cotangent.to(device)).sum().backward()
        gradients = [p.grad for p in module.parameters()]
        results.append([unrolled.output_KRBH, unrolled.adjoint_norm_STRB, *gradients])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs.cpu(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_run_on_cuda_repeats_to_the_bit(cell, in_tmp_path):
    for name in ("a", "b"):
        assert rnnlab("device=cuda", f"cell={cell}", "seeds=2", f"name={name}") == 0
    assert metrics(only_run("a")) == metrics(only_run("b"))
