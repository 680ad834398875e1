"""Every benchmark runs at tiny sizes and prints its ratios; what it counts and compares is right. No clock decides."""

import json
import math

import pytest
import torch

from benchmarks import floor, jax_scan, memory, stock, suite
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.agreement import Candidate, check_agreement
from benchmarks.figures import LEAST_ROUNDS, Figure, interleaved
from benchmarks.unroll import engine, torch_nn
from benchmarks.work import problem
from rnnlab.bptt.fused import cuda, operators
from rnnlab.bptt.unroll import unroll

TINY = ["--length", "10", "--batch", "3", "--hidden", "4", "--repetitions", "1"]
COMMANDS = {
    "unroll": ["--cell", "gru", "--replicas", "2", *TINY],
    "suite": ["--cells", "rnn", "--threads", "1", "--seconds", "1"],
    "train": ["--cell", "rnn", "--steps", "2", *TINY],
    "startup": ["--repetitions", "1"],
    "memory": [],
    "cuda": ["--cells", "lstm", "--device", "cpu"],
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(suite, "SHAPES", [(6, 3, 4)])
    monkeypatch.setattr(memory, "RUNS", {"small": ["cell=rnn", "task.length=1000", "task.batch=64", "engine=autograd"]})


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_prints_its_ratios(name, capsys):
    assert main([name, *COMMANDS[name], "--json"]) == 0
    figures = [Figure(**json.loads(line)) for line in capsys.readouterr().out.splitlines()]
    ratios = [figure for figure in figures if not figure.unit]
    assert all("jax" in figure.what for figure in figures if math.isnan(figure.value)), "it alone may be missing"
    assert ratios
    assert any(figure.target for figure in figures)
    assert all(str(figure).startswith(figure.what) for figure in figures)
    if name == "memory":
        (figure,) = ratios
        assert 0 < figure.value <= 1, "a run was said to need more than it takes"


@pytest.mark.parametrize(
    "command", [[], ["unrol"], ["unroll", "--cell", "elman"], ["unroll", "--length", "0"], ["train", "--wrong"]]
)
def test_a_bad_argument_exits_2_with_one_line(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 2
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_cuda_says_so():
    with pytest.raises(SystemExit, match="no CUDA device"):
        main(["cuda"])


def data(cell="lstm", replicas=2):
    return problem(cell, T=7, R=replicas, B=3, I=2, H=5)


@pytest.mark.parametrize("spoilt", ["weight_input", "norm", "output", "nan"])
def test_candidates_that_do_other_work_are_not_compared(spoilt):
    hooks = engine(unroll, *data())

    def numbers(unrolled):
        true = hooks.numbers(unrolled)
        name, factor = ("norm", math.nan) if spoilt == "nan" else (spoilt, 1.001)
        return {**true, name: true[name] * factor}

    with pytest.raises(RuntimeError, match="other"):
        check_agreement({"hooks": hooks, "other": Candidate(hooks.run, numbers)}, "hooks")


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("replicas", [1, 3])
def test_torch_nn_and_jax_do_the_same_work(cell, replicas):
    given = data(cell, replicas)
    candidates = {"hooks": engine(unroll, *given), "torch.nn": torch_nn(*given)}
    if not jax_scan.why_not():
        candidates["jax"] = jax_scan.jax_candidate(cell, *given, 1)
    check_agreement(candidates, "hooks")


def test_flops_of_the_floor():
    sizes = {"length": 5, "replicas": 2, "batch": 3, "inputs": 10, "hidden": 7}
    states, inputs = 5 * 2 * 3 * 7 * 7, 5 * 2 * 3 * 7 * 10  # multiplications of one pass through one gate's weights
    for cell, gates in (("rnn", 1), ("lstm", 4), ("gru", 3)):
        assert floor.unroll_flops(cell, **sizes) == 2 * gates * (3 * states + 2 * inputs)


@pytest.mark.parametrize("cell", operators.FORMS)
def test_the_bytes_a_step_must_move_are_those_of_the_tensors_there_are(cell):
    """Each number that forward and backward write is read again; an h that is kept twice, for dL/da and for dL/dW."""
    T, R, B, I, H = 7, 2, 3, 2, 5
    form = operators.FORMS[cell]
    sizes = {"input": torch.empty(T, R, B, I), "h": torch.empty(R, B, H), "last": T, "keep": 1}
    kept = sum(torch.Size(s).numel() for n, s in cuda.shapes(form, sizes).items() if n in ("output", *form.traces))
    per_step = kept - len(form.states) * R * B * H  # without the slots of the initial states
    projected, gradients, cotangent = form.rows * H, max(1, form.gates) * H, H
    expected = 2 * per_step + T * R * B * (2 * projected + 2 * gradients + cotangent + H + 2 * I)
    assert floor.unroll_bytes(cell, length=T, replicas=R, batch=B, inputs=I, hidden=H) == 4 * expected


def test_the_script_learns():
    """One mark in each half; the target is their sum; steps lower the loss in the end."""
    torch.manual_seed(0)
    inputs, target = stock.adding(8, 50, "cpu")
    assert inputs.shape == (8, 50, 2)
    assert torch.equal(inputs[:4, :, 1].sum(0), torch.ones(50))
    assert torch.equal(inputs[4:, :, 1].sum(0), torch.ones(50))
    assert torch.allclose((inputs[..., 0] * inputs[..., 1]).sum(0), target)
    steps = stock.train("gru", length=4, batch=50, hidden=16, seed=0, device="cpu")
    losses = [next(steps).item() for _ in range(400)]
    assert sum(losses[-20:]) < 0.2 * sum(losses[:20])


def test_works_take_turns_and_a_short_one_is_repeated_within_its_own():
    calls = []
    works = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    assert {name: len(taken) for name, taken in interleaved(works, 2).items()} == {"a": 2, "b": 2}
    assert "".join(calls) == "ababab"
    calls.clear()
    interleaved(works, 3, warm_up=0, least_s=0.001)
    assert "".join(calls).startswith("aa")


def test_no_round_begins_when_the_time_is_over():
    calls = []
    interleaved({"a": lambda: calls.append("a")}, 100, seconds=0)
    assert len(calls) == 1 + LEAST_ROUNDS
