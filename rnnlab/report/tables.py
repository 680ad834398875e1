"""The comparison as tables: columns once, for page and Markdown; CSV with every number in full."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rnnlab.report.arms import LONGEST, shortened, text
from rnnlab.report.comparison import MOST_PAIRS, Comparison, Pair, Row
from rnnlab.report.statistics import Estimate, Interval
from rnnlab.runs.safe_files import visible

NONE = "–"


@dataclass(frozen=True)
class TableCell:
    """What is shown, and what is sorted by: a number, text, or None, which comes last."""

    text: str
    sort: float | str | None


@dataclass(frozen=True)
class Column:
    """A column of the ranked table."""

    head: str
    meaning: str
    cell: Callable[[Row], TableCell]


def columns(comparison: Comparison) -> list[Column]:
    """Columns of the ranked table; the learning rate where it was chosen per arm."""
    metric, unit, better = (comparison.section.said(name) for name in ("metric", "metric_unit", "metric_better"))
    found = [
        Column("rank", "places that the comparison does not exclude (corrected p up to 0.05)", _places),
        Column("arm", "what varies; ◐: has seeds that have not ended", _arm),
        Column("seeds", "seeds compared", lambda row: TableCell(str(row.seeds), row.seeds)),
        Column("solved", "seeds that solved the task; Wilson's 95 % interval of the share", _solved),
        Column("median steps to solve", "Kaplan-Meier median over all seeds, unsolved ones censored; 95 %", _median),
        Column(
            f"mean steps, at most {comparison.horizon:,}",
            f"restricted mean: updates that a seed spends unsolved, up to {comparison.horizon:,}; 95 %",
            lambda row: _estimate(row.restricted, "{:,.0f}"),
        ),
        Column(
            f"final {metric.replace('_', ' ')}",
            f"{unit}, {better} is better: interquartile mean over seeds, bootstrap 95 %; a diverged seed counts as the "
            "worst of all arms",
            lambda row: _estimate(row.metric, "{:.3g}"),
        ),
        Column("diverged", "seeds that diverged", lambda row: TableCell(str(row.diverged), row.diverged)),
        Column("ms per step", "milliseconds of training per seed and update, evaluation left out", _milliseconds),
        Column("s per solved seed", "training seconds of all seeds of the arm, per solved seed", _cost),
        Column("parameters", "trained numbers per seed", _parameters),
        Column(
            "group",
            "two arms that share a letter cannot be told apart",
            lambda row: TableCell(row.letters, row.letters),
        ),
    ]
    if comparison.section.lr_selected:
        found.insert(2, Column("best rate", "the learning rate at which the arm is compared, of how many", _rate))
    return found


def _places(row: Row) -> TableCell:
    first, last = row.places
    return TableCell(str(first) if first == last else f"{first}–{last}", -row.score)


def _arm(row: Row) -> TableCell:
    return TableCell(row.arm.label + (" ◐" if row.arm.partial else ""), row.arm.label)


def _rate(row: Row) -> TableCell:
    lr = row.arm.setting.lr
    return TableCell(f"{lr:g} (of\u00a0{len(row.arm.tried)})", lr)


def _solved(row: Row) -> TableCell:
    so_far = " so far" if row.undecided else ""
    return TableCell(
        f"{row.solved}/{row.seeds}{so_far} [{row.share.low:.0%},\u00a0{row.share.high:.0%}]", row.solved / row.seeds
    )


def _median(row: Row) -> TableCell:
    median, interval = row.curve.median, row.curve.median_interval
    if median is None:
        return TableCell(f"> {row.curve.step[-1]:,.0f}", None)  # diverged seeds are unsolved to their budget
    return TableCell(f"{median:,.0f} {_interval(interval, '{:,.0f}')}", median)


def _milliseconds(row: Row) -> TableCell:
    seconds = row.seconds_per_step
    return TableCell(NONE if seconds is None else f"{1e3 * seconds:.3g}", seconds)


def _cost(row: Row) -> TableCell:
    return TableCell(NONE if row.cost is None else f"{row.cost:,.3g}", row.cost)


def _parameters(row: Row) -> TableCell:
    counts = row.arm.parameters
    return TableCell(", ".join(f"{count:,}" for count in counts) or NONE, counts[0] if counts else None)


def _estimate(estimate: Estimate | None, form: str) -> TableCell:
    if estimate is None:
        return TableCell(NONE, None)
    return TableCell(f"{form.format(estimate.value)} {_interval(estimate, form)}", estimate.value)


def _interval(interval: Interval | Estimate, form: str) -> str:
    low, high = (("∞" if x > 0 else "−∞") if math.isinf(x) else form.format(x) for x in (interval.low, interval.high))
    return f"[{low},\u00a0{high}]"  # a no-break space: an interval stays on one line


SHOWN = 20
"""Arms from the first whose pairs are shown; pairs.csv has more."""
PAIR_HEADS = ("arm a", "arm b", "P(a better)", "95 %", "p", "corrected p", "told apart")


def pair_cells(pair: Pair) -> list[TableCell]:
    """One row of the table of pairs, under PAIR_HEADS."""
    better = pair.improvement
    return [
        TableCell(pair.a, pair.a),
        TableCell(pair.b, pair.b),
        TableCell(f"{better.value:.2f}", better.value),
        TableCell(f"[{better.low:.2f}, {better.high:.2f}]", better.low),
        TableCell(f"{better.p_value:.3g}", better.p_value),
        TableCell(f"{pair.adjusted:.3g}", pair.adjusted),
        TableCell("yes" if pair.apart else "no", "yes" if pair.apart else "no"),
    ]


def first_pairs(comparison: Comparison) -> list[Pair]:
    """All pairs among as many of the first arms as a reader can take in."""
    first = {row.arm.label for row in comparison.rows[:SHOWN]}
    return [pair for pair in comparison.pairs if pair.a in first and pair.b in first]


def said_of_pairs(comparison: Comparison) -> str:
    """What the table of pairs holds, and where the others are."""
    shown = len(first_pairs(comparison))
    told = "The probability that a seed of arm a beats a seed of arm b, ties counting one half."
    if shown == comparison.pairs_in_all:
        return told
    held = "all" if len(comparison.pairs) == comparison.pairs_in_all else f"those of the first {MOST_PAIRS}"
    return (
        f"{told} Shown are the pairs of the first {SHOWN} arms; pairs.csv has {held}. All {comparison.pairs_in_all:,} "
        "were compared, and the correction is for all."
    )


def arms_csv(comparisons: Sequence[tuple[str, Comparison]]) -> str:
    """A line per arm of every section."""
    return _csv(_arm_record(title, row, c) for title, c in comparisons for row in c.rows)


def pairs_csv(comparisons: Sequence[tuple[str, Comparison]]) -> str:
    """A line per pair of arms of every section; of its first arms, where there are very many."""
    return _csv(
        {
            "section": title,
            "arm_a": pair.a,
            "arm_b": pair.b,
            "probability_a_better": pair.improvement.value,
            "probability_low": pair.improvement.low,
            "probability_high": pair.improvement.high,
            "p": pair.improvement.p_value,
            "p_holm": pair.adjusted,
            "told_apart": pair.apart,
        }
        for title, comparison in comparisons
        for pair in comparison.pairs
    )


def seeds_csv(comparisons: Sequence[tuple[str, Comparison]]) -> str:
    """A line per seed of every setting, also at learning rates that were not chosen."""
    return _csv(
        {
            "section": title,
            "arm": row.arm.label,
            "compared": setting is row.arm.setting,
            "learning_rate": setting.lr,
            "seed": replica.outcome.seed,
            "status": replica.outcome.status,
            "run_state": replica.run.state,
            "steps": replica.outcome.steps,
            "steps_to_solve": replica.outcome.steps_to_solve,
            "final_eval_loss": replica.outcome.final_loss,
            "final_eval_metric": replica.outcome.final_metric,
            "budget": replica.budget,
            "run": str(replica.run.path),
        }
        for title, comparison in comparisons
        for row in comparison.rows
        for setting in row.arm.tried
        for replica in setting.replicas
    )


def _arm_record(title: str, row: Row, comparison: Comparison) -> dict[str, Any]:
    median = row.curve.median_interval
    return {
        "section": title,
        "arm": row.arm.label,
        "rank_first": row.places[0],
        "rank_last": row.places[1],
        "group": row.letters,
        "partial": row.arm.partial,
        "learning_rate": row.arm.setting.lr,
        "learning_rates_tried": len(row.arm.tried),
        "seeds": row.seeds,
        "solved": row.solved,
        "solved_share": row.solved / row.seeds,
        "solved_share_low": row.share.low,
        "solved_share_high": row.share.high,
        "steps_to_solve_median": row.curve.median,
        "steps_to_solve_median_low": median.low,
        "steps_to_solve_median_high": median.high,
        "horizon": comparison.horizon,
        **_spread("steps_to_solve_restricted_mean", row.restricted),
        "metric": comparison.section.said("metric"),
        **_spread("final_metric_iqm", row.metric),
        "diverged": row.diverged,
        "undecided": row.undecided,
        "mean_probability_better": row.score,
        "seconds_per_seed_step": row.seconds_per_step,
        "seconds_per_solved_seed": row.cost,
        "parameters": " ".join(map(str, row.arm.parameters)),
    }


def _spread(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _csv(records: Iterable[dict[str, Any]]) -> str:
    """RFC 4180. What a spreadsheet would take for a formula is led by an apostrophe; empty: no value."""
    out = io.StringIO()
    writer = None
    for record in records:
        if writer is None:
            writer = csv.DictWriter(out, record, lineterminator="\n")
            writer.writeheader()
        writer.writerow({key: _csv_value(value) for key, value in record.items()})
    return out.getvalue()


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet's formula begins with, also in full width."""


def _csv_value(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    if not isinstance(value, str):
        return value
    return ("'" if value.startswith(FORMULA) else "") + visible(value)


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[TableCell]]) -> str:
    """A table of Markdown; what would be its markup or HTML is escaped."""
    lines = ["| " + " | ".join(markdown(head) for head in heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(markdown(cell.text) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def markdown(value: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    plain = " ".join(visible(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())
    return "".join("\\" + c if c in "\\`*_[]|#!~$" else c for c in plain)


def fixed_items(fixed: dict[str, Any]) -> list[tuple[str, str]]:
    """Keys and values as text, long values shortened."""
    return [(key, shortened(text(value), 4 * LONGEST)) for key, value in fixed.items()]
