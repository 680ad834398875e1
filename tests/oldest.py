"""The oldest versions that pyproject.toml allows, as constraints for pip: `make test-oldest`."""

import re
import tomllib
from pathlib import Path

WITHOUT = {"triton"}
"""Torch brings its own, and holds it to one version."""


def oldest() -> list[str]:
    """NAME==VERSION for every dependency and every package of an extra."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *(of for extra in project["optional-dependencies"].values() for of in extra)]
    floors = [re.match(r"([a-z0-9_.-]+)>=([0-9.]+)", requirement) for requirement in named]
    return sorted(f"{floor[1]}=={floor[2]}" for floor in floors if floor and floor[1] not in WITHOUT)


if __name__ == "__main__":
    print("\n".join(oldest()))
