"""The training loop: steps until every replica has ended, and what is due between two of them."""

from collections.abc import Callable

from rnnlab.experiment import Experiment
from rnnlab.interruption import Interrupted
from rnnlab.runs.adjoints import AdjointRecord
from rnnlab.runs.progress import Progress
from rnnlab.sinks.sink import Sink
from rnnlab.training.batches import Batches
from rnnlab.training.evaluate import evaluate, evaluation_set
from rnnlab.training.ledger import Ledger, Stopwatch
from rnnlab.training.population import Population
from rnnlab.training.prober import Prober
from rnnlab.training.step import training_step


def train(
    experiment: Experiment,
    population: Population,
    progress: Progress,
    record: AdjointRecord,
    prober: Prober,
    sinks: list[Sink],
    *,
    save: Callable[..., None],
    interrupted: Callable[[], bool],
    watch: Stopwatch,
) -> bool:
    """Train until every replica is solved or diverged or out of steps. True when it was not interrupted.

    Args:
        save: writes a checkpoint of population and progress; `passing=True` when it is due to an interruption.
        interrupted: asked between two steps, in an evaluation, while probes measure and before the first step.
    """
    config, ledger = experiment.config, Ledger(experiment, progress, record, sinks, watch)
    batches = Batches(experiment)
    try:
        held_out = evaluation_set(experiment, interrupted)
        if population.active and progress.step < config.steps:
            batches.draw(list(population.active), progress.step + 1, interrupted)
    except Interrupted:
        return False

    def end_step() -> bool:
        """Do what is due after a step, or before the first; False when interrupted."""
        if population.active and ledger.evaluation_due:
            try:
                ledger.evaluated(population, *evaluate(experiment, population.model, held_out, interrupted))
            except Interrupted:  # before it counts: it is still due
                save(passing=True)
                return False
        ledger.tell_progress()
        if progress.step and progress.step % config.checkpoint_every == 0:
            save()
        stopping = interrupted()
        if stopping:
            save(passing=True)
        return not stopping

    if ledger.evaluation_due and not end_step():
        return False
    while population.active and ledger.step < config.steps:
        watch.start()
        batch = batches(list(population.active), ledger.step + 1)
        try:
            due = ledger.take(training_step(experiment, population, prober, batch, ledger.step + 1, interrupted))
        except Interrupted:
            ledger.read(population)
            end_step()
            return False
        if due or interrupted():
            ledger.read(population)
            if not end_step():
                return False
    ledger.close()
    return True
