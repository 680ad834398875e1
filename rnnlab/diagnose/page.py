"""The page: verdicts and what was measured, as Markdown that reads well on a terminal."""

import html
import math
import textwrap
from collections.abc import Iterator

import numpy as np

from rnnlab.diagnose import decay
from rnnlab.diagnose.findings import Findings
from rnnlab.diagnose.verdict import Verdict, mean, percent, power, spoken, typical
from rnnlab.diagnose.verdicts.table import RULES
from rnnlab.diagnose.why import CAUSES, per_step

WIDTH = 110
POINTS = 5
"""Probed updates that the page tells, at most."""


def page(findings: Findings, verdicts: list[Verdict]) -> str:
    """The whole page; ends with a newline."""
    lines = [
        f"# {html.escape(findings.path.name, quote=False)}: {headline(findings, verdicts)}",
        "",
        *_wrapped(_about(findings)),
        "",
        *_changed(findings),
    ]
    for verdict in verdicts:
        lines += [*_verdict(verdict), ""]
    if not verdicts:
        names = ", ".join(rule.name for rule in RULES)
        lines += [*_wrapped(f"No rule holds. Looked for: {names}."), ""]
    lines += ["## Measured", "", *_table(list(_measured(findings)))]
    recorded = _recorded(findings)
    return "\n".join([*lines, *(["", *_wrapped(recorded)] if recorded else [])]) + "\n"


def headline(findings: Findings, verdicts: list[Verdict]) -> str:
    """The diagnosis in some words."""
    solved = sum(replica.status == "solved" for replica in findings.replicas)
    outcome = f"{solved} of {len(findings.replicas)} seeds solved" if solved else ""
    if not verdicts:
        return f"healthy{', ' + outcome if outcome else ''}"
    return "; ".join(filter(None, [outcome, ", ".join(verdict.name for verdict in verdicts)]))


def _about(findings: Findings) -> str:
    counts = {status: [r.seed for r in findings.replicas if r.status == status] for status in STATUSES}
    seeds = ", ".join(f"{len(of)} {status}" for status, of in counts.items() if of)
    lag = f"the earliest input that the answer depends on lies {findings.lag} steps before the last (median example)"
    if not findings.marked:
        lag = f"the task does not tell which inputs count, so all {findings.length} do"
    losses = typical(findings.of_all(lambda m: m.loss))
    measured = f"The run {STATES[findings.state]}; measured at its checkpoint of update {findings.update} of"
    return (
        f"{measured} {findings.steps}, on {findings.examples} held-out examples. Seeds: {seeds}. Loss {losses} "
        f"{findings.unit}; remembering nothing gives {findings.baseline:.4g}. {findings.length} time steps; {lag}. "
        f"Figures are medians over the seeds, with their range{_left_out(findings)}."
    )


def _changed(findings: Findings) -> list[str]:
    if not findings.changed:
        return []
    names = html.escape(findings.changed, quote=False)
    return [*_wrapped(f"Not the code or data that the run was made with: {names} changed since. Measured anyway."), ""]


def _left_out(findings: Findings) -> str:
    diverged = [replica.seed for replica in findings.replicas if replica.status == "diverged"]
    if not diverged:
        return ""
    if len(diverged) < len(findings.replicas):
        return "; diverged seeds are left out"
    return "; all diverged, so they are measured with their last finite parameters"


STATES = {
    "finished": "has finished",
    "running": "is at work",
    "interrupted": "was interrupted",
    "failed": "has failed",
    "died": "has died",
}
STATUSES = ("solved", "unsolved", "undecided", "diverged")


def _verdict(verdict: Verdict) -> Iterator[str]:
    yield f"## {verdict.name[0].upper()}{verdict.name[1:]}"
    yield ""
    yield from _wrapped(verdict.what)
    for label, text in (("Where", verdict.where), ("Why", verdict.why)):
        if text:
            yield from _wrapped(f"{label}: {text}", "- ")
    condition = next(rule.condition for rule in RULES if rule.name == verdict.name)
    yield from _wrapped(f"Rule: {condition}.", "- ")
    for technique in verdict.techniques:
        yield from _wrapped(f"Acts on it: `{technique.override}` ({technique.effect})", "- ")


Row = tuple[str, str]


def _measured(findings: Findings) -> Iterator[Row]:
    yield from _of_the_way_back(findings)
    yield from _of_the_net(findings)
    yield from _of_training(findings)
    yield from _of_the_answer(findings)


def _of_the_way_back(findings: Findings) -> Iterator[Row]:
    lag, of_all, norm = findings.lag, findings.of_all, f"‖dL/d{findings.carrier}‖"
    halves = typical(of_all(lambda m: decay.half_life(m.gain_T, lag)), "steps back")
    yield "half-life of the gradient (infinity: it does not fall)", halves
    yield f"{norm} lost over {lag} steps back", typical(of_all(lambda m: decay.lost(m.gain_T, lag)), "decades")
    for name in findings.cells:
        values = of_all(lambda m, name=name: decay.lost(m.gains[name], lag))
        steps = next(len(m.gains[name]) - 1 for _, m in findings.measured)
        shorter = f", which has {steps}" if steps < lag else ""
        yield f"the same in {spoken(name)}{shorter}", typical(values, "decades")
    yield f"{norm} grown on the way, at most", typical(of_all(lambda m: decay.grown(m.gain_T, lag)[0]), "decades")
    for cause, words in CAUSES.items():
        values = of_all(lambda m, cause=cause: per_step(m, lag).get(cause, math.nan))
        if not all(map(math.isnan, values)):
            yield f"change per step back by {words}", typical(values, "decades")


UNITS = {"slope": "mean slope of the activation", "saturated": "share with a slope below 0.05"}


def _of_the_net(findings: Findings) -> Iterator[Row]:
    of_all = findings.of_all
    for key in sorted({key for _, m in findings.measured for key in m.units} - {"carrying gate"}):
        values = of_all(lambda m, key=key: mean(m.units.get(key, np.empty(0))))
        yield UNITS.get(key, f"mean {key}"), typical(values)
    yield "dead units", percent(of_all(lambda m: max(m.dead.values(), default=math.nan)))
    for figure in ("largest singular value", "spectral radius", "moved since initialisation"):
        blocks = [key for key in next((m.weights for _, m in findings.measured), {}) if key.endswith(figure)]
        told = [_of_block(key, typical(of_all(lambda m, key=key: m.weights[key])), len(blocks)) for key in blocks]
        if told:
            yield f"recurrent weights: {figure}", "; ".join(told)


def _of_training(findings: Findings) -> Iterator[Row]:
    yield "gradient norm in training, median", typical(findings.histories(lambda h: h.grad_norm))
    yield "largest gradient norm, to the median before it", typical(findings.histories(lambda h: h.burst), "times")
    yield "clip active", percent(findings.histories(lambda h: h.clipped)) + " of updates"


def _of_the_answer(findings: Findings) -> Iterator[Row]:
    of_all = findings.of_all
    if findings.marked:
        found, chance = percent(of_all(lambda m: m.marked)), percent(of_all(lambda m: m.chance))
        yield "the inputs used most are those that count", f"{found}; by chance {chance}"
    addends = [m.addends for _, m in findings.measured if m.addends is not None]
    if addends:
        first, second = (typical([pair[k] for pair in addends]) for k in (0, 1))
        yield "how much of each number the answer follows", f"first {first}; second {second}"


def _of_block(key: str, value: str, blocks: int) -> str:
    return value if blocks == 1 else f"{key.rpartition('.')[0]} {value}"


def _table(rows: list[Row]) -> Iterator[str]:
    wide = max(len(name) for name, _ in rows)
    yield f"| {'figure'.ljust(wide)} | median (range) |"
    yield f"| {'-' * wide} | --- |"
    for name, value in rows:
        yield f"| {name.ljust(wide)} | {value} |"


def _recorded(findings: Findings) -> str:
    """How the gradient at the lag fared while training, of the loss of all scored steps."""
    updates = list(findings.recorded)
    if not updates:
        return ""
    at = sorted({round(k) for k in np.linspace(0, len(updates) - 1, min(POINTS, len(updates)))})
    told = [f"{power(findings.recorded[updates[k]])} at update {updates[k]}" for k in at]
    return (
        f"Recorded while training: ‖dL/d{findings.carrier}‖ {findings.lag} steps back, to that at the last step: "
        f"{', '.join(told)}."
    )


def _wrapped(text: str, bullet: str = "") -> list[str]:
    indent = " " * len(bullet)
    return textwrap.wrap(
        text, WIDTH, initial_indent=bullet, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
