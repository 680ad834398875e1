"""The configuration: every kind of wrong value is refused with its key, what was given and what is allowed."""

import subprocess
import sys
from typing import Any

import pytest
from support import CONFIGS, composed

from rnnlab.config import SCALARS, Config
from rnnlab.contract import ConfigError
from rnnlab.schema import validate


def changed(key: str, value: Any, **more: Any) -> dict[str, Any]:
    """The default configuration with one value (dotted key) changed."""
    raw = composed()
    for name, new in {key: value, **more}.items():
        node = raw
        *path, last = name.split(".")
        for part in path:
            node = node[part]
        node[last] = new
    return raw


def test_the_defaults_are_right_and_spell_out_every_key() -> None:
    config = validate(composed())
    assert isinstance(config, Config)
    for key in SCALARS:
        node: Any = composed()
        for part in key.split("."):
            assert part in node, f"configs/config.yaml does not spell out {key}"
            node = node[part]


WRONG_SCALARS = [
    ("name", "a b", "match"),
    ("name", "../x", "match"),
    ("name", "", "match"),
    ("name", None, "valid string"),
    ("steps", 0, "greater than or equal to 1"),
    ("steps", -5, "greater than or equal to 1"),
    ("steps", 1.5, "valid integer"),
    ("steps", "many", "valid integer"),
    ("steps", True, "valid integer"),
    ("steps", None, "valid integer"),
    ("steps", float("inf"), "valid integer"),
    ("stop_when_solved", "yes", "valid boolean"),
    ("stop_when_solved", 1, "valid boolean"),
    ("milestones", 0.1, "valid list"),
    ("milestones", [0.1, -1], "greater than 0"),
    ("milestones", ["low"], "valid number"),
    ("match_parameters", 0, "greater than or equal to 1"),
    ("match_parameters", "many", "valid integer"),
    ("device", "gpu", "'auto', 'cpu' or 'cuda'"),
    ("dtype", "float16", "'float32' or 'float64'"),
    ("engine", "magic", "'auto'"),
    ("threads", 0, "'auto' or greater than or equal to 1"),
    ("threads", "all", "'auto' or a valid integer"),
    ("recompute", -1, "greater than or equal to 0"),
    ("precision", "float16", "'ieee', 'tf32', 'bf16' or 'fp16'"),
    ("force", "x", "valid boolean"),
    ("log.every", 0, "greater than or equal to 1"),
    ("evaluate.every", 2.5, "valid integer"),
    ("evaluate.examples", 0, "greater than or equal to 1"),
    ("probe.every", -1, "greater than or equal to 0"),
    ("checkpoint.every", 0, "greater than or equal to 1"),
    ("checkpoint.keep", 0, "greater than or equal to 1"),
    ("tensorboard", None, "valid boolean"),
    ("seeds", 0, "greater than or equal to 1"),
    ("seeds", 100_001, "less than or equal to 100000"),
    ("seeds", "3", "valid integer"),
    ("seeds", None, "valid integer"),
    ("seeds", [-1], "greater than or equal to 0"),
    ("seeds", [2**32], "less than 4294967296"),
    ("seeds", [1.5], "valid integer"),
    ("seeds", [True], "valid integer"),
    ("seeds", [], "different seeds, at least one"),
    ("seeds", [3, 3], "different seeds, at least one"),
]


def test_every_scalar_key_is_tried() -> None:
    assert {key for key, *_ in WRONG_SCALARS} == {*SCALARS, "seeds"}


@pytest.mark.parametrize(("key", "value", "allowed"), WRONG_SCALARS)
def test_a_wrong_value_is_named_with_its_key_and_what_is_allowed(key: str, value: Any, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(changed(key, value))
    message = str(caught.value)
    shown = value[-1] if key == "seeds" and isinstance(value, list) and len(value) == 1 else value
    assert message.startswith(f"{key}={shown}: not allowed.")
    assert allowed in message
    assert "\n" not in message


WRONG_COMPONENTS = [
    ("cell.hidden", 0, "greater than or equal to 1"),
    ("cell.hidden", "big", "valid integer"),
    ("optimiser.lr", 0, "greater than 0"),
    ("optimiser.lr", "0.1", "valid number"),
    ("optimiser.lr", float("nan"), "finite"),
    ("optimiser.beta1", 1.0, "less than 1"),
    ("optimiser.amsgrad", "no", "valid boolean"),
    ("clipping.max_norm", -1.0, "greater than 0"),
    ("clipping.max_norm", None, "valid number"),
    ("task.markers", "half", "'halves' or 'anywhere'"),
    ("task.length", [1], "valid integer"),
    ("task.shortest", "none", "valid integer"),
]


@pytest.mark.parametrize(("key", "value", "allowed"), WRONG_COMPONENTS)
def test_a_component_s_wrong_value_is_named_likewise(key: str, value: Any, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(changed(key, value))
    assert str(caught.value).startswith(f"{key}={value}: not allowed. {key} must be ")
    assert allowed in str(caught.value)
    assert "\n" not in str(caught.value)


UNKNOWN = [
    ("stepz", 3, "stepz=3: no such key. Did you mean 'steps'?"),
    ("log.evry", 3, "log.evry=3: no such key. Did you mean 'every'? log has: every."),
    ("cell.hiden", 3, "cell.hiden=3: no such key. Did you mean 'hidden'? 'lstm' has: hidden, forget_bias."),
    ("cell.replicas", 3, "cell.replicas=3: no such key. 'lstm' has: hidden, forget_bias."),
    ("initialiser.units", 3, "initialiser.units=3: no such key. 'orthogonal' has: gain."),
    ("adjoint.max_norm", 3, "adjoint.max_norm=3: no such key. 'none' has: none."),
]


@pytest.mark.parametrize(("key", "value", "message"), UNKNOWN)
def test_an_unknown_key_is_named_with_the_nearest_known_one(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(changed(key, value))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("group", ["cell", "task", "input_initialiser", "schedule"])
@pytest.mark.parametrize("value", [None, "lstm", 3])
def test_a_group_that_is_not_a_component_is_named_with_how_to_choose_one(group: str, value: Any) -> None:
    option = "initialiser@input_initialiser=OPTION" if group == "input_initialiser" else f"{group}=OPTION"
    with pytest.raises(ConfigError, match=rf"^{group}={value}: not allowed\. .*{option}"):
        validate(changed(group, value))


@pytest.mark.parametrize("section", ["log", "probe"])
def test_a_section_cannot_be_a_value(section: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{section}=5: not allowed\. Set {section}\.every instead"):
        validate(changed(section, 5))


NONSENSE = [
    (["milestones=[0.1,0.1]"], "milestones=[0.1, 0.1]"),
    (["engine=autograd", "threads=2"], "threads=2"),
    (["engine=autograd", "recompute=4"], "recompute=4"),
    (["recompute=1"], "recompute=1"),
    (["engine=autograd", "precision=bf16"], "precision=bf16"),
    (["dtype=float64", "precision=tf32"], "precision=tf32"),
    (["initialiser@input_initialiser=identity"], "input_initialiser=identity"),
    (["initialiser@output_initialiser=identity"], "output_initialiser=identity"),
    (["initialiser@input_initialiser=cayley"], "input_initialiser=cayley"),
    (["initialiser=spectral_radius", "initialiser.nonzeros=129"], "initialiser.nonzeros=129"),
    (["bias_initialiser=chrono", "bias_initialiser.t_max=2"], "bias_initialiser.t_max=2"),
    (["schedule=warmup_cosine", "schedule.warmup=1000"], "schedule.warmup=1000"),
    (["task=adding", "task.length=1"], "task.length=1"),
    (["task=adding", "task.shortest=1"], "task.shortest=1"),
    (["task=adding", "task.shortest=100"], "task.shortest=100"),
    (["task=copy", "task.shortest=201"], "task.shortest=201"),
    (["task=adding", "task.examples=49"], "task.examples=49"),
    (["task=copy", "task.examples=19"], "task.examples=19"),
    (["task=copy", "task.alphabet=1"], "task.alphabet=1"),
    (["adjoint=truncate", "adjoint.every=100"], "adjoint.every=100"),
    (["adjoint=truncate", "task=copy", "adjoint.every=220"], "adjoint.every=220"),
    (["adjoint=truncate", "task=smnist", "adjoint.every=64"], "adjoint.every=64"),
    (["adjoint=truncate", "task=smnist", "task.source=mnist5k", "adjoint.every=784"], "adjoint.every=784"),
    (["optimiser=momentum", "optimiser.nesterov=true", "optimiser.momentum=0"], "optimiser.nesterov=True"),
    (["optimiser=momentum", "optimiser.nesterov=true", "optimiser.dampening=0.1"], "optimiser.nesterov=True"),
]
SENSE = [
    ["milestones=[0.1,0.05]"],
    ["milestones=[]"],
    ["initialiser=identity"],
    ["schedule=warmup_cosine", "schedule.warmup=999"],
    ["schedule=warmup_cosine", "schedule.warmup=0"],
    ["task=adding", "task.length=2"],
    ["task=copy", "task.length=1"],
    ["task=adding", "task.shortest=2"],
    ["task=copy", "task.shortest=1"],
    ["task=adding", "task.examples=50"],
    ["task=copy", "task.alphabet=2"],
    ["adjoint=truncate", "adjoint.every=99"],
    ["adjoint=truncate", "task=copy", "adjoint.every=219"],
    ["adjoint=truncate", "task=smnist", "task.source=/some/where", "adjoint.every=10000"],
    ["optimiser=momentum", "optimiser.nesterov=true"],
    ["probe.every=0"],
    ["dtype=float64", "device=cuda", "engine=autograd", "force=true", "tensorboard=false"],
    ["name=a.B-c_9"],
    ["engine=fused", "threads=3", "recompute=10"],
    ["engine=autograd", "threads=1", "recompute=0"],
]


@pytest.mark.parametrize(("overrides", "start"), NONSENSE)
def test_combinations_that_do_nothing_or_not_what_they_say_are_refused(overrides: list[str], start: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(composed(*overrides))
    assert str(caught.value).startswith(f"{start}: not allowed. ")


@pytest.mark.parametrize("overrides", SENSE, ids=" ".join)
def test_good_values_pass_and_the_resolved_form_reads_back_the_same(overrides: list[str]) -> None:
    config = validate(composed(*overrides))
    assert validate(config.resolved()) == config
    for override in overrides:
        key, _, value = override.partition("=")
        if key in SCALARS and value not in ("true", "false", "[]"):
            shown: Any = config.resolved()
            for part in key.split("."):
                shown = shown[part]
            assert str(shown).replace(" ", "") == value


@pytest.mark.parametrize(
    ("given", "seeds"),
    [(1, [0]), (3, [0, 1, 2]), (3.0, [0, 1, 2]), ([5], [5]), ([3, 5.0, 0], [3, 5, 0]), ([2**32 - 1], [2**32 - 1])],
)
def test_seeds_are_a_number_of_them_or_a_list(given: Any, seeds: list[int]) -> None:
    config = validate(changed("seeds", given))
    assert config.seeds == seeds
    assert all(type(seed) is int for seed in config.seeds)


def test_whole_floats_are_integers_and_integers_are_floats() -> None:
    config = validate(composed("steps=1e4", "cell.hidden=1e2", "task.examples=1e5", "optimiser.lr=1", "milestones=[1]"))
    assert (config.steps, config.components["cell"]["hidden"]) == (10000, 100)
    assert type(config.steps) is type(config.components["task"]["examples"]) is int
    assert type(config.components["optimiser"]["lr"]) is float
    assert config.milestones == [1.0]


def test_validating_changes_nothing_it_is_given() -> None:
    raw = composed("steps=1e4")
    validate(raw)
    assert raw == composed("steps=1e4")


def test_composing_and_validating_import_no_torch() -> None:
    code = (
        "import sys\n"
        "from hydra import compose, initialize_config_dir\n"
        "from omegaconf import OmegaConf\n"
        "from rnnlab.schema import validate\n"
        f"with initialize_config_dir({str(CONFIGS)!r}, version_base='1.3'):\n"
        "    raw = OmegaConf.to_container(compose('config', overrides=['task=copy', 'cell=gru']), resolve=True)\n"
        "validate(raw)\n"
        "sys.exit(sum(name in sys.modules for name in ('torch', 'numpy', 'rnnlab.cells.gru')))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
