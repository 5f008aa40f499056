"""The windows of a file as a timeline: smoothed over time, and cut into segments of constant emotion."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from avser.labels import category
from avser.packed import Packed
from avser.results import Prediction, Segment

MERGE_GAP = 1e-6
"""Two stretches of one label this close, in s, are one segment."""


def smooth(predictions: Sequence[Prediction], labels: Sequence[str], seconds: float) -> Sequence[Prediction]:
    """Distributions averaged over time, person by person.

    A window's fused log-probabilities become the weighted mean over all windows of the same person, with weights
    exp(-|t - u| / `seconds`) for windows with centres t and u: an exponential filter run forwards and backwards,
    so that nothing is delayed. Windows in which avser abstains stay so and lend no weight; modalities stay as they
    were.

    Args:
        predictions: in order of time. labels: the emotions, (C,). seconds: time constant; 0 changes nothing.
    """
    if seconds <= 0:
        return predictions
    smoothed = np.full((len(predictions), len(labels)), np.nan)
    for places in _by_person(predictions).values():
        said = [(i, predictions[i]) for i in places]
        rows = [(i, (p.start + p.end) / 2, p.probs) for i, p in said if p.probs is not None]
        if rows:
            spoken, centres, probs = zip(*rows, strict=True)
            smoothed[list(spoken)] = _filtered(np.log(np.stack(probs).clip(1e-12)), np.array(centres), seconds)
    return Packed(map(_replaced, predictions, smoothed, itertools.repeat(labels)), len(labels))


def _replaced(prediction: Prediction, logs: np.ndarray, labels: Sequence[str]) -> Prediction:
    """A prediction with other log-probabilities (C,), which need not sum to one; as it is if it has none."""
    if prediction.probs is None:
        return prediction
    probs = np.exp(logs - logs.max())
    probs /= probs.sum()
    label = labels[int(probs.argmax())]
    return dataclasses.replace(prediction, probs=probs, label=label, category=category(label, labels))


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


def segments(predictions: Sequence[Prediction]) -> list[Segment]:
    """Stretches of constant emotion, by person and time. Where avser abstains there is no segment."""
    return [
        Segment(run[0][0], run[-1][1], person, label, _mean(run))
        for person, places in _by_person(predictions).items()
        for label, run in _runs(_shares(predictions, places))
    ]


def moments(predictions: Sequence[Prediction]) -> dict[int | None, list[tuple[float, float, Prediction]]]:
    """Windows without their overlaps, by person, as (start, end, window) in order of time.

    Each moment belongs to the window of that person whose centre is nearest, so that a change lies halfway between
    the centres of two windows.
    """
    return {person: list(_shares(predictions, places)) for person, places in _by_person(predictions).items()}


def _shares(predictions: Sequence[Prediction], places: Sequence[int]) -> Iterator[tuple[float, float, Prediction]]:
    """The share of time of each of one person's windows, given by their places in order of time."""
    windows = (predictions[i] for i in places)
    before, window = None, next(windows)
    while True:
        after = next(windows, None)
        start, end = window.start, window.end
        if before and before.end > start:
            start = max(start, (_centre(before) + _centre(window)) / 2)
        if after and after.start < end:
            end = min(end, (_centre(window) + _centre(after)) / 2)
        if end > start:
            yield start, end, window
        if after is None:
            return
        before, window = window, after


def _centre(window: Prediction) -> float:
    return (window.start + window.end) / 2


def _runs(
    shares: Iterable[tuple[float, float, Prediction]],
) -> Iterator[tuple[str, list[tuple[float, float, float]]]]:
    """One person's moments of one label without a gap: the label, and (start, end, confidence) of each."""
    label: str | None = None
    run: list[tuple[float, float, float]] = []
    for start, end, window in shares:
        if label is not None and (window.label != label or start - run[-1][1] > MERGE_GAP):
            yield label, run
            run = []
        label, sure = window.label, window.confidence
        if sure is not None:
            run.append((start, end, sure))
    if label is not None:
        yield label, run


def _mean(run: Sequence[tuple[float, float, float]]) -> float:
    """Mean confidence over a run, weighted by time."""
    return float(np.average([sure for *_, sure in run], weights=[end - start for start, end, _ in run]))


def _by_person(predictions: Iterable[Prediction]) -> dict[int | None, list[int]]:
    """Places in the list by person, people in order of their ids, a voice without a face last."""
    places: dict[int | None, list[int]] = {}
    for i, prediction in enumerate(predictions):
        places.setdefault(prediction.person, []).append(i)
    return dict(sorted(places.items(), key=lambda item: (item[0] is None, item[0] or 0)))
