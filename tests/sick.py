"""Runs whose nets are made to be sick, or to be well: one update of training, then other weights in the checkpoint."""

from collections.abc import Callable
from pathlib import Path

import torch
from helpers import only_run
from helpers import rnnlab as trained

from rnnlab.diagnose.examine import examine
from rnnlab.diagnose.findings import Findings
from rnnlab.report.reading import read
from rnnlab.training import checkpoint

Weights = dict[str, torch.Tensor]
SMALL = ("steps=1", "task.length=30", "cell.hidden=8", "evaluate.examples=20", "engine=autograd", "evaluate.every=1")


def run_folder(*overrides: str, change: Callable[[Weights, int], None] | None = None) -> Path:
    """A finished run below the current folder.

    Args:
        change: called with every seed's parameters, which it may change in place, and the seed.
    """
    assert trained(*SMALL, *overrides) == 0
    folder = only_run()
    if change is not None:
        state = checkpoint.look(folder / "checkpoint", folder.name, print)
        assert state is not None
        for seed, weights in state["population"]["weights"].items():
            change(weights, int(seed))
        for old in (folder / "checkpoint").iterdir():
            old.unlink()
        checkpoint.save(folder / "checkpoint", state["progress"]["step"], state, keep=1, every=1, passing=False)
    return folder


def findings(*overrides: str, change: Callable[[Weights, int], None] | None = None) -> Findings:
    """What a diagnosis of such a run finds."""
    return examine(read(run_folder(*overrides, change=change)), [], 20, lambda text: None)


ADDER = ("cell=rnn", "activation=relu", "cell.hidden=2")


def adder(keep: float = 1.0, erase: float = 0.0, answer: float = 0.98) -> Callable[[Weights, int], None]:
    """A ReLU net of two units that adds by hand: u_t = relu(x_t + mark_t - 1), s_t = relu(keep s_{t-1} + u_{t-1}).

    Args:
        keep: below 1 it forgets.
        erase: what a mark takes from s: with more than two, the first number is lost.
        answer: the readout's factor; with 1 there is no loss, and so no gradient.
    """

    def change(weights: Weights, seed: int) -> None:
        for weight in weights.values():
            weight.zero_()
        weights["cell.weight_input"].copy_(torch.tensor([[1.0, 0.0], [1.0, -erase]]))
        weights["cell.weight_recurrent"].copy_(torch.tensor([[0.0, 1.0], [0.0, keep]]))
        weights["cell.bias"].copy_(torch.tensor([[-1.0, 0.0]]))
        weights["weight_output"].fill_(answer)
        if erase:
            weights["bias_output"].fill_(0.5)

    return change


def scaled(name: str, factor: float) -> Callable[[Weights, int], None]:
    """One parameter times a factor."""

    def change(weights: Weights, seed: int) -> None:
        weights[name].mul_(factor)

    return change


def shifted(units: int, bias: float) -> Callable[[Weights, int], None]:
    """The bias of the first so many units."""

    def change(weights: Weights, seed: int) -> None:
        weights["cell.bias"][..., :units] = bias

    return change


def not_a_number(weights: Weights, seed: int) -> None:
    """Of the seed 1 alone."""
    if seed == 1:
        weights["cell.weight_recurrent"].fill_(torch.nan)
