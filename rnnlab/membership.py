"""Whether a component is what its group's protocol says, asked when it is made and not when it is used.

A protocol is satisfied by having its members: a method must take the arguments that it will be called with. A class,
such as `Cell`, is inherited from; what it leaves open (abstract methods, ClassVars without a value) is defined, and a
method of it that is overridden takes the same arguments.
"""

import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any, ClassVar, get_origin

from rnnlab.groups import GROUPS, group_of


def lacks(key: str, made: Any) -> str:
    """What a component lacks for its group, in words; '' where nothing.

    Args:
        key: of the component in a configuration, such as `cell` or `probes.gates`.
        made: its class, for what can be told before it is made; or the component itself.
    """
    for kind in map(_imported, group_of(key).kinds):
        for told in _lacking(kind, made):
            return told
    return ""


def groups_of(made: type) -> list[str]:
    """The groups that a class is a member of, by what it has; those with a class that it inherits from go first."""
    fits = [group for group in GROUPS.values() if not lacks(group.key, made)]
    inherited = {group.key for group in fits if not all(_is_protocol(_imported(kind)) for kind in group.kinds)}
    return sorted((group.key for group in fits), key=lambda key: key not in inherited)


def _is_protocol(kind: type) -> bool:
    return getattr(kind, "_is_protocol", False)


def _imported(name: str) -> type:
    module, _, leaf = name.rpartition(".")
    return getattr(import_module(module), leaf)


def _lacking(kind: type, made: Any) -> Iterator[str]:
    cls = made if isinstance(made, type) else type(made)
    protocol = _is_protocol(kind)
    if not protocol and not issubclass(cls, kind):
        yield f"is no {kind.__module__}.{kind.__qualname__}"
        return
    # What a constructor sets is there once there is an instance.
    attributes = _open_class_variables(kind) if not protocol else _attributes(kind) if made is not cls else []
    # Of the class first: a property may compute what takes long, as a task's baseline, and more than there is room for.
    yield from (f"has no {name}" for name in attributes if not (hasattr(cls, name) or hasattr(made, name)))
    for name, method in _methods(kind):
        inherited = _defined(cls, name) is method and not _is_abstract(method)
        if (protocol or not inherited) and not _serves(cls, name, method):
            yield f"has no method {name}({', '.join(_arguments(method))})"


def _bases(kind: type) -> list[type]:
    return [base for base in kind.__mro__ if base.__module__.startswith("rnnlab.")]


def _open_class_variables(kind: type) -> list[str]:
    named = [(n, a) for base in _bases(kind) for n, a in inspect.get_annotations(base).items()]
    return [name for name, annotation in named if get_origin(annotation) is ClassVar]


def _attributes(kind: type) -> list[str]:
    annotated = [name for base in _bases(kind) for name in inspect.get_annotations(base)]
    return annotated + [n for base in _bases(kind) for n, member in vars(base).items() if isinstance(member, property)]


def _methods(kind: type) -> list[tuple[str, Any]]:
    named = [(n, member) for base in _bases(kind) for n, member in vars(base).items() if inspect.isfunction(member)]
    return [(name, method) for name, method in named if name == "__call__" or not name.startswith("_")]


def _is_abstract(method: Any) -> bool:
    return getattr(method, "__isabstractmethod__", False)


def _serves(cls: type, name: str, wanted: Any) -> bool:
    """Whether a class has a method of its own that takes the wanted one's arguments."""
    own = _defined(cls, name)
    if name == "__call__" and _of_module(own):
        own = _defined(cls, "forward")  # by which an nn.Module is called
    if own is None or own is wanted or _is_abstract(own) or _of_module(own):
        return False
    method = own.__get__(None, cls) if hasattr(own, "__get__") else own
    if not callable(method):
        return False
    parameters = inspect.signature(wanted).parameters.values()
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        return True  # called with whatever the component itself has named
    try:
        inspect.signature(method).bind(*[None] * (len(_arguments(wanted)) + inspect.isfunction(own)))
    except TypeError:
        return False
    except ValueError:  # written in C: nothing can be told
        return True
    return True


def _defined(cls: type, name: str) -> Any:
    """What the class or one that it inherits from has under a name; what its metaclass has does not count."""
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


def _arguments(method: Any) -> list[str]:
    return list(inspect.signature(method).parameters)[1:]


def _of_module(method: Any) -> bool:
    """nn.Module's own: a `__call__` that takes anything, and a `forward` that raises."""
    return getattr(method, "__module__", "") == "torch.nn.modules.module"
