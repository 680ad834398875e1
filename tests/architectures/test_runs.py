"""Runs of nets with several cells: replicas as alone, resumed after a kill, probed, reported and diagnosed."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import TINY, adjoints, forked, metrics, only_run, read, rnnlab, weights
from processes import GATED, Gate, finish

from rnnlab.cli import run_command_line
from rnnlab.diagnose import examine
from rnnlab.diagnose.__main__ import main as diagnose
from rnnlab.report.__main__ import main as report

STACKED = ["architecture=stacked", "architecture.layers=2", "cell=lstm"]
ENDS = ["architecture=bidirectional", "architecture.layers=2", "architecture.read=ends", "cell=gru", "task.shortest=3"]
LABELS = ["architecture=bidirectional", "task=copy", "task.length=3", "task.symbols=2", "cell=lstm"]
CONTROL = ["architecture=transformer", "cell=none", "architecture.heads=2", "architecture.positions=learned"]
CONTROL += ["dropout=non_recurrent", "dropout.inputs_rate=0"]
ADDITION = ["architecture=encoder_decoder", "task=addition", "task.answer=decoded"]
SAMPLED = [*ADDITION, "architecture.attention=additive", "architecture.teacher_forcing=0.6", "architecture.beam=3"]
SETTINGS = [
    pytest.param([*STACKED, "engine=autograd", "dropout=non_recurrent"], id="stacked, autograd, dropout"),
    pytest.param([*STACKED, "clipping=block_norm", "adjoint=truncate", "adjoint.every=3"], id="stacked, fused, cut"),
    pytest.param(["architecture=stacked", "cell=lru", "regulariser=temporal_activation"], id="stacked, scan, penalty"),
    pytest.param(["architecture=stacked", "cell=rnn", "parametrisation=cayley"], id="stacked, parametrised"),
    pytest.param(ENDS, id="both ends, masked"),
    pytest.param(LABELS, id="labels"),
    pytest.param([*STACKED, "architecture.residual=true", "task.shortest=3"], id="residual, masked"),
    pytest.param(["architecture=recurrent_mlp", "cell=deep_transition", "activation=modrelu"], id="dense layers"),
    pytest.param([*CONTROL, "task.shortest=3", "activation=modrelu"], id="control, masked"),
    pytest.param([*CONTROL, "task=copy", "task.length=3", "architecture.causal=false"], id="control, both ways"),
    pytest.param([*ADDITION, "cell=gru", "architecture.source=reversed"], id="decoded, fused"),
    pytest.param([*SAMPLED, "cell=lstm", "dropout=non_recurrent"], id="decoded, sampled, attended, dropout"),
]
LENGTHLESS = [argument for argument in TINY if argument != "task.length=7"]
SHORT = ["seeds=3", "steps=8", "probes=full", "probes.jacobian.first=4", "probes.lyapunov.first=4"]
"""Probes that have nothing to look at are left out."""


def tiny(setting: list[str]) -> list[str]:
    """The defaults of a tiny run, as far as the task has them, and this."""
    return [*(LENGTHLESS if "task=addition" in setting else TINY), *setting, *SHORT]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_replica_is_what_it_is_alone(setting: list[str], in_tmp_path: Path) -> None:
    assert run_command_line([*tiny(setting), "name=many"]) == 0
    many = only_run("many")
    for seed in (0, 2):
        assert run_command_line([*tiny(setting), f"seeds=[{seed}]", f"name=alone{seed}"]) == 0
        alone = only_run(f"alone{seed}")
        assert metrics(many, seed) == metrics(alone)
        ours, theirs = weights(many, seed), weights(alone, seed)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
        np.testing.assert_array_equal(adjoints(many)["norm"][:, [seed]], adjoints(alone)["norm"])


@pytest.mark.parametrize("setting", SETTINGS[:1] + SETTINGS[4:6] + SETTINGS[8:9] + SETTINGS[11:])
def test_it_goes_on_after_kill_9_as_if_nothing_had_been(setting: list[str], in_tmp_path: Path) -> None:
    gate, long = Gate(in_tmp_path), [*GATED, *tiny(setting), "steps=14"]
    whole_process = forked(in_tmp_path, *long, "name=whole")
    finish(whole_process)
    gate.close(10)
    process = forked(in_tmp_path, *long, "name=killed")
    gate.wait_for(1, process)
    process.kill()
    process.communicate()
    gate.open()
    again = forked(in_tmp_path, *long, "name=killed")
    assert "Going on from step 8" in finish(again)[0]
    assert whole_process.returncode == again.returncode == 0
    killed, whole = only_run("killed"), only_run("whole")
    assert len(read(killed, "manifest.json")["sessions"]) == 2
    assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert (killed / "adjoints.npz").read_bytes() == (whole / "adjoints.npz").read_bytes()
    for file in (whole / "probes").iterdir():
        assert (killed / "probes" / file.name).read_bytes() == file.read_bytes()
    for seed in range(3):
        ours, theirs = weights(killed, seed), weights(whole, seed)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.technique("architecture=single")
def test_files_name_the_call_and_the_figures_show_depth(in_tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    weak = ["cell=rnn", "initialiser.gain=0.3", "task.length=30"]
    assert rnnlab("architecture=stacked", *weak, *SHORT, "name=deep", "tensorboard=true") == 0
    deep = only_run("deep")
    assert list(adjoints(deep)["state"]) == ["layer1.h", "layer2.h"]
    assert {key for row in metrics(deep) for key in row} >= {"adjoint_slope_layer1.h", "adjoint_slope_layer2.h"}
    assert {name.split(".")[0] for name in weights(deep, 0)} == {"layer1", "layer2", "weight_output", "bias_output"}
    with np.load(min((deep / "probes").iterdir())) as file:
        assert {"weights.layer2.hidden.spectral_radius", "jacobian.layer1.median_largest"} <= set(file)
    assert diagnose([str(deep), "--examples", "3"]) == 0
    page = " ".join(capfd.readouterr().out.split())
    assert "Lost in layer 1 between t=" in page
    assert "Lost in layer 2 between t=" in page
    assert report(["runs"]) == 0
    (drawn,) = Path("report/figures").glob("*depth_maps.png")
    assert drawn.stat().st_size > 5000
    assert rnnlab(*weak, "name=flat") == 0
    assert list(adjoints(only_run("flat"))["state"]) == ["h"]


@pytest.mark.technique("cell=none", "architecture=transformer")
def test_of_a_net_without_cells_the_layers_are_drawn_and_no_diagnosis_is_made_up(
    in_tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert rnnlab(*CONTROL, *SHORT, "name=control") == 0
    run = only_run("control")
    assert list(adjoints(run)["state"]) == ["embedding.h", "layer1.h", "layer2.h"]
    assert {key for row in metrics(run) for key in row} >= {"adjoint_slope_embedding.h", "adjoint_slope_layer1.h"}
    assert report(["runs"]) == 0
    (drawn,) = Path("report/figures").glob("*depth_maps.png")
    assert drawn.stat().st_size > 5000
    assert diagnose([str(run)]) == 1
    assert "its net has no cells" in capfd.readouterr().err
    assert not (run / "diagnosis").exists()


def test_a_decoder_s_files_and_pages_tell_its_steps_and_what_attention_brings(
    in_tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    setting = [*ADDITION, "architecture.source=reversed", "cell=rnn", "initialiser.gain=0.02"]
    for score in ("none", "dot"):
        assert run_command_line([*tiny(setting), f"architecture.attention={score}", f"name={score}"]) == 0
    kept, seen = adjoints(only_run("none")), adjoints(only_run("dot"))
    assert list(kept["state"]) == ["encoder.h", "decoder.h"]
    assert list(seen["state"]) == ["encoder.h", "attention.h", "decoder.h"]
    assert np.isnan(seen["norm"][..., 2, 3:]).all()  # an answer has three characters, a question five
    assert not np.isnan(seen["norm"][..., :2, :]).any()
    assert not np.isnan(seen["norm"][..., 2, :3]).any()
    ratio = [norm["norm"][0, :, 0, 0] / norm["norm"][0, :, 0, -1] for norm in (kept, seen)]
    assert (ratio[1] > 1e3 * ratio[0]).all()
    assert diagnose([str(only_run("none")), "--examples", "3"]) == 0
    page = " ".join(capfd.readouterr().out.split())
    assert "the same in decoder, which has 2" in page
    assert "the gradient halves every" in page
    assert "`architecture.attention=dot`" in page
    assert diagnose([str(only_run("dot")), "--examples", "3"]) == 0
    page = " ".join(capfd.readouterr().out.split())
    assert "the gradient halves every" not in page
    assert "`architecture.attention=dot`" not in page
    assert report(["runs"]) == 0
    assert list(Path("report/figures").glob("*depth_maps.png"))


def test_the_lag_of_a_net_that_reads_from_the_end_is_in_the_order_of_its_reading() -> None:
    marked = torch.zeros(10, 1, 3, dtype=torch.bool)
    marked[[2, 5]] = True
    task, batch = SimpleNamespace(steps=10, marked=lambda batch: marked), SimpleNamespace()
    assert [examine._lag(task, batch, backward=backward) for backward in (False, True)] == [7, 5]


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        (["architecture=bidirectional"], "architecture.read=steps"),
        (["architecture=bidirectional", "task=copy", "architecture.read=ends"], "architecture.read=ends"),
    ],
)
def test_a_readout_that_would_see_nothing_is_refused(
    setting: list[str], key: str, in_tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert rnnlab(*setting) == 2
    assert capfd.readouterr().err.startswith(f"rnnlab: {key}: not allowed.")
