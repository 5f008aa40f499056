"""The pictures of a benchmark: modalities side by side, and what is left of them as things get worse."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from avser.benchmark.contributions import BRANCHES, Study
from avser.figures import blank, save
from avser.palette import BRANCHES as NAMES
from avser.plots import confusion

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = {"audio": "o", "face": "s", "fused": "D"}
"""Shapes beside colours, so that lines can be told apart without these."""
CHANCE: dict[str, Any] = {"color": "#999999", "linewidth": 1, "linestyle": ":"}


def colour_of(system: str) -> str:
    """Colour of a branch, or that of all that is fused."""
    return NAMES[system if system in BRANCHES else "fused"][1]


def name_of(system: str) -> str:
    """How a system is named in pictures and tables."""
    return NAMES[system][0] if system in NAMES else f"fused: {system.replace('_', ' ')}"


def draw_study(folder: Path, prefix: str, study: Study, figures: Mapping) -> dict[str, str]:
    """The pictures of a study, into a folder; captions by file name.

    Args:
        prefix: what file names begin with.
        figures: of the study, as `contributions.measure` gives them.
    """
    shown = [*study.branches, *([study.main] if study.main not in BRANCHES else [])]
    where = f"{study.title}, {study.protocol}"
    drawn = {f"{prefix}_modalities.png": "UAR of voice, face and fused, with 95 % intervals over people"}
    modalities(folder / f"{prefix}_modalities.png", figures, where)
    if figures.get("shapley"):
        drawn[f"{prefix}_shares.png"] = "What each modality adds to the fused UAR (Shapley values)"
        shares(folder / f"{prefix}_shares.png", figures, where)
    drawn[f"{prefix}_recalls.png"] = "Recall of each emotion"
    recalls(folder / f"{prefix}_recalls.png", figures, shown, where)
    if any(figures["systems"][system]["groups"] for system in shown):
        drawn[f"{prefix}_groups.png"] = "UAR by gender and intensity, with 95 % intervals over people"
        groups(folder / f"{prefix}_groups.png", figures, shown, where)
    drawn[f"{prefix}_reliability.png"] = "Reliability: how often an answer of a given confidence is right"
    reliability(folder / f"{prefix}_reliability.png", figures, shown, where)
    if "missing" in figures:
        drawn[f"{prefix}_missing.png"] = "UAR where a share of the clips lacks the face, or the sound"
        missing(folder / f"{prefix}_missing.png", figures, study.main, where)
    for system in shown:
        file = f"{prefix}_confusion_{system}.png"
        drawn[file] = f"Confusion of {name_of(system)}"
        confusion(folder / file, study.tables[system], f"{name_of(system)}, {where}")
    return drawn


def modalities(path: Path, figures: Mapping, title: str) -> None:
    """UAR of every system as bars with intervals, and chance."""
    systems = list(figures["systems"])
    figure = blank(6.5, 1.2 + 0.36 * len(systems))
    axes = figure.subplots()
    rows = np.arange(len(systems))[::-1]
    for row, system in zip(rows, systems, strict=True):
        found = figures["systems"][system]
        low, high = found["uar_interval"]
        faint = 1.0 if system in (*BRANCHES, figures["main"]) else 0.55
        axes.barh(row, found["uar"], 0.7, color=colour_of(system), alpha=faint)
        axes.plot([low, high], [row, row], color="black", linewidth=1.2, marker="|", markersize=6)
        axes.text(0.01, row, f"{found['uar']:.3f}", va="center", fontsize=8, color="white", fontweight="bold")
    occurring = sum(recall is not None for recall in figures["systems"][systems[0]]["recalls"].values())
    axes.axvline(1 / occurring, **CHANCE)
    axes.set_yticks(rows, [name_of(system) for system in systems], fontsize=9)
    axes.set(xlim=(0, 1), xlabel="UAR, 95 % interval over people; dotted: chance")
    _tidy(axes, title, "x")
    save(figure, path)


def shares(path: Path, figures: Mapping, title: str) -> None:
    """Of each rule: chance, and what voice and face add to it."""
    rules = list(figures["shapley"])
    figure = blank(6.5, 1.5 + 0.36 * len(rules))
    axes = figure.subplots()
    rows = np.arange(len(rules))[::-1]
    for row, rule in zip(rows, rules, strict=True):
        found, left = figures["shapley"][rule], 0.0
        parts = [("chance", found["chance"], "#cccccc")]
        parts += [(NAMES[branch][0], found[branch][0], NAMES[branch][1]) for branch in BRANCHES]
        for name, value, colour in parts:
            axes.barh(row, value, 0.7, left=left, color=colour, label=name if row == rows[0] else None)
            white = "white" if name == NAMES["audio"][0] else "black"
            axes.text(left + value / 2, row, f"{value:.3f}", ha="center", va="center", fontsize=8, color=white)
            left += value
    axes.set_yticks(rows, [name_of(rule) for rule in rules], fontsize=9)
    axes.set(xlim=(0, 1), xlabel="fused UAR")
    _tidy(axes, title, "x")
    axes.legend(
        fontsize=8, ncols=3, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.75 / len(rules) - 0.1)
    )
    save(figure, path)


def recalls(path: Path, figures: Mapping, systems: Sequence[str], title: str) -> None:
    """Recall of each emotion by each system, as bars side by side."""
    labels = [name for name, value in figures["systems"][systems[0]]["recalls"].items() if value is not None]
    figure = blank(6.5, 1.3 + 0.5 * len(labels))
    axes = figure.subplots()
    rows, thick = np.arange(len(labels))[::-1], 0.8 / len(systems)
    for number, system in enumerate(systems):
        values = [figures["systems"][system]["recalls"][label] or 0.0 for label in labels]
        place = rows + 0.4 - (number + 0.5) * thick
        axes.barh(place, values, thick * 0.9, color=colour_of(system), label=name_of(system))
    axes.set_yticks(rows, labels, fontsize=9)
    axes.set(xlim=(0, 1), xlabel="recall")
    _save_with_legend(path, figure, axes, title)


def groups(path: Path, figures: Mapping, systems: Sequence[str], title: str) -> None:
    """UAR of each gender and intensity by each system, as dots with intervals."""
    known = figures["systems"][systems[0]]["groups"]
    names = [(fact, value) for fact, values in known.items() for value in values]
    figure = blank(6.5, 1.4 + 0.5 * len(names))
    axes = figure.subplots()
    rows = np.arange(len(names))[::-1]
    for number, system in enumerate(systems):
        found = figures["systems"][system]["groups"]
        points = [found.get(fact, {}).get(value) for fact, value in names]
        place = rows + 0.22 - number * 0.22
        for row, point in zip(place, points, strict=True):
            if point is not None:
                axes.plot(point["uar_interval"], [row, row], color=colour_of(system), linewidth=1.5)
        values = [np.nan if point is None else point["uar"] for point in points]
        mark = MARKS[system if system in BRANCHES else "fused"]
        axes.plot(values, place, mark, color=colour_of(system), label=name_of(system), markersize=5)
    clips = [known[fact][value]["n"] for fact, value in names]
    named = [f"{value} intensity" if fact == "intensity" else value for fact, value in names]
    texts = [f"{value}\n{count} clips" for value, count in zip(named, clips, strict=True)]
    axes.set_yticks(rows, texts, fontsize=8)
    axes.set(xlim=(0, 1), xlabel="UAR, 95 % interval over people")
    _save_with_legend(path, figure, axes, title)


def _save_with_legend(path: Path, figure: Figure, axes: Axes, title: str) -> None:
    """Save bars or dots that lie along the x axis, with the systems' names below."""
    _tidy(axes, title, "x")
    figure.legend(fontsize=8, ncols=3, frameon=False, loc="outside lower center")
    save(figure, path)


def reliability(path: Path, figures: Mapping, systems: Sequence[str], title: str) -> None:
    """Accuracy over confidence in bins; a dot is as large as its bin holds clips."""
    figure = blank(3.0 * max(len(systems), 2), 3.6)
    for axes, system in zip(figure.subplots(1, len(systems), squeeze=False)[0], systems, strict=True):
        found = figures["systems"][system]
        bins = found["reliability"]
        axes.plot([0, 1], [0, 1], **CHANCE)
        x, y = [part["confidence"] for part in bins], [part["accuracy"] for part in bins]
        axes.plot(x, y, color=colour_of(system), linewidth=1)
        sizes = [8 + 220 * part["n"] / found["n"] for part in bins]
        axes.scatter(x, y, sizes, color=colour_of(system), alpha=0.8, linewidths=0, clip_on=False)
        calibrated = found["ece_calibrated"]
        after = "" if calibrated is None else f"; with temperature {calibrated:.3f}"
        axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), xlabel="confidence")
        _tidy(axes, f"{name_of(system)}\nECE {found['ece']:.3f}{after}", "both")
        axes.set_aspect("equal")
    figure.axes[0].set_ylabel("share that is right")
    figure.suptitle(title, fontsize=9)
    save(figure, path)


def missing(path: Path, figures: Mapping, rule: str, title: str) -> None:
    """Fused UAR over the share of clips that lack the face, and over the share that lack the sound."""
    figure = blank(6.5, 3.4)
    axes = figure.subplots()
    for gone, label in (("face", "clips without a face"), ("audio", "clips without sound")):
        points = figures["missing"][rule][gone]
        left = "audio" if gone == "face" else "face"
        x = [100 * point["share"] for point in points]
        low, high = ([point[key] for point in points] for key in ("low", "high"))
        axes.fill_between(x, low, high, color=colour_of(left), alpha=0.15, linewidth=0)
        y = [point["uar"] for point in points]
        axes.plot(x, y, color=colour_of(left), marker=MARKS[left], markersize=4, label=label)
    axes.set(xlim=(0, 100), ylim=(0, 1), xlabel="% of the clips that lack it", ylabel="UAR")
    _tidy(axes, f"{name_of(rule)}, {title}", "both")
    axes.legend(fontsize=8, loc="lower left", frameon=False)
    save(figure, path)


def draw_sweeps(folder: Path, figures: Mapping) -> dict[str, str]:
    """Curves of every degradation, those of sound and those of pictures on a picture each; captions by file."""
    kinds = {"sound": ("audio",), "picture": ("face", "both")}
    drawn = {}
    for kind, affected in kinds.items():
        chosen = [s for s in figures["sweeps"].values() if s["affects"] in affected and s["levels"]]
        if chosen:
            file = f"degradation_{kind}.png"
            _panels(folder / file, chosen, f"{figures['model']}, {figures['clips']} clips, {figures['protocol']}")
            drawn[file] = f"UAR with degraded {kind}, with 95 % intervals"
    return drawn


def _panels(path: Path, sweeps: Sequence[Mapping], title: str) -> None:
    columns = 2 if len(sweeps) > 1 else 1
    rows = math.ceil(len(sweeps) / columns)
    figure = blank(3.6 * columns + (2.0 if columns == 1 else 0), 2.5 * rows + 0.7)
    shown = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, sweep in zip(shown, sweeps, strict=False):
        _curve(axes, sweep)
    for axes in shown[len(sweeps) :]:
        axes.set_axis_off()
    drawn = [line for axes in shown for line in axes.get_lines()]
    lines = {line.get_label(): line for line in drawn if not line.get_label().startswith("_")}  # those with a name
    figure.legend(lines.values(), lines.keys(), fontsize=9, ncols=3, frameon=False, loc="outside lower center")
    figure.suptitle(title, fontsize=9)
    save(figure, path)


def _curve(axes: Axes, sweep: Mapping) -> None:
    levels = sweep["levels"]
    x = np.arange(len(levels))
    apart = np.array([isinstance(level["level"], str) for level in levels[1:]])  # kinds, with no way between them
    for system in [name for name in MARKS if name in levels[0]]:
        values = {key: [level[system][key] for level in levels] for key in ("uar", "low", "high")}
        plain = system not in (sweep["affects"], "fused") and sweep["affects"] != "both"
        if not plain:
            ends = np.array([values["low"], values["high"]], float)
            if apart.any():
                axes.vlines(x[1:][apart], *ends[:, 1:][:, apart], color=colour_of(system), alpha=0.4)
                ends[:, 1:][:, apart] = np.nan
            axes.fill_between(x, *ends, color=colour_of(system), alpha=0.12, linewidth=0)
        style: dict[str, Any] = {"marker": MARKS[system], "markersize": 3.5}
        if plain:
            style = {"linestyle": "--", "linewidth": 1}
        line = np.array(values["uar"], float)
        if not plain and apart.any():
            axes.plot(x, line, MARKS[system], color=colour_of(system), markersize=3.5)
            line[1:][apart] = np.nan
        axes.plot(x, line, color=colour_of(system), label=name_of(system), **style)
    names = [f"{level['level']:g}" if isinstance(level["level"], float) else level["level"] for level in levels]
    long = any(len(name) > 6 for name in names)
    axes.set_xticks(x, names, fontsize=8, rotation=20 if long else 0)
    axes.set_ylim(0, 1)
    axes.set_xlabel(sweep["unit"], fontsize=8)
    axes.tick_params(axis="y", labelsize=8)
    _tidy(axes, sweep["title"], "y")


def _tidy(axes: Axes, title: str, grid: Literal["x", "y", "both"]) -> None:
    axes.grid(axis=grid, alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=9)
