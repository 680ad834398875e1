"""The file of a search's studies: Optuna's journal, mended where it was damaged. Needs Optuna."""

import json
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

from rnnlab.contract import RunError
from rnnlab.runs.damage import free_name
from rnnlab.runs.folder import process_lock, write_atomically
from rnnlab.runs.safe_files import open_regular, refuse_irregular
from rnnlab.sinks.console import say

Log = dict[str, Any]


class Journal:
    """A file of operations, one a line, which Optuna replays; several studies may be in it.

    Args:
        file: need not exist.
    Raises:
        RunError: it, or its lock, is a link or no file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        # Not Optuna's own lock, a link that stays behind when its process is killed: this one goes with the process.
        self.lock = process_lock(file.with_name(".study.lock"))
        for path in (file, Path(self.lock.lock_file)):
            refuse_irregular(path)

    def trials(self, name: str) -> list[optuna.trial.FrozenTrial]:
        """Those of a study; of a damaged file, as far as it is good. Writes nothing.

        Raises:
            RunError: the file cannot be read.
        """
        storage = _replayed(_good(self._content().splitlines()))
        if storage is None or name not in optuna.get_all_study_names(storage):
            return []
        return optuna.load_study(study_name=name, storage=storage).get_trials()

    def open(self, name: str, sampler: optuna.samplers.BaseSampler) -> optuna.Study:
        """The study to go on with, a new one where the file has none of that name."""
        self.mend()
        lock: Any = self.lock  # has the two methods that Optuna asks for
        backend = JournalFileBackend(str(self.file), lock_obj=lock)
        return optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name=name,
            direction="minimize",
            sampler=sampler,
            load_if_exists=True,
        )

    def mend(self) -> None:
        """Keep the longest part from the beginning that Optuna replays; the whole goes to study.journal.damaged."""
        if not self.file.exists():
            return
        with self.lock:
            content = self._content()
            lines = content.splitlines()
            logs = _good(lines)
            good = b"".join(line + b"\n" for line in lines[: len(logs)])
            if good == content:
                return
            aside = free_name(self.file)
            write_atomically(aside, content)
            write_atomically(self.file, good)
        trials = sum(len(study) for study in _studies(_replayed(logs)))
        say(f"{self.file} was damaged: {trials} trials are kept, the file as it was is {aside}", error=True)

    def _content(self) -> bytes:
        try:
            with open_regular(self.file) as file:
                return file.read()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise RunError(f"{self.file}: the study cannot be read ({error.strerror}).") from None


def _good(lines: list[bytes]) -> list[Log]:
    """The longest part from the beginning that can be replayed."""
    logs: list[Log] = []
    for line in lines:
        try:
            logs.append(json.loads(line))
        except (ValueError, RecursionError):
            break
    if _replayed(logs) is not None:
        return logs
    low, high = 0, len(logs)  # so many can be replayed, so many cannot
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _replayed(logs[:middle]) is not None else (low, middle)
    return logs[:low]


def _replayed(logs: list[Log]) -> optuna.storages.JournalStorage | None:
    """What Optuna makes of them, with trials that it takes for whole; None where it does not get through."""
    try:
        storage = optuna.storages.JournalStorage(_Logs(logs))
        for trials in _studies(storage):
            optuna.create_study().add_trials(trials)
    except Exception:  # nothing is known of what is in the file
        return None
    return storage


def _studies(storage: Any) -> list[list[optuna.trial.FrozenTrial]]:
    names = optuna.get_all_study_names(storage)
    return [optuna.load_study(study_name=name, storage=storage).get_trials() for name in names]


class _Logs(BaseJournalBackend):
    """A journal that is not written."""

    def __init__(self, logs: list[Log]) -> None:
        self.logs = logs

    def read_logs(self, log_number_from: int) -> list[Log]:
        return self.logs[log_number_from:]

    def append_logs(self, logs: list[Log]) -> None:
        raise AssertionError("only read")
