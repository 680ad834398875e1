"""On a CUDA device: the same answers as on the CPU, and the same bits run after run."""

import pytest
import torch
from helpers import metrics, only_run, rnnlab
from support import component, options

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


@pytest.mark.parametrize("task", options("task"))
def test_training_data_are_made_on_the_device_and_nothing_waits_for_it(task):
    made = component("task", task)
    device = torch.device("cuda", torch.cuda.current_device())
    first = made.training_batch(3, 1, device)  # a fixed set is drawn, or read, once
    torch.cuda.set_sync_debug_mode("error")
    try:
        again, later = made.training_batch(3, 1, device), made.training_batch(3, 2, device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert first.input.device == first.target.device == device
    assert torch.equal(first.input, again.input)
    assert getattr(made, "single", False) or not torch.equal(first.input, later.input)


def test_a_replica_on_cuda_is_bit_identical_to_its_solo_run(in_tmp_path):
    assert rnnlab("device=cuda", "seeds=[4,1,7]", "name=population") == 0
    assert rnnlab("device=cuda", "seeds=[7]", "name=solo") == 0
    assert metrics(only_run("population"), 7) == metrics(only_run("solo"))
