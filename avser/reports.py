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
from avser.options import Options
from avser.types import ConfigError

if TYPE_CHECKING:
    from avser.benchmark.evaluation import Evaluation
    from avser.training.sweeps import Trial


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
    if not np.isnan(report.ece_calibrated):
        out.print(f"ECE       {report.ece_calibrated:.3f}   with temperatures, each fold's fitted on the others")
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
    for label, *shares in zip(report.labels, *columns, strict=True):
        table.add_row(label, *map(_figure, shares))
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
    from avser.benchmark import published

    rows = published.read_published()
    if as_markdown:
        print(published.markdown(rows), end="")
        return
    table = Table("system", "measure", "paper", "its protocol", "people apart")
    reasons: dict[str, list[str]] = {}
    for row in rows:
        ours = ("–" if value is None else f"{value:.3f}" for value in map(row.value, (row.same, row.disjoint)))
        table.add_row(row.system, row.measure, f"{row.figure:.3f}", *ours)
        reasons.setdefault(row.why, []).append(row.system)
    out = Console()
    out.print(table)
    out.print(Text("Why they differ", style="bold"))
    for why, systems in reasons.items():
        out.print(Text(f"{'; '.join(systems)}: {why}."), soft_wrap=True)


def draw(folder: Path, table: LogitTable | None, title: str) -> None:
    """The pictures of a training run, into its folder."""
    from avser import plots

    plots.draw_run(folder, table, title)


def explain(path: Path, output: Path | None, model: str, modality: str | None, emotion: str | None) -> Path:
    """Draw what a model's answer on a file goes by; the picture's path, by default in the working folder."""
    from avser import explain, plots

    shown = explain.explain(recognizer.load_model(model), path, modality, emotion)
    output = output or Path(f"{path.stem}_explained.png")
    plots.explanation(output, shown)
    for note in shown.notes:
        Console(stderr=True).print(Text(note), soft_wrap=True)
    return output


def report_logits(
    paths: Sequence[Path], output: Path | None, labels: str | None, pictures: Path | None, as_json: bool
) -> None:
    """Recompute the figures of a file of logits, and draw them into a folder if one is given.

    Of several files, the figures of each and of their averaged log-probabilities, which `output` keeps.
    """
    tables = {str(path): read_logits(path) for path in paths}
    if len(tables) == 1:
        (table,) = tables.values()
        named = any("transductive" in fold for fold in table.folds)
        title = f"{paths[0]}, transductive" if named else str(paths[0])
        _show(table, None, labels, pictures, as_json, title)
    else:
        _show_ensemble(tables, output, labels, pictures, as_json)


def evaluate(
    models: Sequence[str],
    corpus: str,
    root: Path,
    only: Iterable[str],
    modality: str | None,
    output: Path | None,
    labels: str | None,
    pictures: Path | None,
    as_json: bool,
    runtime: str = "auto",
) -> None:
    """Measure a model on a corpus, print the figures and keep the logits; draw them into a folder if given.

    Of several models, the figures of each, and figures, logits and pictures of their averaged log-probabilities.
    """
    filters = dict(_filter(text) for text in only)
    loaded = {model: recognizer.load_model(model, runtime) for model in models}
    for model in loaded.values():
        model.check(Options(modality))
    done = {name: _measure(model, corpus, root, filters, modality) for name, model in loaded.items()}
    if len(done) > 1:
        tables = {name: evaluation.table for name, evaluation in done.items()}
        _show_ensemble(tables, output, labels, pictures, as_json)
        return
    ((name, evaluation),) = done.items()
    model = loaded[name]
    if output is not None:
        write_logits(output, evaluation.table)
    title = f"{name}, {evaluation.modality}, on {corpus}"
    _show(evaluation.table, evaluation.genders, labels, pictures, as_json, title)
    if pictures is not None and len(branches := model.modalities) == 1:
        from avser import plots
        from avser.benchmark.evaluation import activations

        features, names = activations(model.checkpoint.branches[branches[0]], evaluation.clips)
        plots.activations(pictures / "activations.png", features, names, f"{title}: t-SNE of activations")


def _measure(
    model: recognizer.Recognizer, corpus: str, root: Path, filters: dict[str, list[str]], modality: str | None
) -> Evaluation:
    from avser.benchmark.evaluation import evaluate

    err = Console(stderr=True)

    def bar(clips):
        return track(clips, "measuring", console=err, transient=True, disable=not err.is_terminal)

    done = evaluate(model, corpus, root, filters, modality, bar)
    for sentence in (done.restricted, *(f"left out: {why}" for why in done.left_out)):
        if sentence:
            err.print(Text(sentence), soft_wrap=True)
    return done


def _show_ensemble(
    tables: dict[str, LogitTable], output: Path | None, labels: str | None, pictures: Path | None, as_json: bool
) -> None:
    """Figures of each table on the clips and labels that all have, and of their average, kept and drawn."""
    from avser.training import ensembling

    rows = max(len(table.clips) for table in tables.values())
    tables = dict(zip(tables, ensembling.align(list(tables.values())), strict=True))
    joined = ensembling.average(list(tables.values()))
    if lost := rows - len(joined.clips):
        Console(stderr=True).print(Text(f"left out: {lost} clips that not all of them have"), soft_wrap=True)
    if output is not None:
        write_logits(output, joined)
    if labels is not None:
        tables = {name: table.project(label_set(labels)) for name, table in tables.items()}
        joined = joined.project(label_set(labels))
    title = f"average of {len(tables)} models"
    if pictures is not None:
        _draw(joined, pictures, title)
    reports = {name: table.report() for name, table in tables.items()}
    if as_json:
        each = {name: report.to_dict() for name, report in reports.items()}
        print(json.dumps({"models": each, "ensemble": joined.report().to_dict()}, indent=1))
        return
    lines = Table("model", "UAR", "accuracy", title=f"on the same {len(joined.clips)} clips", title_justify="left")
    for name, report in {**reports, "all, averaged": joined.report()}.items():
        lines.add_row(name, f"{report.uar:.3f}", f"{report.accuracy:.3f}")
    Console().print(lines)
    print_report(joined.report(), title)


def _draw(table: LogitTable, pictures: Path, title: str) -> None:
    from avser import plots

    plots.confusion(pictures / "confusion.png", table, title)
    plots.roc(pictures / "roc.png", table, title)


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
        _draw(table, pictures, title)
    report = table.report(genders)
    parts = {name: part.report() for name, part in table.by_corpus().items()}
    if as_json:
        corpora = {"corpora": {name: part.to_dict() for name, part in parts.items()}} if parts else {}
        print(json.dumps({**report.to_dict(), **corpora}, indent=1))
        return
    print_report(report, title)
    for name, part in parts.items():
        print(f"{name}: UAR {part.uar:.3f}, accuracy {part.accuracy:.3f} on {part.n} clips")
