"""One run from its configuration to its folder: start, go on, end."""

import errno
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from rnnlab.bptt.engine import ENGINES
from rnnlab.build import Experiment, build, parameter_count
from rnnlab.contract import ConfigError, RunError
from rnnlab.interruption import Interrupted
from rnnlab.memory.lack import lacks_memory
from rnnlab.probes.adjoint_record import AdjointRecord
from rnnlab.probes.prober import Prober
from rnnlab.runs.folder import RunFolder, environment, now
from rnnlab.runs.identity import run_id, technique
from rnnlab.schema import Config
from rnnlab.sinks.address import comparison_address
from rnnlab.sinks.console import ConsoleSink, result_table, say, show_table
from rnnlab.sinks.jsonl import JsonLines
from rnnlab.sinks.probe_files import ProbeFiles, each_probed
from rnnlab.sinks.sink import Sink
from rnnlab.training import checkpoint
from rnnlab.training.loop import Progress, Result, Stopwatch, train
from rnnlab.training.population import Population

RUNS = Path("runs")


def run(
    config: Config,
    interrupted: Callable[[], bool] = lambda: False,
    output: Callable[[Path], AbstractContextManager[None]] = nullcontext,
) -> Path:
    """Train what the configuration says and write its run folder, or go on where an earlier session stopped.

    Args:
        interrupted: asked between two training steps; see rnnlab.interruption.
        output: given the run folder, the context to work in; a sweep keeps there what the run prints.
    Returns:
        The run folder.
    Raises:
        ConfigError: the configuration cannot be carried out here; nothing was written.
        InUseError: another process works on the folder.
        RunError: the folder cannot be written.
        KeyboardInterrupt: interrupted; a checkpoint was written.
    """
    with _one_thread() as threads:
        return _run(build(config, say=say, threads=threads), interrupted, output)


def run_folder(experiment: Experiment) -> RunFolder:
    """Where a run goes, which follows from its configuration, the device and the engine that serve it here."""
    config = experiment.config
    identity = run_id(config, device=experiment.device.type, engine=experiment.engine.name)
    return RunFolder(RUNS / config.name / identity)


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
    model = experiment.model(config.seeds, interrupted)
    population = Population(model, config.seeds, experiment.optimiser, experiment.clipping)
    missing = folder.missing()
    with folder.locked(), output(folder.path):
        if not folder.manifest():
            _tell_of_other_engines(experiment, folder.path)
        finished = folder.manifest().get("status") == "finished"
        if finished and not config.force:
            say(f"{folder.path} is finished already; nothing to do. (force=true starts it again from nothing.)")
            return folder.path
        if finished:
            folder.clear()
        session = _Session(experiment, population, folder)
        try:
            session.run(interrupted)
        except (ConfigError, KeyboardInterrupt) as error:
            if session.saved is None and (isinstance(error, ConfigError) or session.progress.step == 0):
                folder.withdraw(missing)
            raise
    return folder.path


def _tell_of_other_engines(experiment: Experiment, path: Path) -> None:
    """Where `auto` takes another engine than before, for want of a compiler, say, it does not go on with that run."""
    config, taken = experiment.config, experiment.engine.name
    for engine in ENGINES if config.engine == "auto" else ():
        other = RunFolder(path.with_name(run_id(config, device=experiment.device.type, engine=engine)))
        status = other.manifest().get("status")
        if engine != taken and status:
            say(
                f"{other.path} is a run of the same configuration by the {engine} engine ({status}). engine={engine} "
                f"goes on with it; this one, by the {taken} engine, starts from nothing."
            )


class _Session:
    """One process's work on a run folder."""

    def __init__(self, experiment: Experiment, population: Population, folder: RunFolder) -> None:
        self.experiment, self.population, self.folder = experiment, population, folder
        self.identity = folder.path.name
        config, states = experiment.config, population.model.cell.states
        self.parameters = parameter_count(population.model, len(config.seeds))
        self.progress = Progress(0, {seed: Result() for seed in config.seeds})
        self.record = AdjointRecord(config.seeds, states, experiment.task.steps)
        self.prober = Prober(experiment, config.seeds)
        self.watch = Stopwatch()
        self.manifest: dict[str, Any] = {}
        self.saved: int | None = None
        self.written: tuple[int, int] | None = None  # step and last evaluation of the newest checkpoint
        self.sinks: list[Sink] = []

    def run(self, interrupted: Callable[[], bool]) -> None:
        try:
            self._start()
            complete = train(
                self.experiment,
                self.population,
                self.progress,
                self.record,
                self.prober,
                self.sinks,
                save=self._save,
                interrupted=interrupted,
                watch=self.watch,
            )
            if not complete and self.progress.step == 0:
                raise Interrupted("Interrupted before anything was trained.")
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
        except Exception as error:
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
        position = self._resume()
        earlier = folder.manifest().get("sessions", []) if self.progress.step else []
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
        }
        folder.write_json("manifest.json", self.manifest)
        folder.write_config(config.resolved())
        self.lines = JsonLines(folder.metrics, position)
        task = self.experiment.task
        say(
            f"{folder.path}\n{len(config.seeds)} seed(s), {self.parameters} parameters each, "
            f"{self.manifest['device']}; baseline {task.baseline:.4g} {task.unit}; solved when {task.solved_when}\n"
            f"engine {engine.name} on {engine.threads} thread(s): {engine.why}\n{self.experiment.memory}"
        )
        if self.progress.step:
            say(f"Going on from step {self.progress.step}.")
        self.sinks += [self.lines, ProbeFiles(folder.path / "probes", self.progress.step)]
        if config.tensorboard:
            from rnnlab.sinks.tensorboard import TensorBoard

            earlier = each_probed(folder.path)
            writer = TensorBoard(self.experiment, folder.tensorboard, self.progress.step, self.parameters, earlier)
            self.sinks.append(writer)
        self.sinks.append(ConsoleSink(steps=config.steps, start=self.progress.step, baseline=task.baseline))
        for sink in self.sinks:
            sink.progress(self.progress.step, self.progress.results)

    def _resume(self) -> int:
        """Take over the newest good checkpoint; returns the length of metrics.jsonl at that time."""
        state = checkpoint.load(self.folder.checkpoints, lambda text: say(text, error=True))
        if state is None:
            return 0
        self.population.load_state_dict(state["population"])
        self.progress = Progress.from_state_dict(state["progress"])
        self.saved, self.written = self.progress.step, (self.progress.step, self.progress.evaluated)
        self.record.load_state_dict(state["adjoints"])
        self.prober.load_state_dict(state["prober"])
        written = self.folder.metrics.stat().st_size if self.folder.metrics.exists() else 0
        if written < state["metrics_bytes"]:
            raise RunError(
                f"{self.folder.metrics} is shorter than at the checkpoint, so the run cannot go on as if it had not "
                f"stopped. Remove {self.folder.path} to start from nothing."
            )
        self.folder.write_adjoints(self.record.arrays())  # that of the checkpoint; the file may be newer, or damaged
        return int(state["metrics_bytes"])

    def _save(self, *, passing: bool = False) -> None:
        at = (self.progress.step, self.progress.evaluated)
        if self.written == at:
            return
        position = self.lines.position()
        self.folder.write_adjoints(self.record.arrays())
        state = {
            "population": self.population.state_dict(),
            "progress": self.progress.state_dict(),
            "adjoints": self.record.state_dict(),
            "prober": self.prober.state_dict(),
            "metrics_bytes": position,
        }
        config = self.experiment.config
        checkpoint.save(
            self.folder.checkpoints,
            self.progress.step,
            state,
            keep=config.checkpoint_keep,
            every=config.checkpoint_every,
            passing=passing,
        )
        self.saved, self.written = self.progress.step, at

    def _end(self, status: str) -> None:
        self._save()
        for sink in self.sinks:
            sink.close(self.progress.results, self.record)
        session = self.manifest["sessions"][-1]
        session |= {
            "end": now(),
            "to_step": self.progress.step,
            "training_seconds": round(self.watch.seconds, 3),
            "training_steps": self.watch.steps,
        }
        if status == "finished":
            summary = self._summary()
            self.folder.write_json("summary.json", summary)
            show_table(result_table(summary))
        self.manifest |= {"status": status, "end": now()}
        self.folder.write_json("manifest.json", self.manifest)
        if status == "finished":
            say(f"Results: {self.folder.path}")
            if self.experiment.config.tensorboard:
                say(f"Compare: tensorboard --logdir {RUNS}, then open\n  {comparison_address()}")

    def _summary(self) -> dict[str, Any]:
        metric = self.experiment.task.metric
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
            "metric": task.metric,
            "solved_when": task.solved_when,
        }

    def _give_up(self, status: str, reason: str) -> None:
        for sink in self.sinks:
            with suppress(OSError, ValueError):
                sink.close(self.progress.results, self.record)
        try:
            manifest = self.manifest or self.folder.manifest()
            self.folder.write_json("manifest.json", {**manifest, "status": status, "reason": reason, "end": now()})
        except OSError:
            say("The manifest could not be updated either.", error=True)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
