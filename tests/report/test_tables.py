"""Tables hold every arm, pair and seed, and other people's text stays text in them."""

import csv
import io
import math

import numpy as np
import pytest
from synthetic_runs import STEPS, write_run, write_runs

from rnnlab.report.arms import sections
from rnnlab.report.comparison import MOST_PAIRS, compare
from rnnlab.report.reading import find, read
from rnnlab.report.tables import (
    SHOWN,
    TableCell,
    arms_csv,
    columns,
    first_pairs,
    markdown,
    markdown_table,
    pairs_csv,
    said_of_pairs,
    seeds_csv,
)

FORMULAS = ("=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1")


@pytest.fixture
def comparison(tmp_path):
    rng = np.random.default_rng(0)
    for k, (cell, lr) in enumerate([("rnn", 0.1), ("rnn", 0.01), ("gru", 0.1), ("lstm", 0.1)]):
        changes = {"cell": cell, "optimiser.lr": lr, "device": "a|b\nc"}
        write_run(tmp_path / f"={k}", changes, seeds=[0, 1, 2], rng=rng)
    (section,) = sections([read(path) for path in find([tmp_path])], every_lr=False)
    return compare(section, np.random.default_rng(0))


def lines(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_every_arm_pair_and_seed_has_a_line(comparison):
    named = [("adding", comparison)]
    assert len(lines(arms_csv(named))) == 3
    assert len(lines(pairs_csv(named))) == 3
    seeds = lines(seeds_csv(named))
    assert len(seeds) == 12
    assert sum(line["compared"] == "True" for line in seeds) == 9
    by_arm = {line["arm"]: line for line in lines(arms_csv(named))}
    for row in comparison.rows:
        line = by_arm[row.arm.label]
        assert int(line["solved"]) == row.solved
        assert float(line["solved_share_low"]) == row.share.low
        assert float(line["final_metric_iqm"]) == row.metric.value


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_text_is_a_formula_in_a_spreadsheet_and_numbers_stay_numbers(comparison, formula):
    named = [(formula, comparison)]
    for text in (arms_csv(named), pairs_csv(named), seeds_csv(named)):
        for line in lines(text):
            assert line["section"] == "'" + formula
            for value in line.values():
                try:
                    float(value)
                except ValueError:
                    assert not value.startswith(("=", "+", "-", "@", "\t"))


def test_a_table_in_markdown_keeps_its_shape_whatever_it_holds():
    hostile = "a|b\n<script>alert(1)</script> `x` **y** [l](http://e) \\"
    text = markdown_table(["one", "two"], [[TableCell(hostile, None), TableCell("2", 2)]])
    assert len(text.splitlines()) == 3
    (line,) = text.splitlines()[2:]
    assert line.replace("\\|", "").count("|") == 3
    assert "<" not in line
    assert markdown("a_b*c") == r"a\_b\*c"


def test_columns_have_a_cell_for_every_arm(comparison):
    heads = columns(comparison)
    assert "best rate" in [head.head for head in heads]
    for row in comparison.rows:
        assert all(head.cell(row).text for head in heads)


def test_a_median_that_is_not_reached_is_later_than_the_budget_also_of_diverged_seeds(tmp_path):
    write_run(tmp_path / "run", {}, seeds=[0, 1, 2], rng=np.random.default_rng(0), diverging=1.0, solve_at=1e6)
    (section,) = sections([read(tmp_path / "run")], every_lr=False)
    comparison = compare(section, np.random.default_rng(0))
    (row,) = comparison.rows
    assert row.diverged == 3
    (head,) = (head for head in columns(comparison) if head.head == "median steps to solve")
    assert head.cell(row).text == f"> {STEPS:,}"


def test_of_very_many_arms_the_first_pairs_are_told_and_the_page_says_so(tmp_path):
    write_runs(tmp_path, MOST_PAIRS + 1, seeds=1, search=True, rng=np.random.default_rng(0))
    (section,) = sections([read(path) for path in find([tmp_path])], every_lr=True)
    comparison = compare(section, np.random.default_rng(0))
    assert len(comparison.rows) == MOST_PAIRS + 1
    assert len(lines(pairs_csv([("", comparison)]))) == math.comb(MOST_PAIRS, 2)
    assert len(first_pairs(comparison)) == math.comb(SHOWN, 2)
    said = said_of_pairs(comparison)
    assert f"those of the first {MOST_PAIRS}" in said
    assert f"All {math.comb(MOST_PAIRS + 1, 2):,} were compared" in said
