"""A search over keys by Optuna's ask and tell: the study is a file, so that the same command goes on with it."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Transformer

from rnnlab.contract import ConfigError, RunError
from rnnlab.sinks.console import say

Launch = Callable[[list[tuple[str, ...]], int], Sequence[float]]
"""Overrides of some jobs and the number of the first to their objectives, NaN where a job has none."""


def distribution(override: Override) -> Any:
    """What a key is drawn from: `a,b,c`, `choice(…)`, `range(a,b,step)`, `interval(a,b)`, `tag(log, interval(a,b))`.

    Raises:
        ConfigError: Optuna has nothing like it.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    key = override.get_key_element()
    try:
        if isinstance(value, IntervalSweep):
            kind = IntDistribution if isinstance(value.start, int) and isinstance(value.end, int) else FloatDistribution
            return kind(value.start, value.end, log="log" in value.tags)  # type: ignore[arg-type]
        if isinstance(value, RangeSweep) and isinstance(value.start, int) and isinstance(value.step, int):
            values: Any = range(value.start, int(value.stop or 0), value.step)
            return CategoricalDistribution(list(values))
        if isinstance(value, ChoiceSweep | RangeSweep):
            choices: Any = list(override.sweep_iterator(Transformer.encode))
            return CategoricalDistribution(choices)
    except ValueError as error:
        raise ConfigError(f"{override.input_line}: not allowed. {error}") from None
    raise ConfigError(f"{key}: not allowed in a search. Allowed: a,b,c, range(…), interval(…), tag(log, interval(…)).")


class Search:
    """A study and the trials it still asks for.

    Args:
        folder: where the study's file goes.
        fixed: overrides that every trial has.
        space: a distribution per key.
        trials: that shall have an objective in the end.
        seed: of the sampler.
    """

    def __init__(self, folder: Path, *, fixed: list[str], space: dict[str, Any], trials: int, seed: int | None) -> None:
        self.fixed, self.space, self.trials = fixed, space, trials
        optuna = _import_optuna()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "study.journal"
        backend = optuna.storages.journal.JournalFileBackend(str(self.file))
        self.study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name=_name(fixed, space),
            direction="minimize",
            load_if_exists=True,
        )
        # Another seed in each session, or it would begin with the points of the first again.
        later = None if seed is None else seed + len(self.study.get_trials())
        self.study.sampler = optuna.samplers.TPESampler(seed=later)
        self.failed = optuna.trial.TrialState.FAIL
        self.complete = optuna.trial.TrialState.COMPLETE
        self.running = optuna.trial.TrialState.RUNNING

    def run(self, launch: Launch, at_once: int) -> None:
        """Ask, launch and tell until enough trials were made. One that fails is told as failed, and the study goes on.

        Raises:
            ConfigError: every configuration of the first trials is wrong.
        """
        done = len(self.study.get_trials(states=(self.complete,)))
        self._ask_again_for_what_has_none()
        if done:
            say(f"{self.file}: {done} of {self.trials} trials have an objective")
        asked = iter(range(max(0, self.trials - done)))
        number = 0
        while batch := [self.study.ask(self.space) for _ in islice(asked, at_once)]:
            overrides = [(*self.fixed, *(f"{key}={value}" for key, value in t.params.items())) for t in batch]
            try:
                objectives = launch(overrides, number)
            except ConfigError:
                objectives = [math.nan] * len(batch)
                if not self.study.get_trials(states=(self.complete,)):
                    self._tell(batch, objectives)
                    raise
            self._tell(batch, objectives)
            number += len(batch)
        self._tell_best()

    def _ask_again_for_what_has_none(self) -> None:
        """Trials of an earlier session that failed or were cut short come first; their runs go on from checkpoints."""
        for trial in self.study.get_trials(states=(self.running,)):
            self.study.tell(trial.number, state=self.failed)
        known = [trial.params for trial in self.study.get_trials(states=(self.complete,))]
        for trial in self.study.get_trials(states=(self.failed,)):
            if trial.params and trial.params not in known:
                known.append(trial.params)
                self.study.enqueue_trial(trial.params, skip_if_exists=False)

    def _tell(self, batch: list[Any], objectives: Sequence[float]) -> None:
        for trial, value in zip(batch, objectives, strict=True):
            if math.isfinite(value):
                self.study.tell(trial, value)
            else:
                self.study.tell(trial, state=self.failed)

    def _tell_best(self) -> None:
        complete = self.study.get_trials(states=(self.complete,))
        if complete:
            best = min(complete, key=lambda trial: trial.value or 0.0)
            chosen = " ".join(f"{key}={value}" for key, value in best.params.items())
            say(f"Best of {len(complete)} trials: best evaluation loss {best.value:.4g} with {chosen}")


def chosen(overrides: Sequence[Override]) -> Iterator[tuple[str, Any]]:
    """The keys that are searched, and what each is drawn from."""
    for override in overrides:
        if override.is_sweep_override():
            yield override.get_key_element(), distribution(override)


def _name(fixed: list[str], space: dict[str, Any]) -> str:
    """A study per command: other fixed values or another space are another search, also in the same file."""
    shown = sorted(f for f in fixed if not f.startswith("hydra"))
    text = json.dumps([shown, sorted((key, str(value)) for key, value in space.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _import_optuna() -> Any:
    try:
        import optuna
        import optuna.storages.journal
    except ImportError:
        raise RunError("hydra/sweeper=optuna needs Optuna: pip install 'rnnlab[optuna]'.") from None
    return optuna
