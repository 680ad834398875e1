"""The benchmarks run and keep their promises about keys and ratios. No wall-clock time is asserted."""

import json
import math
import os

import pytest
import torch

from rnnlab.bench.__main__ import main
from rnnlab.bench.parts import Parts, replaced
from rnnlab.bench.timing import exponent, interleaved

TINY = ["--length", "6", "--batch", "3", "--hidden", "4"]
OVERHEAD = ["overhead", "--cell", "rnn", *TINY, "--steps", "10"]


@pytest.fixture
def bench(capsys):
    """Run a benchmark in this process and return its JSON object."""

    def run(*arguments):
        assert main([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def positive(*values):
    return all(math.isfinite(v) and v > 0 for v in values)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("replicas", ["1", "2"])
def test_unroll_gives_three_medians_and_their_quotients(cell, replicas, bench):
    before = torch.get_num_threads()
    result = bench(
        "unroll", "--cell", cell, *TINY, "--inputs", "2", "--replicas", replicas, "--repetitions", "3", "--threads", "2"
    )  # fmt: skip
    assert positive(result["plain_s"], result["hooks_s"], result["torch_nn_s"])
    assert result["hooks/plain"] == pytest.approx(result["hooks_s"] / result["plain_s"])
    assert result["hooks/torch_nn"] == pytest.approx(result["hooks_s"] / result["torch_nn_s"])
    lowest = {name: result["spread"][f"{name}_s"][0] for name in ("plain", "hooks", "torch_nn")}
    assert result["lowest hooks/plain"] == pytest.approx(lowest["hooks"] / lowest["plain"])
    assert result["lowest hooks/torch_nn"] == pytest.approx(lowest["hooks"] / lowest["torch_nn"])
    for name, (lowest, highest) in result["spread"].items():
        assert lowest <= result[name] <= highest
    assert torch.get_num_threads() == before


def test_overhead_parts_add_up_to_the_step(bench, in_tmp_path):
    result = bench(*OVERHEAD, "--replicas", "2")
    parts = result["parts_s"]
    assert {"data", "forward", "backward", "optimiser", "clip and norm", "logging", "tensorboard"} <= set(parts)
    assert {"backup", "finite check", "hand over", "checkpoint", "rest", "release"} <= set(parts)
    assert positive(result["step_s"], result["work_s"], result["loop_block_s"], result["bare_block_s"])
    assert sum(parts.values()) == pytest.approx(result["step_s"])
    work = sum(parts[name] for name in ("forward", "backward", "optimiser", "release"))
    assert result["overhead_share"] == pytest.approx(1 - work / result["step_s"])
    share = 1 - result["bare_block_s"] / result["loop_block_s"]
    assert result["overhead_share_interleaved"] == pytest.approx(share)
    assert positive(result["start_and_end_s"])
    assert os.listdir() == []


def test_overhead_splits_what_a_probed_step_costs(bench):
    result = bench("overhead", "--cell", "lstm", *TINY, "--steps", "90", "--no-tensorboard")  # 20 + 90: a probe
    assert {"probed work", "tensorboard"}.isdisjoint(result["parts_s"])
    assert sum(result["parts_s"].values()) == pytest.approx(result["step_s"])
    assert positive(result["evaluation_s_per_step"])


def test_overhead_leaves_nothing_wrapped(bench):
    from rnnlab.training import loop

    before = (torch.Tensor.backward, loop.batch_mean, loop._log)
    bench(*OVERHEAD, "--no-tensorboard")
    assert (torch.Tensor.backward, loop.batch_mean, loop._log) == before


def test_scaling_of_memory_is_linear(bench):
    result = bench("scaling", "--cell", "rnn", "--lengths", "64,16,32", "--batch", "3", "--hidden", "4",
                   "--repetitions", "2")  # fmt: skip
    assert result["lengths"] == [16, 32, 64]
    assert positive(*result["step_s"], *result["kept_bytes"])
    assert result["time_exponent"] == pytest.approx(exponent(result["lengths"], result["step_s"]))
    assert result["memory_exponent"] == pytest.approx(1, abs=0.1)


def test_startup_compares_with_hydra(bench):
    result = bench("startup", "--repetitions", "1")
    for name in ("help", "configuration_error"):
        difference = result[f"{name}_s"] - result["import_hydra_s"]
        assert result[f"{name}_above_hydra_s"] == pytest.approx(difference)
    assert positive(result["import_hydra_s"], result["help_s"], result["configuration_error_s"])


@pytest.mark.parametrize(
    "command",
    [
        ["unroll", "--cell", "rnn", *TINY, "--repetitions", "1"],
        [*OVERHEAD, "--no-tensorboard"],
        ["scaling", "--lengths", "4,8", "--batch", "2", "--hidden", "3", "--repetitions", "1"],
        ["startup", "--repetitions", "1"],
    ],
    ids=lambda command: command[0],
)
def test_without_json_a_table_is_printed(command, capsys):
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert 5 <= len(lines) <= 40


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["unrol"],
        ["unroll", "--cell", "elman"],
        ["unroll", "--length", "0"],
        ["unroll", "--batch", "two"],
        ["unroll", "--wrong"],
        ["overhead", "--steps", "-3"],
        ["scaling", "--lengths", "100"],
        ["scaling", "--lengths", "100,,200"],
        ["startup", "--repetitions", "1.5"],
    ],
    ids=" ".join,
)
def test_a_bad_argument_exits_2_with_one_line(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1


def test_candidates_are_interleaved():
    calls = []
    seconds = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2, warm_up=1)
    assert "".join(calls) == "ababab"
    assert all(s.lowest <= s.median <= s.highest for s in seconds.values())


def test_exponent_of_a_power_law():
    assert exponent([1, 2, 4], [3.0, 12.0, 48.0]) == pytest.approx(2)


def test_parts_book_nested_time_once_and_opaque_parts_whole(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("rnnlab.bench.parts.time.perf_counter", lambda: next(clock))
    parts = Parts(outermost="rest", opaque={"closed"})
    inner = parts.timed("inner", lambda: None)
    with parts.counting():
        parts.timed("outer", inner)()
        parts.timed("closed", inner)()
    assert parts.seconds == {"rest": 3, "outer": 2, "inner": 1, "closed": 3}


def test_replaced_restores_what_was_inherited():
    class Base:
        def f(self):
            return 1

    class Derived(Base): ...

    with replaced(Derived, "f", lambda f: lambda self: f(self) + 1):
        assert Derived().f() == 2
        assert Base().f() == 1
    assert Derived().f() == 1
    assert "f" not in vars(Derived)
