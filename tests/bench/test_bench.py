"""The benchmarks run and keep their promises about keys and ratios. No wall-clock time is asserted."""

import importlib.util
import json
import math
import os
from contextlib import redirect_stdout
from io import StringIO
from itertools import pairwise

import pytest
import torch
from support import composed

from rnnlab.bench import floor, jax_scan, script, suite, train, unroll
from rnnlab.bench.__main__ import main
from rnnlab.bench.agreement import Candidate, Outcome, check_agreement
from rnnlab.bench.measured_run import MeasuredRun
from rnnlab.bench.parts import Parts, replaced
from rnnlab.bench.targets import unroll_targets
from rnnlab.bench.timing import LEAST_ROUNDS, exponent, interleaved
from rnnlab.bench.unroll import RATIOS
from rnnlab.bench.work import random_cell
from rnnlab.bptt.unroll import unroll as autograd_unroll
from rnnlab.schema import validate
from rnnlab.training.run import run

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


CANDIDATES = ("rnnlab", "norms_on", "silent", "torch_nn", "hooks", "plain", "jax")


def check_unroll(result):
    """Times that are there are positive, those that are not have a reason, and ratios are quotients."""
    for name in CANDIDATES:
        assert (result[f"{name}_s"] is None) == (name in result["absent"])
    present = [name for name in CANDIDATES if name not in result["absent"]]
    assert positive(result["gemm_floor_s"], *(result[f"{name}_s"] for name in present))
    seconds = {name: result[f"{name}_s"] for name in present} | {"gemm_floor": result["gemm_floor_s"]}
    for ratio, (above, below) in RATIOS.items():
        if above in seconds and below in seconds:
            assert result[ratio] == pytest.approx(seconds[above] / seconds[below])
        else:
            assert result[ratio] is None
    for name, (lowest, highest) in result["spread"].items():
        assert lowest <= result[name] <= highest


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("replicas", ["1", "2"])
def test_unroll_gives_medians_and_their_quotients(cell, replicas, bench):
    result = bench("unroll", "--cell", cell, *TINY, "--inputs", "2", "--replicas", replicas, "--repetitions", "3")
    assert {"torch_nn", "hooks", "plain"}.isdisjoint(result["absent"])
    check_unroll(result)
    targets = unroll_targets(cell)
    assert {ratio: result[f"target {ratio}"] for ratio in targets} == {r: t.must for r, t in targets.items()}


def test_unroll_without_jax_says_what_is_missing(bench, monkeypatch):
    before = torch.get_num_threads()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "jax" else find(name, *a))
    result = bench("unroll", "--cell", "gru", *TINY, "--repetitions", "1", "--threads", "2", "--no-plain")
    assert "bench" in result["absent"]["jax"]
    check_unroll(result)
    assert torch.get_num_threads() == before


def work(name, replicas):
    generator = torch.Generator().manual_seed(0)
    cell = random_cell(name, replicas=replicas, inputs=2, hidden=5)
    return cell, *(torch.randn(7, replicas, 3, n, generator=generator) for n in (2, 5))


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("replicas", [1, 3])
def test_jax_does_the_same_work_in_the_given_threads(cell, replicas):
    if jax_scan.why_not(1):
        pytest.skip(jax_scan.why_not(1))
    data = work(cell, replicas)
    hooks = unroll._engine(autograd_unroll, *data, record=True)
    check_agreement({"hooks": hooks, "jax": jax_scan.jax_candidate(cell, *data, 1)}, "hooks")
    assert jax_scan.why_not(1) is None
    assert "1 thread" in jax_scan.why_not(2)


@pytest.mark.parametrize("spoilt", ["gradients", "norms", "missing norms", "nan"])
def test_candidates_that_do_other_work_are_not_compared(spoilt):
    data = work("lstm", 2)
    hooks = unroll._engine(autograd_unroll, *data, record=True)

    def outcome(unrolled):
        true = hooks.outcome(unrolled)
        norms = {"norms": true.norm_STRB * 1.001, "missing norms": None, "nan": true.norm_STRB * math.nan}
        factor = 1.001 if spoilt == "gradients" else 1.0
        return Outcome({n: factor * g for n, g in true.gradients.items()}, norms.get(spoilt, true.norm_STRB))

    other = Candidate(hooks.run, outcome, records=True)
    with pytest.raises(RuntimeError, match="other"):
        check_agreement({"hooks": hooks, "other": other}, "hooks")
    check_agreement({"hooks": hooks, "torch_nn": unroll._torch_nn(*data)}, "hooks")


def test_flops_of_the_floor():
    sizes = {"length": 5, "replicas": 2, "batch": 3, "inputs": 10, "hidden": 7}
    states, inputs = 5 * 2 * 3 * 7 * 7, 5 * 2 * 3 * 7 * 10  # multiplications of one pass through one gate's weights
    for cell, gates in (("rnn", 1), ("lstm", 4), ("gru", 3)):
        assert floor.unroll_flops(cell, **sizes) == 2 * gates * (3 * states + 2 * inputs)


def test_suite_runs_a_process_per_row(bench, capsys):
    result = bench("suite", "--cells", "rnn", "--threads", "1", "--shapes", "6,3,4", "--inputs", "2", "--seconds", "1")
    (row,) = result["rows"]
    check_unroll(row)
    assert (row["cell"], row["threads"], row["length"], row["batch"], row["hidden"]) == ("rnn", 1, 6, 3, 4)
    of_hooks = result["medians"]["rnn"]["rnnlab/hooks"]
    assert of_hooks["median"] == of_hooks["threads=1"] == row["rnnlab/hooks"]
    assert result["medians"]["rnn"]["rnnlab/floor"]["median"] is None  # the smallest shape does not count


def test_suite_medians_are_over_shapes_and_threads(monkeypatch):
    def row(sizes, seconds):
        value = sizes["length"] * sizes["threads"]
        return {**sizes, **dict.fromkeys(RATIOS, value), "rnnlab/jax": None}

    monkeypatch.setattr(suite, "_row", row)
    shapes = [(10, 2, 2), (20, 2, 2), (40, 2, 2)]
    result = suite.measure(cells=["gru", "rnn"], threads=[1, 2], inputs=2, shapes=shapes, seconds=1)
    assert len(result["rows"]) == 12
    for of_cell in result["medians"].values():
        assert of_cell["rnnlab/torch_nn"] | {"target": 0, "aim": 0} == {
            "threads=1": 20, "threads=2": 40, "median": 30, "target": 0, "aim": 0,
        }  # fmt: skip
        assert of_cell["rnnlab/floor"]["median"] == 40  # of 20, 40, 40 and 80
        assert of_cell["rnnlab/jax"]["median"] is None


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_train_compares_with_the_script(cell, bench, in_tmp_path):
    before = torch.get_num_threads()
    result = bench("train", "--cell", cell, *TINY, "--steps", "10")
    for ratio, (ours, theirs) in train.PAIRS.items():
        assert positive(result[f"{ours}_s"], result[f"{theirs}_s"])
        assert result[ratio] == pytest.approx(result[f"{ours}_s"] / result[f"{theirs}_s"])
        parts = result["parts_s"][ours]
        assert {"data", "forward", "backward", "optimiser", "probing", "logging", "checkpoint", "rest"} <= set(parts)
        assert {"evaluation", "probed work", "other work", "tensorboard"}.isdisjoint(parts)
        # One block: its median is the mean that the parts add up to, but for what lies between two marks.
        assert sum(parts.values()) == pytest.approx(result[f"{ours}_s"], rel=0.2)
    assert torch.get_num_threads() == before
    assert os.listdir() == []


def test_train_records_adjoints_at_every_step(monkeypatch):
    runs = []

    class Kept(MeasuredRun):
        def _train(self, function, experiment, population, progress, record, *args, **kwargs):
            runs.append(record)
            return super()._train(function, experiment, population, progress, record, *args, **kwargs)

    monkeypatch.setattr(train, "MeasuredRun", Kept)
    train.measure(cell="gru", length=6, batch=3, hidden=4, threads=1, steps=10)
    assert [len(record.seeds) for record in runs] == [1, 8]
    for record in runs:
        assert record.step == list(range(1, 31))
        assert all((norms > 0).all() for norms in record.norm_RST)


def test_the_script_learns():
    """One mark in each half; the target is their sum; a step lowers the loss in the end."""
    torch.manual_seed(0)
    inputs, target = script.adding(8, 50)
    assert inputs.shape == (8, 50, 2)
    assert torch.equal(inputs[:4, :, 1].sum(0), torch.ones(50))
    assert torch.equal(inputs[4:, :, 1].sum(0), torch.ones(50))
    assert torch.allclose((inputs[..., 0] * inputs[..., 1]).sum(0), target)
    steps = script.train("gru", length=4, batch=50, hidden=16, lr=0.01, max_norm=1.0, seed=0)
    nets = []
    for _ in range(200):
        next(steps)
        nets.append(steps.gi_frame.f_locals["loss"].item())
    assert sum(nets[-20:]) < 0.2 * sum(nets[:20])


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


def test_overhead_is_that_of_the_engine_that_was_asked_for(bench):
    assert bench(*OVERHEAD, "--no-tensorboard", "--engine", "autograd")["engine"] == "autograd"


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


def test_probes_costs_what_its_schedules_say(bench, in_tmp_path):
    from support import component, options

    from rnnlab.probes.probe import due

    result = bench("probes", "--cell", "gru", *TINY, "--bundle", "full", "--steps", "1200", "--repetitions", "1")
    assert set(result["probes"]) == set(options("probe"))
    for name, of in result["probes"].items():
        probe = component("probe", name)
        assert of["measurements"] == sum(due(probe, step) for step in range(1, 1201))
        assert of["share"] == pytest.approx(of["s"] * of["measurements"] / (1200 * result["step_s"]))
        assert of["spread"][0] <= of["s"] <= of["spread"][1]
    assert result["share"] == pytest.approx(sum(of["share"] for of in result["probes"].values()))
    assert os.listdir() == []


def test_probes_leaves_out_what_a_cell_has_not(bench):
    result = bench("probes", "--cell", "rnn", *TINY, "--repetitions", "1")
    assert set(result["probes"]) == {"weights", "saturation", "updates"}


def test_scaling_of_memory_is_linear(bench):
    result = bench("scaling", "--cell", "rnn", "--lengths", "64,16,32", "--batch", "3", "--hidden", "4",
                   "--repetitions", "2")  # fmt: skip
    assert result["lengths"] == [16, 32, 64]
    assert positive(*result["step_s"], *result["kept_bytes"])
    assert result["time_exponent"] == pytest.approx(exponent(result["lengths"], result["step_s"]))
    assert result["memory_exponent"] == pytest.approx(1, abs=0.1)


def test_memory_is_not_said_to_be_more_than_a_process_takes(bench, monkeypatch):
    sizes = ["cell=rnn", "task.length=1000", "task.batch=64", "engine=autograd"]
    monkeypatch.setattr("rnnlab.bench.memory.RUNS", {"small": sizes})
    (row,) = bench("memory", "--runs", "small")["runs"]
    assert 1000 * 64 * 128 * 4 < row["estimate"] <= row["grown"]


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
        ["suite", "--cells", "gru", "--threads", "1", "--shapes", "6,3,4", "--seconds", "1"],
        ["startup", "--repetitions", "1"],
        ["train", "--cell", "gru", *TINY, "--steps", "10"],
        ["probes", *TINY, "--repetitions", "1"],
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
        ["suite", "--cells", "rnn,elman"],
        ["suite", "--threads", "1,0"],
        ["suite", "--shapes", "120,128"],
        ["train", "--cell", "elman"],
        ["train", "--steps", "0"],
        ["probes", "--bundle", "none"],
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


def test_short_work_is_repeated_within_its_turn():
    calls = []
    interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, warm_up=0, least_s=0.001)
    assert "".join(calls).startswith("aa")
    assert len([1 for left, right in pairwise(calls) if left != right]) == 5


def test_no_round_begins_when_the_time_is_over():
    calls = []
    interleaved({"a": lambda: calls.append("a")}, 100, warm_up=1, seconds=0)
    assert len(calls) == 1 + LEAST_ROUNDS


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


def test_sweep_takes_the_start_off(bench, monkeypatch):
    from rnnlab.bench import sweep

    monkeypatch.setattr(sweep, "cores", lambda: 2)
    monkeypatch.setattr(sweep, "_seconds", lambda jobs, tensorboard: (7 + 0.1 * jobs, 9 + 0.2 * jobs))
    result = bench("sweep", "--jobs", "100")
    assert result["jobs_per_s_and_core"] == pytest.approx(5)
    assert result["jobs_per_cpu_s"] == pytest.approx(5)
    assert result["start_s"] == pytest.approx(7)
    assert result["all_jobs_per_s_and_core"] == pytest.approx(100 / 17 / 2)


def test_dashboard_lists_every_run(bench, monkeypatch):
    """A shorter run than the benchmark's own; the copies, TensorBoard and its answers are real."""
    from rnnlab.bench import dashboard

    def train(folder, steps):
        monkeypatch.chdir(folder)
        small = ("task=adding", "task.length=5", "cell.hidden=3", "evaluate.examples=4", f"steps={steps}")
        with redirect_stdout(StringIO()):
            run(validate(composed(*small, "name=dashboard")))

    monkeypatch.setattr(dashboard, "_train", train)
    result = bench("dashboard", "--runs", "3", "--steps", "2")
    assert 0 < result["answers_s"] <= result["listed_s"]
    assert result["scalar_tags"] > 10
    assert result["hparams_bytes"] > 3 * 100


def test_report_gives_seconds_and_size(bench):
    result = bench("report", "--runs", "4")
    assert positive(result["report_s"], result["page_bytes"])
