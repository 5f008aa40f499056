"""The windows of a file as a timeline: smoothed over time, and cut into segments of constant emotion."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from avser.labels import category
from avser.results import Prediction, Segment

MERGE_GAP = 1e-6
"""Two stretches of one label this close, in s, are one segment."""


def smooth(predictions: Sequence[Prediction], labels: Sequence[str], seconds: float) -> list[Prediction]:
    """Distributions averaged over time, person by person.

    A window's fused log-probabilities become the weighted mean over all windows of the same person, with weights
    exp(-|t - u| / `seconds`) for windows with centres t and u: an exponential filter run forwards and backwards,
    so that nothing is delayed. Windows in which avser abstains stay so and lend no weight; modalities stay as they
    were.

    Args:
        predictions: in order of time. labels: the emotions, (C,). seconds: time constant; 0 changes nothing.
    """
    smoothed = list(predictions)
    if seconds <= 0:
        return smoothed
    for places in _by_person(predictions).values():
        places = [i for i in places if predictions[i].probs is not None]
        if not places:
            continue
        logs = np.log(np.stack([predictions[i].probs for i in places]).clip(1e-12))  # (W, C)
        centres = np.array([(predictions[i].start + predictions[i].end) / 2 for i in places])
        for i, mean in zip(places, _filtered(logs, centres, seconds), strict=True):
            probs = np.exp(mean - mean.max())
            probs /= probs.sum()
            label = labels[int(probs.argmax())]
            smoothed[i] = dataclasses.replace(
                predictions[i], probs=probs, label=label, category=category(label, labels)
            )
    return smoothed


def _filtered(values: np.ndarray, centres: np.ndarray, seconds: float) -> np.ndarray:
    """Mean of (W, C) with weights exp(-distance / seconds), in two runs instead of all pairs."""
    decay = np.exp(-np.diff(centres) / seconds)
    total = np.column_stack([values, np.ones(len(values))])  # the last column counts the weight
    ahead, behind = total.copy(), total.copy()
    for i in range(1, len(total)):
        ahead[i] += decay[i - 1] * ahead[i - 1]
    for i in range(len(total) - 2, -1, -1):
        behind[i] += decay[i] * behind[i + 1]
    both = ahead + behind - total
    return both[:, :-1] / both[:, -1:]


def segments(predictions: Iterable[Prediction]) -> list[Segment]:
    """Stretches of constant emotion, by person and time. Where avser abstains there is no segment."""
    found: list[Segment] = []
    for shares in moments(predictions).values():
        found += _segments_of(shares)
    return found


def moments(predictions: Iterable[Prediction]) -> dict[int | None, list[tuple[float, float, Prediction]]]:
    """Windows without their overlaps, by person, as (start, end, window) in order of time.

    Each moment belongs to the window of that person whose centre is nearest, so that a change lies halfway between
    the centres of two windows.
    """
    windows = list(predictions)
    return {person: list(_shares([windows[i] for i in places])) for person, places in _by_person(windows).items()}


def _shares(windows: list[Prediction]) -> Iterator[tuple[float, float, Prediction]]:
    """The share of time of each of one person's windows, which are in order of time."""
    centres = [(w.start + w.end) / 2 for w in windows]
    for i, window in enumerate(windows):
        start, end = window.start, window.end
        if i and windows[i - 1].end > start:
            start = max(start, (centres[i - 1] + centres[i]) / 2)
        if i + 1 < len(windows) and windows[i + 1].start < end:
            end = min(end, (centres[i] + centres[i + 1]) / 2)
        if end > start:
            yield start, end, window


def _segments_of(shares: list[tuple[float, float, Prediction]]) -> list[Segment]:
    """Segments of one person's moments."""
    merged: list[list[tuple[float, float, Prediction]]] = []
    for start, end, window in shares:
        if window.label is None:
            continue
        last = merged[-1][-1] if merged else None
        if last is not None and last[2].label == window.label and start - last[1] <= MERGE_GAP:
            merged[-1].append((start, end, window))
        else:
            merged.append([(start, end, window)])
    return [_joined(run) for run in merged]


def _joined(run: list[tuple[float, float, Prediction]]) -> Segment:
    lengths = [end - start for start, end, _ in run]
    confidence = np.average([window.confidence for *_, window in run], weights=lengths)
    window = run[0][2]
    return Segment(run[0][0], run[-1][1], window.person, window.label, float(confidence))


def _by_person(predictions: Sequence[Prediction]) -> dict[int | None, list[int]]:
    """Places in the list by person, people in order of their ids, a voice without a face last."""
    places: dict[int | None, list[int]] = {}
    for i, prediction in enumerate(predictions):
        places.setdefault(prediction.person, []).append(i)
    return dict(sorted(places.items(), key=lambda item: (item[0] is None, item[0] or 0)))
