"""Every rule holds for a net that was built to be sick in its way, and not for one that is well."""

import re
from pathlib import Path

import pytest
from helpers import TINY
from sick import ADDER, SMALL, adder, findings, not_a_number, scaled, shifted
from support import composed

from rnnlab.build import build
from rnnlab.diagnose.page import headline, page
from rnnlab.diagnose.verdicts.table import RULES, verdicts
from rnnlab.schema import validate

TANH = ("cell=rnn", "clipping=none")
LINEAR = ("cell=rnn", "activation=identity", "clipping=none")
SICK = {
    "small weights": ("vanishing", TANH, scaled("cell.weight_recurrent", 0.5)),
    "an adder that forgets": ("vanishing", ADDER, adder(keep=0.5)),
    "shut forget gates": ("vanishing", ("cell=lstm", "cell.forget_bias=-3.0"), None),
    "a GRU as it is drawn": ("vanishing", ("cell=gru",), None),
    "large weights": ("exploding", LINEAR, scaled("cell.weight_recurrent", 1.5)),
    "large inputs": ("saturated", TANH, scaled("cell.weight_input", 1e3)),
    "units turned off": ("dead units", (*ADDER[:2], "clipping=none"), shifted(4, -100.0)),
    "a seed that is no number": ("dead replica", (*TANH, "seeds=2"), not_a_number),
    "a seed that diverged": ("dead replica", (*LINEAR, "optimiser=sgd", "optimiser.lr=1e30", "steps=3"), None),
    "all units turned off": ("dead replica", (*ADDER[:2], "clipping=none"), shifted(8, -100.0)),
    "the last number alone": ("learning only one addend", ADDER, adder(erase=10.0)),
    "a tight clip": ("clip active", ("clipping=norm", "clipping.max_norm=1e-6", "steps=5"), None),
    "a cut": ("truncated", (*TANH, "adjoint=truncate", "adjoint.every=10"), None),
    "an answer that never changes": ("no better than the baseline", TANH, scaled("weight_output", 0.0)),
}


def by_name(found):
    return {verdict.name: verdict for verdict in verdicts(found)}


@pytest.mark.parametrize("case", SICK)
def test_the_sick_net_is_told_and_every_technique_can_be_chosen(case, in_tmp_path):
    name, overrides, change = SICK[case]
    found = findings(*overrides, change=change)
    verdict = by_name(found)[name]
    assert verdict.seeds == ([1] if case == "a seed that is no number" else [r.seed for r in found.replicas])
    assert re.search(r"\d", verdict.what), "a verdict tells what was measured"
    assert verdict.where
    assert verdict.techniques
    assert name in headline(found, [verdict])
    command = [*TINY, *SMALL, *overrides]
    before = validate(composed(*command)).resolved()
    for technique in verdict.techniques:
        config = validate(composed(*applied(command, technique.override.split())))
        build(config)  # nothing is refused
        changed = config.resolved()
        assert changed != before or technique.override == "sweep=lr_grid", f"{technique.override} changes nothing"


def applied(command, override):
    """A command with an override: another option takes the place of the one that was given, and of its keys."""
    replaced = tuple(pair.split("=")[0] + "." for pair in override if "." not in pair)
    kept = [pair for pair in command if not pair.startswith(replaced) or pair.startswith("cell.hidden")]
    return [*kept, *override]


def test_a_net_that_is_well_has_no_verdict(in_tmp_path):
    found = findings(*ADDER, "clipping=none", change=adder())
    assert verdicts(found) == []
    assert "healthy" in page(found, [])
    (measured,) = (m for _, m in found.measured)
    assert measured.loss < 1e-3
    assert measured.addends == pytest.approx((0.98, 0.98))
    assert measured.marked == 1


@pytest.mark.parametrize("cell", ["lru", "mingru"])
def test_a_cell_without_recurrent_weights_is_not_dead(cell, in_tmp_path):
    assert "dead replica" not in by_name(findings(f"cell={cell}"))


def test_every_rule_has_its_sick_net():
    assert {name for name, _, _ in SICK.values()} == {rule.name for rule in RULES}


def test_one_addend_is_the_plateau_at_a_twelfth(in_tmp_path):
    found = findings(*ADDER, "clipping=none", change=adder(erase=10.0, answer=1.0))
    (measured,) = (m for _, m in found.measured)
    assert measured.addends == pytest.approx((0, 1), abs=1e-5)
    assert measured.loss == pytest.approx(1 / 12, rel=0.15)  # 250 examples
    assert "second" in by_name(found)["learning only one addend"].what


@pytest.mark.parametrize(
    ("overrides", "change", "words"),
    [
        (TANH, scaled("cell.weight_recurrent", 0.3), "initialiser"),
        (TANH, scaled("cell.weight_input", 1e3), "activation"),
        (("cell=lstm", "cell.forget_bias=-3.0"), None, "cell.forget_bias"),
        (("cell=gru",), None, "bias_initialiser=chrono"),
    ],
)
def test_the_technique_acts_on_the_cause(overrides, change, words, in_tmp_path):
    initialiser = ("initialiser=xavier",) if "cell=rnn" in overrides else ()
    verdict = by_name(findings(*overrides, *initialiser, change=change))["vanishing"]
    assert words in verdict.techniques[0].override
    carrying = " ".join(technique.override for technique in verdict.techniques)
    assert "cell.forget_bias" in carrying or "bias_initialiser=chrono" in carrying


def test_weights_that_learnt_away_from_orthogonal_are_told_to_stay_so(in_tmp_path):
    drifted = findings(*TANH, "initialiser=orthogonal", change=scaled("cell.weight_recurrent", 0.3))
    options = [technique.override for technique in by_name(drifted)["vanishing"].techniques]
    assert options[:2] == ["parametrisation=exponential", "regulariser=omega"]


def test_the_documentation_has_every_rule_with_its_numbers():
    lines = (Path(__file__).parents[2] / "docs" / "diagnose.md").read_text().splitlines()
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in lines}
    for rule in RULES:
        ours, told = (set(re.findall(r"\d[\d.e/-]*", text)) for text in (rule.condition, rows[rule.name]))
        assert ours <= told, rule.name
