"""What the command line shows: tables, progress, reports. Tables go to stdout, all else to stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, track
from rich.table import Table
from rich.text import Text

from avser import batch, checkpoint, metrics, recognizer
from avser.labels import label_set
from avser.logits import LogitTable, read_logits, write_logits
from avser.types import ConfigError, Prediction, Result

if TYPE_CHECKING:
    from avser.sweeps import Trial

COLOURS = {
    "neutral": "white",
    "calm": "bright_cyan",
    "happy": "yellow",
    "sad": "blue",
    "angry": "red",
    "fearful": "magenta",
    "disgust": "green",
    "surprised": "cyan",
    "contempt": "bright_black",
    "bored": "bright_blue",
    "anxious": "bright_magenta",
    "excited": "bright_yellow",
    "frustrated": "bright_red",
    "guilt": "bright_green",
}
"""The same colour for an emotion everywhere."""


def run(
    job: batch.Job, quiet: bool = False, out: Console | None = None, err: Console | None = None
) -> batch.Summary:
    """Run a job with a progress bar, a table for each file, and a list of what failed."""
    out, err = out or Console(), err or Console(stderr=True)
    work = batch.Batch(job)
    summary = batch.Summary(total=len(work))
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[at]}"))
    hidden = quiet or not err.is_terminal  # else it would leave an empty line in a log file
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True, disable=hidden) as bar:
        task = bar.add_task("starting", total=summary.total, at="")

        def report(path: Path, second: float) -> None:
            bar.update(task, description=path.name, at=f"{summary.done + 1}/{summary.total}  {second:.0f} s")

        try:
            for step in work.run(report):
                bar.advance(task)
                if step.error is not None:
                    summary.failures.append(step.error)
                    err.print(Text(f"avser: {step.error}"), soft_wrap=True)
                    continue
                summary.done += 1
                if not quiet:
                    print_result(step.result, out)
                    for path in step.written:
                        err.print(Text(f"written: {path}"), soft_wrap=True)
        except KeyboardInterrupt:
            summary.interrupted = True
    if summary.interrupted:
        err.print(f"avser: interrupted; {summary.done} of {summary.total} files done, their results are kept")
    elif summary.total > 1 and (summary.failures or not quiet):
        failed = f", {len(summary.failures)} failed" if summary.failures else ""
        err.print(f"{summary.done} of {summary.total} files done{failed}")
    return summary


def print_result(result: Result, out: Console) -> None:
    """A readable table: time, emotion, confidence, what the voice says, what the face says."""
    out.print(Text(str(result.path), style="italic"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")  # fits into 80 columns
    table.add_column("time (s)", justify="right", no_wrap=True)
    table.add_column("emotion", no_wrap=True)
    table.add_column("confidence", justify="right", no_wrap=True)
    table.add_column("voice says")
    table.add_column("face says")
    for p in result.predictions:
        table.add_row(*_cells(result.labels, p))
    if len(result.predictions) > 1:
        table.add_section()
        table.add_row(*_cells(result.labels, result.overall, "whole file"))
    out.print(table)


def _cells(labels: Sequence[str], p: Prediction, time: str | None = None) -> list[Text]:
    said = [_said(labels, p, name) for name in ("audio", "face")]
    time = time or f"{p.start:.1f} – {p.end:.1f}"
    if p.label is None:
        return [Text(time), Text("–"), Text(""), Text(p.reason or "", style="dim"), Text("")]
    return [
        Text(time),
        Text(p.label, style=f"bold {COLOURS.get(p.label, '')}"),
        Text(f"{p.confidence:.0%}"),
        *said,
    ]


def _said(labels: Sequence[str], p: Prediction, name: str) -> Text:
    """The likeliest emotion of one modality and its weight, or a dash."""
    if name not in p.modalities:
        return Text("–", style="dim")
    probs = p.modalities[name]
    best = int(np.argmax(probs))
    text = Text(f"{labels[best]} {probs[best]:.0%}", style=COLOURS.get(labels[best], ""))
    return text.append(f" ×{p.weights[name]:.2f}", style="dim")


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


def print_models() -> None:
    """Name, kind and labels of each shipped model."""
    out = Console()
    table = Table("model", "kind", "emotions", "licence", "size")
    for name, path in checkpoint.known_models().items():
        header = checkpoint.read_header(path)
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        table.add_row(name, header["kind"], ", ".join(header["labels"]), header.get("licence", ""), size)
    out.print(table)


def print_model(name: str) -> None:
    """What a model file says of itself."""
    path = checkpoint.find_model(name)
    header = checkpoint.read_header(path)
    out = Console()
    out.print(
        Text(f"{header.get('name', path.stem)} {header.get('version', '')}  ({header['kind']})", style="bold")
    )
    for key in ("description", "licence", "protocol"):
        if header.get(key):
            out.print(Text(f"{key}: {header[key]}"), soft_wrap=True)
    out.print(Text(f"emotions: {', '.join(header['labels'])}"))
    for branch, meta in header.get("branches", {header["kind"]: header}).items():
        config = meta["config"]
        out.print(
            Text(f"{branch}: {config['network']['name']} on {', '.join(meta['corpora'])}; {meta['protocol']}"),
            soft_wrap=True,
        )
    if held := header.get("held_out"):
        out.print(Text(f"held out: {json.dumps(held)}"), soft_wrap=True)
    table = Table("measured", "n", "UAR", "accuracy", "ECE")
    for what, figures in header.get("metrics", {}).items():
        cells = (_with_interval(figures, key) for key in ("uar", "accuracy"))
        table.add_row(what, str(figures["n"]), *cells, f"{figures['ece']:.3f}")
    out.print(table)
    card = path.with_suffix(".md")
    if card.exists():
        out.print(Text(f"model card: {card}"), soft_wrap=True)


def _with_interval(figures: dict, key: str) -> str:
    low, high = figures[f"{key}_interval"]
    return f"{figures[key]:.3f} ({low:.3f} to {high:.3f})"


def set_threads(threads: int) -> None:
    """Limit torch to so many CPU threads; 0 leaves its choice."""
    import torch

    if threads > 0:
        torch.set_num_threads(threads)
