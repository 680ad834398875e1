"""`python -m rnnlab.bench cuda`: what can be seen of it without a device."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from rnnlab.bench import cuda as bench
from rnnlab.bench.__main__ import main
from rnnlab.bptt.fused import cuda, operators


@pytest.fixture
def interpreted() -> Iterator[None]:
    """The operators on CPU tensors taken by the Triton kernels, which are interpreted then."""
    pytest.importorskip("triton", reason="Triton is not installed; the extra `triton` brings it")
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
    for part in ("parity", "bits", "search", "steps", "replicas", "hooks", "tf32"):
        assert f"gru {part}" in shown, part
    assert "MISSED" not in "".join(line for line in shown.splitlines() if "parity" in line or "bits" in line)


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
