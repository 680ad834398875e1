"""What a law is, and how one is broken."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from rnnlab.laws.subject import Subject


class LawError(AssertionError):
    """A component breaks a law of its group; the message names both, and what was seen."""


class NotConcernedError(Exception):
    """The law says nothing of this component: it has nothing that the law is about."""


@dataclass(frozen=True)
class Law:
    """A law by its name; `groups` that it is for, all where there are none named; `hold` raises where it is broken."""

    name: str
    groups: tuple[str, ...]
    hold: Callable[[Subject], None]


LAWS: list[Law] = []
"""Every law."""


def law(*groups: str) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
    """Mark a function as a law, called as the function is."""

    def enact(function: Callable[[Subject], None]) -> Callable[[Subject], None]:
        LAWS.append(Law(function.__name__.replace("_", " "), groups, function))
        return function

    return enact


def laws_of(group: str) -> list[Law]:
    """The laws that members of a group are held to, those of what is written first: others rely on that."""
    held = [law for law in LAWS if not law.groups or group in law.groups]
    return sorted(held, key=lambda law: not law.hold.__module__.endswith(".written"))


def hold(is_so: object, seen: str) -> None:
    """Raise LawError with what was seen, where it is not so."""
    if not is_so:
        raise LawError(seen)


def hold_same(found: Tensor, expected: Tensor, what: str) -> None:
    """Equal to the bit; a NaN equals a NaN."""
    alike = found.shape == expected.shape and found.dtype == expected.dtype
    hold(
        alike and ((found == expected) | (found.isnan() & expected.isnan())).all(), f"{what}: {_apart(found, expected)}"
    )


def _apart(found: Tensor, expected: Tensor) -> str:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return f"{found.dtype} {tuple(found.shape)}, not {expected.dtype} {tuple(expected.shape)}"
    return f"they differ by up to {(found.double() - expected.double()).abs().max().item():.3g}"


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    """Whether two lists of tensors are equal to the bit."""
    return len(found) == len(expected) and all(
        a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())
        for a, b in zip(found, expected, strict=True)
    )
