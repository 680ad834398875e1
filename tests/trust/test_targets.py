"""What may be a `_target_`: the components of the key's own group, and nothing else that rnnlab has."""

import ast
import sys
from collections.abc import Iterator

import pytest
from support import ROOT, leaf, leaves

from rnnlab.contract import ConfigError, check_component, check_target, component_class
from rnnlab.groups import GROUPS
from rnnlab.make import make


def names() -> Iterator[str]:
    """Everything that a module of rnnlab or its plug-ins defines, imports or assigns, as MODULE.NAME."""
    for folder in ("rnnlab", "hydra_plugins"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield module
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    yield f"{module}.{node.name}"
                elif isinstance(node, ast.Import | ast.ImportFrom):
                    yield from (f"{module}.{alias.asname or alias.name}" for alias in node.names)
                elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield f"{module}.{node.id}"


def refusal(key: str, target: str) -> str:
    """What is said of a target; '' where it is accepted."""
    try:
        check_target(key, target, ())
    except ConfigError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def everything() -> list[str]:
    found = sorted(set(names()))
    assert {"rnnlab.bptt.fused.compiler._run", "rnnlab.training.prober.Prober", "rnnlab.cells.lstm.Cell"} <= set(found)
    return found


@pytest.mark.parametrize("key", GROUPS)
def test_of_all_that_rnnlab_has_only_the_group_s_options_are_components_of_it(key: str, everything: list[str]) -> None:
    options = GROUPS[key].options or key
    wanted = {leaf(group, option)["_target_"] for group, option in leaves() if group == options}
    told = {target: refusal(key, target) for target in everything}
    assert {target for target, said in told.items() if not said} == wanted
    assert all(
        said.startswith(f"{key}._target_={target}: ") and "\n" not in said for target, said in told.items() if said
    )


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "hydra.utils.call",
        "rnnlab",
        "rnnlab.",
        ".rnnlab.clipping.norm.NormClipping",
        "rnnlab.clipping..norm.NormClipping",
        "rnnlab.clipping.norm.NormClipping.__call__",
        "rnnlab.clipping.norm.component",
        "rnnlab.clipping.norm.torch",
        "rnnlab.clipping.norm.Norm Clipping",
        "rnnlab.clipping.norm",
        "rnnlab.clipping",
        "rnnlab.clipping.gradient_step.GradientStep",
        "rnnlab.clippingx.norm.NormClipping",
        "rnnlab.schedules.constant.Constant",
        "",
    ],
)
def test_what_is_no_clipping_rule_is_refused_and_cannot_be_made(target: str) -> None:
    for refused in (
        lambda: check_component("clipping", {"_target_": target}),
        lambda: component_class("clipping", target, ("rnnlab",)),
        lambda: make("clipping", {"_target_": target}),
    ):
        with pytest.raises(ConfigError, match=r"^clipping\._target_="):
            refused()


HOSTILE = "open('pwned', 'w')\n\nclass Plain:\n    def __call__(self, step): ...\n"


@pytest.mark.parametrize("target", ["hostile.part.Plain", "hostile.Plain", "hostile.part.Nothing", "other.part.Plain"])
def test_nothing_is_imported_to_refuse_it(target, in_tmp_path, monkeypatch) -> None:
    """Not the module, and not the packages above it; a package that is not allowed is not even looked into."""
    for package in ("hostile", "other"):
        (in_tmp_path / package).mkdir()
        for name in ("__init__", "part"):
            (in_tmp_path / package / f"{name}.py").write_text(HOSTILE)
    monkeypatch.syspath_prepend(str(in_tmp_path))
    with pytest.raises(ConfigError):
        make("clipping", {"_target_": target}, ["rnnlab", "hostile"])
    assert not (in_tmp_path / "pwned").exists()
    assert not {"hostile", "other"} & set(sys.modules)
