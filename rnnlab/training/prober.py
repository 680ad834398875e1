"""Runs the probes that are due, on copies of what they look at.

R replica.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from rnnlab.architectures.model import Model
from rnnlab.bptt.passage import Passage
from rnnlab.experiment import Experiment
from rnnlab.interruption import Interrupted, obey
from rnnlab.probes.probe import Moment, Named, Probe
from rnnlab.tasks.task import Batch
from rnnlab.training.form import check_form
from rnnlab.training.population import Population
from rnnlab.training.prepare import prepare

Measured = dict[str, Tensor]
"""PROBE.NAME: tensor (R, ...)."""


class Prober:
    """The probes of one run.

    Args:
        experiment: with the probes.
        seeds: of all replicas.
    """

    def __init__(self, experiment: Experiment, seeds: list[int]) -> None:
        self.experiment, self.seeds = experiment, list(seeds)
        self.probes: Mapping[str, Probe] = experiment.probes
        self._previous: Named | None = (
            None  # gradients of the step before, by parameter name, rows as `_previous_seeds`
        )
        self._previous_seeds: list[int] = []
        self._initial: Named | None = None
        self._undo: tuple[dict[str, Any], dict[str, Any]] | None = None  # before the update that is measured

    def due(self, step: int) -> dict[str, Probe]:
        """The probes whose timetable has this step."""
        return {name: probe for name, probe in self.probes.items() if self.experiment.timetables[name].due(step)}

    def needs(self, step: int, what: str) -> bool:
        """Whether a probe that is due looks at one of NEEDS."""
        return any(what in probe.needs for probe in self.due(step).values())

    def before_update(
        self,
        step: int,
        population: Population,
        model: Model,
        batch: Batch,
        passage: Passage,
        gradients: list[Tensor],
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Moment | None:
        """Copies of what the update, or clipping, is about to change; None where no probe is due.

        Args:
            model: the population's effective one, which was differentiated; passage: of the batch through it.
            gradients: of what is trained.
            interrupted: asked while it is measured.
        """
        self._undo = None
        if not (self.due(step) or self.needs(step + 1, "previous")):
            self._previous = None
            return None
        named = population.effective_gradients(model, gradients, examples=batch.input.shape[2])
        moment = None
        if self.due(step):
            self._undo = population.snapshot(), self.state_dict()
            moment = Moment(
                task=self.experiment.task,
                engine=self.experiment.engine,
                adjoint_rule=self.experiment.rule,
                clipping=self.experiment.clipping,
                step=step,
                seeds=list(population.active),
                model=copy.deepcopy(model),
                batch=batch,
                gradients={name: g.detach().clone() for name, g in named.items()},
                trained_gradients={n: g.detach().clone() for n, g in zip(population.names, gradients, strict=True)},
                updates={},
                adjoints=passage.recorded() if self.needs(step, "adjoints") else None,
                initial=self._initial_of(population.active) if self.needs(step, "initial") else None,
                previous=self._previous_of(population.active) if self.needs(step, "previous") else None,
                memory={name: remembered.clone() for name, remembered in population.memory.items()},
                interrupted=interrupted,
            )
        self._previous = None
        if self.needs(step + 1, "previous"):
            self._previous = {name: g.detach().clone() for name, g in named.items()}
            self._previous_seeds = list(population.active)
        return moment

    def measure(self, moment: Moment | None, population: Population) -> Measured:
        """What the due probes find, once the update is done; nothing where none is due.

        Raises:
            Interrupted: it was, which is asked before each probe, and at each time step of those that go through time.
                The update is taken back.
        """
        if moment is None:
            return {}
        try:
            return self._measured(moment, population)
        except Interrupted:
            assert self._undo is not None
            before, looking_back = self._undo
            population.restore(before)
            self.load_state_dict(looking_back, population)
            raise

    def _measured(self, moment: Moment, population: Population) -> Measured:
        before = dict(moment.model.named_parameters())
        with torch.no_grad():
            after = population.model.effective().named_parameters()
        moment.updates.update({name: p.detach() - before[name].detach() for name, p in after})
        result: Measured = {}
        for name, probe in self.due(moment.step).items():
            obey(moment.interrupted)
            with torch.enable_grad():
                measured = probe.measure(moment)
            result |= {f"{name}.{key}": value.detach() for key, value in measured.items()}
        return result

    def _initial_of(self, active: list[int]) -> Named:
        if self._initial is None:
            drawn = self.experiment.model(self.seeds)  # a function of the seeds, after a resume too
            fresh = prepare(self.experiment, drawn, self.seeds).effective()
            self._initial = {name: p.detach() for name, p in fresh.named_parameters()}
        return {name: p[[self.seeds.index(s) for s in active]] for name, p in self._initial.items()}

    def _previous_of(self, active: list[int]) -> Named | None:
        if self._previous is None:
            return None
        return {name: g[[self._previous_seeds.index(s) for s in active]] for name, g in self._previous.items()}

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: the gradients that the next step's probes will look back at."""
        return {"previous": self._previous, "seeds": list(self._previous_seeds)}

    def load_state_dict(self, state: dict[str, Any], population: Population) -> None:
        """Put it into a saved state; ValueError, LookupError, TypeError where that is not of this net.

        Args:
            population: in the state that goes with it.
        """
        previous, seeds = state["previous"], state["seeds"]
        if seeds != [seed for seed in self.seeds if seed in seeds]:
            raise ValueError("its probes saw other seeds")
        if previous is not None:
            with torch.no_grad():
                effective = dict(population.model.effective().named_parameters())
            rows = {name: p.detach()[:1].expand(len(seeds), *p.shape[1:]) for name, p in effective.items()}
            check_form("gradients of the step before", previous, rows if population.active else previous)
            if not set(population.active) <= set(seeds):
                raise ValueError("its probes did not see all seeds")
            previous = {name: g.to(self.experiment.device) for name, g in previous.items()}
        self._previous, self._previous_seeds = previous, list(seeds)
