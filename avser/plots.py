"""Every picture: confusion tables, ROC curves, training curves, maps of what a network saw. PNG by matplotlib."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avser import metrics
from avser.figures import blank, save
from avser.logits import LogitTable
from avser.palette import BRANCHES, colour
from avser.types import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage

    from avser.explain import Explanation, SoundHeat

CURVES = (
    {
        "train_accuracy": ("training", "#d55e00", ".--"),
        "val_accuracy": ("validation", "#0072b2", ".-"),
        "val_uar": ("validation, UAR", "#009e73", ".-"),
    },
    {"loss": ("training", "#d55e00", ".--"), "val_nll": ("validation", "#0072b2", ".-")},
)
"""What the two pictures of a training show: label, colour and style by column of the log."""


def confusion(path: Path, table: LogitTable, title: str) -> None:
    """Shares of each true class (rows) by predicted class, with the counts."""
    report = table.report()
    counts = report.confusion
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = 1.6 + 0.62 * len(report.labels)
    figure, axes = _figure(size + 0.8, size)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            dark = shares[row, column] > 0.55
            text = f"{shares[row, column]:.2f}\n{count}"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    axes.set_xticks(range(len(report.labels)), report.labels, rotation=40, ha="right")
    axes.set_yticks(range(len(report.labels)), report.labels)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"{title}\nUAR {report.uar:.3f}, accuracy {report.accuracy:.3f}, {report.n} clips", fontsize=9)
    save(figure, path)


def roc(path: Path, table: LogitTable, title: str) -> None:
    """ROC curve of each class against the rest."""
    probs, targets = metrics.softmax(table.logits), table.targets
    areas = metrics.roc_aucs(probs, targets)
    figure, axes = _figure(5, 4.6)
    axes.plot([0, 1], [0, 1], color="#cccccc", linewidth=1)
    for index, label in enumerate(table.classes):
        if np.isfinite(areas[index]):
            true = (targets == index)[np.argsort(-probs[:, index], kind="stable")]
            hits, alarms = np.cumsum(true) / true.sum(), np.cumsum(~true) / (~true).sum()
            axes.plot(
                [0, *alarms],
                [0, *hits],
                color=colour(label).hex,
                label=f"{label} {areas[index]:.3f}",
                linewidth=1.4,
            )
    axes.set(xlabel="false positives", ylabel="true positives", xlim=(0, 1), ylim=(0, 1.01))
    if np.isfinite(areas).any():
        axes.legend(fontsize=8, loc="lower right", title="area", title_fontsize=8)
    axes.set_title(title, fontsize=9)
    save(figure, path)


def curves(path: Path, folder: Path, title: str) -> None:
    """Accuracy and loss on training and validation clips over the epochs, from the logs of a fold.

    In training they are measured on the way, with augmentation, dropout and smoothed labels at work.

    Raises:
        DataError: the folder holds no log of training.
    """
    rows: dict[int, dict[str, float]] = {}
    for log in sorted(folder.glob("metrics*.csv"), key=lambda log: log.stat().st_mtime):
        with log.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                values = {key: float(value) for key, value in row.items() if value and key != "step"}
                rows.setdefault(int(values.pop("epoch")), {}).update(values)
    if not rows:
        raise DataError(f"{folder}: holds no metrics.csv to draw; give the folder of a trained fold")
    figure, shown = _figure(7.6, 3.4, columns=2)
    for axes, what, lines in zip(shown, ("accuracy", "loss"), CURVES, strict=True):
        for key, (label, shade, style) in lines.items():
            seen = [epoch for epoch in sorted(rows) if key in rows[epoch]]
            if seen:
                course = [rows[epoch][key] for epoch in seen]
                axes.plot([epoch + 1 for epoch in seen], course, style, color=shade, label=label, markersize=3)
        axes.set(xlabel="epoch", ylabel=what)
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    shown[0].set_ylim(0, 1)
    shown[1].set_ylim(bottom=0)
    figure.suptitle(title, fontsize=9)
    save(figure, path)


def activations(path: Path, features: np.ndarray, labels: Sequence[str], title: str, seed: int = 0) -> None:
    """Two-dimensional map of features (N, D) by t-SNE (van der Maaten and Hinton 2008), coloured by label.

    Raises:
        DataError: there are fewer than five samples.
    """
    from sklearn.manifold import TSNE

    if len(features) < 5:
        raise DataError(f"a map needs at least five clips, there are {len(features)}")
    perplexity = min(30.0, (len(features) - 1) / 3)
    places = TSNE(perplexity=perplexity, random_state=seed, init="pca").fit_transform(
        np.asarray(features, np.float32)
    )
    figure, axes = _figure(6, 5)
    for label in dict.fromkeys(labels):
        chosen = np.array([name == label for name in labels])
        axes.scatter(*places[chosen].T, s=10, color=colour(label).hex, label=label, alpha=0.8)
    axes.set(xticks=[], yticks=[])
    axes.legend(fontsize=8)
    axes.set_title(title, fontsize=9)
    save(figure, path)


def bars(path: Path, figures: Mapping[str, tuple[float, float, float]], title: str, measure: str = "UAR") -> None:
    """Figures with their intervals, one line each: name to (figure, low, high)."""
    names = list(figures)
    figure, axes = _figure(6.5, 1 + 0.32 * len(names))
    values, lows, highs = (np.array([figures[name][index] for name in names]) for index in range(3))
    rows = np.arange(len(names))[::-1]
    axes.errorbar(values, rows, xerr=[values - lows, highs - values], fmt="o", color="#0072b2", capsize=3)
    axes.set_yticks(rows, names)
    axes.grid(axis="x", alpha=0.3)
    axes.set(xlabel=f"{measure}, 95 % interval")
    axes.set_title(title, fontsize=9)
    save(figure, path)


def draw_run(folder: Path, table: LogitTable | None, title: str) -> None:
    """The pictures of a training run, into its folder: confusion and ROC of held-out clips, each fold's curves."""
    if table is not None:
        confusion(folder / "confusion.png", table, title)
        roc(folder / "roc.png", table, title)
    for log in sorted(folder.glob("fold*/**/metrics.csv")):
        curves(log.with_name("curves.png"), log.parent, f"{title}, {log.parent.relative_to(folder)}")


HEAT, PITCHES = "inferno", (100, 250, 500, 1000, 2000, 4000, 7000)
"""Colours of heat, from dark violet to light yellow, which differ in lightness; frequencies on an axis, Hz."""


def explanation(path: Path, shown: Explanation) -> None:
    """Faces and spectrogram with the heat of what an answer goes by, and what each branch said beside."""
    rows = bool(shown.faces) + (shown.sound is not None)
    columns = 4 if shown.sound is not None else max(1, len(shown.faces))
    height = max(1.1 + 2.3 * rows, 1.6 + 0.4 * len(shown.labels)) + 0.2 * len(shown.notes)
    width = max(2.0 * columns, 3.4)  # of faces and spectrogram
    figure = blank(width + 3.2, height)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[width, 3.2])[0]
    parts = iter(left.subfigures(rows, 1, squeeze=False)[:, 0]) if rows else iter(())
    heat = None
    if shown.faces:
        heat = _draw_faces(next(parts), shown, columns)
    if shown.sound is not None:
        heat = _draw_sound(next(parts), shown.sound)
    _draw_said(right, shown)
    if heat is not None:
        bar = right.colorbar(heat, ax=right.axes, location="bottom", shrink=0.8, aspect=24, ticks=[0, 1])
        bar.ax.set_xticklabels(["no influence", "most"], fontsize=8)
    said = shown.said.get("fused", next(iter(shown.said.values())))
    prob = said[shown.labels.index(shown.emotion)]
    figure.suptitle(
        f"{shown.path.name}: what speaks for {shown.emotion} ({_percent(prob)})", fontsize=11, parse_math=False
    )
    if shown.notes:
        figure.supxlabel("\n".join(shown.notes), fontsize=8, x=0.02, ha="left", color="#444444")
    save(figure, path)


def _draw_faces(part: SubFigure, shown: Explanation, columns: int) -> AxesImage:
    for axes, face in zip(part.subplots(1, columns, squeeze=False)[0], shown.faces, strict=False):
        grey = face.picture @ np.array([0.299, 0.587, 0.114])
        axes.imshow(grey, cmap="gray", vmin=0, vmax=255)
        drawn = axes.imshow(face.heat, cmap=HEAT, vmin=0, vmax=1, alpha=0.65 * face.heat)
        when = "" if face.time is None else f"{face.time:.2f} s: "
        axes.set_title(f"{when}{shown.emotion} {_percent(face.prob)}", fontsize=9)
    for axes in part.axes:
        axes.set_axis_off()
    return drawn


def _draw_sound(part: SubFigure, sound: SoundHeat) -> AxesImage:
    axes = part.subplots()
    bands = len(sound.hertz)
    extent = (sound.start, sound.end, -0.5, bands - 0.5)
    place: dict[str, Any] = {"extent": extent, "origin": "lower", "aspect": "auto"}
    low, high = np.percentile(sound.mel, (2, 99.5))
    axes.imshow(sound.mel, cmap="gray", vmin=low, vmax=high, **place)
    drawn = axes.imshow(sound.heat, cmap=HEAT, vmin=0, vmax=1, alpha=0.65 * sound.heat, **place)
    pitches = [hertz for hertz in PITCHES if sound.hertz[0] <= hertz <= sound.hertz[-1]]
    axes.set_yticks(np.interp(pitches, sound.hertz, np.arange(bands)), [f"{hertz:,}" for hertz in pitches])
    axes.tick_params(labelsize=8)
    axes.set_xlabel("time (s)", fontsize=9)
    axes.set_ylabel("frequency (Hz)", fontsize=9)
    return drawn


def _draw_said(part: SubFigure, shown: Explanation) -> None:
    axes = part.subplots()
    rows = np.arange(len(shown.labels))[::-1]
    thick = 0.8 / len(shown.said)
    for number, (name, probs) in enumerate(shown.said.items()):
        label, shade = BRANCHES[name]
        offset = 0.4 - (number + 0.5) * thick
        axes.barh(rows + offset, probs, thick * 0.9, color=shade, label=label)
    axes.set_yticks(rows, shown.labels, fontsize=9)
    for tick, label in zip(axes.get_yticklabels(), shown.labels, strict=True):
        tick.set_fontweight("bold" if label == shown.emotion else "normal")
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"], fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, Any]:
    """A figure with its axes, several of them where there are several columns."""
    figure = blank(width, height)
    return figure, figure.subplots(1, columns)
