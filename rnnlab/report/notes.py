"""What stands between the table and a conclusion: confounds, partial results, too few seeds. Said in words."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from rnnlab.report.arms import LONGEST, LR, Arm, shortened, technique, text
from rnnlab.report.comparison import Comparison
from rnnlab.report.pairs import seeds_to_tell_apart

LISTED = 8
"""Arms that a sentence lists by name."""


def notes(comparison: Comparison) -> list[str]:
    """One sentence or two per matter, the gravest first."""
    section = comparison.section
    parts = [
        _usual(comparison),
        _partial(comparison),
        _few_seeds(comparison),
        _learning_rate(comparison),
        _parameters(section.arms),
        _budgets(section.arms),
        _tied(comparison),
        _twice(comparison),
        *_circumstances(section.arms),
        _grid(section.arms),
        _stopping(section.arms),
    ]
    return [part for part in parts if part]


def verdict(comparison: Comparison) -> str:
    """The answer in words: the first arm, and which cannot be told apart from it."""
    rows = comparison.rows
    first = rows[0]
    if len(rows) == 1:
        return f"One arm only, {first.arm.label}: {first.solved} of {first.seeds} seeds solved."
    opening = f"First in the ranking: {first.arm.label}, {first.solved} of {first.seeds} seeds solved."
    if not any(row.solved for row in rows):
        opening = f"No seed of any arm solved the task. First by its loss: {first.arm.label}."
    alike = [row.arm.label for row in rows[1:] if set(row.letters) & set(first.letters)]
    if not alike:
        return f"{opening} It was told apart from every other arm."
    if len(alike) == len(rows) - 1:
        return f"{opening} But no other arm could be told apart from it: the order may be chance."
    return f"{opening} It cannot be told apart from {_list(alike)}."


def _usual(comparison: Comparison) -> str:
    usual = comparison.section.usual
    if not usual:
        return ""
    told = ", ".join(f"{key}={shortened(value, LONGEST)}" for key, value in usual.items())
    return f"An arm's name says what is unusual in it. Where it says nothing else: {told}."


def _partial(comparison: Comparison) -> str:
    states = Counter(run.state for run in comparison.section.runs if run.partial)
    if not states:
        return ""
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    return (
        f"Partial results: {counted} of {len(comparison.section.runs)} runs. Arms marked ◐ hold seeds that have not "
        "ended: such a seed counts as not solved so far, and in the solve curves as censored where it stands."
    )


def _few_seeds(comparison: Comparison) -> str:
    pairs = comparison.pairs_in_all
    if not pairs:
        return ""
    need, most = seeds_to_tell_apart(pairs), max(row.seeds for row in comparison.rows)
    fewest = min(row.seeds for row in comparison.rows)
    if fewest >= need:
        return ""
    have = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    possible = "no pair of arms with fewer" if most >= need else "no pair"
    compared = "1 pair" if pairs == 1 else f"{pairs:,} pairs"
    return (
        f"With {compared} to compare, two arms need {need} seeds each before any outcome can tell them apart "
        f"(corrected p up to 0.05); here are {have} per arm, so {possible} can be told apart, whatever the results."
    )


def _learning_rate(comparison: Comparison) -> str:
    section = comparison.section
    if not section.lr_selected:
        others = [key for key in section.varied if key != LR]
        techniques = {technique(arm.setting, others) for arm in section.arms}
        if LR in section.varied and len(techniques) == len(section.arms):
            low, *_, high = section.varied[LR]
            return (
                f"The arms' learning rates differ, from {low} to {high}, and no technique was tried at two: an arm may "
                "do better at another rate."
            )
        fixed = section.fixed.get(LR)
        if fixed is None or len(section.arms) < 2:
            return ""
        return (
            f"All arms trained with {LR}={text(fixed)}. An arm may do better at another: sweep it, and each technique "
            "is compared at its own best."
        )
    tried = [len(arm.tried) for arm in section.arms]
    edge = [arm.label for arm in section.arms if len(arm.tried) > 1 and arm.setting in (arm.tried[0], arm.tried[-1])]
    message = (
        f"Each technique stands at its own best learning rate of {min(tried)}"
        + (f" to {max(tried)}, not the same number for all" if min(tried) != max(tried) else "")
        + ": the one whose seeds most often beat those at its others, judged by the same seeds that are compared here. "
        "That flatters every arm a little, and more the more rates were tried; seeds that took no part in the choice "
        "would settle it."
    )
    if edge:
        message += f" At the edge of the rates tried, so that the best may lie beyond: {_list(edge)}."
    return message


def _parameters(arms: list[Arm]) -> str:
    counts = [count for arm in arms for count in arm.parameters]
    if not counts or min(counts) == max(counts):
        return ""
    return (
        f"The arms differ in size, from {min(counts):,} to {max(counts):,} trained parameters "
        f"({max(counts) / min(counts):.2g} times): a difference between them may be one of size."
    )


def _budgets(arms: list[Arm]) -> str:
    budgets = sorted({replica.budget for arm in arms for replica in arm.replicas})
    if len(budgets) < 2:
        return ""
    return (
        f"The arms were allowed different numbers of updates, from {budgets[0]:,} to {budgets[-1]:,}: shares of solved "
        "seeds are not comparable between them; solve curves and restricted means, up to the smallest, are."
    )


def _tied(comparison: Comparison) -> str:
    differing: dict[str, set[str]] = {}
    for (key, _), value in comparison.section.tied.items():
        differing.setdefault(key, set()).add(value)
    keys = [key for key, values in differing.items() if len(values) > 1]
    return f"Besides what the labels say, these keys differ between options: {_list(keys)}." if keys else ""


def _twice(comparison: Comparison) -> str:
    twice = comparison.section.twice
    return (
        f"{twice} seed(s) were found more than once under the same configuration; the one that got furthest counts."
        if twice
        else ""
    )


def _circumstances(arms: list[Arm]) -> Iterator[str]:
    """What the manifests tell apart although the configurations do not."""
    runs = [run for arm in arms for run in arm.runs]
    manifests = [run.manifest for run in runs]
    facts: dict[str, list[Any]] = {
        "engines": [m.get("engine") for m in manifests],
        "devices": [m.get("device") for m in manifests],
        "thread counts": [m.get("threads") for m in manifests],
        "versions of torch": [_version(m, "torch") for m in manifests],
        "versions of rnnlab": [_version(m, "rnnlab") for m in manifests],
        "commits": [_short_commit(m.get("git_commit")) for m in manifests],
        "numbers of seeds per run": [len(run.outcomes) for run in runs],
    }
    differing = []
    for name, values in facts.items():
        found = Counter(text(value) for value in values)
        if len(found) > 1:
            some = ", ".join(f"{shortened(v, 40)} ({n})" for v, n in found.most_common(4))
            differing.append(f"{name}: {some}{', …' if len(found) > 4 else ''}")
    if differing:
        yield "The runs differ in their circumstances, which matters for seconds most (runs in brackets). " + (
            "; ".join(differing) + "."
        )
    if any((s := set(_seeds(arm))) != set(_seeds(arms[0])) and s for arm in arms):
        yield "The arms do not have the same seeds."


def _version(manifest: dict[str, Any], package: str) -> Any:
    versions = manifest.get("versions")
    return versions.get(package) if isinstance(versions, dict) else None


def _short_commit(commit: Any) -> str:
    whole, plus, changes = text(commit).partition("+")
    return whole[:10] + plus + changes


def _seeds(arm: Arm) -> list[int]:
    return [replica.outcome.seed for replica in arm.replicas]


def _grid(arms: list[Arm]) -> str:
    given = [run.config.get("evaluate.every") for arm in arms for run in arm.runs]
    every = sorted({value for value in given if isinstance(value, int)})
    if not every:
        return ""
    grid = f"{every[0]:,}" if len(every) == 1 else f"{every[0]:,} to {every[-1]:,}, depending on the arm,"
    return (
        f"Runs are evaluated every {grid} updates, so a seed was in truth solved up to that many updates before the "
        "number given."
    )


def _stopping(arms: list[Arm]) -> str:
    if not any(replica.run.config.get("stop_when_solved") and replica.solved for a in arms for replica in a.replicas):
        return ""
    return (
        "A solved seed stops training: its final metric is the one with which it was solved, not what longer training "
        "would reach."
    )


def _list(labels: list[str]) -> str:
    listed = "; ".join(labels[:LISTED])
    return listed + (f"; and {len(labels) - LISTED} more" if len(labels) > LISTED else "")
