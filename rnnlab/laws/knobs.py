"""Every knob moves something: changing any hyper-parameter changes what one can observe.

For every group there is one observable, a list of tensors: see `observed`.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from rnnlab.contract import ConfigError
from rnnlab.laws.candidates import allowed
from rnnlab.laws.company import refuse_misfit
from rnnlab.laws.law import hold, law, same
from rnnlab.laws.subject import Subject

Observe = Callable[[Subject], list[Tensor]]
_OBSERVE: dict[str, Observe] = {}


def observed(*groups: str) -> Callable[[Observe], Observe]:
    """Mark what one can observe of a member of these groups."""

    def enact(observe: Observe) -> Observe:
        _OBSERVE.update(dict.fromkeys(groups, observe))
        return observe

    return enact


def observe(subject: Subject) -> list[Tensor]:
    """What one can observe of a component: the same at every call."""
    return [value.detach() for value in _OBSERVE[subject.group](subject)]


@law()
def every_hyper_parameter_moves_something(subject: Subject) -> None:
    before = observe(subject)
    hold(same(before, observe(subject)), "two observations differ, of the same values")
    refuse_misfit(subject)  # finds the company in which others are asked for
    for name in subject.values:
        tried, kind = list[Any](), subject.kinds[name]
        for value in allowed(f"{subject.key}.{name}", kind, subject.values[name]):
            try:
                changed = subject.changed(**{name: value})
                refuse_misfit(changed)
                after = observe(changed)
            except ConfigError:  # it does not go with the others
                continue
            tried.append(value)
            if not same(before, after):
                break
        else:
            hold(False, f"{name}={subject.values[name]!r} does what {tried} do")
