"""The techniques that carry a gradient further back, or keep it from growing."""

import math
from collections.abc import Sequence

from rnnlab.diagnose.findings import Findings
from rnnlab.diagnose.verdict import Remedy, said
from rnnlab.diagnose.why import blamed

ORTHOGONAL = ("orthogonal", "henaff", "cayley", "identity")
"""Initialisers whose matrices keep the length of every vector (with a gain or scale of 1)."""
GATED = ("lstm", "gru")
GAINS = ("initialiser.gain", "initialiser.scale")
SHORTEST = 3
"""That chrono initialisation takes."""
CLOSE = 0.5
"""A forget bias this near to the one proposed counts as it."""


def carry(findings: Findings, seeds: Sequence[int]) -> list[Remedy]:
    """What makes the gradient last longer, the measured cause first."""
    cause = blamed(findings, seeds)
    found = []
    if findings.config.get("architecture.attention") == "none":
        found.append(Remedy("architecture.attention=dot", "the answer sees every step of the source, one edge away"))
    if cause == "slope":
        found += _steeper(findings)
    elif cause == "weights":
        found += length_preserving(findings)
        found.append(Remedy("regulariser=omega", "a penalty where a step back shrinks or stretches the gradient"))
    if findings.config.get("cell") in GATED:
        found += _opened(findings)
    else:
        bias = forget_bias(findings.lag)
        found.append(Remedy(f"cell=lstm cell.forget_bias={bias}", "the forget gate carries the gradient on"))
    if cause in ("gate", "detours", ""):
        found.append(slower(findings))
    return found


def forget_bias(lag: int) -> float:
    """log(lag): the gate opens to lag / (lag + 1), so that the state lasts for that long (Tallec & Ollivier 2018)."""
    return round(math.log(max(lag, 2)), 1)


def length_preserving(findings: Findings) -> list[Remedy]:
    """Recurrent weights that neither shrink nor stretch, or, where training began with such, that stay so."""
    if findings.config.get("initialiser") not in ORTHOGONAL:
        return [Remedy("initialiser=orthogonal", "recurrent weights that keep the length of every vector, at first")]
    found = [
        Remedy(f"{key}=1.0", "every singular value is 1, at first")
        for key in GAINS
        if findings.config.get(key, 1.0) != 1.0
    ]
    if not found and findings.config.get("parametrisation", "none") == "none":
        found.append(Remedy("parametrisation=exponential", "recurrent weights that stay orthogonal as they learn"))
    return found or [slower(findings)]


def slower(findings: Findings) -> Remedy:
    """The recurrent weights learn more slowly than the others."""
    factor = findings.config.get("optimiser.recurrent_lr_factor", 1.0)
    lower = said(float(factor) / 10)
    return Remedy(f"optimiser.recurrent_lr_factor={lower}", "the recurrent weights stay nearer to where they began")


def lower_rate(findings: Findings) -> Remedy:
    lr = float(findings.config.get("optimiser.lr", 0.0))
    return Remedy(f"optimiser.lr={said(lr / 10)}", "smaller updates")


def clip(findings: Findings) -> list[Remedy]:
    """Bounds on the gradient, where the run has none: of the weights, and on its way back."""
    found = []
    if findings.config.get("clipping") == "none":
        found.append(Remedy("clipping=norm", "bounds the gradient of the weights"))
    if findings.config.get("adjoint") == "none":
        found.append(Remedy("adjoint=clip_norm", "bounds the adjoint at every time step of the way back"))
    return found


def _steeper(findings: Findings) -> list[Remedy]:
    found = []
    if findings.config.get("activation") in ("tanh", "sigmoid"):
        found.append(Remedy("activation=modrelu", "slope 1 wherever a unit is on, whatever its size"))
    gain = findings.config.get("input_initialiser.gain")
    if gain is not None and findings.config.get("activation") in ("tanh", "sigmoid"):
        found.append(
            Remedy(f"input_initialiser.gain={said(float(gain) / 2)}", "smaller inputs leave the steep middle later")
        )
    if findings.config.get("activation") == "relu":
        found.append(Remedy("activation=leaky_relu activation.slope=0.3", "a unit that is off passes some gradient on"))
    return found


def _opened(findings: Findings) -> list[Remedy]:
    if findings.config.get("bias_initialiser") == "chrono":  # it draws the whole bias
        return []
    bias, found = forget_bias(findings.lag), []
    if float(findings.config.get("cell.forget_bias", bias)) <= bias - CLOSE:
        effect = f"opens the forget gate for about {findings.lag} steps, at first"
        found.append(Remedy(f"cell.forget_bias={bias}", effect))
    longest = max(findings.lag + 1, SHORTEST)
    chrono = f"bias_initialiser=chrono bias_initialiser.t_max={longest}"
    return [*found, Remedy(chrono, f"units that carry their state on for 1 to {longest} steps, at first")]
