"""What is said of a file that is not what a run wrote, and where such a file goes."""

from pathlib import Path

from rnnlab.contract import RunError
from rnnlab.messages import one_line, shown_path


class DamagedError(RunError):
    """A file of a run folder that cannot be read, or is not what the run wrote; names the file and the damage.

    The words may quote the file, and its name may be anything: what is told is one line, and text.
    """

    def __init__(self, path: Path, damage: str) -> None:
        self.path, self.damage = path, one_line(damage)
        super().__init__(f"{shown_path(path)}: {self.damage}")

    @property
    def short(self) -> str:
        """The same without the folder, for those who have just named it."""
        return f"{shown_path(self.path.name)}: {self.damage}"


def set_aside(path: Path) -> Path:
    """Rename a damaged file, so that nobody takes it for a good one and nothing is lost; its new name."""
    aside = free_name(path)
    path.replace(aside)
    return aside


def free_name(path: Path) -> Path:
    """`NAME.damaged`, or with a number where there is one already."""
    aside, number = path.with_name(f"{path.name}.damaged"), 1
    while aside.exists() or aside.is_symlink():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{number}")
    return aside
