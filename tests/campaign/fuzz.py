"""Mutated run folders for report, diagnosis, resume and re-run: no execution, no traceback, no silent change."""

import contextlib
import io
import os
import random
import shutil
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers import canonical_files, only_run
from helpers import rnnlab as trained

from campaign.mutations import SECRET, Mutation, copy, mutate
from campaign.table import Tally
from rnnlab.cli import run_command_line
from rnnlab.diagnose.__main__ import main as diagnose
from rnnlab.report.__main__ import main as report
from rnnlab.training import session
from rnnlab.training.loop import train

SETTING = ["seeds=2", "cell=rnn", "probes=cheap", "probes.saturation.every=3", "checkpoint.every=4"]
SECRET_VALUE = "a-value-that-nobody-may-tell"


def fuzz(seed: int, trials: int) -> list[Tally]:
    """Below the current folder, which is empty.

    Args:
        trials: mutated folders; a report is made of twenty at a time, beside a run that is sound.
    """
    draw = random.Random(seed)
    os.environ[SECRET] = SECRET_VALUE
    Path("outside.txt").write_text("outside")
    bases, whole = _bases()
    tallies = {name: Tally(f"fuzz: {name}") for name in ("report", "diagnose", "resume", "re-run")}
    for trial in range(trials):
        state = draw.choice(list(bases))
        folder = copy(bases[state], Path("runs", "default", bases[state].name))
        mutation = mutate(folder, draw)
        told = f"seed {seed}, trial {trial}, {state} run, {mutation}"
        shutil.copytree(folder, Path("batch", f"{trial:05d}"), symlinks=True, copy_function=_copy_unless_pipe)
        _diagnose(tallies["diagnose"], folder, told)
        _rerun(tallies["re-run"], folder, told)
        _resume(tallies["resume"], folder, mutation, whole, told)
        if trial % 20 == 19 or trial == trials - 1:
            _report(tallies["report"], bases["finished"], f"seed {seed}, up to trial {trial}")
    return list(tallies.values())


def _bases() -> tuple[dict[str, Path], dict[str, Any]]:
    """A finished run, and the same interrupted after its tenth step; and the files that it ends with."""
    bases = {}
    for state, last in (("finished", 99), ("interrupted", 10)):

        def until_last(*a: Any, last: int = last, **k: Any) -> bool:
            return train(*a, **{**k, "interrupted": lambda: a[2].step >= last})

        with pytest.MonkeyPatch.context() as patch, _silence():
            patch.setattr(session, "train", until_last)
            trained(*SETTING)
        Path("bases").mkdir(exist_ok=True)
        shutil.move("runs", f"bases/{state}")
        (bases[state],) = Path(f"bases/{state}/default").iterdir()
    return bases, _whole(bases["finished"])


def _whole(folder: Path) -> dict[str, Any]:
    probes = {path.name: path.read_bytes() for path in sorted((folder / "probes").glob("step-*.npz"))}
    files = canonical_files(folder) | probes
    files["checkpoints"] = [name for name in files["checkpoints"] if ".damaged" not in name]
    return files


def _copy_unless_pipe(source: str, target: str) -> None:
    path = Path(source)
    if path.is_fifo():
        os.mkfifo(target)
    else:
        shutil.copy2(source, target, follow_symlinks=False)


@contextlib.contextmanager
def _silence() -> Any:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        yield said


def _call(command: Callable[[], int]) -> tuple[int | None, str, str]:
    """(exit status, output, errors); None where an exception came out."""
    out, err = io.StringIO(), io.StringIO()
    status: Any = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = command()
        except SystemExit as stop:
            status = stop.code
        except BaseException:
            traceback.print_exc()
    return status, out.getvalue(), err.getvalue()


def _complaints(status: int | None, out: str, err: str, allowed: Sequence[int]) -> list[str]:
    """What must not happen, whatever the folder holds."""
    said = out + err
    found = ["something was executed"] if Path("pwned").exists() else []
    found += ["the environment was told"] if SECRET_VALUE in said else []
    found += [f"a traceback: {err.strip().splitlines()[-1]}"] if status is None or "Traceback" in said else []
    found += [f"exit status {status}: {err.strip()[-300:]}"] if status not in allowed else []
    found += ["a file outside was changed"] if Path("outside.txt").read_text() != "outside" else []
    Path("pwned").unlink(missing_ok=True)
    Path("outside.txt").write_text("outside")
    return found


def _diagnose(tally: Tally, folder: Path, told: str) -> None:
    before = _snapshot(folder)
    found = _complaints(*_call(lambda: diagnose([str(folder), "--examples", "2", "--out", "out"])), (0, 1, 2))
    found += [] if _snapshot(folder) == before else ["the run folder was changed"]
    found += ["the environment was told"] if _tells_secret(Path("out")) else []
    shutil.rmtree("out", ignore_errors=True)
    tally.add(told, found)


def _rerun(tally: Tally, folder: Path, told: str) -> None:
    arguments = [f"--config-path={folder.resolve()}", "--config-name=config", "name=again"]
    before = _snapshot(folder)
    found = _complaints(*_call(lambda: run_command_line(arguments)), (0, 2))
    found += [] if _snapshot(folder) == before else ["the run folder was changed"]
    shutil.rmtree("runs/again", ignore_errors=True)
    tally.add(told, found)


def _resume(tally: Tally, folder: Path, mutation: Mutation, whole: dict[str, Any], told: str) -> None:
    status, out, err = _call(lambda: trained(*SETTING))
    found = _complaints(status, out, err, (0, 1))
    name = Path(mutation.file).name
    if status == 0 and not mutation.sealed:
        ended = _whole(only_run())
        if mutation.file.startswith("checkpoint/"):  # of a run that has ended nobody needs the earlier ones
            ended["checkpoints"] = whole["checkpoints"]
        found += [] if ended == whole else ["ends with other files than the run alone"]
    elif status == 1 and name not in err:
        found.append(f"does not name {name}: {err.strip()}")
    tally.add(told, found)


def _report(tally: Tally, sound: Path, told: str) -> None:
    """One report over the whole batch: what is sound must be in it."""
    copy(sound, Path("batch", "sound"))
    count = len(list(Path("batch").iterdir())) - 1
    status, out, err = _call(lambda: report(["batch"]))
    found = _complaints(status, out, err, (0,))
    found += [] if Path("report/index.html").exists() else ["no page"]
    found += ["the environment was told"] if _tells_secret(Path("report")) else []
    tally.add(told, found, count)
    shutil.rmtree("batch")
    shutil.rmtree("report", ignore_errors=True)


def _tells_secret(folder: Path) -> bool:
    return any(SECRET_VALUE.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def _snapshot(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock" and (path.is_symlink() or path.is_file())
    }
