"""A result person by person, as pictures of it show it: one lane each, and what runs through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from avser import timeline
from avser.results import Person, Prediction, Result, Segment
from avser.wording import person_name

Moment = tuple[float, float, Prediction]
"""(start, end, window): a stretch of time and the window that it belongs to."""


@dataclass(frozen=True)
class Lane:
    """One person's share of a result.

    Attributes:
        whose: id of the person; None for a voice on its own, and for stretches in which nobody is seen.
        person: what was found about the person, None for the voice.
        moments: the windows without their overlaps, in order of time (see `timeline.moments`).
        segments: stretches of constant emotion.
    """

    whose: int | None
    person: Person | None
    moments: Sequence[Moment]
    segments: Sequence[Segment]


def lanes(result: Result) -> list[Lane]:
    """One lane a person, in order of appearance, and last the voice on its own, if there is one."""
    people: dict[int | None, Person] = {p.person: p for p in result.people}
    moments = timeline.moments(result.predictions)
    return [
        Lane(
            whose,
            people.get(whose),
            moments.get(whose, ()),
            [s for s in result.segments if s.person == whose],
        )
        for whose in dict.fromkeys([*people, *moments])
    ]


def title(lane: Lane, result: Result) -> str:
    """What a lane is called: the voice's holds also the stretches in which nobody is seen."""
    name = person_name(lane.whose)
    return f"{name} on its own, or nobody" if lane.whose is None and result.people else name


def modalities(result: Result) -> list[str]:
    """What can be shown beside one another: the modalities that were present somewhere, and how they are fused."""
    present = [name for name in ("audio", "face") if any(name in p.modalities for p in result.predictions)]
    return [*present, "fused"] if len(present) > 1 else present


def distribution(window: Prediction, name: str) -> np.ndarray | None:
    """The distribution (C,) of a modality or of `fused` in a window; None where it is absent."""
    return window.probs if name == "fused" else window.modalities.get(name)


def duration(result: Result) -> float:
    """Where the timeline ends, s; above zero."""
    ends = [result.media.duration or 0.0, result.overall.end, *(p.end for p in result.predictions)]
    return max(0.001, *ends)


def runs(moments: Sequence[Moment], of: Callable[[Prediction], str | None]) -> Iterator[tuple[float, float, str]]:
    """Stretches (start, end, text) over which `of` says the same; where it says None there is none."""
    start, end, text = 0.0, -1.0, None
    for since, until, window in moments:
        said = of(window)
        if text is not None and said == text and since - end <= timeline.MERGE_GAP:
            end = until
            continue
        if text is not None:
            yield start, end, text
        start, end, text = since, until, said
    if text is not None:
        yield start, end, text


def thinned(moments: Sequence[Moment], name: str, edges: np.ndarray, classes: int) -> np.ndarray:
    """Distributions averaged over even steps of time.

    Args:
        edges: (T + 1,) rising evenly, s.

    Returns:
        (T, C), each row the mean over what its step holds, weighted by time; NaN where there is nothing.
    """
    step = edges[1] - edges[0]
    total = np.zeros((len(edges) - 1, classes))
    weight = np.zeros(len(edges) - 1)
    for start, end, window in moments:
        probs = distribution(window, name)
        if probs is None:
            continue
        first = max(0, int((start - edges[0]) / step))
        last = min(len(weight), int(np.ceil((end - edges[0]) / step)))
        inside = np.minimum(edges[first + 1 : last + 1], end) - np.maximum(edges[first:last], start)
        inside = inside.clip(0)
        total[first:last] += inside[:, None] * probs
        weight[first:last] += inside
    with np.errstate(invalid="ignore"):
        return total / weight[:, None]
