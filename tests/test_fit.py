"""What makes no sense with the cell, or with another option, is refused with the reason; the rest is built."""

import pytest
from moments import small_experiment
from support import composed

from rnnlab.build import build
from rnnlab.contract import ConfigError
from rnnlab.fit import APART, WANTED
from rnnlab.schema import validate

REFUSED = [
    ("regulariser=l2", "cell=mingru"),
    ("regulariser=l2", "cell=lru"),  # of log log |lambda| and log phase
    ("regulariser=orthogonality", "cell=indrnn"),
    ("regulariser=orthogonality", "cell=antisymmetric"),
    ("regulariser=omega", "cell=lstm"),
    ("clipping=agc", "cell=lru"),
    ("clipping=agc", "cell=antisymmetric"),
    ("clipping=pascanu", "cell=lru"),
    ("optimiser=muon", "cell=mingru"),
    ("optimiser=muon", "cell=indrnn"),
    ("optimiser=muon", "cell=lru"),
    ("optimiser=muon", "cell.hidden=1"),
    ("initialiser=identity", "cell=antisymmetric"),
    ("initialiser=nearly_identity", "cell=antisymmetric"),
    ("parametrisation=cayley", "cell=antisymmetric"),
    ("parametrisation=antisymmetric", "cell=antisymmetric"),
    ("parametrisation=cayley", "cell=lru"),
]


@pytest.mark.parametrize(("option", "cell"), REFUSED)
def test_what_the_cell_has_no_use_for_is_refused(option: str, cell: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{option}: not allowed with cell=\w+\. It is for .*Choose another"):
        small_experiment(option, *(["cell=rnn", "seeds=1"] if "hidden" in cell else []), cell)


def test_every_such_option_is_tried() -> None:
    assert {option for option, _ in REFUSED} >= set(WANTED)


@pytest.mark.parametrize(
    ("option", "cell"),
    [
        ("regulariser=l2", "cell=indrnn"),
        ("regulariser=l2", "cell=antisymmetric"),
        ("clipping=agc", "cell=mingru"),
        ("clipping=pascanu", "cell=antisymmetric"),
        ("optimiser=muon", "cell=antisymmetric"),
        ("initialiser=identity", "cell=lstm"),
    ],
)
def test_what_makes_sense_is_built(option: str, cell: str) -> None:
    small_experiment(option, cell)


@pytest.mark.parametrize("pair", APART)
def test_contradictions_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match=rf"^{pair[0]}: not allowed with {pair[1]}: .* Choose one of them\."):
        small_experiment("cell=lstm", *pair)


@pytest.mark.parametrize("cell", ["rnn_layernorm", "lstm_layernorm", "gru_layernorm"])
def test_a_layer_of_one_unit_cannot_be_normalised(cell: str) -> None:
    with pytest.raises(ConfigError, match="hidden=1 is too small; at least 2"):
        small_experiment(f"cell={cell}", "seeds=1", "cell.hidden=1")


@pytest.mark.parametrize("cell", ["lstm_layernorm", "gru_layernorm"])
def test_it_is_said_that_of_a_single_input_only_the_sign_is_left(cell: str) -> None:
    said: list[str] = []
    build(validate(composed(f"cell={cell}", "task=copy", "task.input=scalar")), say=said.append)
    assert any(text.startswith(f"cell={cell} normalises x_t U") for text in said)
