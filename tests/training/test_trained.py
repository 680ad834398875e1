"""A run's nets loaded from its folder: they are those that were evaluated, and nothing in the folder changes."""

import shutil
from pathlib import Path

import pytest
import torch
from helpers import only_run, read, rnnlab

from rnnlab.contract import RunError
from rnnlab.training.trained import load

SETTINGS = {
    "plain": ["cell=lstm", "seeds=[3,1]"],
    "effective recurrent weights": ["cell=rnn", "parametrisation=cayley", "seeds=2"],
    "nothing is dropped": ["cell=gru", "dropout=variational", "seeds=2"],
    "one rests early": ["seeds=3", "task.solved_mse=0.35", "task.shortest=4", "optimiser.lr=0.05", "steps=30"],
    "float64, by another engine": ["cell=mingru", "dtype=float64", "engine=scan"],
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS.keys())
def test_its_predictions_have_the_loss_that_the_run_has_measured_last(setting, in_tmp_path):
    assert rnnlab(*setting) == 0
    trained, task = load(only_run()), load(only_run()).experiment.task
    seeds = trained.experiment.config.seeds
    (batch,) = task.evaluation_batches(20)
    batch = batch.to(torch.device("cpu"), trained.experiment.dtype)
    loss_R = task.losses(trained.predict(batch), batch.shared(len(seeds))).mean(1)
    told = {row["seed"]: row["final_eval_loss"] for row in read(only_run(), "summary.json")["seeds"]}
    torch.testing.assert_close(loss_R.tolist(), [told[seed] for seed in seeds], rtol=1e-5, atol=0)


def test_nothing_in_the_folder_changes_and_damage_is_refused(in_tmp_path):
    assert rnnlab("engine=autograd") == 0
    run = only_run()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert load(str(run)).update == 12
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    shutil.copytree(run, "other")
    config = Path("other/config.yaml")
    config.write_text(config.read_text().replace("hidden: 6", "hidden: 7"))
    shutil.rmtree(run / "checkpoint")
    for folder, words in ((run, "no checkpoint"), ("other", "config.yaml: does not match"), ("nowhere", "is missing")):
        with pytest.raises(RunError, match=words):
            load(folder)
