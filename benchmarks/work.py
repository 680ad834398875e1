"""What several benchmarks time: cells with drawn weights, and runs from the shipped configuration.

T time, R replica, B batch, I input, H hidden.
"""

import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stdout
from io import StringIO
from typing import Literal

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

from rnnlab.build import make_cell
from rnnlab.cells.cell import Cell
from rnnlab.config import Config, config_folder
from rnnlab.schema import validate

Name = Literal["rnn", "gru", "lstm"]
"""The cells that torch.nn and the fused engine have too."""
Shape = tuple[int, int, int]
"""(T, B, H)."""
CELLS: tuple[Name, ...] = ("rnn", "gru", "lstm")


def configuration(*overrides: str) -> Config:
    """The checked configuration that these command-line arguments give."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        raw = OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)
    assert isinstance(raw, dict)
    return validate({str(key): value for key, value in raw.items()})


def problem(name: Name, *, T: int, R: int, B: int, I: int, H: int) -> tuple[Cell, Tensor, Tensor]:
    """A tanh cell, inputs (T, R, B, I) that need no gradient, a cotangent (T, R, B, H); the same on any device.

    Parameters are from U(-1/sqrt(H), 1/sqrt(H)), as torch.nn draws them.
    """
    parts = configuration(f"cell={name}", f"cell.hidden={H}").components
    cell, generator = make_cell(parts, replicas=R, inputs=I, outputs=1), torch.Generator().manual_seed(1)
    for parameter in cell.parameters():
        torch.nn.init.uniform_(parameter, -(H**-0.5), H**-0.5, generator=generator)
    return cell, torch.randn(T, R, B, I, generator=generator), torch.randn(T, R, B, H, generator=generator)


@contextmanager
def aside() -> Iterator[None]:
    """In a folder of its own, and without what is printed there: for runs."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder), redirect_stdout(StringIO()):
        yield
