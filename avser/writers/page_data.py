"""What the report's script draws: a result as lists of whole numbers, windows joined where there are many."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from avser.palette import BRANCHES, colour, ink
from avser.results import Prediction, Result
from avser.wording import person_name, printable
from avser.writers.lanes import Lane, Moment, distribution, duration, lanes, modalities, title

MOST_ROWS = 40_000
"""Windows, of everybody together, that a page holds; where there are more, neighbours are averaged."""

NAMES = ("fused", "audio", "face")

Value = TypeVar("Value", np.ndarray, float)


def page_data(result: Result) -> dict:
    """What the script needs.

    ```
    end, hop      float   of the timeline, s
    labels        [str]
    colours       [[background, ink]]   by label
    rows          [{key: "audio"|"face"|"fused", name: str}]   strips below the bands
    speech        [[start, end]]|null
    cuts          [float]
    words         [str]   reasons and notes, by number
    lanes         [LANE]

    LANE, with one entry a window in all lists:
      name, title   str
      face          str|null   id of the thumbnail's element
      times         [start, end, start, end, …]   s, windows without their overlaps
      probs         {"fused"|"audio"|"face": [[thousandths]|null]}
      weights       {"audio"|"face": [thousandths|null]}
      speech, speaking    [thousandths|null]
      reasons, notes      [number of words|null]
      segments      [[start, end, number of label]]   not by window
    ```
    """
    shown = lanes(result)
    joined = join_count(sum(len(lane.moments) for lane in shown))
    words = Words()
    return {
        "end": round(duration(result), 3),
        "hop": result.options.hop,
        "labels": list(result.labels),
        "colours": [[colour(label).hex, ink(colour(label).hex)] for label in result.labels],
        "rows": [{"key": name, "name": BRANCHES[name][0]} for name in modalities(result)],
        "speech": None if result.speech is None else [_times(span) for span in result.speech],
        "cuts": _times(result.cuts),
        "lanes": [lane_data(lane, result, joined, words) for lane in shown],
        "words": list(words.numbers),
    }


def join_count(windows: int) -> int:
    """How many neighbouring windows become one, so that a page holds no more than it can."""
    return max(1, -(-windows // MOST_ROWS))


class Words:
    """Sentences, each of them kept once."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, text: str | None) -> int | None:
        """The number of a sentence; None for none."""
        return None if text is None else self.numbers.setdefault(printable(text), len(self.numbers))


def lane_data(lane: Lane, result: Result, joined: int, words: Words) -> dict:
    """LANE in the words of `page_data`, with `joined` windows made one, and its sentences added to `words`."""
    moments = list(join(lane.moments, joined))
    windows = [window for *_, window in moments]
    present = [name for name in NAMES if any(distribution(w, name) is not None for w in windows)]
    seen = lane.person is not None and lane.person.thumbnail is not None
    place = {label: i for i, label in enumerate(result.labels)}
    return {
        "name": person_name(lane.whose),
        "title": title(lane, result),
        "face": f"face-{lane.whose}" if seen else None,
        "times": [t for start, end, _ in moments for t in _times((start, end))],
        "probs": {name: [_thousandths(distribution(w, name)) for w in windows] for name in present},
        "weights": {
            name: [_thousandth(w.weights.get(name)) for w in windows] for name in present if name != "fused"
        },
        "speech": [_thousandth(w.speech) for w in windows],
        "speaking": [_thousandth(w.speaking) for w in windows],
        "reasons": [words.number(w.reason) for w in windows],
        "notes": [words.number(w.note) for w in windows],
        "segments": [[*_times((s.start, s.end)), place[s.label]] for s in lane.segments],
    }


def join(moments: Sequence[Moment], count: int) -> Iterator[Moment]:
    """Every `count` neighbouring moments that say the same of themselves averaged to one.

    A moment is joined to the one before only where no gap lies between them, and where both abstain for the same
    reason or neither does.
    """
    run: list[Moment] = []
    for moment in moments:
        if run and (len(run) == count or not _alike(run[-1], moment)):
            yield _average(run)
            run = []
        run.append(moment)
    if run:
        yield _average(run)


def _alike(one: Moment, two: Moment) -> bool:
    apart = two[0] - one[1] > 1e-6
    return not apart and (one[2].label is None) == (two[2].label is None) and one[2].reason == two[2].reason


def _average(run: Sequence[Moment]) -> Moment:
    """Several moments as one: means weighted by time, of each value over the windows that have it."""
    first = run[0][2]
    if len(run) == 1:
        return run[0]
    lengths = [end - start for start, end, _ in run]
    windows = [window for *_, window in run]
    present = dict.fromkeys(itertools.chain.from_iterable(w.modalities for w in windows))
    return (
        run[0][0],
        run[-1][1],
        dataclasses.replace(
            first,
            probs=_mean((w.probs for w in windows), lengths),
            modalities={
                name: probs
                for name in present
                if (probs := _mean((w.modalities.get(name) for w in windows), lengths)) is not None
            },
            weights=_mean_weights(windows, lengths, present),
            speech=_mean((w.speech for w in windows), lengths),
            speaking=_mean((w.speaking for w in windows), lengths),
            note=next((w.note for w in windows if w.note is not None), None),
        ),
    )


def _mean(values: Iterable[Value | None], lengths: Sequence[float]) -> Value | None:
    """Weighted mean of those that are there."""
    kept = [(value, length) for value, length in zip(values, lengths, strict=True) if value is not None]
    if not kept:
        return None
    mean: Any = np.average([value for value, _ in kept], axis=0, weights=[length for _, length in kept])
    return mean


def _mean_weights(
    windows: Sequence[Prediction], lengths: Sequence[float], names: Iterable[str]
) -> Mapping[str, float]:
    """Mean shares in the fusion; an absent modality has none."""
    said = [(w, length) for w, length in zip(windows, lengths, strict=True) if w.weights]
    if not said:
        return {}
    shares = [length for _, length in said]
    return {name: float(np.average([w.weights.get(name, 0.0) for w, _ in said], weights=shares)) for name in names}


def to_script(plain: dict) -> str:
    """Values as JSON that can stand inside a script element: nothing in it can end the element."""
    return json.dumps(plain, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _times(values: Iterable[float]) -> list[float]:
    return [round(float(t), 3) for t in values]


def _thousandths(probs: np.ndarray | None) -> list[int] | None:
    return None if probs is None else np.rint(1000 * np.asarray(probs)).astype(int).tolist()


def _thousandth(share: float | None) -> int | None:
    return None if share is None else round(1000 * float(share))
