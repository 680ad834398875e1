"""The command line: python -m rnnlab +experiment=NAME key=value … Imports torch only when a run starts.

Exit status: 0 the run ended and its results are written; 2 the configuration is wrong; 130 interrupted, checkpoint
written; anything else is a bug or the machine.
"""

import contextlib
import io
import os
import re
import shlex
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from rnnlab import __version__
from rnnlab.composed import checked
from rnnlab.config import Config, config_folder
from rnnlab.config_files import (
    check_sizes,
    find_folder,
    given_to_hydra,
    refuse_hydra_in_files,
    refuse_references,
)
from rnnlab.contract import ConfigError, RunError
from rnnlab.entrance import STATUS, UNTRAINED
from rnnlab.explain import explain
from rnnlab.hydra_defaults import set_ours
from rnnlab.interruption import listening, obey
from rnnlab.memory.lack import lacks_memory, lacks_room
from rnnlab.messages import one_line, shown, told
from rnnlab.options import CommandLine, take_apart
from rnnlab.overrides import QUIET, check_overrides, spelled_out
from rnnlab.packages import KEY, admit, take_packages
from rnnlab.rerun import RERUN, offer, stored
from rnnlab.runs.safe_files import visible

SWEEP = "--multirun"


class _Refused(BaseException):
    """A wrong configuration; no Exception, so that Hydra does not go on to a sweep's next job."""


class _Task:
    """What Hydra calls with a configuration. A launcher of rnnlab's makes the sweep and leaves it here.

    Args:
        work: done with the checked configuration; its result is what a search minimises.
        line: of the user.
        packages: that the user allows components to come from.
        interrupted: asked before the work.
    """

    def __init__(
        self,
        work: Callable[[Config], object],
        line: CommandLine,
        packages: tuple[str, ...],
        interrupted: Callable[[], bool],
    ) -> None:
        self.work, self.line, self.packages, self.interrupted = work, line, packages, interrupted
        self.stored = stored(line)  # the configuration of a run that is run again
        self.failures: list[int] = []
        self.sweep: Any = None

    def __call__(self, config: DictConfig) -> object:
        """One run of the command line. What goes wrong is told here and kept from Hydra, which would add a line."""
        try:
            _refuse_idle()
            refuse_hydra_in_files(HydraConfig.get())
            right = checked(config, self.packages)
            obey(self.interrupted)
            return self.work(right)
        except ConfigError as error:
            raise _Refused(str(error)) from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a component's SystemExit too, which would end the command with its status
            self.failures.append(_tell(error))
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # so that a launcher in another process records it
            return None

    def command(self, overrides: list[str]) -> str:
        """The command line that does the work once, with overrides in place of a sweep's."""
        packages = [f"{KEY}=[{','.join(self.packages)}]"] if len(self.packages) > 1 else []
        once = [] if SWEEP in self.line.options else ["hydra.mode=RUN"]  # a file of the user's makes it a sweep
        options = {name: value for name, value in self.line.options.items() if name != SWEEP}
        line = CommandLine(options, [*packages, *overrides, *once])
        return shlex.join(["python", "-m", "rnnlab", *line.arguments([])])


def _refuse_idle() -> None:
    """A launcher or a sweeper that was chosen for a single run would do nothing."""
    for override in given_to_hydra("hydra") if HydraConfig.get().mode == RunMode.RUN else []:
        if re.match(r"[+~]*hydra[./](launcher|sweeper)\b", override) and override != "hydra/launcher=basic":
            raise ConfigError(f"{shown(override)}: not allowed here. It is for a sweep: add -m.")


def run_command_line(arguments: list[str], work: Callable[[Config], object] | None = None) -> int:
    """Do some work, by default a run, with the configuration of these arguments; returns the exit status."""
    try:
        line = take_apart(arguments)
        packages, overrides = take_packages(line.overrides)
        # Hydra's own help composes no configuration that an override could change.
        line = CommandLine(line.options, [] if "--hydra-help" in line.options else spelled_out(overrides))
        if "--version" in line.options:
            print(f"rnnlab {__version__}")
            return 0
        line = find_folder(line)
        admit(packages)
        with listening("Stopping …") as interrupted:
            return _run_hydra(_Task(work or _train, line, packages, interrupted), runs=work is None)
    except ConfigError as error:
        return _fail(2, str(error))


def _run_hydra(task: _Task, *, runs: bool) -> int:
    line = task.line
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands us its exceptions instead of printing a traceback
    for_hydra = CommandLine({o: v for o, v in line.options.items() if o not in RERUN}, line.overrides)
    sys.argv = ["rnnlab", *for_hydra.arguments(_ours(line, runs=runs))]
    threading.excepthook = _thread_excepthook
    try:
        _call_hydra(task)
    except (_Refused, ConfigError) as refused:
        return _fail(2, str(refused))
    except KeyboardInterrupt as error:
        _close(task, at_once=True)
        _tell_ending(task)
        return _fail(STATUS, str(error) or UNTRAINED)
    except RunError as error:
        _close(task)
        _tell_ending(task)
        return _fail(1, str(error))
    except Exception as error:
        if lacks_room(error):
            return _fail(1, lacks_room(error))
        # In a sweep, Hydra raises the first failed job's exception again at its end.
        return task.failures[0] if task.failures else _fail(2, explain(error, line))
    finally:
        _close(task)
    if task.sweep is not None:
        return task.sweep.tell()
    return task.failures[0] if task.failures else 0


def _call_hydra(task: _Task) -> None:
    line = task.line
    set_ours()
    complaint = io.StringIO()  # of Hydra, about a --package that is not there
    name, folder = ("config", str(config_folder())) if task.stored is None else (offer(task.stored), None)
    silence = contextlib.redirect_stderr(complaint) if "--package" in line.options else contextlib.nullcontext()
    try:
        with warnings.catch_warnings(), silence:
            warnings.filterwarnings("error", module=r"hydra\.")  # of several lines, and about a mistake
            hydra.main(config_path=folder, config_name=name, version_base="1.3")(task)()
    except SystemExit as end:
        if not line.options.keys() & {"--help", "--hydra-help", "--cfg"}:
            raise
        if end.code:
            raise ConfigError(one_line(complaint.getvalue())) from None


def _ours(line: CommandLine, *, runs: bool) -> list[str]:
    """The overrides that we add; those of the user are checked, where Hydra takes them for overrides."""
    if "--shell-completion" in line.options or "--hydra-help" in line.options:
        return []
    check_overrides(line.overrides)
    check_sizes(line)
    refuse_references(line)
    # Jobs of a sweep are runs, and go to its workers; other work (an example of a task) is done here.
    launcher = [] if runs else ["hydra/launcher=basic"]
    for override in line.overrides:
        if launcher and override.lstrip("+~").startswith("hydra/launcher"):
            raise ConfigError(f"{shown(override)}: not allowed here. It is for a sweep of runs.")
    return [*QUIET, *launcher]


def _close(task: _Task, *, at_once: bool = False) -> None:
    if task.sweep is not None:
        task.sweep.close(at_once=at_once)


def _tell_ending(task: _Task) -> None:
    """Of a sweep that was cut short: how each of its jobs stands."""
    if task.sweep is not None and task.sweep.jobs:
        task.sweep.tell()


def _tell(error: BaseException) -> int:
    """Say what went wrong in a run; the exit status."""
    if lacks_room(error):
        return _fail(1, lacks_room(error))
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


def _train(config: Config) -> float:
    """One run and its objective. Only here, with a configuration that is right, is torch imported."""
    with listening() as interrupted:
        from rnnlab.sweep.job import objective
        from rnnlab.training.run import run

        return objective(run(config, interrupted))


def _fail(status: int, message: str) -> int:
    lines = told(message) if status == 2 else [message]
    print("\n".join(f"rnnlab: {visible(line)}" for line in lines), file=sys.stderr)
    return status
