"""Figures on the pages, computed from the logits in weights/results whenever the pages are built.

A page says `{{ uar ravdess_audio_actor6.csv }}` or `{{ accuracy … }}` for a figure with its 95 % interval,
`{{ ece … }}`, `{{ ece_calibrated … }}` or `{{ clips … }}` for a number, `{{ papers }}` for the table of published
systems and `{{ genders }}` for that of women and men in the shipped benchmark.
"""

from __future__ import annotations

import csv
import functools
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "weights" / "results"
sys.path.insert(0, str(ROOT))  # the pages speak of the avser beside them, not of one that is installed

from avser.benchmark import published  # noqa: E402
from avser.logits import read_logits  # noqa: E402
from avser.metrics import Report  # noqa: E402

MACRO = re.compile(r"\{\{ (\w+)(?: ([\w./-]+\.csv))? \}\}")


def on_page_markdown(markdown: str, **kwargs: object) -> str:
    """Called by mkdocs with each page."""
    return MACRO.sub(lambda found: value(found[1], found[2]), markdown)


def value(what: str, file: str | None) -> str:
    """What stands in place of a macro.

    Raises:
        KeyError: there is no such figure. DataError: there is no such file of logits.
    """
    if file is None:
        return TABLES[what]()
    return FIGURES[what](report(file))


@functools.cache
def report(file: str) -> Report:
    """All figures of a file of logits."""
    return read_logits(RESULTS / file).report()


def papers() -> str:
    """Published systems beside what their configs measure here."""
    return published.markdown(published.read_published())


def genders() -> str:
    """UAR of voice, face and both fused, for women and for men, as the shipped benchmark measured it."""
    with (RESULTS / "benchmark" / "groups.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["study"] == "tables" and row["fact"] == "gender"]
    uar = {(row["system"], row["value"]): _interval(*(float(row[f"uar{end}"]) for end in ENDS)) for row in rows}
    lines = [f"| {name} | {uar[key, 'female']} | {uar[key, 'male']} |" for key, name in SYSTEMS.items()]
    return "\n".join(["| UAR | women | men |", "|---|---|---|", *lines])


def _interval(figure: float, low: float, high: float) -> str:
    return f"{figure:.3f} ({low:.3f} to {high:.3f})"


ENDS = ("", "_low", "_high")
SYSTEMS = {"audio": "voice", "face": "face", "weighted": "fused, `weighted`"}
TABLES = {"papers": papers, "genders": genders}


FIGURES = {
    "uar": lambda report: _interval(report.uar, *report.uar_interval),
    "accuracy": lambda report: _interval(report.accuracy, *report.accuracy_interval),
    "ece": lambda report: f"{report.ece:.3f}",
    "ece_calibrated": lambda report: f"{report.ece_calibrated:.3f}",
    "clips": lambda report: str(report.n),
}
"""Figures by the name that a page gives them."""
