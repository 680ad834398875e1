"""The command line: python -m rnnlab +experiment=NAME key=value … Imports torch only when a run starts.

Exit status: 0 the run ended and its results are written; 2 the configuration is wrong; 130 interrupted, checkpoint
written; anything else is a bug or the machine.
"""

import os
import re
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rnnlab import __version__
from rnnlab.contract import ConfigError, RunError, nearest
from rnnlab.interruption import listening
from rnnlab.memory.lack import lacks_memory
from rnnlab.schema import COMPONENTS, SECTIONS, TOP_KEYS, Config, group_syntax, section_keys, validate

# Hydra's own folders and logs would be a second record of a run; ours is the run folder.
_QUIET = [
    "hydra.run.dir=.",
    "hydra.output_subdir=null",
    "hydra/job_logging=disabled",
    "hydra.job.name=rnnlab",
    "hydra.sweep.subdir=.",
]
_SHORT = {"ray_address=": "hydra.launcher.ray_address="}
"""Ways to write a key of Hydra's own."""


class _Refused(BaseException):
    """A wrong configuration; no Exception, so that Hydra does not go on to a sweep's next job."""


class _Task:
    """What Hydra calls with a configuration. A launcher of rnnlab's makes the sweep and leaves it here.

    Args:
        work: done with the checked configuration; its result is what a search minimises.
    """

    def __init__(self, work: Callable[[Config], object]) -> None:
        self.work = work
        self.failures: list[int] = []
        self.sweep: Any = None

    def __call__(self, config: DictConfig) -> object:
        """One run of the command line. What goes wrong is told here and kept from Hydra, which would add a line."""
        try:
            return self.work(checked(config))
        except ConfigError as error:
            raise _Refused(str(error)) from None
        except Exception as error:
            self.failures.append(_tell(error))
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # so that a launcher in another process records it
            return None


def config_folder() -> Path:
    """configs/ of the checkout (also when installed editable), or the copy inside the wheel."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / "configs"
    return checkout if (package.parent / "pyproject.toml").exists() else package / "configs"


def main() -> None:
    """Entry point of `python -m rnnlab` and of the console script."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # components of the user's own, also under the console script
    sys.exit(run_command_line(sys.argv[1:]))


def run_command_line(arguments: list[str], work: Callable[[Config], object] | None = None) -> int:
    """Do some work, by default a run, with the configuration of these arguments; returns the exit status."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands us its exceptions instead of printing a traceback
    if arguments == ["--version"]:
        print(f"rnnlab {__version__}")
        return 0
    task = _Task(work or _train)
    scratch = Path(tempfile.gettempdir()) / f"rnnlab-sweep-{os.getpid()}"
    # Jobs of a sweep are runs, and go to its workers; other work (an example of a task) is done here.
    launcher = [] if work is None else ["hydra/launcher=basic"]
    sys.argv = ["rnnlab", *_with_defaults([*arguments], [*_QUIET, f"hydra.sweep.dir={scratch}", *launcher])]
    threading.excepthook = _thread_excepthook
    try:
        hydra.main(config_path=str(config_folder()), config_name="config", version_base="1.3")(task)()
    except (_Refused, ConfigError) as refused:
        return _fail(2, str(refused))
    except KeyboardInterrupt as error:
        _close(task, at_once=True)
        return _fail(130, str(error) or "Interrupted before anything was trained.")
    except RunError as error:
        return _fail(1, str(error))
    except Exception as error:
        # In a sweep, Hydra raises the first failed job's exception again at its end.
        return task.failures[0] if task.failures else _fail(2, explain_hydra(error, arguments))
    finally:
        _close(task)
        shutil.rmtree(scratch, ignore_errors=True)
    if task.sweep is not None:
        return task.sweep.tell()
    return task.failures[0] if task.failures else 0


def _close(task: _Task, *, at_once: bool = False) -> None:
    if task.sweep is not None:
        task.sweep.close(at_once=at_once)


def _tell(error: Exception) -> int:
    """Say what went wrong in a run; the exit status."""
    if isinstance(error, RunError | OSError):
        return _fail(1, str(error))
    if lacks_memory(error):  # a run that has begun says so itself
        return _fail(2, lacks_memory(error))
    traceback.print_exc()
    return _fail(1, "This is a bug in rnnlab, or in a component of yours (traceback above).")


def _thread_excepthook(arguments: threading.ExceptHookArgs) -> None:
    """TensorBoard's writer thread meets a full disk too; the run itself tells that."""
    if not isinstance(arguments.exc_value, OSError):
        threading.__excepthook__(arguments)


def _with_defaults(arguments: list[str], ours: list[str]) -> list[str]:
    if any(a in ("--hydra-help", "-sc", "--shell-completion") for a in arguments):
        return arguments
    for short, key in _SHORT.items():
        arguments = [key + a.removeprefix(short) if a.startswith(short) else a for a in arguments]
    added = [o for o in ours if not any(a.startswith(o.split("=")[0]) for a in arguments)]
    # Beside the first override: argparse wants them in one piece.
    at = next((i for i, a in enumerate(arguments) if _is_override(arguments, i)), len(arguments))
    return [*arguments[:at], *added, *arguments[at:]]


def _is_override(arguments: list[str], at: int) -> bool:
    """Whether an argument is key=value, and not an option or an option's value."""
    options = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--package", "-p")
    after_option = at > 0 and arguments[at - 1] in options
    return "=" in arguments[at] and not arguments[at].startswith("-") and not after_option


def checked(config: DictConfig) -> Config:
    """A composed configuration as a checked one.

    Raises:
        ConfigError: see `rnnlab.schema.validate`.
    """
    try:
        raw = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(explain_hydra(error, [])) from None
    assert isinstance(raw, dict)
    return validate({str(key): value for key, value in raw.items()})


def _train(config: Config) -> float:
    """One run and its objective. Only here, with a configuration that is right, is torch imported."""
    with listening() as interrupted:
        from rnnlab.sweep.job import objective
        from rnnlab.training.run import run

        return objective(run(config, interrupted))


def _fail(status: int, message: str) -> int:
    print(f"rnnlab: {message}", file=sys.stderr)
    return status


def explain_hydra(error: BaseException, arguments: list[str]) -> str:
    """Hydra's complaint as one message that names the key, the value and what is allowed."""
    text = str(error)
    found = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if found:
        return _unknown_option(found.group(1), found.group(2), text, arguments)
    if "integer string conversion" in text:  # Python's, which reads no number of more than 4300 digits
        longest = max(arguments, key=len, default="")
        return f"{longest.partition('=')[0]}=…: not allowed. That number has {len(longest.partition('=')[2])} digits."
    found = re.search(r"Interpolation key '([^']+)' not found", text)
    if found:
        return f"${{{found.group(1)}}}: no such key to take a value from."
    key = _key_of(error)
    if key == "hydra.launcher.ray_address":
        return "ray_address=…: goes with hydra/launcher=ray."
    if key == "experiment":
        return "experiment=…: write +experiment=NAME (with a plus: it is added to the configuration)."
    if key:
        return _unknown_key(key, arguments)
    cause = f" ({error.__cause__})" if isinstance(error.__cause__, OmegaConfBaseException) else ""
    return " ".join((text + cause).split())


def _unknown_option(group: str, option: str, text: str, arguments: list[str]) -> str:
    options = re.findall(r"^\t(\S+)", text.partition("Config search path")[0], re.MULTILINE)
    written = "+experiment" if group == "experiment" else group
    for argument in arguments:  # initialiser@input_initialiser=… is a choice in the group initialiser
        key, _, value = argument.partition("=")
        if value == option and key.lstrip("+").partition("@")[0] == group:
            written = key
    return f"{written}={option}: no such option. Allowed: {', '.join(options)}.{nearest(option, options)}"


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
    if leaf in COMPONENTS and not parent and "=" in given:
        if any(a.startswith(("--config-path", "-cp")) for a in arguments):
            return f"{given}: not allowed. The configuration of a run has no groups to choose from; change its keys."
        return f"{given}: not allowed. Choose an option of the group: {group_syntax(leaf)}=OPTION."
    if key.startswith("probes.") and not _component_keys(".".join(key.split(".")[:2]), arguments):
        return _absent_probe(key.split(".")[1], arguments)
    if parent in SECTIONS:
        names = section_keys(parent)
    elif parent:
        names = _component_keys(parent, arguments)
    else:
        names = TOP_KEYS
    known = f" {parent or 'The configuration'} has: {', '.join(names)}." if names else ""
    return f"{given}: no such key.{known}{nearest(leaf, names)}"


def _absent_probe(probe: str, arguments: list[str]) -> str:
    given = next((a for a in arguments if a.startswith(f"probes.{probe}.")), f"probes.{probe}")
    return f"{given}: there is no such probe in this run. Add it with +probe@probes.{probe}={probe}, or probes=full."


def _component_keys(group: str, arguments: list[str]) -> list[str]:
    """Keys of the option chosen in a group, composed without the arguments that name keys; [] if that fails."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    keep = [a for i, a in enumerate(arguments) if _is_override(arguments, i) and "." not in a.partition("=")[0]]
    for option in ("--config-dir", "-cd"):
        if option in arguments[:-1]:
            folder = Path(arguments[arguments.index(option) + 1]).resolve()
            keep.append(f"hydra.searchpath=[file://{folder}]")
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            node = OmegaConf.select(compose("config", overrides=keep), group)
    except (HydraException, OmegaConfBaseException, ValueError):
        return []
    return [str(k) for k in node if k != "_target_"] if isinstance(node, DictConfig) else []
