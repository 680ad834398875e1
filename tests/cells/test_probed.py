"""Whatever a cell is made of, it trains, and the probes that it has something for measure it."""

import pytest
import torch
from helpers import rnnlab
from moments import moment, small_experiment
from support import CELLS, composed

from rnnlab.build import build
from rnnlab.contract import ConfigError
from rnnlab.schema import validate


@pytest.mark.parametrize("option", CELLS)
def test_every_probe_that_is_not_left_out_measures_every_replica(option: str) -> None:
    taken = moment(f"cell={option}", "task.shortest=5", steps=2)
    cell, probes = taken.model.cell, small_experiment(f"cell={option}", "task.shortest=5").probes
    assert ("gates" in probes) == cell.gated
    assert ("weights" in probes) == (bool(cell.blocks) and cell.square)
    assert ("contribution" in probes) == cell.recurrent
    for name, probe in probes.items():
        found = probe.measure(taken)
        assert found, name
        assert all(len(value) == 2 for value in found.values())
        assert any(value.isfinite().any() for value in found.values()), name
    still = {name for name, update in taken.updates.items() if not (update != 0).any()}
    # Where no boundary has come of layer 1, nothing has told layer 2 where one is.
    assert {name for name in still if "boundary2" not in name} == set(), "every parameter is trained"


@pytest.mark.parametrize("option", ["mingru", "indrnn", "lru"])
def test_an_initialiser_without_matrices_to_draw_is_told_of(option: str) -> None:
    said: list[str] = []
    build(validate(composed("engine=autograd", f"cell={option}", "initialiser=henaff")), say=said.append)
    assert said == [f"initialiser=henaff draws nothing here: cell={option} has no recurrent matrices."]
    assert build(validate(composed("engine=autograd", "cell=rnn")), say=pytest.fail)


def test_a_learning_rate_of_recurrent_weights_needs_some() -> None:
    build(validate(composed("engine=autograd", "cell=lru", "optimiser.recurrent_lr_factor=0.5")))
    with pytest.raises(
        ConfigError, match=r"recurrent_lr_factor=0\.5: not allowed\. cell=mingru has no recurrent weights; allowed: 1\."
    ):
        build(validate(composed("engine=autograd", "cell=mingru", "optimiser.recurrent_lr_factor=0.5")))


@pytest.mark.parametrize("probe", ["weights", "contribution"])
def test_a_probe_of_recurrent_weights_alone_is_refused_without_them(probe: str) -> None:
    with pytest.raises(ConfigError, match=rf"probes\.{probe}: not allowed\. cell=minlstm has no recurrent "):
        build(validate(composed("engine=autograd", "cell=minlstm", f"+probe@probes.{probe}={probe}")))


def test_factor_zero_leaves_the_recurrent_weights_of_an_lru() -> None:
    taken = moment("cell=lru", "optimiser.recurrent_lr_factor=0.0")
    still = {name for name, update in taken.updates.items() if torch.equal(update, torch.zeros_like(update))}
    assert still == {"cell.weight_recurrent"}


def test_a_run_of_a_cell_that_draws_its_own_weights_is_that_of_its_seed(in_tmp_path) -> None:
    experiment = small_experiment("cell=indrnn")
    both, alone = experiment.model([3, 8]), experiment.model([8])
    assert torch.equal(both.cell.weight_recurrent[1:], alone.cell.weight_recurrent)
    assert rnnlab("cell=lru", "seeds=2", "probes=full", "probes.updates.first=1") == 0
