"""What is said of a file that is not what a run wrote, and where such a file goes."""

from pathlib import Path

from rnnlab.contract import RunError


class DamagedError(RunError):
    """A file of a run folder that cannot be read, or is not what the run wrote; names the file and the damage."""

    def __init__(self, path: Path, damage: str) -> None:
        super().__init__(f"{path}: {damage}")
        self.path, self.damage = path, damage

    def __str__(self) -> str:
        return " ".join(f"{self.path}: {self.damage}".split())

    @property
    def short(self) -> str:
        """The same without the folder, for those who have just named it."""
        return " ".join(f"{self.path.name}: {self.damage}".split())


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
