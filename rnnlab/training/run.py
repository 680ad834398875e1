"""One run from its configuration to its folder: start, go on, end."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from glob import escape
from pathlib import Path
from typing import Any

import torch

from rnnlab.bptt.engine import ENGINES
from rnnlab.build import build
from rnnlab.config import Config
from rnnlab.contract import ConfigError, RunError
from rnnlab.experiment import Experiment
from rnnlab.interruption import unfinished
from rnnlab.messages import one_line
from rnnlab.runs.damage import DamagedError, set_aside
from rnnlab.runs.folder import RunFolder
from rnnlab.runs.identity import hash_of_stored, run_id, run_name
from rnnlab.runs.record import Record
from rnnlab.runs.sources import changed
from rnnlab.sinks.console import say
from rnnlab.training.resume import beginning
from rnnlab.training.session import RUNS, Session, hash_of


def run(
    config: Config,
    interrupted: Callable[[], bool] = lambda: False,
    output: Callable[[Path], AbstractContextManager[None]] = nullcontext,
    expected: Path | None = None,
) -> Path:
    """Train what the configuration says and write its run folder, or go on where an earlier session stopped.

    Args:
        interrupted: asked between two training steps; see rnnlab.interruption.
        output: given the run folder, the context to work in; a sweep keeps there what the run prints.
        expected: the run folder, where it is known already: a run that would go elsewhere is none of that sweep.
    Returns:
        The run folder.
    Raises:
        ConfigError: the configuration cannot be carried out here; nothing was written.
        InUseError: another process works on the folder.
        RunError: the folder cannot be written, or is not the one expected.
        KeyboardInterrupt: interrupted; a checkpoint was written.
    """
    with _one_thread() as threads:
        experiment = build(config, say=say, threads=threads)
        if expected is not None and run_folder(experiment).path != expected:
            raise RunError(
                "its code or data has changed since the sweep began (or its worker has another device, engine)"
            )
        return _run(experiment, interrupted, output)


def run_folder(experiment: Experiment) -> RunFolder:
    """Where a run goes: by its configuration, the device and engine that serve it here, and the user's own sources."""
    return _folder_by(experiment, experiment.engine.name)


def _folder_by(experiment: Experiment, engine: str) -> RunFolder:
    config, device = experiment.config, experiment.device.type
    return RunFolder(RUNS / config.name / run_id(config, device=device, engine=engine, sources=experiment.sources))


@contextmanager
def _one_thread() -> Iterator[int]:
    """Torch computes with one thread; gives how many it would have used, which the fused engine may use.

    With one, the products of a replica do not depend on how many replicas there are. (With two, MKL splits a single
    product but not a batch of them.) Undone at the end, so that a sweep's next run is given the same number.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def _run(
    experiment: Experiment, interrupted: Callable[[], bool], output: Callable[[Path], AbstractContextManager[None]]
) -> Path:
    config, folder = experiment.config, run_folder(experiment)
    standing = beginning(experiment, interrupted)
    _ask_about_changed_sources(experiment, folder.path)
    missing = folder.missing()
    with folder.locked(), output(folder.path):
        manifest = _manifest(experiment, folder)
        if not manifest:
            _tell_of_other_engines(experiment, folder.path)
        finished = manifest.get("status") == "finished"
        damaged = Record(folder.path).damage() if finished and not config.force else []
        if finished and not config.force and not damaged:
            say(f"{folder.path} is finished already; nothing to do. (force=true starts it again from nothing.)")
            return folder.path
        if finished and config.force:
            folder.clear()
        session = Session(experiment, standing, folder, damaged)

        def leave() -> None:
            if session.manifest.get("status") == "running":
                session.mark("interrupted", "stopped at once")
            if session.untouched:
                folder.withdraw(missing)

        try:
            with unfinished(lambda: session.progress.step > (session.saved or 0), leave):
                session.run(interrupted)
        except (ConfigError, KeyboardInterrupt) as error:
            if session.untouched or (session.saved is None and isinstance(error, ConfigError)):
                folder.withdraw(missing)
            raise
    return folder.path


def _manifest(experiment: Experiment, folder: RunFolder) -> dict[str, Any]:
    """The manifest, {} where there is none; one that is damaged is set aside, and the checkpoints have to do.

    So is that of another run, or this one would take that one's results for its own.
    """
    try:
        manifest = folder.manifest()
        if manifest and manifest["configuration"] != hash_of(experiment):
            raise DamagedError(folder.path / "manifest.json", "is of a run of another configuration")
        return manifest
    except DamagedError as error:
        say(f"{error}; set aside as {set_aside(error.path).name}.", error=True)
        return {}


def _tell_of_other_engines(experiment: Experiment, path: Path) -> None:
    """Where `auto` takes another engine than before, for want of a compiler, say, it does not go on with that run."""
    taken = experiment.engine.name
    for engine in ENGINES if experiment.config.engine == "auto" else ():
        other = _folder_by(experiment, engine)
        status = _manifest_of(other.path).get("status")
        if engine != taken and status:
            say(
                f"{other.path} is a run of the same configuration by the {engine} engine ({status}). engine={engine} "
                f"goes on with it; this one, by the {taken} engine, starts from nothing."
            )


def _ask_about_changed_sources(experiment: Experiment, path: Path) -> None:
    """Where code or data of the user's have changed since a run of the same configuration, say so.

    Raises:
        RunError: that run is half done. Going on would put two nets into one curve.
    """
    config, sources = experiment.config, experiment.sources
    if not sources or path.exists():
        return
    same = hash_of(experiment)
    ways_out = (
        "Undo the change, and the same command goes on with it; or give force=true once, to start anew beside it."
    )
    for other in sorted(path.parent.glob(f"{escape(run_name(config))}-????????")):
        manifest = _manifest_of(other)
        if (manifest.get("configuration") or _stored_hash(experiment, other)) != same:
            continue
        if not manifest:  # lost or damaged, but by its name it is a run of other sources
            if not config.force:
                raise RunError(
                    f"{other} has no manifest that can be read, and may be half done; code or data of yours changed "
                    f"since it was begun. {ways_out}"
                )
            continue
        difference = changed(manifest["sources"], sources)
        if manifest["status"] == "finished":
            say(f"{difference} changed since {other} was finished, so this is another run.")
        elif not config.force:
            raise RunError(
                f"{other} is half done ({manifest['status']}), and {difference} changed since it was begun. {ways_out}"
            )


def _stored_hash(experiment: Experiment, other: Path) -> str:
    """That of a run whose manifest is lost, by its config.yaml; '' where there is nothing to go on with."""
    try:
        if any(RunFolder(other).checkpoints.glob("*.pt")):
            device, engine = experiment.device.type, experiment.engine.name
            return hash_of_stored(Record(other).stored, device=device, engine=engine)
    except DamagedError as error:
        say(f"Whether {other} is this run half done by other code cannot be told: {one_line(error)}.", error=True)
    return ""


def _manifest_of(path: Path) -> dict[str, Any]:
    """Another run's manifest; {} where there is none that can be read."""
    try:
        return RunFolder(path).manifest()
    except DamagedError:
        return {}
