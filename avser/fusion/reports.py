"""What fusing two tables shows: the fused figures beside each branch's alone. Notes go to stderr."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from avser import metrics
from avser.fusion.fusing import Outcome, fuse
from avser.fusion.tables import join, read_features, read_table
from avser.logits import LogitTable, write_logits


def fuse_files(
    audio: Path,
    face: Path,
    rule: str,
    protocol: str | None,
    labels: str | None,
    features: dict[str, Path | None],
    output: Path | None,
    as_json: bool,
) -> None:
    """Fuse the logits of two files, print the figures, and keep the fused logits.

    Args:
        features: a file of features of `audio` or `face`, or None.
    """
    known = {branch: read_features(path) for branch, path in features.items() if path is not None}
    outcome = fuse(join(read_table(audio, "audio"), read_table(face, "face"), known), rule, protocol, labels)
    err = Console(stderr=True)
    for note in outcome.notes:
        err.print(Text(note), soft_wrap=True)
    if output is not None:
        write_logits(output, outcome.fused)
    if as_json:
        print(json.dumps(to_dict(outcome, rule), indent=1))
    else:
        show(outcome, rule)


def to_dict(outcome: Outcome, rule: str) -> dict:
    """All figures as plain values: of the fused table, of each other, what fusion gains, what each fold fitted."""
    return {
        "rule": rule,
        "fused": outcome.fused.report().to_dict(),
        "others": {name: table.report().to_dict() for name, table in outcome.others.items()},
        "gains": {
            name: {
                figure: [round(value, 4) for value in outcome.difference(name, metric)]
                for figure, metric in (("accuracy", metrics.accuracy), ("uar", metrics.uar))
            }
            for name in outcome.others
        },
        "either_right": round(outcome.oracle, 4),
        "folds": [
            {
                "fold": fold.name,
                "rule": fold.rule.name,
                "temperatures": {name: c.temperature for name, c in fold.rule.calibrations.items()},
                "losses": {name: round(loss, 4) for name, loss in fold.losses.items()},
            }
            for fold in outcome.folds
        ],
        "notes": outcome.notes,
    }


def show(outcome: Outcome, rule: str) -> None:
    """The figures as a table: the fused ones first."""
    out = Console()
    subjects = len(set(filter(None, outcome.fused.subjects)))
    of = f" of {subjects} subjects" if subjects else ""
    out.print(Text(f"{rule}: {len(outcome.fused.clips)} clips{of} in {len(outcome.folds)} folds", style="bold"))
    table = Table("", "UAR", "accuracy", "ECE", "clips", "fused is better by")
    table.add_row("fused", *figures(outcome.fused), "")
    for name, other in outcome.others.items():
        gain, low, high = (100 * value for value in outcome.difference(name))
        table.add_row(name, *figures(other), f"{gain:+.1f} points ({low:+.1f} to {high:+.1f})")
    out.print(table)
    out.print(f"either branch is right for {outcome.oracle:.3f} of the clips; intervals: 95 %, over people")
    if rule != outcome.folds[0].rule.name:
        for fold in outcome.folds:
            losses = ", ".join(
                f"{name} {loss:.3f}" for name, loss in sorted(fold.losses.items(), key=lambda x: x[1])
            )
            out.print(Text(f"{fold.name} takes {fold.rule.name}; losses inside the clips it fits on: {losses}"))


def figures(table: LogitTable) -> list[str]:
    """UAR and accuracy with their intervals, ECE and number of clips, as cells of a table."""
    report = table.report()
    cells = [
        f"{value:.3f} ({low:.3f} to {high:.3f})"
        for value, (low, high) in (
            (report.uar, report.uar_interval),
            (report.accuracy, report.accuracy_interval),
        )
    ]
    return [*cells, f"{report.ece:.3f}", str(report.n)]
