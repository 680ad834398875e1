"""What a component may be given: the types of its hyper-parameters, and the one place where values are checked.

A component's signature is its contract. It names its hyper-parameters with the types below, and its YAML spells out
every one of them:

    @component
    class Norm:
        max_norm: Positive

`check_component` holds a configuration against that signature *without importing the component*: it reads the class
from the source file, because importing torch takes seconds and a typing error should be told at once.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, validate_call
from pydantic.dataclasses import dataclass as pydantic_dataclass


class ConfigError(Exception):
    """The configuration is wrong: the message names the key, what was given and what is allowed."""


class RunError(Exception):
    """The run cannot go on for a reason outside the configuration: disk, lock, damaged files."""


class InUseError(RunError):
    """Another process works on the run."""


def _integral(value: Any) -> Any:
    """1e4 on a command line is a float, and means the integer 10000."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = 2**53
"""Whole numbers are below this: up to here a float holds each of them, so that 1e15 is exactly what it says, and torch
can count what one of them has by the thousand in its 64 bits."""
REAL = 3.4028234663852886e38
"""The largest float32. A larger number would be infinite in a run, or an error of torch's."""

Count = Annotated[int, BeforeValidator(_integral), Field(ge=1, lt=WHOLE)]
CountOrZero = Annotated[int, BeforeValidator(_integral), Field(ge=0, lt=WHOLE)]
Repeats = Annotated[int, BeforeValidator(_integral), Field(ge=1, le=1000)]
"""How often something is done within one step."""
Seed = Annotated[int, BeforeValidator(_integral), Field(ge=0, lt=2**32)]
Finite = Annotated[float, Field(ge=-REAL, le=REAL, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=REAL, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=REAL, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
Percentage = Annotated[float, Field(ge=0, le=100)]

CONTEXT = ("replicas", "inputs", "units", "steps", "activation")
"""What a component's signature may name without its YAML doing so: `build` passes R, I, H, the task's number of time
steps and the activation."""

_STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True, extra="forbid")
_NAMES: dict[str, Any] = {
    "Count": Count, "CountOrZero": CountOrZero, "Repeats": Repeats, "Seed": Seed, "Finite": Finite,
    "Positive": Positive,
    "NonNegative": NonNegative, "Share": Share, "PositiveShare": PositiveShare, "BelowOne": BelowOne,
    "OpenShare": OpenShare, "Percentage": Percentage, "Literal": Literal, "bool": bool, "int": int, "float": float,
    "str": str, "list": list, "None": None,
}  # fmt: skip

T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def component(cls: type[T]) -> type[T]:
    """A component that only holds hyper-parameters: keyword-only, frozen, validated when it is made."""
    return pydantic_dataclass(kw_only=True, frozen=True, config=_STRICT)(cls)  # type: ignore[return-value]


def checked(function: Callable[..., T]) -> Callable[..., T]:
    """Validate a constructor's arguments against their annotations (for components that are nn.Modules)."""
    return validate_call(config=_STRICT)(function)


def explain(error: ValidationError) -> str:
    """Pydantic's account of a wrong value as one line: what is allowed."""
    parts = []
    for item in error.errors():
        text = item["msg"].removeprefix("Input should be ").removeprefix("String should ")
        text = re.sub(r"\d{20,}", lambda digits: f"{float(digits[0]):.8g}", text)
        parts.append(text.replace("match pattern", "text that matches"))
    return " or ".join(dict.fromkeys(parts))


def check_value(key: str, value: Any, annotation: Any) -> Any:
    """The value, converted where nothing is lost, or ConfigError."""
    try:
        return _adapter(annotation).validate_python(value, strict=True)
    except ValidationError as error:
        raise ConfigError(f"{key}={value}: not allowed. {key} must be {explain(error)}.") from None


@functools.lru_cache(maxsize=256)
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    """Made once for a type: in a sweep of short runs, making it was a fifth of a run."""
    return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))


def without_stack(error: BaseException | str) -> str:
    """What an exception says, without the stack of C++ frames that torch writes after it."""
    return re.split(r"\n(?:Exception raised from|C\+\+ CapturedTraceback)", str(error), maxsplit=1)[0].strip()


def nearest(word: str, words: list[str]) -> str:
    """' Did you mean …?' where a known word is close."""
    close = difflib.get_close_matches(word, words, n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


def signature_of(target: str) -> dict[str, Any] | None:
    """Parameter names of a component and their types (None where the type is not one of this module's).

    Read from the source file, not imported. None when the source cannot be found.
    """
    node = _definition(target)
    return None if node is None else {name: _type_of(kind) for name, kind, _ in _arguments(node)}


def required_by(target: str) -> list[str]:
    """The hyper-parameters of a component that have no default."""
    node = _definition(target)
    names = [] if node is None else [name for name, _, default in _arguments(node) if default is None]
    return [name for name in names if name not in CONTEXT]


def _definition(target: str) -> ast.ClassDef | ast.FunctionDef | None:
    module, _, name = target.rpartition(".")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    for node in _parsed(Path(spec.origin), Path(spec.origin).stat().st_mtime_ns).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            return node
    return None


@functools.lru_cache(maxsize=256)
def _parsed(source: Path, changed: int) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"))


def _arguments(node: ast.ClassDef | ast.FunctionDef) -> list[tuple[str, ast.expr | None, ast.expr | None]]:
    """(name, annotation, default) of every keyword of a function, of a class's constructor, or of its fields."""
    if isinstance(node, ast.FunctionDef):
        keywords = [(a.arg, a.annotation, d) for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
        plain = [a for a in node.args.args if a.arg != "self"]
        defaults = [None] * (len(plain) - len(node.args.defaults)) + list(node.args.defaults)
        return [(a.arg, a.annotation, d) for a, d in zip(plain, defaults, strict=True)] + keywords
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _arguments(item)
    return [
        (item.target.id, item.annotation, item.value)
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and "ClassVar" not in ast.unparse(item.annotation)
    ]


def _type_of(annotation: ast.expr | None) -> Any:
    if annotation is None:
        return None
    try:
        return eval(ast.unparse(annotation), {"__builtins__": {}}, _NAMES)  # an annotation, and no builtins
    except (NameError, TypeError, AttributeError):
        return None


def check_component(key: str, config: Mapping[str, Any], allowed_packages: list[str]) -> dict[str, Any]:
    """One component's configuration, checked against its signature.

    Raises ConfigError for a target outside the allowed packages, an unknown or missing key, or a wrong value.
    """
    target = config.get("_target_")
    if not isinstance(target, str):
        raise ConfigError(f"{key}: has no _target_. Choose an option of the group: {key}=OPTION.")
    if target.split(".")[0] not in allowed_packages:
        raise ConfigError(
            f"{key}._target_={target}: only components from these packages are loaded: "
            f"{', '.join(allowed_packages)}. Add a package of yours with components=[rnnlab,my_package]."
        )
    signature = signature_of(target)
    if signature is None:
        raise ConfigError(
            f"{key}._target_={target}: no such class or function was found (in a package that can be imported here)."
        )
    result = {"_target_": target}
    for name, value in config.items():
        if name == "_target_":
            continue
        if name not in signature or name in CONTEXT:
            known = [n for n in signature if n not in CONTEXT]
            option = target.rpartition(".")[0].rpartition(".")[2]
            keys = ", ".join(known) if known else "none"
            raise ConfigError(f"{key}.{name}={value}: no such key. '{option}' has: {keys}.{nearest(name, known)}")
        kind = signature[name]
        result[name] = value if kind is None else check_value(f"{key}.{name}", value, kind)
    for name in required_by(target):
        if name not in result:
            raise ConfigError(f"{key}.{name}: missing. Give it a value: {key}.{name}=VALUE.")
    return result
