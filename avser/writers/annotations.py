"""Results as a TextGrid, which Praat shows and ELAN imports."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from avser.results import Result
from avser.wording import line, person_name
from avser.writers.lanes import duration


def write_textgrid(result: Result, path: Path, progress: Callable[[float], None]) -> None:
    """One tier a person with the segments, and tiers `whole file`, `speech` and `cuts`.

    The tier of a person who is followed but about whom nothing can be said is empty; `speech` is left out where it
    was not looked for.
    """
    from praatio import textgrid
    from praatio.data_classes.interval_tier import IntervalTier
    from praatio.data_classes.point_tier import PointTier

    segments = [(s.person, s.start, s.end, s.label) for s in result.segments]
    ends = [*(end for *_, end, _ in segments), *(end for _, end in result.speech or ()), *result.cuts]
    last = round(max([duration(result), *ends]), 3)
    grid = textgrid.Textgrid(0.0, last)

    def add(name: str, intervals: Iterable[tuple[float, float, str]]) -> None:
        grid.addTier(IntervalTier(name, _tidy(intervals), 0.0, last))

    overall = result.overall
    add("whole file", [(0.0, last, overall.label)] if overall.label is not None else [])
    people = [p.person for p in result.people]
    for person in dict.fromkeys([*people, *(person for person, *_ in segments)]):
        add(person_name(person), [(start, end, text) for whose, start, end, text in segments if whose == person])
    if result.speech is not None:
        add("speech", [(start, end, "speech") for start, end in result.speech])
    if result.cuts:
        times = sorted({round(max(0.0, time), 3) for time in result.cuts})
        grid.addTier(PointTier("cuts", [(time, "cut") for time in times], 0.0, last))
    grid.save(str(path), format="long_textgrid", includeBlankSpaces=True)


def _tidy(intervals: Iterable[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Intervals to the ms; what is shorter than one is left out."""
    rounded = ((round(max(0.0, start), 3), round(end, 3), line(text)) for start, end, text in intervals)
    return [(start, end, text) for start, end, text in rounded if start < end]
