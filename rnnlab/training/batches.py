"""The population's training batches."""

from collections.abc import Callable

from rnnlab.experiment import Experiment
from rnnlab.interruption import obey
from rnnlab.tasks.task import Batch, drawn_ahead, stack


class Batches:
    """They are drawn some steps ahead, which changes nothing: a batch depends on its seed and step alone. After a
    training step the drawing code has left the processor's caches, so eight batches in a row take less than half
    of the time that eight apart take.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.drawn: dict[tuple[int, int], Batch] = {}

    def draw(self, seeds: list[int], step: int, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Draw those of this step and some more; the first time, the fixed sets that they are taken from too.

        Raises:
            Interrupted: it was, which is asked after each batch.
        """
        self.drawn.clear()
        device = self.experiment.device
        for later in range(step, step + drawn_ahead(len(seeds))):
            for seed in seeds:
                self.drawn[seed, later] = self.experiment.task.training_batch(seed, later, device)
                obey(interrupted)

    def __call__(self, seeds: list[int], step: int) -> Batch:
        if (seeds[0], step) not in self.drawn:
            self.draw(seeds, step)
        batches = [self.drawn.pop((seed, step)) for seed in seeds]
        return stack(batches).to(self.experiment.device, self.experiment.dtype)
