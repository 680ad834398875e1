"""A training step with its adjoint norms, against a plain script that records nothing.

Ours are runs of `+experiment=adding` from start to end, which record the norm of every state's adjoint at every
training step and write a line of metrics for it (probe.every=1). TensorBoard is off. The script is benchmarks/stock.py.
One seed stands against one script, and a population of eight against eight scripts one after the other. Few steps are
taken off more on either side, so that neither the start nor the evaluations at either end count. Both train the same
steps, since gradients that vanish are denormal numbers for a while, which slow a processor down.
"""

from collections.abc import Iterator
from functools import partial
from itertools import islice

import torch

from benchmarks import stock
from benchmarks.figures import Figure, Pair, interleaved, ratio
from benchmarks.work import Name, Shape, aside, configuration
from rnnlab.training.run import run

WARM_UP = 20
"""Steps that are taken off."""
TARGETS = {1: 0.8, 8: 0.55}
"""By the number of seeds."""


def measure(
    *,
    cell: Name = "lstm",
    length: int = 200,
    batch: int = 50,
    hidden: int = 128,
    threads: int = 1,
    steps: int = 100,
    repetitions: int = 5,
) -> Iterator[Figure]:
    """A step of the whole population against one of all its scripts."""
    for seeds, target in TARGETS.items():
        shape = (length, batch, hidden)
        taken = against_scripts(cell, shape, seeds, steps=steps, rounds=repetitions, threads=threads)
        yield ratio(f"{seeds} seed(s) / {seeds} script(s)", taken, target)


def against_scripts(
    cell: Name, shape: Shape, seeds: int, *, steps: int, rounds: int, threads: int = 1, device: str = "cpu"
) -> Pair:
    """Seconds of a training step in each round: of a run with so many seeds, of as many scripts together."""
    torch.set_num_threads(threads)  # those of the scripts; a run has its own
    length, batch, hidden = shape
    overrides = [f"cell={cell}", f"cell.hidden={hidden}", f"task.length={length}", f"task.batch={batch}"]
    overrides += [f"seeds={seeds}", f"threads={threads}", f"device={device}", "probe.every=1", "evaluate.examples=10"]
    overrides += ["evaluate.every=1000000", "tensorboard=false", "stop_when_solved=false"]

    def ours(steps: int) -> None:
        with aside():
            run(configuration("+experiment=adding", *overrides, f"steps={steps}"))

    def theirs(steps: int) -> None:
        for seed in range(seeds):
            script = stock.train(cell, length=length, batch=batch, hidden=hidden, seed=seed, device=device)
            list(islice(script, steps))[-1].item()  # waits for the device

    counts, sides = (WARM_UP, WARM_UP + steps), {"ours": ours, "theirs": theirs}
    works = {f"{name} {count}": partial(side, count) for count in counts for name, side in sides.items()}
    taken = interleaved(works, rounds)

    def of_step(name: str) -> list[float]:
        few, more = (taken[f"{name} {count}"] for count in counts)
        return [(longer - shorter) / steps for shorter, longer in zip(few, more, strict=True)]

    return of_step("ours"), of_step("theirs")
