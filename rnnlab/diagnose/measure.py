"""Measures one replica of a run on a fixed batch, with the probes that training has.

T time, R replica (one), B batch.
"""

import copy
import math

import numpy as np
import torch
from torch import Tensor, nn

from rnnlab.architectures.model import Model
from rnnlab.bptt.passage import Passage, Update, prefix
from rnnlab.cells.cell import Cell
from rnnlab.diagnose.addends import addends
from rnnlab.diagnose.findings import Measured
from rnnlab.diagnose.transport import transports
from rnnlab.diagnose.verdicts.dead_units import SLOPE as DEAD
from rnnlab.diagnose.verdicts.saturated import SLOPE as FLAT
from rnnlab.experiment import Experiment
from rnnlab.probes.attribution import Attribution
from rnnlab.probes.contribution import Contribution
from rnnlab.probes.gates import Gates
from rnnlab.probes.probe import Moment, Probe
from rnnlab.probes.saturation import Saturation
from rnnlab.probes.weights import Weights
from rnnlab.tasks.task import Batch
from rnnlab.training.evaluate import evaluate
from rnnlab.training.prepare import prepare

FAR = 1e3
"""Where an activation that saturates is flat for certain."""


def measure(experiment: Experiment, seed: int, model: Model, batch: Batch, held_out: list[Batch]) -> Measured:
    """What one replica does; nothing given is changed.

    Args:
        model: of this one replica, in float64.
        batch: the diagnostic batch, with its replica axis; held_out: what the loss is measured on, without it.
    """
    still = copy.deepcopy(model).requires_grad_(False)
    moment = _moment(experiment, seed, model, batch)
    ways = transports(still, experiment.task, batch)
    judged = next(iter(ways))  # the first, which reads the input
    loss_R, _ = evaluate(experiment, still, held_out)
    found, cells = _figures(moment), {prefix(name): cell for name, cell in model.cells.items()}
    named = {f"{p}{name}": activation for p, cell in cells.items() for name, activation in cell.named_children()}
    recurrent = [g.norm().item() for name, g in moment.gradients.items() if name.endswith("weight_recurrent")]
    return Measured(
        loss=loss_R.item(),
        gain_T=ways[judged].gain_T,
        gains={p.rstrip("."): way.gain_T for p, way in ways.items()},
        causes=ways[judged].causes,
        contribution_T=_shares(found.get(f"contribution.{judged}norm", np.empty(0))),
        units=_units(judged, cells[judged], found),
        saturated={n: float(found[f"saturation.{n}.saturated"]) for n, a in named.items() if _flat_far(a)},
        dead={n: float(found[f"saturation.{n}.dead"]) for n in named},
        weights={k: v for p, cell in cells.items() for k, v in _weights(p, cell, found).items()},
        recurrent_gradient=math.hypot(*recurrent) if recurrent else math.nan,
        addends=addends(still, experiment.task, experiment.engine, held_out),
        marked=float(found.get("attribution.precision_at_k", math.nan)),
        chance=float(found.get("attribution.chance", math.nan)),
    )


def _moment(experiment: Experiment, seed: int, model: Model, batch: Batch) -> Moment:
    """A training step on the batch that is never made."""
    model, task = copy.deepcopy(model).requires_grad_(True), experiment.task
    update = Update([seed], 0)
    passage = Passage(
        experiment.engine,
        scored=task.scored,
        mask_TRB=batch.mask,
        target_KRBO=batch.target_outputs(task.outputs),
        rule=experiment.rule,
        update=update,
    )
    loss = task.losses(model(batch, passage), batch).mean()
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    fresh = prepare(experiment, experiment.model([seed]), [seed]).effective().double()
    return Moment(
        task=task,
        engine=experiment.engine,
        adjoint_rule=experiment.rule,
        clipping=experiment.clipping,
        step=0,
        seeds=[seed],
        model=model,
        batch=batch,
        gradients=dict(zip(names, gradients, strict=True)),
        trained_gradients={},
        updates={},
        adjoints=None,
        initial={name: p.detach() for name, p in fresh.named_parameters()},
        previous=None,
        memory={},
    )


def _figures(moment: Moment) -> dict[str, np.ndarray]:
    """PROBE.NAME, without the replica axis."""
    cell = next(iter(moment.model.cells.values()))
    probes: dict[str, Probe] = {"saturation": Saturation(saturated=FLAT, dead=DEAD), "attribution": Attribution()}
    if cell.recurrent:
        probes["contribution"] = Contribution()
    if cell.square:
        probes["weights"] = Weights()
    if cell.gated:
        probes["gates"] = Gates()
    found: dict[str, Tensor] = {}
    for name, probe in probes.items():
        found |= {f"{name}.{key}": value for key, value in probe.measure(moment).items()}
    return {name: value[0].detach().numpy() for name, value in found.items()}


def _shares(norm_T: np.ndarray) -> np.ndarray:
    """Of their sum; 0 at steps that no example has, and of a net without a gradient."""
    known_T = np.nan_to_num(norm_T, posinf=0.0)
    return known_T / (known_T.sum() or 1.0)


def _flat_far(activation: nn.Module) -> bool:
    """Whether an activation can saturate: it is flat at both ends."""
    units = next((p.shape[-1] for p in activation.parameters()), 1)
    far = torch.tensor([-FAR, FAR], dtype=torch.float64).view(1, 2, 1).repeat(1, 1, units).requires_grad_()
    (slope,) = torch.autograd.grad(activation(far).sum(), far)
    return bool((slope.abs() < FLAT).all())


def _units(judged: str, cell: Cell, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of a cell: its activations' mean slope and saturated share over all of them, and every gate's mean, per step."""
    of_units, of_gates = f"saturation.{judged}", f"gates.{judged}"
    names = [name for name, _ in cell.named_children() if f"{of_units}{name}.derivative_at_step" in found]
    result = {}
    for ours, theirs in (("slope", "derivative"), ("saturated", "saturated")):
        curves = [found[f"{of_units}{name}.{theirs}_at_step"] for name in names]
        if curves:
            result[ours] = np.mean(curves, axis=0)
    means = [name for name in found if name.startswith(of_gates) and name.endswith(".mean_at_step")]
    result |= {f"{m.removeprefix(of_gates).removesuffix('.mean_at_step')} gate": found[m] for m in means}
    for gate in list(cell.carried.values())[:1]:
        result["carrying gate"] = result[f"{gate} gate"]
    return result


def _weights(p: str, cell: Cell, found: dict[str, np.ndarray]) -> dict[str, float]:
    result = {}
    for block in cell.blocks if cell.square else ():
        result[f"{p}{block}.largest singular value"] = float(found[f"weights.{p}{block}.singular_values"][0])
        result[f"{p}{block}.spectral radius"] = float(found[f"weights.{p}{block}.spectral_radius"])
        result[f"{p}{block}.moved since initialisation"] = float(found[f"weights.{p}{block}.drift"])
    return result
