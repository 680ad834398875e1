"""Measures one replica of a run on a fixed batch, with the probes that training has.

T time, R replica (one), B batch.
"""

import copy
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from rnnlab.build import Experiment
from rnnlab.cells.cell import Cell
from rnnlab.diagnose.addends import addends
from rnnlab.diagnose.findings import Measured
from rnnlab.diagnose.transport import transport
from rnnlab.diagnose.verdicts.dead_units import SLOPE as DEAD
from rnnlab.diagnose.verdicts.saturated import SLOPE as FLAT
from rnnlab.probes.attribution import Attribution
from rnnlab.probes.contribution import Contribution
from rnnlab.probes.gates import Gates
from rnnlab.probes.probe import Moment
from rnnlab.probes.saturation import Saturation
from rnnlab.probes.weights import Weights
from rnnlab.tasks.task import Batch
from rnnlab.training.evaluate import evaluate
from rnnlab.training.model import Model

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
    way = transport(still, experiment.task, batch)
    loss_R, _ = evaluate(still, experiment.dropout, experiment.task, experiment.engine, held_out, 1)
    found = _figures(moment)
    return Measured(
        loss=loss_R.item(),
        gain_T=way.gain_T,
        causes=way.causes,
        contribution_T=_shares(found.get("contribution.norm", np.empty(0))),
        units=_units(model.cell, found),
        saturated={n: float(found[f"saturation.{n}.saturated"]) for n, a in _activations(model.cell) if _flat_far(a)},
        dead={n: float(found[f"saturation.{n}.dead"]) for n, _ in _activations(model.cell)},
        weights=_weights(model.cell, found),
        recurrent_gradient=moment.gradients.get("cell.weight_recurrent", torch.tensor(math.nan)).norm().item(),
        addends=addends(still, experiment.task, experiment.engine, held_out),
        marked=float(found.get("attribution.precision_at_k", math.nan)),
        chance=float(found.get("attribution.chance", math.nan)),
    )


def _moment(experiment: Experiment, seed: int, model: Model, batch: Batch) -> Moment:
    """A training step on the batch that is never made."""
    model = copy.deepcopy(model).requires_grad_(True)
    unrolled = experiment.engine.unroll(
        model.cell,
        batch.input,
        mask_TRB=batch.mask,
        rule=experiment.rule.draw([seed], 0, len(batch.input), batch.input),
        last=experiment.task.scored,
    )
    loss = experiment.task.losses(model.readout(unrolled.output_KRBH), batch).mean()
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    fresh = experiment.model([seed]).plain().double()
    return Moment(
        experiment=experiment,
        step=0,
        seeds=[seed],
        model=model,
        batch=batch,
        gradients=dict(zip(names, gradients, strict=True)),
        trained_gradients={},
        updates={},
        adjoint_norm_STRB=None,
        initial={name: p.detach() for name, p in fresh.named_parameters()},
        previous=None,
        memory={},
    )


def _figures(moment: Moment) -> dict[str, np.ndarray]:
    """PROBE.NAME, without the replica axis."""
    cell = moment.model.cell
    probes = {"saturation": Saturation(saturated=FLAT, dead=DEAD), "attribution": Attribution()}
    if cell.recurrent:
        probes["contribution"] = Contribution()
    if cell.blocks:
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


def _activations(cell: Cell) -> Iterator[tuple[str, nn.Module]]:
    return cell.named_children()


def _flat_far(activation: nn.Module) -> bool:
    """Whether an activation can saturate: it is flat at both ends."""
    units = next((p.shape[-1] for p in activation.parameters()), 1)
    far = torch.tensor([-FAR, FAR], dtype=torch.float64).view(1, 2, 1).repeat(1, 1, units).requires_grad_()
    (slope,) = torch.autograd.grad(activation(far).sum(), far)
    return bool((slope.abs() < FLAT).all())


def _units(cell: Cell, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The activations' mean slope and saturated share over all of them, and every gate's mean, per step."""
    names = [name for name, _ in _activations(cell) if f"saturation.{name}.derivative_at_step" in found]
    result = {}
    for ours, theirs in (("slope", "derivative"), ("saturated", "saturated")):
        curves = [found[f"saturation.{name}.{theirs}_at_step"] for name in names]
        if curves:
            result[ours] = np.mean(curves, axis=0)
    gates = [name.split(".")[1] for name in found if name.startswith("gates.") and name.endswith(".mean_at_step")]
    result |= {f"{gate} gate": found[f"gates.{gate}.mean_at_step"] for gate in gates}
    for gate in list(cell.carried.values())[:1]:
        result["carrying gate"] = result[f"{gate} gate"]
    return result


def _weights(cell: Cell, found: dict[str, np.ndarray]) -> dict[str, float]:
    result = {}
    for block in cell.blocks:
        result[f"{block}.largest singular value"] = float(found[f"weights.{block}.singular_values"][0])
        result[f"{block}.spectral radius"] = float(found[f"weights.{block}.spectral_radius"])
        result[f"{block}.moved since initialisation"] = float(found[f"weights.{block}.drift"])
    return result
