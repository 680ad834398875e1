"""Overrides, KEY=VALUE on the command line or in an arm of a sweep: reading, refusing and writing them. No torch."""

import itertools
import re
import shlex
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep, Sweep
from hydra.errors import HydraException

from rnnlab.contract import ConfigError
from rnnlab.groups import COMPONENTS, GROUPS
from rnnlab.messages import LONGEST_VALUE, one_line, shown

QUIET = (
    *("hydra.run.dir=.", "hydra.sweep.dir=.", "hydra.sweep.subdir=.", "hydra.output_subdir=null"),
    *("hydra/job_logging=disabled", "hydra.job.name=rnnlab"),
)
"""Hydra's own folders and logs would be a second record of a run; ours is the run folder."""
OF_HYDRA = ("hydra.launcher", "hydra.sweeper", "hydra.mode", "hydra.searchpath")
"""What may be set of Hydra's own keys. The rest serves what is quiet, and would move nothing, or litter."""
REASON = (
    "A run goes to runs/NAME/RUN_ID, and Hydra itself writes nothing. "
    f"Allowed of its keys: {', '.join(OF_HYDRA)}, hydra/launcher, hydra/sweeper."
)
_SHORT = {"ray_address=": "hydra.launcher.ray_address="}
"""Ways to write a key of Hydra's own."""
_FREE = ("hydra.launcher.parameters", "hydra.sweeper.params", "hydra.sweeper.params_by_option")
"""Mappings whose keys are anybody's. Hydra would have a + before those that no file has, and refuses it for others."""


def spelled_out(overrides: list[str]) -> list[str]:
    """The short ways to write a key in full."""
    full = [next((key + o.removeprefix(s) for s, key in _SHORT.items() if o.startswith(s)), o) for o in overrides]
    full = [part for o in full for part in _chained(o)]
    return [f"++{o.lstrip('+')}" if _is_free(o.lstrip("+")) else o for o in full]


def _chained(override: str) -> list[str]:
    """`clipping=[agc,norm]` as the choice of a chain and of its members, each by its own name."""
    found = re.fullmatch(r"(\w+)=\[(\w+(?:,\w+)*)\]", override.replace(" ", ""))
    chain = GROUPS[found[1]].chain if found and found[1] in GROUPS else ""
    if found is None or not chain:
        return [override]
    group, options = found[1], found[2].split(",")
    if len(set(options)) < len(options):
        raise ConfigError(f"{shown(override)}: not allowed. Each option once.")
    option, _, key = chain.partition(".")
    return [f"{group}={option}", *(f"+{group}@{group}.{key}.{name}={name}" for name in options)]


def _is_free(override: str) -> bool:
    return any(re.match(rf"{re.escape(key)}[.=]", override) for key in _FREE)


def check_overrides(overrides: list[str]) -> None:
    """Refuse what is no override, and what sets a key of Hydra's own that has no use here.

    Raises:
        ConfigError: the first that is wrong.
    """
    parser = OverridesParser.create()
    for text in overrides:
        if ("=" not in text and not text.startswith("~")) or not text.strip("+~").partition("=")[0]:
            raise ConfigError(
                f"{shown(text) or repr(text)}: not allowed. Write KEY=VALUE, or +experiment=NAME; see --help."
            )
        try:
            override = parser.parse_override(text)
        except (HydraException, RecursionError, ValueError) as error:
            raise ConfigError(f"{shown(text)}: cannot be read. {_what_is_wrong(text, error)}") from None
        if not isinstance(override.value(), Sweep) and _holds_sweep(override.value()):
            raise ConfigError(f"{shown(text)}: not allowed. Within a list or a mapping, write every value out.")
        if isinstance(override.value(), list) and override.key_or_group in COMPONENTS:
            each = text.lstrip("+").replace("[", "").replace("]", "")
            raise ConfigError(f"{shown(text)}: not allowed. A run has one option of the group; each: -m {shown(each)}.")
        _refuse_hydra(override)


def _holds_sweep(value: Any) -> bool:
    """Whether there is a `range(3)`, say, in a list or a mapping: OmegaConf would take its parts for keys."""
    within = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, Sweep) or any(map(_holds_sweep, within))


def swept(text: str) -> bool:
    """Whether an override gives a key several values."""
    return OverridesParser.create().parse_override(text).is_sweep_override()


def written_out(text: str) -> str:
    """The values of an override that gives a key several, as a list of the first ones; '' where they cannot be told."""
    override = OverridesParser.create().parse_override(text)
    if not isinstance(override.value(), ChoiceSweep | RangeSweep):
        return ""
    return f"[{','.join(itertools.islice(override.sweep_string_iterator(), LONGEST_VALUE))}]"


def _what_is_wrong(text: str, error: Exception) -> str:
    key, _, value = text.partition("=")
    if type(error) is ValueError:  # Python reads no integer of more than 4,300 digits
        return "The number is too large."
    if not re.fullmatch(r"[+~]{0,2}[A-Za-z_][\w$-]*([./@:][\w$-]+)*", key):
        return f"'{shown(key)}' is no key."
    if value.startswith(("'", '"', "[", "{")):
        return "Close every quote and bracket, and quote text that is not plain."
    if re.match(r"\w+\(", value):
        return one_line(str(error).partition("while evaluating ")[2].partition("See https")[0] or "A call is wrong.")
    return f"Quote the value: {shown(pasted(key, value))}."


def _refuse_hydra(override: Override) -> None:
    for key in (override.key_or_group, override.package or ""):
        first, *rest = re.split(r"[./]", key)
        if first == "hydra" and f"hydra.{rest[0] if rest else ''}" not in OF_HYDRA:
            raise ConfigError(f"{shown(override.input_line)}: not allowed. {REASON}")


def quoted(value: object) -> str:
    """Any text as the value of an override, which Hydra's grammar and OmegaConf then take literally."""
    # A backslash is one, except before ${ (for OmegaConf), before a quote, and at the end (for Hydra).
    text = re.sub(r"(\\*)(\$\{)", lambda found: 2 * found[1] + "\\" + found[2], str(value))
    text = re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)
    return f"'{text}'"


def pasted(key: str, value: str) -> str:
    """The override with its value taken literally, as it is typed in a shell."""
    text = f"{key}={quoted(value)}"
    return shlex.quote(text) if re.search(r'["$`\\!]', text) else f'"{text}"'
