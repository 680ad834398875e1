"""A component says what it makes no sense with: as its source has it, before anything is imported, and once made."""

import subprocess
import sys
from pathlib import Path

import pytest
from support import composed

from rnnlab.build import build
from rnnlab.contract import ConfigError
from rnnlab.groups import GROUPS, NEUTRAL
from rnnlab.runs.identity import configuration_hash, hash_of_stored, run_name
from rnnlab.schema import validate
from rnnlab.written import UnknownYetError, Written

OWN = '''
import torch
from rnnlab.contract import Count, component
from rnnlab.plan import Plan, Refusal

LIMIT = 3


class Base:
    word: str = "thrice"

    def least(self, plan, *, more=0):
        return plan.task.steps // 2 + more


@component
class Every(Base):
    """Clips every so many."""

    every: Count

    def why_not(self, plan: Plan) -> Refusal:
        if self.every > self.least(plan, more=1):
            return {"every": f"A sequence has {plan.task.steps} steps, and {self.word} is too often"}
        if self.every == LIMIT:
            return "It is never for the number three"
        if self.every == 2:
            return plan.nothing
        return None

    def __call__(self, step):
        return torch.zeros_like(step.norm_R, dtype=torch.bool)
'''
SMALL = ["task=adding", "task.length=6", "cell=rnn", "cell.hidden=4", "seeds=1"]


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "refusing.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "refusing", raising=False)


def raw(every: int) -> dict:
    return composed(*SMALL) | {"clipping": {"_target_": "refusing.Every", "every": every}}


def test_a_component_of_the_user_s_own_refuses_before_it_is_imported() -> None:
    with pytest.raises(ConfigError, match=r"^clipping\.every=5: not allowed\. A sequence has 6 steps, and thrice"):
        validate(raw(5), ["refusing"])
    assert "refusing" not in sys.modules


def test_what_needs_its_module_it_refuses_when_it_is_made() -> None:
    config = validate(raw(3), ["refusing"])
    assert "refusing" not in sys.modules
    with pytest.raises(ConfigError, match=r"^clipping=refusing: not allowed\. It is never for the number three"):
        build(config)


def test_a_mistake_in_a_refusal_is_not_hidden() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        build(validate(raw(2), ["refusing"]))
    build(validate(raw(1), ["refusing"]))


def test_a_component_as_written_tells_its_values_and_what_its_source_says() -> None:
    copy = Written("rnnlab.tasks.copy.Copy", {"length": 10, "symbols": 3})
    assert (copy.length, copy.steps) == (10, 16)
    lstm = Written("rnnlab.cells.lstm.LSTM", {"hidden": 4})
    assert (lstm.hidden, lstm.states, lstm.multiplies, lstm.least) == (4, ("h", "c"), True, 1), "inherited ones too"
    for unknown in ("forget_bias", "recurrent", "gated", "no_such_thing"):
        with pytest.raises(UnknownYetError):
            getattr(lstm, unknown)


def test_a_wrong_command_is_refused_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom rnnlab.cli import run_command_line\n"
        "status = run_command_line(['adjoint=truncate', 'adjoint.every=500'])\n"
        "sys.exit(status if 'torch' not in sys.modules else 99)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr


@pytest.mark.parametrize("group", list(NEUTRAL))
def test_a_group_at_its_neutral_option_is_neither_hashed_nor_named(group: str) -> None:
    with_it = composed(*SMALL) | {group: NEUTRAL[group]}
    config, without = validate(with_it), validate({k: v for k, v in with_it.items() if k != group})
    assert config == without
    stored = config.resolved()
    del stored[group]
    here = {"device": "cpu", "engine": "fused"}
    assert configuration_hash(config, **here) == hash_of_stored(stored, **here)
    named = run_name(config).split("-")
    assert len(named) == sum(g.named for g in GROUPS.values()) - sum(
        g.named and config.components[k] == NEUTRAL.get(k) for k, g in GROUPS.items() if k in config.components
    )
