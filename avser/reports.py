"""What measuring shows: figures, tables and pictures of logits. Tables go to stdout, all else to stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from avser import metrics, recognizer
from avser.labels import label_set
from avser.logits import LogitTable, read_logits, write_logits
from avser.types import ConfigError

if TYPE_CHECKING:
    from avser.sweeps import Trial


def print_report(report: metrics.Report, title: str, out: Console | None = None) -> None:
    """Figures with intervals, recall per class and per gender, and the confusion table."""
    out = out or Console()
    of = f" of {report.subjects} subjects" if report.subjects else ""
    out.print(Text(f"{title}: {report.n} clips{of}", style="bold"))
    low, high = report.uar_interval
    out.print(f"UAR       {report.uar:.3f}   95 % interval {low:.3f} to {high:.3f}")
    low, high = report.accuracy_interval
    out.print(f"accuracy  {report.accuracy:.3f}   95 % interval {low:.3f} to {high:.3f}")
    out.print(f"macro F1  {report.macro_f1:.3f}   ROC-AUC {report.roc_auc:.3f}   ECE {report.ece:.3f}")
    for gender, figures in report.genders.items():
        out.print(f"{gender}: UAR {figures['uar']:.3f} on {figures['n']} clips")
    table = Table(title="rows: true, columns: predicted", title_justify="left")
    for column in ("", *report.labels, "recall"):
        table.add_column(column, justify="right")
    for label, counts, recall in zip(report.labels, report.confusion, report.recalls, strict=True):
        table.add_row(label, *(str(int(x)) for x in counts), _figure(recall))
    out.print(table)
    table = Table("", "precision", "recall", "F1", "ROC-AUC")
    columns = (report.precisions, report.recalls, report.f1s, report.roc_aucs)
    for label, *figures in zip(report.labels, *columns, strict=True):
        table.add_row(label, *map(_figure, figures))
    out.print(table)


def _figure(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"


def print_trials(trials: Sequence[Trial]) -> None:
    """One line a setting; the one that validation clips choose is marked."""
    chosen = max(range(len(trials)), key=lambda index: trials[index].validation.uar)
    table = Table(*trials[0].changes, "validation UAR", "held-out UAR", "held-out accuracy", "folder")
    for index, trial in enumerate(trials):
        figures = (trial.validation.uar, trial.test.uar, trial.test.accuracy)
        cells = [*trial.changes.values(), *(f"{figure:.3f}" for figure in figures), str(trial.folder)]
        table.add_row(*cells, style="bold" if index == chosen else None)
    out = Console()
    out.print(table)
    out.print(Text("bold: what the validation clips choose"))


def print_published(as_markdown: bool) -> None:
    """The published systems: the paper's figure, ours under its protocol, ours with people kept apart."""
    from avser import published

    rows = published.read_published()
    if as_markdown:
        print(published.markdown(rows), end="")
        return
    table = Table("system", "measure", "paper", "its protocol", "people apart", "why they differ")
    for row in rows:
        ours = ("–" if value is None else f"{value:.3f}" for value in map(row.value, (row.same, row.disjoint)))
        table.add_row(row.system, row.measure, f"{row.figure:.3f}", *ours, row.why)
    Console().print(table)


def draw(folder: Path, table: LogitTable | None, title: str) -> None:
    """The pictures of a training run, into its folder."""
    from avser import plots

    plots.draw_run(folder, table, title)


def report_logits(path: Path, labels: str | None, pictures: Path | None, as_json: bool) -> None:
    """Recompute the figures of a file of logits, and draw them into a folder if one is given."""
    _show(read_logits(path), None, labels, pictures, as_json, str(path))


def evaluate(
    model: str,
    corpus: str,
    root: Path,
    only: Iterable[str],
    modality: str | None,
    output: Path | None,
    labels: str | None,
    pictures: Path | None,
    as_json: bool,
) -> None:
    """Measure a model on a corpus, print the figures and keep the logits; draw them into a folder if given."""
    from avser import benchmark

    err = Console(stderr=True)
    filters = dict(_filter(text) for text in only)
    loaded = recognizer.load_model(model)
    loaded.check(modality)

    def bar(clips):
        return track(clips, "measuring", console=err, transient=True, disable=not err.is_terminal)

    done = benchmark.evaluate(loaded, corpus, root, filters, modality, bar)
    if done.restricted:
        err.print(Text(done.restricted), soft_wrap=True)
    for sentence in done.left_out:
        err.print(Text(f"left out: {sentence}"), soft_wrap=True)
    if output is not None:
        write_logits(output, done.table)
    title = f"{model}, {modality or loaded.modalities[0]}, on {corpus}"
    _show(done.table, done.genders, labels, pictures, as_json, title)
    if pictures is not None and len(branches := loaded.modalities) == 1:
        from avser import plots

        features, names = benchmark.activations(loaded.checkpoint.branches[branches[0]], done.clips)
        plots.activations(pictures / "activations.png", features, names, f"{title}: t-SNE of activations")


def _filter(text: str) -> tuple[str, list[str]]:
    key, equals, values = text.partition("=")
    if not equals:
        raise ConfigError(f"filter {text!r} is not of the form KEY=VALUE, for instance subject=01")
    return key, values.split(",")


def _show(
    table: LogitTable,
    genders: Sequence[str] | None,
    labels: str | None,
    pictures: Path | None,
    as_json: bool,
    title: str,
) -> None:
    if labels is not None:
        table, genders = table.project(label_set(labels)), None
    if pictures is not None:
        from avser import plots

        plots.confusion(pictures / "confusion.png", table, title)
        plots.roc(pictures / "roc.png", table, title)
    report = table.report(genders)
    parts = {name: part.report() for name, part in table.by_corpus().items()}
    if as_json:
        corpora = {"corpora": {name: part.to_dict() for name, part in parts.items()}} if parts else {}
        print(json.dumps({**report.to_dict(), **corpora}, indent=1))
        return
    print_report(report, title)
    for name, part in parts.items():
        print(f"{name}: UAR {part.uar:.3f}, accuracy {part.accuracy:.3f} on {part.n} clips")
