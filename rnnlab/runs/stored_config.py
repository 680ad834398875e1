"""config.yaml of a run folder, read as plain data: the one place where that is done. Imports no torch.

The folder may be a stranger's, so the file may only say what a configuration's keys are. It is not Hydra's to read,
which would follow its `defaults`, make what its `hydra` section names, and resolve `${oc.env:…}`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from rnnlab.config import TOP_KEYS
from rnnlab.messages import one_line, shown, shown_path
from rnnlab.packages import KEY, WHERE
from rnnlab.runs.damage import DamagedError
from rnnlab.runs.digest import digest
from rnnlab.runs.safe_files import read_regular

HEAD = (
    "# The resolved configuration of this run. To run it again:\n"
    "# python -m rnnlab --config-path=FOLDER --config-name=config  (FOLDER: this one)\n"
)
CHECKSUM = "# Checksum of the lines below: "
LIMIT, DEPTH = 2**21, 8
"""Bytes of the file, and mappings and lists within one another, at most. Runs write a few kB (with 100,000 seeds 1.3
MB), and 3."""
LARGEST = 2**63
"""Whole numbers are smaller in size; a run's are below 2**53."""
_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OTHERS = ("int", "float", "timestamp", "merge", "value")


class _Loader(_SAFE):
    """YAML's plain values. As OmegaConf, which writes the file, reads them: 1e-3 is a number, a date is text."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (yaml's own way)
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _OTHERS]
        for first, resolvers in _SAFE.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        if any(key.tag != "tag:yaml.org,2002:str" for key, _ in node.value):
            raise yaml.YAMLError("a key is no text")
        (name, count), *_ = Counter(key.value for key, _ in node.value).most_common(1) or [("", 0)]
        if count > 1:  # YAML forbids it; PyYAML would take the last, another reader the first
            raise yaml.YAMLError(f"the key {shown(name)} is there {count} times")
        return super().construct_mapping(node, deep)


for _tag, _pattern in {
    "int": r"[-+]?\d+",
    "float": r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list("-+.0123456789"))


def read_config(path: Path, warn: Callable[[str], None]) -> dict[str, Any]:
    """A stored configuration. What its values mean is not checked here; see `rnnlab.schema.validate`.

    Args:
        warn: told where somebody has changed what the run wrote, which is allowed.
    Raises:
        DamagedError: there is none, or it is more than plain data with a configuration's keys.
    """
    try:
        content = read_regular(path, LIMIT)
        config = parse_config(path, content)
        if CHECKSUM.encode() in content and not is_as_written(content):
            warn(f"{shown_path(path)} was changed since the run wrote it, and is taken as it is now.")
        return config
    except FileNotFoundError:
        raise DamagedError(path, "is missing") from None
    except OSError as error:
        raise DamagedError(path, f"cannot be read: {error.strerror or error}") from None


def as_written(lines: bytes) -> bytes:
    """The file that a run writes: these lines, their checksum in a comment above them, and how to use them."""
    return f"{HEAD}{CHECKSUM}{digest(lines)['sha256']}\n".encode() + lines


def is_as_written(content: bytes) -> bool:
    """Whether a stored configuration is what a run writes, its comments included."""
    _, _, rest = content.partition(CHECKSUM.encode())
    return content == as_written(rest.partition(b"\n")[2])


def parse_config(path: Path, content: bytes) -> dict[str, Any]:
    """The same of its content.

    Args:
        path: for the message.
    """
    if len(content) > LIMIT:
        raise DamagedError(path, f"has more than {LIMIT:,} bytes")
    try:
        text = content.decode()
        _refuse_references(path, text)
        config = yaml.load(text, Loader=_Loader)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise DamagedError(path, f"cannot be read: {one_line(error)}") from None
    if not isinstance(config, dict):
        raise DamagedError(path, "holds no mapping")
    for key in config:
        if key == KEY:
            raise DamagedError(path, f"{KEY} is not allowed in a file. Give it {WHERE}")
        if key not in TOP_KEYS:
            raise DamagedError(path, f"{shown(key)} is no key of a configuration")
    for name, value in _leaves("", config):
        if not isinstance(value, str | int | float | bool | None):
            raise DamagedError(path, f"{shown(name)} is of a kind that no key has ({type(value).__name__})")
        if isinstance(value, int) and abs(value) >= LARGEST:  # or it is no float for those who count with it
            raise DamagedError(path, f"{shown(name)}={shown(value)} is larger than any number that a key has")
        if "${" in name or (isinstance(value, str) and "${" in value):
            raise DamagedError(
                path, f"{shown(name)}={shown(value)} refers to something else, which is not allowed there"
            )
    return config


def _refuse_references(path: Path, text: str) -> None:
    """Anchors, with which a small file means an enormous one, and tags, which say what a value is to be made into;
    before anything is made of it."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise DamagedError(path, f"has an anchor or alias ({shown(event.anchor)}), which is not allowed there")
        if getattr(event, "tag", None):
            raise DamagedError(path, f"has a tag ({shown(event.tag)}), which is not allowed there")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH:
            raise DamagedError(path, f"is nested more than {DEPTH} deep")


def _leaves(prefix: str, node: Any) -> Iterator[tuple[str, Any]]:
    """Values by their keys with dots."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(f"{prefix}.{key}" if prefix else key, value)
    elif isinstance(node, list):
        for value in node:
            yield from _leaves(prefix, value)
    else:
        yield prefix, node
