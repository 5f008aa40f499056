"""The timeline as a picture: for each person bands of probability, and what voice, face and both together say."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avser.figures import blank
from avser.palette import BRANCHES, colour, ink
from avser.results import Result
from avser.wording import clock, percent, printable, settings_words
from avser.writers.lanes import Lane, duration, lanes, modalities, runs, thinned, title

if TYPE_CHECKING:
    from avser.figures import Axes, Figure

WIDTH = 12.0
"""Of the picture, inches."""
STEPS, FEWER_STEPS = 1300, 325
"""Steps of time that are drawn, about one a pixel; where a person has more windows than that, one every four
pixels, over which their distributions are averaged."""
MOST_LANES = 8
"""People who are drawn, those seen longest first."""
MOST_CUTS = 60
"""Cuts that go through the whole picture; more are marked at the top only."""
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
"""Distances of marks on the axis of time, s."""
LETTER = 0.075
"""Width of a letter of a segment's name, inches."""
EMPTY, HATCH, DARK = "#f0f0f0", "#8a8a8a", "#444444"


def write_png(result: Result, path: Path, progress: Callable[[float], None]) -> None:
    """Draw the timeline of a result."""
    figure = draw(result)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a file's name may hold letters that no font has
        figure.savefig(path, format="png")


def draw(result: Result) -> Figure:
    """The picture of a result's timeline."""
    drawn, left_out = _chosen(lanes(result))
    rows = modalities(result)
    strip = 0.12 + 0.2 * max(1, len(rows))
    heights = [0.22, *([1.15, strip] * len(drawn))]
    figure = blank(WIDTH, 1.2 + sum(heights) + 0.12 * len(heights))
    shown = list(figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0])
    end = duration(result)
    steps = FEWER_STEPS if any(len(lane.moments) > STEPS for lane in drawn) else STEPS
    edges = np.linspace(0, end, steps + 1)
    _draw_speech(shown[0], result)
    for number, lane in enumerate(drawn):
        bands, strips = shown[1 + 2 * number : 3 + 2 * number]
        _draw_bands(bands, lane, result.labels, edges)
        bands.set_title(_about(lane, result), loc="left", fontsize=9, pad=3)
        _draw_strips(strips, lane, rows, result.labels, edges)
    for axes in shown:
        axes.set_xlim(0, end)
        axes.tick_params(labelsize=8, length=2)
        axes.spines[["top", "right"]].set_visible(False)
    _draw_cuts(shown, result.cuts)
    _draw_times(shown[-1], end)
    _draw_words(figure, shown, result, end / steps, left_out)
    return figure


def _chosen(every: list[Lane]) -> tuple[list[Lane], int]:
    """The lanes to draw, and how many are left out."""
    longest = sorted(every, key=lambda lane: sum(start - end for start, end, _ in lane.moments))[:MOST_LANES]
    return [lane for lane in every if lane in longest], len(every) - len(longest)


def _draw_speech(axes: Axes, result: Result) -> None:
    if result.speech is None:
        axes.text(0, 0.5, " not looked for", va="center", fontsize=8, color=DARK)
    axes.broken_barh([(a, b - a) for a, b in result.speech or ()], (0.1, 0.8), color=DARK, linewidth=0)
    axes.set_ylim(0, 1)
    axes.set_yticks([0.5], ["speech"])
    axes.spines["left"].set_visible(False)


def _draw_bands(axes: Axes, lane: Lane, labels: Sequence[str], edges: np.ndarray) -> None:
    probs = thinned(lane.moments, "fused", edges, len(labels))  # (T, C)
    tops = np.concatenate([np.zeros((len(probs), 1)), np.cumsum(probs, 1)], 1)
    tops = np.concatenate([tops, tops[-1:]])  # a step needs its end
    for i, label in enumerate(labels):
        shade = colour(label).hex
        axes.fill_between(edges, tops[:, i], tops[:, i + 1], step="post", color=shade, linewidth=0, label=label)
    _hatch(axes, lane, 1.0)
    axes.set_facecolor(EMPTY)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    if lane.person is not None and lane.person.thumbnail is not None:
        face = axes.inset_axes((1.005, 0.0, 0.08, 1.0), anchor="W")
        face.imshow(lane.person.thumbnail)
        face.set_axis_off()


def _about(lane: Lane, result: Result) -> str:
    """Who it is, and what they express over all."""
    if lane.person is None:
        return title(lane, result)
    overall = lane.person.overall
    said = "no emotion" if overall.confidence is None else f"{overall.label} {percent(overall.confidence)}"
    return f"{title(lane, result)}: {said} over all"


def _draw_strips(axes: Axes, lane: Lane, rows: Sequence[str], labels: Sequence[str], edges: np.ndarray) -> None:
    end = edges[-1]
    shades = np.array([[int(colour(label).hex[i : i + 2], 16) for i in (1, 3, 5)] for label in labels])  # (C, 3)
    picture = np.full((max(1, len(rows)), len(edges) - 1, 3), 240, np.uint8)
    for row, name in enumerate(rows):
        probs = thinned(lane.moments, name, edges, len(labels))  # (T, C)
        said = np.isfinite(probs[:, 0])
        picture[row, said] = shades[probs[said].argmax(1)]
    axes.imshow(picture, extent=(0, end, len(rows) or 1, 0), aspect="auto", interpolation="nearest")
    _hatch(axes, lane, len(rows) or 1)
    axes.set_yticks(np.arange(len(rows)) + 0.5, [BRANCHES[name][0] for name in rows])
    axes.hlines(range(1, len(rows)), 0, end, color="white", linewidth=1)
    for segment in lane.segments:
        middle = (max(0.0, segment.start) + min(end, segment.end)) / 2
        if (segment.end - segment.start) / end * 0.8 * WIDTH > LETTER * (len(segment.label) + 1):
            look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "clip_on": True}
            look |= {"color": ink(colour(segment.label).hex), "parse_math": False}
            axes.text(middle, len(rows) - 0.5, segment.label, **look)


def _hatch(axes: Axes, lane: Lane, height: float) -> None:
    """Stretches in which avser abstains."""
    stretches = runs(lane.moments, lambda window: "abstains" if window.label is None else None)
    places = [(start, stop - start) for start, stop, _ in stretches]
    look: dict[str, Any] = {"facecolor": "white", "edgecolor": HATCH, "hatch": "////", "linewidth": 0}
    axes.broken_barh(places, (0, height), **look, label="abstains")


def _draw_cuts(shown: Sequence[Axes], cuts: Sequence[float]) -> None:
    for axes in shown if len(cuts) <= MOST_CUTS else shown[:1]:
        axes.vlines(cuts, 0, 1, transform=axes.get_xaxis_transform(), color="black", linewidth=0.8, linestyle=":")


def _draw_times(axes: Axes, end: float) -> None:
    step = next((step for step in TICKS if end / step <= 14), TICKS[-1])
    ticks = np.arange(0, end + 1e-6, step)
    axes.set_xticks(ticks, [clock(t).removesuffix(".0") for t in ticks])


def _draw_words(figure: Figure, shown: Sequence[Axes], result: Result, step: float, left_out: int) -> None:
    overall = result.overall
    said = overall.reason if overall.confidence is None else f"{overall.label} {percent(overall.confidence)}"
    words = f"{printable(result.path.name)}: {said} over the whole file"
    figure.suptitle(words, fontsize=11, x=0.01, ha="left", parse_math=False)
    notes = [f"{result.model} {result.model_version}, {settings_words(result.options)}"]
    if step > result.options.hop:
        notes.append(f"averaged over {step:.3g} s")
    if result.cuts:
        notes.append("dotted: the shot changes")
    if left_out:
        notes.append(f"{left_out} more {'person is' if left_out == 1 else 'people are'} not drawn")
    figure.supxlabel("; ".join(notes), fontsize=8, x=0.01, ha="left", color=DARK, parse_math=False)
    if len(shown) > 1:
        handles, names = shown[1].get_legend_handles_labels()
        place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.2}
        shown[0].legend(handles, names, ncols=len(names), fontsize=8, frameon=False, borderpad=0, **place)
