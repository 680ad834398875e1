"""What every YAML of configs/ must keep: a new component inherits all of this by having one."""

import pytest
from support import CONFIGS, GROUPS, choice, composed, leaf, leaves, options

from rnnlab.config import group_syntax
from rnnlab.groups import COMPONENTS
from rnnlab.overrides import spelled_out
from rnnlab.schema import validate

BUNDLES = sorted(p.stem for p in (CONFIGS / "probes").glob("*.yaml"))
EXPERIMENTS = sorted(p.stem for p in (CONFIGS / "experiment").glob("*.yaml"))
SWEEPS = sorted(p.stem for p in (CONFIGS / "sweep").glob("*.yaml"))


def test_every_group_has_a_key_and_every_key_a_group() -> None:
    assert {group_syntax(key).split("@")[0] for key in COMPONENTS} | {"probe"} == set(GROUPS)


def test_every_yaml_is_a_leaf_an_experiment_or_the_base() -> None:
    depths = {p: len(p.relative_to(CONFIGS).parts) for p in CONFIGS.rglob("*.yaml")}
    assert [p.name for p, depth in depths.items() if depth != 2] == ["config.yaml"]
    groups = (leaves(), EXPERIMENTS, BUNDLES, SWEEPS)
    assert len(depths) == 1 + sum(map(len, groups))


@pytest.mark.parametrize("number", range(max(len(options(group)) for group in GROUPS)))
def test_choices_compose(number: int) -> None:
    """The so-manieth option of every group together: composing takes a tenth of a second."""
    chosen = {group: options(group)[number % len(options(group))] for group in GROUPS}
    raw = composed(*spelled_out([choice(group, option) for group, option in chosen.items()]))
    for group, option in chosen.items():
        assert (raw["probes"][option] if group == "probe" else raw[group]) == leaf(group, option)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_bundle_holds_probes_as_their_files_have_them(bundle: str) -> None:
    config = validate(composed(f"probes={bundle}"))
    assert config.probes == {name: leaf("probe", name) for name in config.probes}
    assert {"none": not config.probes, "full": set(config.probes) == set(options("probe"))}.get(bundle, config.probes)
    assert validate(config.resolved()) == config


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sweep_changes_no_run(sweep: str) -> None:
    assert composed(f"sweep={sweep}") == composed()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_is_a_valid_configuration(experiment: str) -> None:
    config = validate(composed(f"+experiment={experiment}"))
    assert config.name == experiment
    assert validate(config.resolved()) == config


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_s_header_holds_its_command(experiment: str) -> None:
    path = CONFIGS / "experiment" / f"{experiment}.yaml"
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    assert header[0] == "# @package _global_"
    assert any(f"+experiment={experiment}" in line and "python -m rnnlab" in line for line in header)
