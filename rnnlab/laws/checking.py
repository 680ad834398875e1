"""Hold a component against every law of its group."""

from collections.abc import Mapping
from typing import Any

from rnnlab.contract import ConfigError, check_component
from rnnlab.laws import (  # noqa: F401  their laws are enacted where they stand
    activations,
    adjoints,
    architectures,
    cells,
    clipping,
    dropout,
    gradient_noise,
    initialisers,
    knobs,
    optimisers,
    parametrisations,
    probes,
    regularisers,
    schedules,
    state,
    tasks,
    training,
    written,
)
from rnnlab.laws.law import LawError, NotConcernedError, laws_of
from rnnlab.laws.subject import Subject
from rnnlab.membership import lacks


def check(
    component: type | str | Mapping[str, Any], values: Mapping[str, Any] | None = None, *, group: str | None = None
) -> list[str]:
    """Hold a component against every law of its group, at small sizes; some seconds.

    Args:
        component: a class marked with @component, its `_target_`, or what its YAML holds. Its source must be a file.
        values: its hyper-parameters by name; one that is not given takes the first value that its type allows.
        group: its key in a configuration, `bias_initialiser` say. None: by what the class is and has.
    Returns:
        The names of the laws that hold, in the order in which they were tried; without those that are about something
        which it does not have.
    Raises:
        LawError: the first that does not, with the component, and with what was seen.

    Example:
        >>> check(MyClipping, {"max_norm": 1.0})
        ['every hyper parameter is typed and has no default', ...]
    """
    try:
        subject = Subject.of(component, values, group)
        lacking = lacks(subject.key, subject.cls)
        if lacking:
            raise ConfigError(f"{subject.target}: as {subject.key} it {lacking}.")
        check_component(subject.key, subject.config, subject.packages)
    except ConfigError as error:
        raise LawError(str(error)) from error
    held = []
    for law in laws_of(subject.group):
        try:
            law.hold(subject)
        except NotConcernedError:
            continue
        except Exception as error:
            what = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            raise LawError(f"{subject.name} breaks a law: {law.name}. Seen: {what.strip()}") from error
        held.append(law.name)
    return held
