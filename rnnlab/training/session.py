"""One process's work on a run folder: go on or begin, train, save, and say in the manifest how it ended."""

import errno
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from rnnlab.contract import ConfigError, RunError
from rnnlab.entrance import UNTRAINED
from rnnlab.experiment import Experiment
from rnnlab.interruption import Interrupted
from rnnlab.make import parameter_count
from rnnlab.memory.lack import lacks_memory
from rnnlab.runs.damage import DamagedError, set_aside
from rnnlab.runs.digest import Digest, digest
from rnnlab.runs.folder import RunFolder, environment, now, write_atomically
from rnnlab.runs.identity import configuration_hash, run_name
from rnnlab.runs.progress import Progress
from rnnlab.runs.record import Record
from rnnlab.sinks.address import comparison_address
from rnnlab.sinks.console import ConsoleSink, result_table, say, show_table
from rnnlab.sinks.jsonl import JsonLines
from rnnlab.sinks.probe_files import ProbeFiles
from rnnlab.sinks.sink import Sink
from rnnlab.training import checkpoint
from rnnlab.training.ledger import Stopwatch
from rnnlab.training.longer import Shorter, shorter, without_steps
from rnnlab.training.loop import train
from rnnlab.training.prepare import prepare
from rnnlab.training.resume import Standing, clear_away, make_way, newest
from rnnlab.training.summary import of_task, summarised

RUNS = Path("runs")


def hash_of(experiment: Experiment) -> str:
    """Of its configuration, with the device and engine that serve it here."""
    return configuration_hash(experiment.config, device=experiment.device.type, engine=experiment.engine.name)


class Session:
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
            "technique": run_name(config),
            "status": "running",
            **environment(),
            "device": _device_name(self.experiment.device),
            "threads": engine.threads,
            "engine": engine.name,
            "engine_because": engine.why,
            "seeds": config.seeds,
            "parameters": self.parameters,
            "task": of_task(self.experiment),
            "match_parameters": asdict(matched) if (matched := self.experiment.match) else None,
            "start": earlier[0]["start"] if earlier else now(),
            "end": None,
            "sessions": [*earlier, {"start": now(), "from_step": self.progress.step}],
            "configuration": hash_of(self.experiment),
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
            summary = summarised(self.experiment, self.manifest, self.progress)
            files["summary.json"] = self.folder.write_json("summary.json", summary)
            show_table(result_table(summary))
        self.manifest |= {"status": status, "end": now(), "files": files}
        self.folder.write_manifest(self.manifest)
        if status == "finished":
            say(f"Results: {self.folder.path}")
            if self.experiment.config.tensorboard:
                say(f"Compare: tensorboard --logdir {RUNS}, then open\n  {comparison_address()}")

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
