"""match_parameters: the hidden size with the nearest number of parameters, whatever the components."""

import numpy as np
import pytest
from helpers import only_run, read, rnnlab
from support import ACTIVATIONS, CELLS, composed

from rnnlab.build import build
from rnnlab.contract import ConfigError
from rnnlab.experiment import Experiment
from rnnlab.make import parameter_count
from rnnlab.matching import match
from rnnlab.runs.identity import run_id
from rnnlab.runs.record import Record
from rnnlab.schema import validate


def elman(hidden: int) -> int:
    """Two inputs, one output."""
    return hidden * (2 + hidden + 1) + hidden + 1


def experiment(*overrides: str) -> Experiment:
    return build(validate(composed("engine=autograd", *overrides)))


def size(made: Experiment) -> int:
    return parameter_count(made.model([0]), 1)


def test_it_is_the_nearest_of_all_sizes() -> None:
    """Brute force; of two as near, the smaller."""
    for asked in (*range(elman(1), 300), 12345, 10**6):
        sizes = np.arange(1, 1100)
        found = match(asked, elman, least=1)
        assert found.hidden == sizes[np.argmin(np.abs(elman(sizes) - asked))]
        assert (found.asked, found.parameters) == (asked, elman(found.hidden))


def test_what_cannot_be_matched_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"match_parameters=12: not allowed\. cell\.hidden=2, .* has 13 parameters"):
        match(12, elman, least=2)
    with pytest.raises(ConfigError, match="does not grow"):
        match(12, lambda hidden: 7, least=1)


@pytest.mark.parametrize(
    "refused",
    [("match_parameters=1e15",), ("match_parameters=1000", "engine=scan"), ("bias_initialiser=chrono", "engine=scan")],
)
def test_of_what_is_refused_nothing_is_told_before(refused) -> None:
    """It was said on the standard output what had been chosen, and then that it is not allowed."""
    said: list[str] = []
    with pytest.raises(ConfigError):
        build(validate(composed("cell=lstm", *refused)), say=said.append)
    assert said == []


def test_it_says_how_far_it_is_and_when_that_is_far() -> None:
    assert str(match(elman(9), elman, least=1)) == "match_parameters=118: cell.hidden=9 with 118 parameters (exactly)."
    assert "cell.hidden=98 with 9997 parameters (0.03% fewer)" in str(match(10_000, elman, least=1))
    assert "no hidden size comes nearer" in str(match(9, elman, least=1)).lower()
    assert "nearer" not in str(match(1000, elman, least=1))


@pytest.mark.parametrize(
    ("cell", "activation"), [*((c, "modrelu") for c in CELLS), *(("lstm", a) for a in ACTIVATIONS if a != "modrelu")]
)
def test_no_neighbour_is_nearer(cell: str, activation: str) -> None:
    arguments = (f"cell={cell}", f"activation={activation}", "task=copy")
    found = experiment(*arguments, "match_parameters=3000")
    hidden = found.config.components["cell"]["hidden"]
    off = [abs(size(experiment(*arguments, f"cell.hidden={h}")) - 3000) for h in (hidden - 1, hidden, hidden + 1)]
    assert off[1] == min(off)
    assert found.match is not None
    assert (found.match.hidden, found.match.parameters) == (hidden, size(found))


def test_a_match_is_the_configuration_of_its_hidden_size() -> None:
    found, plain = experiment("match_parameters=1000"), experiment("cell.hidden=14")
    assert found.config == plain.config
    assert validate(found.config.resolved()) == found.config
    identity = run_id(plain.config, device="cpu", engine="autograd", sources={})
    assert run_id(found.config, device="cpu", engine="autograd", sources={}) == identity
    with pytest.raises(ValueError, match="build the experiment first"):
        run_id(validate(composed("match_parameters=1000")), device="cpu", engine="autograd", sources={})


def test_a_population_never_has_one_unit() -> None:
    assert experiment("match_parameters=20").config.components["cell"]["hidden"] == 1
    with pytest.raises(ConfigError, match=r"cell\.hidden=2, the smallest here, has 43"):
        experiment("match_parameters=20", "seeds=2")


def test_the_run_folder_is_that_of_the_hidden_size(in_tmp_path, capfd) -> None:
    assert rnnlab("match_parameters=300") == 0
    said = capfd.readouterr().out
    assert "match_parameters=300: cell.hidden=7 with 288 parameters (4.00% fewer)." in said
    folder = only_run()
    manifest, stored = read(folder, "manifest.json"), Record(folder).config
    assert manifest["match_parameters"] == {"asked": 300, "hidden": 7, "parameters": 288}
    assert manifest["parameters"] == 288
    assert rnnlab("cell.hidden=7") == 0
    assert "finished already" in capfd.readouterr().out
    assert rnnlab("cell.hidden=7", "name=plain") == 0
    assert Record(only_run("plain")).config == {**stored, "name": "plain"}
    assert read(only_run("plain"), "manifest.json")["match_parameters"] is None


def test_a_cell_of_the_user_s_own(in_tmp_path, monkeypatch) -> None:
    """Counted as it is, whatever it is made of; a size that it refuses is told with its reason."""
    (in_tmp_path / "pairs_of_units.py").write_text(
        "import torch\nfrom torch import nn\nfrom rnnlab.cells.rnn import RNN\nfrom rnnlab.contract import Count"
        ", component\n\n@component\nclass Paired(RNN):\n"
        "    def __init__(self, *, hidden: Count, even: bool, replicas, inputs, activation):\n"
        "        if even and hidden % 2:\n            raise ValueError('hidden must be even')\n"
        "        super().__init__(hidden=hidden, activation=activation, replicas=replicas, inputs=inputs)\n"
        "        self.extra = nn.Parameter(torch.zeros(replicas, 10, hidden))\n"
    )
    monkeypatch.syspath_prepend(str(in_tmp_path))
    own = {"_target_": "pairs_of_units.Paired", "hidden": 4, "even": False}
    raw, packages = composed("engine=autograd", "match_parameters=1000"), ["rnnlab", "pairs_of_units"]
    found = build(validate({**raw, "cell": own}, packages))
    assert found.match is not None
    assert found.match.parameters == size(found) == elman(found.match.hidden) + 10 * found.match.hidden
    with pytest.raises(ConfigError, match=r"match_parameters=1000: .* cell\.hidden=1: .*hidden must be even"):
        build(validate({**raw, "cell": {**own, "even": True}}, packages))
