"""The page: one self-contained HTML file. Names and values in it are other people's text, and stay text.

Jinja2 escapes them; the content security policy, which names our script by its hash, is the second lock: no other
script runs and nothing is loaded, whatever slips through.
"""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from rnnlab import __version__
from rnnlab.report.arms import shortened, text
from rnnlab.report.comparison import Comparison
from rnnlab.report.notes import notes, verdict
from rnnlab.report.reading import Run
from rnnlab.report.standing import RULE
from rnnlab.report.tables import PAIR_HEADS, TableCell, columns, first_pairs, fixed_items, pair_cells, said_of_pairs

DETAILS = 1_500_000
"""Characters that the values of all runs' configurations and manifests may take together, at most."""
NAMED = 50
"""Unreadable folders listed by name."""


@dataclass(frozen=True)
class Picture:
    """A figure's PNG and its words; `file` is its path beside the page."""

    title: str
    caption: str
    alt: str
    file: str
    png: bytes

    @property
    def source(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Part:
    """One section on the page; no figures were drawn for it where `pictures` is None."""

    title: str
    comparison: Comparison
    pictures: list[Picture] | None


def render(
    parts: Sequence[Part], runs: Sequence[Run], unreadable: Sequence[tuple[str, str]], *, title: str, made: str
) -> str:
    """The page.

    Args:
        unreadable: folder and reason.
        made: when the report was made.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    style, script = _resource("page.css"), _resource("page.js")
    page = environment.from_string(_resource("page.html")).render(
        title=title,
        made=made,
        version=__version__,
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
        sections=[_section(part) for part in parts],
        states=Counter(run.state for run in runs).most_common(),
        runs=_run_rows(parts, runs),
        data=details(runs),
        unreadable=unreadable[:NAMED],
        more_unreadable=max(0, len(unreadable) - NAMED),
        remarks=[(str(run.path), remark) for run in runs for remark in run.remarks],
        rule=RULE,
        pair_heads=PAIR_HEADS,
    )
    return page


def _section(part: Part) -> dict[str, Any]:
    comparison, section = part.comparison, part.comparison.section
    heads = columns(comparison)
    shown = first_pairs(comparison)
    return {
        "title": part.title,
        "verdict": verdict(comparison),
        "varied": [
            (key, [shortened(v, 60) for v in values[:40]], len(values)) for key, values in section.varied.items()
        ],
        "tied": [(key, option, value) for (key, option), value in section.tied.items()],
        "fixed": fixed_items(section.fixed),
        "solved_when": section.said("solved_when"),
        "evaluated_on": section.said("evaluated_on"),
        "baseline": section.said("baseline"),
        "unit": section.said("unit"),
        "notes": notes(comparison),
        "heads": heads,
        "rows": [[(shown_cell(head.cell(row)), head.head) for head in heads] for row in comparison.rows],
        "pictures": part.pictures,
        "pairs": [pair_cells(pair) for pair in shown],
        "pairs_in_all": comparison.pairs_in_all,
        "said_of_pairs": said_of_pairs(comparison),
        "seeds": sum(row.seeds for row in comparison.rows),
    }


def shown_cell(cell: TableCell) -> TableCell:
    """The cell with a sort key that HTML can carry."""
    return TableCell(cell.text, "" if cell.sort is None else cell.sort)


def _run_rows(parts: Sequence[Part], runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row per run: its arm and how it stands."""
    label = {
        id(replica.run): (part.title, row.arm.label, setting.lr if part.comparison.section.lr_selected else None)
        for part in parts
        for row in part.comparison.rows
        for setting in row.arm.tried
        for replica in setting.replicas
    }
    rows = []
    for number, run in enumerate(runs):
        section, arm, lr = label.get(id(run), ("", "(all seeds found in other runs)", None))
        counted = Counter(outcome.status for outcome in run.outcomes)
        rows.append(
            {
                "number": number,
                "name": shortened(str(run.path), 200),
                "section": section,
                "arm": arm if lr is None else f"{arm} at {lr:g}",
                "state": run.state,
                "partial": run.partial,
                "seeds": ", ".join(f"{count} {status}" for status, count in counted.items()),
            }
        )
    return rows


def details(runs: Sequence[Run]) -> Markup:
    """Configurations and manifests as JSON: what most runs share once, and per run what differs.

    Escaped so that no text in it can end the script element that holds it.
    """
    longest = max(200, min(20_000, DETAILS // max(1, len(runs))))
    documents = {
        "config": [{k: shortened(text(v), longest) for k, v in run.config.items()} for run in runs],
        "manifest": [{k: shortened(v, longest) for k, v in _leaves(run.manifest)} for run in runs],
    }
    content: dict[str, Any] = {"paths": [str(run.path) for run in runs]}
    for name, of_runs in documents.items():
        common = _most_common(of_runs)
        content[name] = {"common": common, "own": [_difference(common, document) for document in of_runs]}
    escaped = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return Markup(escaped.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e"))


def _leaves(node: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Keys with dots, values as text; sessions are numbered."""
    if isinstance(node, dict) and node:
        return [
            leaf for key, value in node.items() for leaf in _leaves(value, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(node, list) and any(isinstance(value, dict) for value in node):
        return [leaf for k, value in enumerate(node) for leaf in _leaves(value, f"{prefix}.{k}")]
    return [(prefix, text(node))]


def _most_common(documents: Sequence[dict[str, str]]) -> dict[str, str]:
    counted: dict[str, Counter[str]] = {}
    for document in documents:
        for key, value in document.items():
            counted.setdefault(key, Counter())[value] += 1
    return {key: values.most_common(1)[0][0] for key, values in counted.items()}


def _difference(common: dict[str, str], document: dict[str, str]) -> dict[str, str | None]:
    """What differs from the common values; None: the document lacks the key."""
    return {key: document.get(key) for key, value in common.items() if document.get(key) != value}


def _resource(name: str) -> str:
    return files("rnnlab.report").joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
