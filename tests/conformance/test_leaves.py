"""What every YAML of configs/ must keep: a new component inherits all of this by having one."""

import inspect
import re
from typing import Any

import pytest
from hydra.utils import get_object
from support import CONFIGS, GROUPS, choice, composed, key, leaf, leaves, options

from rnnlab.config import group_syntax
from rnnlab.contract import CONTEXT, ConfigError, Finite, check_component, keys_of, signature_of
from rnnlab.groups import COMPONENTS
from rnnlab.schema import validate

BUNDLES = sorted(p.stem for p in (CONFIGS / "probes").glob("*.yaml"))
EXPERIMENTS = sorted(p.stem for p in (CONFIGS / "experiment").glob("*.yaml"))
SWEEPS = sorted(p.stem for p in (CONFIGS / "sweep").glob("*.yaml"))
each_leaf = pytest.mark.parametrize(
    ("group", "option"), leaves(), ids=[f"{group}/{option}" for group, option in leaves()]
)
HYPER_PARAMETERS = [(g, o, name) for g, o in leaves() for name in leaf(g, o) if name != "_target_"]


def test_every_group_has_a_key_and_every_key_a_group() -> None:
    assert {group_syntax(key).split("@")[0] for key in COMPONENTS} | {"probe"} == set(GROUPS)


def test_every_yaml_is_a_leaf_an_experiment_or_the_base() -> None:
    depths = {p: len(p.relative_to(CONFIGS).parts) for p in CONFIGS.rglob("*.yaml")}
    assert [p.name for p, depth in depths.items() if depth != 2] == ["config.yaml"]
    groups = (leaves(), EXPERIMENTS, BUNDLES, SWEEPS)
    assert len(depths) == 1 + sum(map(len, groups))


@each_leaf
def test_it_composes_into_a_valid_configuration(group: str, option: str) -> None:
    config = validate(composed(choice(group, option)))
    if group == "probe":
        assert config.probes[option] == leaf(group, option)
    else:
        assert config.components[group] == leaf(group, option)
        assert config.option(group) == option


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_bundle_holds_probes_as_their_files_have_them(bundle: str) -> None:
    config = validate(composed(f"probes={bundle}"))
    assert config.probes == {name: leaf("probe", name) for name in config.probes}
    assert {"none": not config.probes, "full": set(config.probes) == set(options("probe"))}.get(bundle, config.probes)
    assert validate(config.resolved()) == config


@each_leaf
def test_its_yaml_spells_out_every_hyper_parameter_of_the_signature(group: str, option: str) -> None:
    given = leaf(group, option)
    real = get_object(given["_target_"])
    arguments = [name for name, p in inspect.signature(real).parameters.items() if p.kind is p.KEYWORD_ONLY]
    assert set(given) == {"_target_", *keys_of(key(group, option), given["_target_"])}
    assert list(signature_of(given["_target_"]) or []) == arguments, "what is read from the source is what is called"


@each_leaf
def test_its_signature_is_keyword_only_typed_and_without_defaults(group: str, option: str) -> None:
    target = leaf(group, option)["_target_"]
    parameters = inspect.signature(get_object(target)).parameters.values()
    kinds = signature_of(target) or {}
    for parameter in parameters:
        if parameter.name in kinds:
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, parameter
            assert parameter.default is inspect.Parameter.empty, parameter
            assert parameter.name in CONTEXT or kinds[parameter.name] is not None, f"{parameter} cannot be checked"


@each_leaf
def test_its_docstring_names_every_argument(group: str, option: str) -> None:
    target = leaf(group, option)["_target_"]
    assert (inspect.getdoc(get_object(target)) or "").splitlines()[0].strip()
    ours = [base for base in get_object(target).__mro__ if base.__module__.startswith("rnnlab.")]
    text = "\n".join(base.__doc__ or "" for base in ours)  # an inherited argument stands with the base
    for name in signature_of(target) or {}:
        assert re.search(rf"\b{name}\b", text), f"{name} is not in the docstring of {target}"


@each_leaf
def test_an_unknown_key_is_refused_with_the_known_ones(group: str, option: str) -> None:
    at = key(group, option)
    with pytest.raises(ConfigError, match=rf"{at}\.nonsense=1: no such key") as caught:
        validate(composed(choice(group, option), f"+{at}.nonsense=1"))
    for name in leaf(group, option):
        assert name == "_target_" or name in str(caught.value)


@pytest.mark.parametrize(("group", "option", "name"), HYPER_PARAMETERS)
def test_a_missing_hyper_parameter_is_named(group: str, option: str, name: str) -> None:
    config = leaf(group, option)
    del config[name]
    at = key(group, option)
    with pytest.raises(ConfigError, match=rf"{at}\.{name}: missing"):
        check_component(at, config)


@pytest.mark.parametrize("wrong", [[1], {"a": 1}, -3.5, float("nan"), "½"], ids=repr)
@pytest.mark.parametrize(("group", "option", "name"), HYPER_PARAMETERS)
def test_a_value_of_the_wrong_kind_is_refused(group: str, option: str, name: str, wrong: Any) -> None:
    kind = keys_of(key(group, option), leaf(group, option)["_target_"])[name]
    if (wrong == -3.5 and kind == Finite) or (wrong == "½" and name == "source"):
        pytest.skip("allowed for this one")
    at = key(group, option)
    with pytest.raises(ConfigError, match=rf"^{at}\.{name}=.*not allowed\. {at}\.{name} must be \S"):
        check_component(at, leaf(group, option, **{name: wrong}))


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
