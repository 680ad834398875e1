"""What a component may be given: the types of its hyper-parameters, and the one place where values are checked.

A component's signature is its contract. It names its hyper-parameters with the types below, and its YAML spells out
every one of them:

    @component
    class Norm:
        max_norm: Positive

What several have in common they inherit, from each other or from a class that only gives fields, marked with `@fields`.

`check_component` holds a configuration against that signature *without importing the component*: it reads the class
from the source file, because importing torch takes seconds and a typing error should be told at once.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, is_dataclass
from importlib import import_module
from typing import Annotated, Any, Literal, TypeGuard, TypeVar, dataclass_transform

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, validate_call
from pydantic.dataclasses import dataclass as pydantic_dataclass

from rnnlab.groups import group_of
from rnnlab.messages import listed, one_line, shown, text_of
from rnnlab.source import arguments, definition, is_marked
from rnnlab.spelling import meant


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
RepeatsOrZero = Annotated[int, BeforeValidator(_integral), Field(ge=0, le=1000)]
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
Members = Annotated[dict[str, Any], Field(min_length=1)]
"""Components of the same group by name, at least one: each a mapping with a `_target_` in a configuration."""

CONTEXT = ("replicas", "inputs", "outputs", "grid", "units", "steps", "activation")
"""What a component's signature may name without its YAML doing so: `build` passes R, I, O, the rows and columns of
places that the inputs of a step come from, H, the task's number of time steps and the activation."""

_STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True, extra="forbid")
_NAMES: dict[str, Any] = {
    "Count": Count, "CountOrZero": CountOrZero, "Repeats": Repeats, "RepeatsOrZero": RepeatsOrZero,
    "Seed": Seed, "Finite": Finite, "Positive": Positive,
    "NonNegative": NonNegative, "Share": Share, "PositiveShare": PositiveShare, "BelowOne": BelowOne,
    "OpenShare": OpenShare, "Members": Members, "Percentage": Percentage, "Literal": Literal, "bool": bool,
    "int": int, "float": float, "str": str, "list": list, "None": None,
}  # fmt: skip

T = TypeVar("T")


_MARK = "__rnnlab_component__"
"""Attribute of a class, not inherited, or of its constructor."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
def component(cls: type[T]) -> type[T]:
    """Mark a class as a component, whose hyper-parameters are validated when it is made.

    A class without a constructor becomes one that only holds hyper-parameters, its own and those it inherits:
    keyword-only, frozen. One with a constructor of its own or inherited, an nn.Module say, keeps it; its own is
    `checked`.
    """
    if not _has_constructor(cls):
        cls = pydantic_dataclass(kw_only=True, frozen=True, config=_STRICT)(cls)  # type: ignore[assignment]
    elif "__init__" in vars(cls) and not is_component(cls):
        cls.__init__ = checked(cls.__init__)  # type: ignore[misc]
    setattr(cls, _MARK, True)
    return cls


@dataclass_transform(kw_only_default=True, frozen_default=True)
def fields(cls: type[T]) -> type[T]:
    """Mark a class as no component itself, but one that gives keys to those: they inherit it, or their group has it."""
    return dataclass(kw_only=True, frozen=True)(cls)


def _has_constructor(cls: type) -> bool:
    """A dataclass's and a protocol's do not count: they are made anew."""
    first = next(base for base in cls.__mro__ if "__init__" in vars(base))
    return not (first is object or is_dataclass(first) or getattr(first, "_is_protocol", False))


def checked(function: Callable[..., T]) -> Callable[..., T]:
    """Validate a constructor's arguments against their annotations, and mark its class as a component."""
    validated = validate_call(config=_STRICT)(function)
    setattr(validated, _MARK, True)
    return validated


def is_component(made: Any) -> TypeGuard[type]:
    """Whether this is a class that is marked itself: what it inherits does not count."""
    return isinstance(made, type) and (_MARK in vars(made) or hasattr(vars(made).get("__init__"), _MARK))


def explain(error: ValidationError) -> str:
    """Pydantic's account of a wrong value as one line: what is allowed."""
    parts = []
    for item in error.errors():
        text = item["msg"].removeprefix("Input should be ").removeprefix("String should ")
        text = text.replace("Dictionary should have at least 1 item after validation, not 0", "one NAME at least")
        text = re.sub(r"\d{20,}", lambda digits: f"{float(digits[0]):.8g}", text)
        parts.append(text.replace("match pattern", "text that matches"))
    return " or ".join(dict.fromkeys(parts))


def check_value(key: str, value: Any, annotation: Any) -> Any:
    """The value, converted where nothing is lost, or ConfigError."""
    if isinstance(value, str) and re.search("\\$\\{|[\x85\ud800-\udfff]", value):  # what YAML does not give back
        raise ConfigError(f"{key}={shown(value)}: not allowed. {key} must be text in UTF-8, without '${{'.")
    try:
        return _adapter(annotation).validate_python(value, strict=True)
    except ValidationError as error:
        raise ConfigError(f"{key}={shown(value)}: not allowed. {key} must be {one_line(explain(error))}.") from None


@functools.lru_cache(maxsize=256)
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    """Made once for a type: in a sweep of short runs, making it was a fifth of a run."""
    return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))


def without_stack(error: BaseException | str) -> str:
    """What an exception says, without the stack of C++ frames that torch writes after it."""
    return re.split(r"\n(?:Exception raised from|C\+\+ CapturedTraceback)", text_of(error), maxsplit=1)[0].strip()


def signature_of(target: str) -> dict[str, Any] | None:
    """Parameter names of a component and their types (None where the type is not one of this module's).

    Read from the source file, not imported. None when there is no such class.
    """
    if definition(target) is None:
        return None
    return {name: _type_of(kind) for name, kind, _ in arguments(target)}


def required_by(target: str) -> list[str]:
    """The hyper-parameters of a component that have no default."""
    return [name for name, _, default in arguments(target) if default is None and name not in CONTEXT]


def common_to(key: str) -> dict[str, Any]:
    """The keys, and their types, that all components of a key's group have beside their own."""
    return signature_of(group_of(key).common) or {}


def keys_of(key: str, target: str) -> dict[str, Any]:
    """The keys, and their types, that a component has in a configuration."""
    named = {**(signature_of(target) or {}), **common_to(key)}
    return {name: kind for name, kind in named.items() if name not in CONTEXT}


def _type_of(annotation: ast.expr | None) -> Any:
    if annotation is None:
        return None
    try:
        return eval(ast.unparse(annotation), {"__builtins__": {}}, _NAMES)  # an annotation, and no builtins
    except (NameError, TypeError, AttributeError):
        return None


OURS = "rnnlab"


def check_target(key: str, target: Any, packages: Collection[str]) -> None:
    """Refuse what is no component of the key's group, before anything of it is imported: importing runs it.

    A component is a class marked as one in its own source. One of rnnlab's also lies in its group's package, so that
    no helper, and no class of another group, is one.

    Args:
        packages: of the user's own, that components may come from, beside rnnlab; see rnnlab.packages.
    Raises:
        ConfigError: in one line, what is allowed.
    """
    if not isinstance(target, str):
        raise ConfigError(f"{key}: has no _target_. Choose an option of the group: {key}=OPTION.")
    given, group = f"{key}._target_={target}", group_of(key)
    first, *_ = target.split(".")
    if first not in {OURS, *packages}:
        allowed = ", ".join(dict.fromkeys([OURS, *packages]))
        raise ConfigError(
            f"{given}: only components from these packages are loaded: {allowed}. Add a package of yours on the "
            "command line with components=[rnnlab,my_package] (of rnnlab.diagnose: --components my_package)."
        )
    if first == OURS and not target.startswith(f"{group.package}."):
        raise ConfigError(
            f"{given}: not allowed. Of rnnlab's own, {key} may be a component of {group.package} (an option of the "
            "group), or else one of a package of yours."
        )
    node = definition(target)
    if node is None:
        raise ConfigError(
            f"{given}: no such class was found in the source of a module (of a package that can be imported here)."
        )
    if not is_marked(node):
        raise ConfigError(
            f"{given}: not allowed. It is no component: those are classes marked with @component of rnnlab.contract."
        )


def component_class(key: str, target: str, packages: Collection[str]) -> type:
    """The class of a component, imported once it is sure to be one.

    Raises:
        ConfigError: as `check_target`; or its module cannot be imported, or has something else under that name.
    """
    check_target(key, target, packages)
    module, _, name = target.rpartition(".")
    try:
        found = vars(import_module(module)).get(name)
    except ImportError as error:
        raise ConfigError(f"{key}._target_={target}: cannot be imported: {error}.") from error
    if not is_component(found) or (found.__module__, found.__qualname__) != (module, name):
        raise ConfigError(
            f"{key}._target_={target}: not allowed. Once imported, it is no class marked with @component."
        )
    return found


def check_component(key: str, config: Mapping[str, Any], packages: Collection[str] = ()) -> dict[str, Any]:
    """One component's configuration, checked against its signature.

    Raises ConfigError for what `check_target` refuses, an unknown or missing key, or a wrong value.
    """
    target: Any = config.get("_target_")
    check_target(key, target, packages)
    known = keys_of(key, target)
    result = {"_target_": target}
    for name, value in config.items():
        if name == "_target_":
            continue
        if name not in known:
            option = target.rpartition(".")[0].rpartition(".")[2]
            hint = meant(f"{key}.{name}", list(known))
            raise ConfigError(
                f"{key}.{shown(name)}={shown(value)}: no such key.{hint} '{option}' has: {listed(list(known))}."
            )
        kind = known[name]
        result[name] = value if kind is None else check_value(f"{key}.{name}", value, kind)
        if kind is Members:
            result[name] = _members(f"{key}.{name}", value, packages)
    for name in (*required_by(target), *common_to(key)):
        if name not in result:
            raise ConfigError(f"{key}.{name}: missing. Give it a value: {key}.{name}=VALUE.")
    return result


def _members(key: str, value: Mapping[str, Any], packages: Collection[str]) -> dict[str, Any]:
    for name, member in value.items():
        if not (str(name).isidentifier() and isinstance(member, Mapping)):
            raise ConfigError(f"{key}={shown(value)}: not allowed. {key} must be components' keys, by name.")
    return {name: check_component(f"{key}.{name}", member, packages) for name, member in value.items()}


def members_of(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The components that a component's configuration holds, by KEY.NAME."""
    fields = {key: value for key, value in config.items() if isinstance(value, Mapping)}
    return {f"{key}.{name}": member for key, value in fields.items() for name, member in value.items()}
