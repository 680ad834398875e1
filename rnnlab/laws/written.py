"""Laws of what is written: signature, docstring, and what is refused of a configuration."""

import inspect
import re
from typing import Any, get_args

from rnnlab.contract import CONTEXT, ConfigError, Finite, check_component, common_to, required_by, signature_of
from rnnlab.groups import GROUPS
from rnnlab.laws.law import LawError, hold, law
from rnnlab.laws.subject import Subject

WRONG = ([1], {"a": 1}, -3.5, float("nan"), "½")
"""What no hyper-parameter is, but for the two types in `_may_be`."""


@law()
def every_hyper_parameter_is_a_keyword_typed_and_without_default(subject: Subject) -> None:
    named = inspect.signature(subject.cls).parameters
    parameters = {name: p for name, p in named.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    read = signature_of(subject.target) or {}
    hold(list(read) == list(parameters), f"it is made with {list(parameters)}; its source says {list(read)}")
    for name, parameter in parameters.items():
        hold(parameter.kind is parameter.KEYWORD_ONLY, f"{parameter} can be given without its name")
        hold(parameter.default is parameter.empty, f"{parameter} has a default, which no YAML shows")
        hold(name in CONTEXT or read[name] is not None, f"{parameter} has no type of rnnlab.contract")


@law()
def its_configuration_has_every_hyper_parameter(subject: Subject) -> None:
    hold(set(subject.values) == set(subject.kinds), f"given {sorted(subject.values)}, it has {sorted(subject.kinds)}")


@law()
def its_docstring_names_every_key_of_its_own(subject: Subject) -> None:
    own = inspect.getdoc(subject.cls) or ""
    hold(own.strip(), "it has no docstring")
    bases = [base for base in subject.cls.__mro__ if base.__module__.partition(".")[0] in subject.packages]
    text = "\n".join(base.__doc__ or "" for base in bases)  # an inherited argument stands with the base
    for name in set(signature_of(subject.target) or {}) - {*CONTEXT, *GROUPS[subject.group].keys}:
        hold(re.search(rf"\b{name}\b", text), f"{name} is not in it")


@law()
def an_unknown_key_is_refused_with_the_known_ones(subject: Subject) -> None:
    told = _refusal(subject, {**subject.config, "nonsense": 1})
    hold(told.startswith(f"{subject.key}.nonsense=1: no such key"), f"told of nonsense=1: {told!r}")
    for name in subject.kinds:
        hold(name in told, f"{name} is not among the known ones: {told}")


@law()
def a_missing_key_is_named(subject: Subject) -> None:
    for name in (*required_by(subject.target), *common_to(subject.key)):
        config = {key: value for key, value in subject.config.items() if key != name}
        told = _refusal(subject, config)
        hold(told.startswith(f"{subject.key}.{name}: missing"), f"told without {name}: {told!r}")


@law()
def a_value_of_the_wrong_type_is_refused(subject: Subject) -> None:
    for name, kind in subject.kinds.items():
        for wrong in WRONG:
            if not _may_be(wrong, kind):
                told, key = _refusal(subject, {**subject.config, name: wrong}), f"{subject.key}.{name}"
                pattern = rf"(?s){re.escape(key)}=.*not allowed\. {re.escape(key)} must be \S"
                hold(re.match(pattern, told), f"told of {name}={wrong!r}: {told!r}")


def _may_be(wrong: Any, kind: Any) -> bool:
    if isinstance(wrong, str):
        return kind is str or str in get_args(kind)
    if isinstance(wrong, list):
        return getattr(kind, "__origin__", kind) is list
    return wrong == -3.5 and kind == Finite


def _refusal(subject: Subject, config: dict[str, Any]) -> str:
    try:
        check_component(subject.key, config, subject.packages)
    except ConfigError as error:
        return str(error)
    raise LawError(f"nothing is wrong with {config}")
