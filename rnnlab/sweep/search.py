"""A search over keys by Optuna's ask and tell: the study is a file, so that the same command goes on with it."""

import hashlib
import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import filelock
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Transformer

from rnnlab.config import SCALARS
from rnnlab.contract import ConfigError, InUseError, RunError, check_value, keys_of
from rnnlab.runs.folder import process_lock
from rnnlab.runs.safe_files import refuse_irregular
from rnnlab.sinks.console import say

Launch = Callable[[list[tuple[str, ...]], int, Callable[[], None]], Sequence[float]]
"""Overrides of some jobs, the number of the first, and what to call when one of them at least is right, to their
objectives: NaN where a job has no results, infinite where it has not learnt."""
MOST_AT_ONCE = 1000
"""Trials in a batch, whatever a user asks for."""
MOST_CHOICES = 1000
"""Values of a key that are chosen from one by one."""


def distribution(override: Override, config: Mapping[str, Any]) -> Any:
    """What a key is drawn from: `a,b,c`, `choice(…)`, `range(a,b,step)`, `interval(a,b)`, `tag(log, interval(a,b))`.

    Args:
        config: composed, without the search.
    Raises:
        ConfigError: Optuna has nothing like it.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    key = override.get_key_element()
    try:
        if isinstance(value, IntervalSweep):
            low, high, log = float(value.start or 0), float(value.end or 0), "log" in value.tags
            if not (math.isfinite(low) and math.isfinite(high)):
                raise ValueError("The bounds must be finite.")
            if low.is_integer() and high.is_integer() and for_whole_numbers(key, low, high, config):
                return IntDistribution(int(low), int(high), log=log)
            return FloatDistribution(low, high, log=log)
        if isinstance(value, RangeSweep) and isinstance(value.start, int) and isinstance(value.step, int):
            return CategoricalDistribution(_few(range(value.start, int(value.stop or 0), value.step)))
        if isinstance(value, ChoiceSweep | RangeSweep):
            return CategoricalDistribution(_few(override.sweep_iterator(Transformer.encode)))
    except ValueError as error:
        raise ConfigError(f"{override.input_line}: not allowed. {error}") from None
    raise ConfigError(f"{key}: not allowed in a search. Allowed: a,b,c, range(…), interval(…), tag(log, interval(…)).")


def _few(values: Any) -> list[Any]:
    few = list(islice(values, MOST_CHOICES + 1))
    if len(few) > MOST_CHOICES:
        raise ValueError(f"More than {MOST_CHOICES} values; interval(a,b) draws from as many as there are.")
    return few


def for_whole_numbers(key: str, low: float, high: float, config: Mapping[str, Any]) -> bool:
    """Whether a key may be one of these two whole numbers, but nothing between: by its type, or else by its value."""
    section, _, leaf = key.rpartition(".")
    node: Any = config
    for part in section.split(".") if section else ():
        node = node.get(part) if isinstance(node, Mapping) else None
    node = node if isinstance(node, Mapping) else {}
    kind = SCALARS.get(key) or (keys_of(section, str(node["_target_"])).get(leaf) if "_target_" in node else None)
    if kind is None:
        return isinstance(node.get(leaf), int)

    def allowed(value: float) -> bool:
        try:
            check_value(key, value, kind)
        except ConfigError:
            return False
        return True

    return not allowed(low + 0.5) and (allowed(low) or allowed(high))


class Search:
    """A study and the trials it still asks for.

    Args:
        folder: where the study's file goes.
        fixed: overrides that every trial has.
        space: a distribution per key.
        trials: that shall have an objective in the end.
        seed: of the sampler.
        command: the command line that trains once with some overrides.
    Raises:
        ConfigError: there is nothing to search.
        RunError: the study's file cannot be read, or is none.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fixed: list[str],
        space: dict[str, Any],
        trials: int,
        seed: int | None,
        command: Callable[[list[str]], str],
    ) -> None:
        if not space:
            raise ConfigError(
                "hydra/sweeper=optuna: nothing to search; give a key more than one value, "
                "for example optimiser.lr='tag(log,interval(1e-4,1e-2))'."
            )
        self.folder, self.fixed, self.space, self.trials, self.command = folder, fixed, space, trials, command
        self.optuna = optuna = _import_optuna()
        from rnnlab.sweep.journal import Journal

        state = optuna.trial.TrialState
        self.failed, self.complete, self.left = state.FAIL, state.COMPLETE, (state.RUNNING, state.FAIL)
        self.name = _name(fixed, space)
        self.journal = Journal(folder / "study.journal")
        self.lock = process_lock(folder / f".study-{self.name}.lock")
        refuse_irregular(Path(self.lock.lock_file))
        known = self.journal.trials(self.name)
        # Another seed in each session, or it would begin with the points of the first again.
        sampler = optuna.samplers.TPESampler(seed=None if seed is None else seed + len(known))
        # Until a configuration was found right nothing is written: the first batch is asked of a study in memory.
        self.study = optuna.create_study(direction="minimize", sampler=sampler)
        self.study.add_trials([trial for trial in known if trial.state == self.complete])
        self.again = self._to_do_again(known)

    def run(self, launch: Launch, at_once: int, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Ask, launch and tell until enough trials were made. One that fails is told as failed, and the study goes on.

        Raises:
            InUseError: another process works on the same search; its trials under way are not to be taken for lost.
            RunError: the study's file cannot be written.
            KeyboardInterrupt: interrupted between two batches.
        """
        with ExitStack() as held:
            try:
                if Path(self.lock.lock_file).exists():
                    self._hold(held)
                self._run(launch, min(at_once, MOST_AT_ONCE), held, interrupted)
            except OSError as error:
                raise RunError(f"{self.journal.file}: the study cannot be written ({error.strerror}).") from error

    def _run(self, launch: Launch, at_once: int, held: ExitStack, interrupted: Callable[[], bool]) -> None:
        done = len(self._complete())
        if done:
            say(f"{self.journal.file}: {done} of {self.trials} trials have an objective")
        number, last = 0, max(0, self.trials - done)
        begun = False
        batch: list[Any] = []

        def begin() -> None:
            nonlocal batch, begun
            if not begun:
                begun, batch = True, self._begin(batch, held)

        while number < last:
            if interrupted():
                raise KeyboardInterrupt("Interrupted. The same command goes on.")
            batch = [self._ask() for _ in range(min(at_once, last - number))]
            overrides = [(*self.fixed, *(f"{key}={value}" for key, value in t.params.items())) for t in batch]
            objectives = launch(overrides, number, begin)
            if not begun and not done:
                return  # every configuration was refused, which the sweep tells
            begin()
            self._tell(batch, objectives)
            number += len(batch)
        if not last:
            self.journal.mend()
        self._tell_best()

    def _hold(self, held: ExitStack) -> None:
        """Until the end of the search, or of the process."""
        try:
            held.enter_context(self.lock.acquire(timeout=0))
        except filelock.Timeout:
            raise InUseError(
                f"{self.journal.file}: another process works on this search. Wait for it, or stop it."
            ) from None

    def _begin(self, batch: list[Any], held: ExitStack) -> list[Any]:
        """From now on the study is the file's; the trials of the batch there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._hold(held)
        self.study = self.journal.open(self.name, self.study.sampler)
        state = self.optuna.trial.TrialState
        for _ in self.study.get_trials(states=(state.WAITING,)):
            self.study.tell(self.study.ask(), state=self.failed)
        for trial in self.study.get_trials(states=(state.RUNNING,)):
            self.study.tell(trial.number, state=self.failed)
        return [self._ask(trial.params) for trial in batch]

    def _ask(self, params: dict[str, Any] | None = None) -> Any:
        """A trial with these values, or with those of one that is to be done again, or with new ones."""
        if params is None and self.again:
            params = self.again.popleft()
        if params is not None:
            self.study.enqueue_trial(params)
        return self.study.ask(self.space)

    def _to_do_again(self, known: list[Any]) -> deque[dict[str, Any]]:
        """Trials of an earlier session that failed or were cut short come first; their runs go on from checkpoints."""
        done = [trial.params for trial in known if trial.state == self.complete]
        again: deque[dict[str, Any]] = deque()
        for trial in known:
            whole = trial.params.keys() == self.space.keys()
            if trial.state in self.left and whole and trial.params not in [*done, *again]:
                again.append(trial.params)
        return again

    def _complete(self) -> list[Any]:
        return self.study.get_trials(states=(self.complete,))

    def _tell(self, batch: list[Any], objectives: Sequence[float]) -> None:
        for trial, value in zip(batch, objectives, strict=True):
            if math.isnan(value):
                self.study.tell(trial, state=self.failed)
            else:
                self.study.tell(trial, value)

    def _tell_best(self) -> None:
        complete = self._complete()
        learnt = [trial for trial in complete if math.isfinite(trial.value)]
        if not learnt:
            say(f"None of {len(complete)} trials with results has a loss from training: a seed diverged in each.")
            return
        best = min(learnt, key=lambda trial: trial.value)
        chosen = [f"{key}={value}" for key, value in best.params.items()]
        say(f"Best of {len(complete)} trials: best evaluation loss {best.value:.4g} with {' '.join(chosen)}")
        fixed = [override for override in self.fixed if not override.startswith(("name=", "hydra"))]
        again = self.command([*fixed, *chosen, f"name={self.folder.name[:90]}-best"])
        say(f"To train it again, under a name of its own:\n  {again}")


def chosen(overrides: Sequence[Override], config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keys that are searched, and what each is drawn from."""
    for override in overrides:
        if override.is_sweep_override():
            yield override.get_key_element(), distribution(override, config)


def _name(fixed: list[str], space: dict[str, Any]) -> str:
    """A study per command: other fixed values or another space are another search, also in the same file."""
    shown = sorted(f for f in fixed if not f.startswith("hydra"))
    text = json.dumps([shown, sorted((key, str(value)) for key, value in space.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise RunError("hydra/sweeper=optuna needs Optuna: pip install 'rnnlab[optuna]'.") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
