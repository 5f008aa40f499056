"""The figures of a benchmark as flat tables, one CSV file a kind; each row names its protocol and its logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from avser.benchmark.contributions import BRANCHES

Row = list[object]
FIGURES = ("n", "subjects", "uar", "accuracy", "macro_f1", "roc_auc", "ece", "ece_calibrated", "nll")


def tables(report: Mapping) -> dict[str, list[Row]]:
    """Rows of every table by file name, the header first; a table without rows is not there."""
    made: dict[str, list[Row]] = {
        f"{name}.csv": [list(header), *rows(report)] for name, (header, rows) in TABLES.items()
    }
    return {name: rows for name, rows in made.items() if len(rows) > 1}


def _systems(report: Mapping) -> Iterator[tuple[str, str, Mapping, Row]]:
    """Every study and system with its figures, and the cells that a row begins with."""
    for study, figures in report["studies"].items():
        for system, found in figures["systems"].items():
            yield study, system, found, [study, system, found["protocol"], found["logits"]]


def _figures(report: Mapping) -> Iterator[Row]:
    for *_, found, start in _systems(report):
        ends = (*found["uar_interval"], *found["accuracy_interval"])
        yield [*start, *(found[name] for name in FIGURES), *ends]


def _classes(report: Mapping) -> Iterator[Row]:
    for *_, found, start in _systems(report):
        for label in found["labels"]:
            yield [*start, label, *(found[key][label] for key in ("recalls", "precisions", "f1s", "roc_aucs"))]


def _confusion(report: Mapping) -> Iterator[Row]:
    for *_, found, start in _systems(report):
        for true, counts in zip(found["labels"], found["confusion"], strict=True):
            for predicted, count in zip(found["labels"], counts, strict=True):
                yield [*start, true, predicted, count]


def _groups(report: Mapping) -> Iterator[Row]:
    for *_, found, start in _systems(report):
        for fact, values in found["groups"].items():
            for value, part in values.items():
                yield [*start, fact, value, part["n"], part["uar"], *part["uar_interval"], part["accuracy"]]


def _reliability(report: Mapping) -> Iterator[Row]:
    for *_, found, start in _systems(report):
        for part in found["reliability"]:
            yield [*start, part["n"], part["confidence"], part["accuracy"]]


def _comparisons(report: Mapping) -> Iterator[Row]:
    for study, figures in report["studies"].items():
        for row in figures.get("comparisons", ()):
            sources = [figures["systems"][row[key]]["logits"] for key in ("system", "against")]
            logits = "; ".join(dict.fromkeys(sources))
            start = [study, row["system"], figures["protocol"], logits, row["against"]]
            yield [*start, *row["uar"], *row["accuracy"], row["p"]]


def _contributions(report: Mapping) -> Iterator[Row]:
    for study, figures in report["studies"].items():
        for rule in figures.get("shapley", ()):
            found = figures["systems"][rule]
            shares = [value for branch in BRANCHES for value in figures["shapley"][rule][branch]]
            moved = [figures["repairs"][rule][branch][key] for branch in BRANCHES for key in ("fixed", "lost")]
            start = [study, rule, found["protocol"], found["logits"], figures["on_both"], figures["either_right"]]
            yield [*start, figures["shapley"][rule]["chance"], *shares, *moved]


def _missing(report: Mapping) -> Iterator[Row]:
    for study, figures in report["studies"].items():
        for rule, curves in figures.get("missing", {}).items():
            found = figures["systems"][rule]
            for branch, points in curves.items():
                for point in points:
                    values = [point.get(key) for key in ("share", "uar", "low", "high", "accuracy", "ece")]
                    yield [study, rule, found["protocol"], found["logits"], branch, *values]


def _degradation(report: Mapping) -> Iterator[Row]:
    for name, sweep in report.get("degradation", {}).get("sweeps", {}).items():
        for level in sweep["levels"]:
            for system in ("audio", "face", "fused"):
                if system in level:
                    values = [level[system][key] for key in ("uar", "low", "high", "accuracy", "answered")]
                    yield [
                        *(name, system, sweep["protocol"], sweep["logits"]),
                        *(sweep["affects"], level["level"], sweep["unit"]),
                        *values,
                    ]


_START = ["study", "system", "protocol", "logits"]
TABLES = {
    "systems": ([*_START, *FIGURES, "uar_low", "uar_high", "accuracy_low", "accuracy_high"], _figures),
    "emotions": ([*_START, "emotion", "recall", "precision", "f1", "roc_auc"], _classes),
    "confusion": ([*_START, "true", "predicted", "clips"], _confusion),
    "groups": ([*_START, "fact", "value", "n", "uar", "uar_low", "uar_high", "accuracy"], _groups),
    "reliability": ([*_START, "n", "confidence", "accuracy"], _reliability),
    "comparisons": (
        [*_START, "against", "uar_gain", "low", "high", "accuracy_gain", "accuracy_low", "accuracy_high", "p"],
        _comparisons,
    ),
    "contributions": (
        [
            *(*_START, "n", "either_right", "chance"),
            *(f"{branch}_{end}" for branch in BRANCHES for end in ("share", "low", "high")),
            *(f"{what}_{branch}" for branch in BRANCHES for what in ("fixed", "lost")),
        ],
        _contributions,
    ),
    "missing": ([*_START, "without", "share", "uar", "low", "high", "accuracy", "ece"], _missing),
    "degradation": (
        [
            *("degradation", "system", "protocol", "logits", "affects", "level", "unit"),
            *("uar", "low", "high", "accuracy", "answered"),
        ],
        _degradation,
    ),
}
"""Header and rows of each table."""
