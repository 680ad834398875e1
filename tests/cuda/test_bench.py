"""`python -m rnnlab.bench cuda`: what can be seen of it without a device."""

import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from rnnlab.bench import cuda as bench
from rnnlab.bench.__main__ import main
from rnnlab.bptt.fused import cuda, launch, operators


@pytest.fixture
def interpreted() -> Iterator[None]:
    """The operators on CPU tensors taken by the Triton kernels, which are interpreted then."""
    pytest.importorskip("triton", "3.7", reason="Triton 3.7 is not installed; the extra `triton` brings it")
    library = torch.library.Library("rnnlab", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that another implementation is there
        for name, form in operators.FORMS.items():
            for operator, half in ((name, cuda.forward), (f"{name}_backward", cuda.backward)):
                names = [a.name for a in getattr(torch.ops.rnnlab, operator).default._schema.arguments]

                def work(*args: Any, form: Any = form, half: Any = half, names: Any = names) -> Any:
                    return half(form, dict(zip(names, args, strict=True)))

                library.impl(operator, work, "CPU", allow_override=True)
    yield
    library._destroy()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_exits_2_with_one_line(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["cuda"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "rnnlab.bench cuda: there is no CUDA device\n"


def test_the_whole_script_runs_under_the_interpreter(interpreted, capsys, in_tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "_module", lambda name: None)  # JAX: not in this process, and one part that fails
    monkeypatch.setattr(bench, "MeasuredRun", lambda *args: 1 / 0)  # many steps: the next test's, not interpreted
    launched = []
    launch = cuda.launch
    monkeypatch.setattr(cuda, "launch", lambda *args, **kwargs: (launched.append(args[0]), launch(*args, **kwargs)))
    assert main(["cuda", "--device", "cpu", "--cells", "gru", "--seconds", "600"]) == 0
    shown = capsys.readouterr().out
    assert {"forward", "backward"} <= set(launched)
    assert shown.count("FAILED") == 2
    assert "FAILED gru jax: RuntimeError: JAX is not installed" in shown
    for part in ("parity", "bits", "search", "steps", "replicas", "hooks", "precision"):
        assert f"gru {part}" in shown, part
    assert "MISSED" not in "".join(line for line in shown.splitlines() if "parity" in line or "bits" in line)


@pytest.mark.parametrize("cell", operators.FORMS)
def test_the_bytes_a_step_must_move_are_those_of_the_tensors_there_are(cell):
    """Each number that forward and backward write is read again; an h that is kept twice, for dL/da and for dL/dW."""
    T, R, B, I, H = 7, 2, 3, 2, 5
    form = operators.FORMS[cell]
    sizes = {"input": torch.empty(T, R, B, I), "h": torch.empty(R, B, H), "last": T, "keep": 1}
    kept = sum(torch.Size(s).numel() for n, s in cuda.shapes(form, sizes).items() if n in ("output", *form.traces))
    states = len(form.states) * R * B * H  # the slots of the initial states
    per_step = kept - states
    projected, gradients, cotangent = form.rows * H, max(1, form.gates) * H, H
    expected = 2 * per_step + T * R * B * (2 * projected + 2 * gradients + cotangent + H + 2 * I)
    assert bench.unroll_bytes(cell, length=T, replicas=R, batch=B, inputs=I, hidden=H) == 4 * expected


def test_the_share_of_limits_that_were_given():
    here = bench._Bench("cpu", bench.TINY, teraflops=2.0, gigabytes=3.0)
    rows = [figure for _, figure, _ in here.limits()]
    assert rows == ["2.00 TFLOP/s", "3 GB/s"]


def test_its_training_part_is_a_run_against_scripts():
    ((what, figure, held),) = bench._Bench("cpu", bench.TINY).training("rnn")
    assert what.startswith("2 seeds / 2 scripts (engine ")
    assert " ms = " in figure
    assert held.startswith("<= 0.15 (aim 0.08), ")


def test_parts_begin_only_while_there_is_time(monkeypatch, capsys):
    clock = iter(range(0, 10_000, 100))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: float(next(clock)))
    result = bench.measure(cells=["rnn"], seconds=1, device="cpu")
    assert result["rows"] == []
    assert all(text == "not begun: 1 s were over" for text in result["errors"].values())


def test_a_part_that_fails_lets_the_others_go_on(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(bench, "fused_unroll", broken)
    monkeypatch.setattr(bench, "MeasuredRun", broken)
    monkeypatch.setattr(bench, "_module", lambda name: None)
    result = bench.measure(cells=["rnn"], seconds=600, device="cpu")
    assert {name for name, *_ in result["rows"]} == {"device", "rnn search"}
    assert result["errors"]["rnn parity"] == "RuntimeError: no such kernel"


def test_what_ptxas_says_of_a_kernel(capsys, monkeypatch, tmp_path):
    pytest.importorskip("triton", "3.7", reason="Triton 3.7 is not installed; the extra `triton` brings it")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    assert main(["kernels", "--cells", "rnn", "--hidden", "16", "--capability", "80", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["direction"] for row in rows] == ["forward", "backward"]
    for row in rows:
        assert 16 <= row["registers"] <= 255
        assert row["spills"] == 0
        assert 16 * 16 * 4 <= row["shared"] <= launch.SHARED[80]


def test_a_capability_that_is_not_known_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["kernels", "--capability", "61"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("rnnlab.bench kernels: --capability: allowed are 75, 80")
