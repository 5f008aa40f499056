"""What training shows: the figures of what was held out, printed and drawn."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from avser import plots, reports
from avser.config import Config
from avser.fusion.reports import figures
from avser.training import fused_training, runs
from avser.training.fused_config import FusedConfig


def train(config: Config | FusedConfig, data_root: Path | None, output: Path, resume: bool) -> Path:
    """Train what a config describes, print and draw what it says of held-out clips; the run's folder."""
    if isinstance(config, FusedConfig):
        fused = fused_training.train(config, data_root, output, resume)
        _show_fused(fused, f"{config.name}, {config.protocol}, {config.rule}")
        return fused.folder
    outcome = runs.train(config, data_root, output, resume)
    title = f"{config.name}, {config.protocol_name}"
    if outcome.report:
        reports.print_report(outcome.report, f"{title}, held-out clips")
    reports.draw(outcome.folder, outcome.table, title)
    return outcome.folder


def _show_fused(outcome: fused_training.Outcome, title: str) -> None:
    """Voice, face and both side by side; of what is fused, all figures and the pictures."""
    if "fused" not in outcome.tables:
        return
    fused = outcome.tables["fused"]
    reports.print_report(fused.report(), f"{title}, fused, held-out clips")
    table = Table("", "UAR", "accuracy", "ECE", "clips")
    for name, held in outcome.tables.items():
        table.add_row(name, *figures(held))
    out = Console()
    out.print(Text(f"{title}: each modality", style="bold"))
    out.print(table)
    plots.confusion(outcome.folder / "confusion.png", fused, title)
    plots.roc(outcome.folder / "roc.png", fused, title)
