"""Components as they are written: their configured values and their source. Nothing is imported; torch takes seconds.

What a component's class says by itself is read from its source: a literal, or a method or property whose body needs no
name of its module. It is compiled alone and called with a stand-in in place of the component.
"""

import ast
import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

from rnnlab.source import lineage


class UnknownYetError(Exception):
    """It cannot be told from configuration and source alone."""


class Written:
    """A stand-in for a component that is not made.

    Its attributes are the configured values, and what its class, or one that it inherits from, says by itself.

    Args:
        target: MODULE.NAME of its class.
        values: its hyper-parameters.
    """

    def __init__(self, target: str, values: Mapping[str, Any]) -> None:
        self._target, self._values = target, values

    def __getattr__(self, name: str) -> Any:
        """Raises UnknownYetError for whatever else a component may have."""
        if name in self._values:
            return self._values[name]
        kind, value = _said(lineage(self._target), name)
        if kind == "property":
            return value(self)
        return functools.partial(value, self) if kind == "method" else value


def _said(classes: list[ast.ClassDef], name: str) -> tuple[str, Any]:
    """(`method`, `property` or `value`, what it is) of a member."""
    for node in classes:
        for item in node.body:
            if isinstance(item, ast.FunctionDef) and item.name == name:
                decorators = [ast.unparse(decorator) for decorator in item.decorator_list]
                if decorators in ([], ["property"]):
                    return "property" if decorators else "method", _compiled(item)
            elif isinstance(item, ast.AnnAssign | ast.Assign) and item.value is not None and name in _names(item):
                try:
                    return "value", ast.literal_eval(item.value)
                except ValueError:
                    break
        else:
            continue
        break
    raise UnknownYetError(name)


def _names(item: ast.AnnAssign | ast.Assign) -> list[str]:
    targets = [item.target] if isinstance(item, ast.AnnAssign) else item.targets
    return [target.id for target in targets if isinstance(target, ast.Name)]


@functools.lru_cache(maxsize=256)
def _compiled(function: ast.FunctionDef) -> Callable[..., Any]:
    """The function by itself, which finds no name of its module."""
    alone = copy.deepcopy(function)
    alone.decorator_list, alone.returns = [], None
    for argument in (*alone.args.args, *alone.args.kwonlyargs):
        argument.annotation = None
    found: dict[str, Any] = {}
    exec(
        compile(ast.Module([alone], []), f"<{function.name}>", "exec"), found
    )  # of a package that is allowed: it would be imported
    return found[function.name]
