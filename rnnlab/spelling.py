"""What a word that does not exist may be meant as. Imports nothing heavy."""

import difflib

from rnnlab.messages import LONGEST_VALUE, shown


def nearest(word: str, words: list[str]) -> str:
    """' Did you mean …?' where a known word is close."""
    close = difflib.get_close_matches(word[:LONGEST_VALUE], words, n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


ALIASES = {
    "lr": "optimiser.lr",
    "learning_rate": "optimiser.lr",
    "optimizer": "optimiser",
    "hidden": "cell.hidden",
    "hidden_size": "cell.hidden",
    "units": "cell.hidden",
    "model": "cell",
    "nonlinearity": "activation",
    "length": "task.length",
    "batch": "task.batch",
    "batch_size": "task.batch",
    "dataset": "task",
    "seed": "seeds",
    "iterations": "steps",
    "max_norm": "clipping.max_norm",
    "clip": "clipping.max_norm",
    "initializer": "initialiser",
    "init": "initialiser",
    "regularizer": "regulariser",
    "parametrization": "parametrisation",
    "parameterization": "parametrisation",
}
"""What people write who come from elsewhere, and the key here."""


def meant(key: str, known: list[str]) -> str:
    """' Did you mean …?' for a key that does not exist; `known` are those that could stand in place of its last part.

    An alias goes first: `lr` is far from every key at the top, and `optimizer.lr` is meant as `optimiser.lr`.
    """
    parent, _, leaf = key.rpartition(".")
    first, _, rest = key.partition(".")
    if first in ALIASES and "." not in ALIASES[first]:
        return f" Did you mean '{ALIASES[first]}{'.' if rest else ''}{shown(rest)}'?"
    alias = ALIASES.get(leaf, "")
    if alias not in ("", key) and parent in ("", alias.partition(".")[0]):
        return f" Did you mean '{alias}'?"
    close = nearest(leaf, known)
    misspelt = difflib.get_close_matches(leaf[:LONGEST_VALUE], ALIASES, n=1) if not close and not parent else []
    return f" Did you mean '{ALIASES[misspelt[0]]}'?" if misspelt else close
