"""Every key of every configuration that is a number, with huge values, in a process that may have little memory.

python every_number.py GIGABYTES, in an empty folder: prints a line for each value that is neither refused in one line,
with nothing written, nor harmless; and at last how many were refused and how many harmless.
"""

import contextlib
import io
import os
import resource
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import composed, key, leaf, leaves

from rnnlab.config import SCALARS
from rnnlab.contract import ConfigError, check_value, keys_of
from rnnlab.schema import validate

WHOLE = (1e9, 1e15, 10**20)
REAL = (9e37, -9e37, 1e300)
"""What no type allows is tried too."""
SMALL = (
    *("task=adding", "task.length=6", "task.batch=2", "task.solved_mse=1e-9", "cell.hidden=4", "steps=2"),
    *("tensorboard=false", "evaluate.examples=4", "engine=autograd"),
)
COMPANY = {
    "dropout": "cell=lstm",
    "regulariser": "cell=rnn",
    "parametrisation": "cell=rnn",
    "parametrisation/bounded": "cell=indrnn",
    "clipping": "cell=rnn",
    "adjoint/h_detach": "cell=lstm",
    "bias_initialiser": "cell=gru",
    "architecture/transformer": "cell=none",
    "cell/none": "architecture=transformer",
}
"""What an option is tried with, where it would be refused otherwise."""
SIZES = {"length": 6, "batch": 2, "hidden": 4, "every": 2, "told": 2}
"""Of an option itself, where it has them."""

Path_ = tuple[str, ...]
Case = tuple[dict[str, Any], Path_, tuple[float, ...]]


def numbers(kind: Any) -> tuple[float, ...]:
    """Huge ones for a key; none where it takes no numbers."""
    for small, huge in ((0.5, REAL), (2, WHOLE)):
        with contextlib.suppress(ConfigError):
            check_value("key", small, kind)
            return huge
    return ()


def cases() -> list[Case]:
    """(configuration, path of the key, values)."""
    found: list[Case] = []
    for group, option in leaves():
        given = leaf(group, option)
        given |= {name: value for name, value in SIZES.items() if name in given}
        company = COMPANY.get(f"{group}/{option}", COMPANY.get(group, "cell=lstm"))
        raw = composed(*SMALL, company)
        *above, last = key(group, option).split(".")
        (raw[above[0]] if above else raw)[last] = given
        for name, kind in keys_of(key(group, option), given["_target_"]).items():
            found.append((raw, (*above, last, name), numbers(kind)))
    found += [(composed(*SMALL), tuple(scalar.split(".")), numbers(kind)) for scalar, kind in SCALARS.items()]
    return [*found, (composed(*SMALL), ("seeds",), WHOLE)]


@contextlib.contextmanager
def changed(raw: dict[str, Any], path: Path_, value: float) -> Any:
    """The configuration with another value, for a while."""
    node = raw
    for part in path[:-1]:
        node = node[part]
    before, node[path[-1]] = node[path[-1]], value
    yield
    node[path[-1]] = before


def fault(raw: dict[str, Any], name: str, counts: Counter[str]) -> str:
    """What is wrong with how it ends; '' where nothing is."""
    from rnnlab.training.run import run

    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            run(validate(raw), at_the(60))
    except ConfigError as error:
        counts["refused"] += 1
        text = str(error)
        good = "\n" not in text and len(text) < 300 and name in text
        return ("wrote something: " if list(Path().iterdir()) else "") + ("" if good else text)
    except KeyboardInterrupt:
        pass
    except BaseException:
        return traceback.format_exc(limit=-3)
    finally:
        shutil.rmtree("runs", ignore_errors=True)
    counts["harmless"] += 1
    return ""


def at_the(number: int) -> Callable[[], bool]:
    """A run of endless steps is interrupted when it asks for the number-th time."""
    asked = iter(range(10**6))
    return lambda: next(asked) >= number


def main(gigabytes: float) -> None:
    """Try them all."""
    import torch  # before the limit: what it maps counts

    assert torch
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limit = taken + int(gigabytes * 1e9)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.fsync = lambda descriptor: None
    counts: Counter[str] = Counter()
    for raw, path, values in cases():
        for value in values:
            with changed(raw, path, value):
                wrong = fault(raw, path[-1], counts)
            if wrong:
                print(".".join(path), value, wrong)
    print(f"{counts['refused']} refused, {counts['harmless']} harmless")


if __name__ == "__main__":
    main(float(sys.argv[1]))
