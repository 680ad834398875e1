"""One run from its configuration to its folder: start, go on, end."""

import errno
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict
from glob import escape
from pathlib import Path
from typing import Any

import torch

from rnnlab.bptt.engine import ENGINES
from rnnlab.build import build
from rnnlab.contract import ConfigError, RunError
from rnnlab.entrance import UNTRAINED
from rnnlab.experiment import Experiment
from rnnlab.interruption import Interrupted, unfinished
from rnnlab.make import parameter_count
from rnnlab.memory.lack import lacks_memory
from rnnlab.messages import one_line
from rnnlab.runs.damage import DamagedError, set_aside
from rnnlab.runs.digest import Digest, digest
from rnnlab.runs.folder import RunFolder, environment, now, write_atomically
from rnnlab.runs.identity import configuration_hash, hash_of_stored, run_id, technique
from rnnlab.runs.progress import Progress
from rnnlab.runs.record import Record
from rnnlab.runs.sources import changed
from rnnlab.schema import Config
from rnnlab.sinks.address import comparison_address
from rnnlab.sinks.console import ConsoleSink, result_table, say, show_table
from rnnlab.sinks.jsonl import JsonLines
from rnnlab.sinks.probe_files import ProbeFiles
from rnnlab.sinks.sink import Sink
from rnnlab.tasks.task import evaluated_on
from rnnlab.training import checkpoint
from rnnlab.training.ledger import Stopwatch
from rnnlab.training.longer import Shorter, shorter, without_steps
from rnnlab.training.loop import train
from rnnlab.training.prepare import prepare
from rnnlab.training.resume import Standing, beginning, clear_away, make_way, newest

RUNS = Path("runs")


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
        session = _Session(experiment, standing, folder, damaged)

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
        if manifest and manifest["configuration"] != _hash(experiment):
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
        status = _glance(other.path).get("status")
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
    same = _hash(experiment)
    ways_out = (
        "Undo the change, and the same command goes on with it; or give force=true once, to start anew beside it."
    )
    for other in sorted(path.parent.glob(f"{escape(technique(config))}-????????")):
        manifest = _glance(other)
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


def _hash(experiment: Experiment) -> str:
    return configuration_hash(experiment.config, device=experiment.device.type, engine=experiment.engine.name)


def _stored_hash(experiment: Experiment, other: Path) -> str:
    """That of a run whose manifest is lost, by its config.yaml; '' where there is nothing to go on with."""
    try:
        if any(RunFolder(other).checkpoints.glob("*.pt")):
            device, engine = experiment.device.type, experiment.engine.name
            return hash_of_stored(Record(other).stored, device=device, engine=engine)
    except DamagedError as error:
        say(f"Whether {other} is this run half done by other code cannot be told: {one_line(error)}.", error=True)
    return ""


def _glance(path: Path) -> dict[str, Any]:
    """Another run's manifest; {} where there is none that can be read."""
    try:
        return RunFolder(path).manifest()
    except DamagedError:
        return {}


class _Session:
    """One process's work on a run folder."""

    def __init__(
        self, experiment: Experiment, standing: Standing, folder: RunFolder, damaged: list[DamagedError]
    ) -> None:
        self.experiment, self.standing, self.folder, self.damaged = experiment, standing, folder, damaged
        self.identity = folder.path.name
        self.parameters = parameter_count(standing.population.model, len(experiment.config.seeds))
        self.watch = Stopwatch()
        self.manifest: dict[str, Any] = {}
        self.saved: int | None = None
        self.written: tuple[int, int] | None = None  # step and last evaluation of the newest checkpoint
        self.continued: Record | None = None  # the shorter run that it goes on with
        self.sinks: list[Sink] = []

    @property
    def progress(self) -> Progress:
        return self.standing.progress

    @property
    def untouched(self) -> bool:
        """Whether nothing was trained, in this session or an earlier one."""
        return not (self.saved or self.progress.step)

    def run(self, interrupted: Callable[[], bool]) -> None:
        try:
            self._start()
            if not self.progress.step:
                prepare(self.experiment, self.standing.population.model, self.experiment.config.seeds, interrupted)
            complete = train(
                self.experiment,
                self.standing.population,
                self.progress,
                self.standing.record,
                self.standing.prober,
                self.sinks,
                save=self._save,
                interrupted=interrupted,
                watch=self.watch,
            )
            if not complete and self.progress.step == 0:
                raise Interrupted(UNTRAINED)
            self._end("finished" if complete else "interrupted")
        except OSError as error:
            self._give_up("failed", str(error))
            last = f"the last checkpoint is that of step {self.saved}" if self.saved else "there is no checkpoint yet"
            room = "Make room, then give" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "Give"
            raise RunError(
                f"Work on {self.folder.path} failed: {error.strerror or error}; {last}. {room} the same command again."
            ) from error
        except KeyboardInterrupt:
            self._give_up("interrupted", "stopped at once")
            raise
        except BaseException as error:  # SystemExit too, of a component
            told = lacks_memory(error, self.experiment.memory)
            self._give_up("failed", told or repr(error))
            if told and self.saved is None:
                raise ConfigError(told) from None
            if told:
                raise RunError(f"{told} The last checkpoint is that of step {self.saved}.") from None
            raise
        if not complete:
            raise KeyboardInterrupt(
                f"Interrupted at step {self.progress.step}; a checkpoint is written. "
                f"The same command goes on from there."
            )

    def _start(self) -> None:
        config, engine, folder = self.experiment.config, self.experiment.engine, self.folder
        make_way(folder.path, self._warn)
        self._resume()
        before = self.continued.manifest if self.continued else folder.manifest()
        earlier = before.get("sessions", []) if self.progress.step else []
        self.manifest = {
            "run_id": self.identity,
            "name": config.name,
            "technique": technique(config),
            "status": "running",
            **environment(),
            "device": _device_name(self.experiment.device),
            "threads": engine.threads,
            "engine": engine.name,
            "engine_because": engine.why,
            "seeds": config.seeds,
            "parameters": self.parameters,
            "task": self._task(),
            "match_parameters": asdict(matched) if (matched := self.experiment.match) else None,
            "start": earlier[0]["start"] if earlier else now(),
            "end": None,
            "sessions": [*earlier, {"start": now(), "from_step": self.progress.step}],
            "configuration": _hash(self.experiment),
            "configuration_without_steps": without_steps(self.experiment),
            "continues": self.continued.path.name if self.continued else before.get("continues"),
            "sources": self.experiment.sources,
            "files": {"metrics.jsonl": digest(self.standing.kept)},
        }
        folder.write_manifest(self.manifest)
        folder.write_config(config.resolved())
        self.lines = JsonLines(folder.metrics, self.standing.kept)
        self.probed = ProbeFiles(folder.path / "probes", self.standing.probes)
        task = self.experiment.task
        say(
            f"{folder.path}\n{len(config.seeds)} seed(s), {self.parameters} parameters each, "
            f"{self.manifest['device']}; baseline {task.baseline:.4g} {task.unit}; solved when {task.solved_when}\n"
            f"engine {engine.name} on {engine.threads} thread(s): {engine.why}\n{self.experiment.memory}"
        )
        if self.progress.step and not self.continued:
            say(f"Going on from step {self.progress.step}.")
        self.sinks += [self.lines, self.probed]
        if config.tensorboard:
            from rnnlab.sinks.tensorboard import TensorBoard

            writer = TensorBoard(self.experiment, folder.tensorboard, self.progress.step, self.parameters)
            if self.continued:
                writer.take_over(self.continued.path / "tensorboard", self.progress.step)
            self.sinks.append(writer)
        self.sinks.append(ConsoleSink(steps=config.steps, start=self.progress.step, baseline=task.baseline))
        for sink in self.sinks:
            sink.progress(self.progress.step, self.progress.results)
        if self.continued:
            self._save()

    def _resume(self) -> None:
        """Take over the newest state that is whole.

        Raises:
            RunError: a finished run would have to be trained again for what is damaged in it.
        """
        found, damaged = newest(self.experiment, self.folder.path)
        ended = self.folder.manifest().get("sessions", [{}])[-1].get("to_step", 0) if self.damaged else 0
        if self.damaged and (found is None or found.progress.step < ended):
            raise RunError(
                f"{'; '.join(map(str, self.damaged))}. The run is finished, and its other results stand; force=true "
                "trains it again from nothing."
            )
        self.standing = found or self.standing
        clear_away(self.folder.path, self.standing, damaged, self._warn)
        if found is None and not self.folder.manifest():
            self._set_strange_aside()
        for error in self.damaged:
            self._warn(f"{error}; written again from the checkpoint of the run's end.")
        if found is None and not self.experiment.config.force:
            self._take_over(shorter(self.experiment, self.folder.path))
        elif found is not None:
            self.saved, self.written = self.progress.step, (self.progress.step, self.progress.evaluated)
            # Those of the checkpoint; the file may be newer, or damaged.
            self.adjoints = self.folder.write_adjoints(found.record.arrays())

    def _take_over(self, earlier: Shorter | None) -> None:
        """Go on where a shorter run stands. What it wrote until then becomes this run's too, before its checkpoint."""
        if earlier is None:
            return
        say(str(earlier))
        if earlier.standing is not None:
            self.standing, self.continued = earlier.standing, earlier.record
            write_atomically(self.folder.metrics, self.standing.kept)
            for name, expected in self.standing.probes.items():
                (self.folder.path / "probes").mkdir(exist_ok=True)
                content = earlier.record.check_prefix(f"probes/{name}", expected)
                write_atomically(self.folder.path / "probes" / name, content)

    def _set_strange_aside(self) -> None:
        """Results without a manifest or a checkpoint of this run: whosever they are, they are not written over."""
        for name in ("metrics.jsonl", "adjoints.npz", "summary.json"):
            path = self.folder.path / name
            if path.exists():
                self._warn(f"{path}: nothing says that it is of this run; set aside as {set_aside(path).name}.")

    @staticmethod
    def _warn(text: str) -> None:
        say(text, error=True)

    def _save(self, *, passing: bool = False) -> None:
        at = (self.progress.step, self.progress.evaluated)
        if self.written == at:
            return
        self.adjoints = self.folder.write_adjoints(self.standing.record.arrays())
        written = {"metrics": self.lines.digest(), "probes": self.probed.files}
        config = self.experiment.config
        checkpoint.save(
            self.folder.checkpoints,
            self.progress.step,
            {"run_id": self.identity, **self.standing.state_dict(), **written},
            keep=config.checkpoint_keep,
            every=config.checkpoint_every,
            passing=passing,
        )
        self.saved, self.written = self.progress.step, at
        self.manifest["files"] = self._files()
        self.folder.write_manifest(self.manifest)

    def _files(self) -> dict[str, Digest]:
        """What the manifest vouches for while the run is at work: what its newest checkpoint goes with.

        Not adjoints.npz: one that is newer than the manifest is not damaged.
        """
        probed = {f"probes/{name}": written for name, written in sorted(self.probed.files.items())}
        return {"metrics.jsonl": self.lines.digest(), **probed}

    def _end(self, status: str) -> None:
        self._save()
        files = {**self._files(), "adjoints.npz": self.adjoints}
        for sink in self.sinks:
            sink.close(self.progress.results, self.standing.record)
        session = self.manifest["sessions"][-1]
        session |= {
            "end": now(),
            "to_step": self.progress.step,
            "training_seconds": round(self.watch.seconds, 3),
            "training_steps": self.watch.steps,
        }
        if status == "finished":
            summary = self._summary()
            files["summary.json"] = self.folder.write_json("summary.json", summary)
            show_table(result_table(summary))
        self.manifest |= {"status": status, "end": now(), "files": files}
        self.folder.write_manifest(self.manifest)
        if status == "finished":
            say(f"Results: {self.folder.path}")
            if self.experiment.config.tensorboard:
                say(f"Compare: tensorboard --logdir {RUNS}, then open\n  {comparison_address()}")

    def _summary(self) -> dict[str, Any]:
        metric = self.experiment.task.metric.name
        sessions = self.manifest["sessions"]
        steps = sum(s.get("training_steps", 0) for s in sessions)
        seconds = sum(s.get("training_seconds", 0.0) for s in sessions)
        return {
            "run_id": self.identity,
            **self._task(),
            "milestones": [f"{m:.12g}" for m in self.experiment.config.milestones],
            "parameters": self.parameters,
            "seconds_per_step": seconds / steps if steps else None,
            "seeds": [
                {
                    "seed": seed,
                    "status": result.status,
                    "steps_to_solve": result.steps_to_solve,
                    "steps": result.steps,
                    "final_eval_loss": result.final_loss,
                    "best_eval_loss": result.best_loss,
                    f"final_eval_{metric}": result.final_metric,
                    f"best_eval_{metric}": result.best_metric,
                    "milestones": result.milestones,
                }
                for seed, result in self.progress.results.items()
            ],
        }

    def _task(self) -> dict[str, Any]:
        """What the numbers of this run mean; in the manifest too, for those who read a run before its end."""
        task = self.experiment.task
        return {
            "baseline": task.baseline,
            "unit": task.unit,
            "metric": task.metric.name,
            "metric_unit": task.metric.unit,
            "metric_better": task.metric.better,
            "solved_when": task.solved_when,
            "evaluated_on": evaluated_on(task, self.experiment.config.evaluate_examples),
        }

    def _give_up(self, status: str, reason: str) -> None:
        for sink in self.sinks:
            with suppress(OSError, ValueError):
                sink.close(self.progress.results, self.standing.record)
        self.mark(status, reason)

    def mark(self, status: str, reason: str) -> None:
        """Say in the manifest how the session ended."""
        if self.manifest:
            try:
                self.folder.write_manifest({**self.manifest, "status": status, "reason": reason, "end": now()})
            except OSError:
                say("The manifest could not be updated either.", error=True)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
