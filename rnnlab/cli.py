"""The command line: python -m rnnlab +experiment=NAME key=value … Imports torch only when a run starts.

Exit status: 0 the run ended and its results are written; 2 the configuration is wrong; 130 interrupted, checkpoint
written; anything else is a bug or the machine.
"""

import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rnnlab.contract import ConfigError, RunError, nearest
from rnnlab.schema import COMPONENTS, SCALARS, SECTIONS, Config, group_syntax, validate

# Hydra's own folders and logs would be a second record of a run; ours is the run folder.
_QUIET = ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=disabled", "hydra.job.name=rnnlab"]
_SWEEP = ["hydra.sweep.dir=runs/.sweep", "hydra.sweep.subdir=."]


def config_folder() -> Path:
    """configs/ of the checkout (also when installed editable), or the copy inside the wheel."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / "configs"
    return checkout if (package.parent / "pyproject.toml").exists() else package / "configs"


def main() -> None:
    """Entry point of `python -m rnnlab` and of the console script."""
    sys.exit(run_command_line(sys.argv[1:]))


def run_command_line(arguments: list[str], work: Callable[[Config], object] | None = None) -> int:
    """Do some work, by default a run, with the configuration of these arguments; returns the exit status."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands us its exceptions instead of printing a traceback
    sys.argv = ["rnnlab", *_with_defaults(arguments)]
    refused: list[Exception] = []

    def job(config: DictConfig) -> None:
        try:
            (work or _train)(_checked(config))
        except (ConfigError, RunError) as error:  # kept from Hydra, which would print a line of its own
            refused.append(error)

    try:
        hydra.main(config_path=str(config_folder()), config_name="config", version_base="1.3")(job)()
        if refused:
            raise refused[0]
    except ConfigError as error:
        return _fail(2, str(error))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        message = explain_hydra(error, arguments)
        if message is None:
            raise
        return _fail(2, message)
    except (RunError, OSError) as error:
        return _fail(1, str(error))
    except KeyboardInterrupt as error:
        return _fail(130, str(error) or "Interrupted.")
    except Exception:
        traceback.print_exc()
        return _fail(1, "This is a bug in rnnlab, or in a component of yours (traceback above).")
    return 0


def _with_defaults(arguments: list[str]) -> list[str]:
    if any(a in ("--hydra-help", "-sc", "--shell-completion", "--version") for a in arguments):
        return arguments
    added = [o for o in (*_QUIET, *_SWEEP) if not any(a.startswith(o.split("=")[0]) for a in arguments)]
    # Beside the first override: argparse wants them in one piece.
    at = next((i for i, a in enumerate(arguments) if "=" in a and not a.startswith("--")), len(arguments))
    return [*arguments[:at], *added, *arguments[at:]]


def _checked(config: DictConfig) -> Config:
    raw = OmegaConf.to_container(config, resolve=True)
    assert isinstance(raw, dict)
    return validate({str(key): value for key, value in raw.items()})


def _train(config: Config) -> None:
    """One run. Only here, with a configuration that is right, is torch imported."""
    from rnnlab.training.run import run

    run(config)


def _fail(status: int, message: str) -> int:
    print(f"rnnlab: {message}", file=sys.stderr)
    return status


def explain_hydra(error: BaseException, arguments: list[str]) -> str | None:
    """Hydra's complaint as one message that names the key, the value and what is allowed; None if it is not one."""
    text = str(error)
    found = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if found:
        group, option = found.groups()
        options = re.findall(r"^\t(\S+)", text, re.MULTILINE)
        written = "+experiment" if group == "experiment" else group
        return f"{written}={option}: no such option. Allowed: {', '.join(options)}.{nearest(option, options)}"
    key = _key_of(error)
    if key == "experiment":
        return "experiment=…: write +experiment=NAME (with a plus: it is added to the configuration)."
    if key:
        return _unknown_key(key, arguments)
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        cause = f" ({error.__cause__})" if isinstance(error.__cause__, OmegaConfBaseException) else ""
        return " ".join((text + cause).split())
    return None


def _key_of(error: BaseException) -> str | None:
    """The full key that does not exist, from OmegaConf's exception behind Hydra's, or from Hydra's words."""
    cause: Any = error.__cause__ if isinstance(error, ConfigCompositionException) else error
    key = getattr(cause, "full_key", None)
    if key:
        return str(key)
    found = re.search(r"Could not override '([^']+)'", str(error))
    return found.group(1) if found and "@" not in found.group(1) else None


def _unknown_key(key: str, arguments: list[str]) -> str:
    given = next((a for a in arguments if a.lstrip("+~").split("=")[0] == key), key)
    parent, _, leaf = key.rpartition(".")
    top = [*COMPONENTS, *(k for k in SCALARS if "." not in k), *sorted(SECTIONS), "seeds"]
    if parent in SECTIONS:
        names = [k.partition(".")[2] for k in SCALARS if k.startswith(parent + ".")]
    elif parent:
        names = _component_keys(parent, arguments)
    else:
        names = top
    if leaf in COMPONENTS and not parent and "=" in given:
        return f"{given}: not allowed. Choose an option of the group: {group_syntax(leaf)}=OPTION."
    holder = parent or "the configuration"
    return f"{given}: no such key. {holder} has: {', '.join(names) or 'no keys'}.{nearest(leaf, names)}"


def _component_keys(group: str, arguments: list[str]) -> list[str]:
    """Keys of the option that is chosen in a group: composed once more without the arguments that name keys in it."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    keep = [a for a in arguments if not a.startswith("-") and not a.lstrip("+~").startswith(group + ".")]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            node = OmegaConf.select(compose("config", overrides=keep), group)
    except (HydraException, OmegaConfBaseException):
        return []
    return [str(k) for k in node if k != "_target_"] if isinstance(node, DictConfig) else []
