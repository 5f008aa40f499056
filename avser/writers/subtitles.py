"""Emotions as subtitles, SubRip and WebVTT, from a result's segments.

A cue lasts as long as nothing changes for anybody; people who are seen at the same time have a line each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

from avser.palette import colour, ink
from avser.results import Result, Segment
from avser.wording import line, percent, person_name


@dataclass(frozen=True)
class Cue:
    """What is shown from `start` to `end`, in whole ms: one line a segment."""

    start: int
    end: int
    segments: tuple[Segment, ...]


def cues(result: Result) -> Iterator[Cue]:
    """The cues of a result, in order of time, none of which overlap."""
    changes: dict[int, tuple[list[int], list[int]]] = {}  # ms to segments that end, and that start
    for place, segment in enumerate(result.segments):
        start, end = (max(0, round(1000 * t)) for t in (segment.start, segment.end))
        if start < end:
            changes.setdefault(end, ([], []))[0].append(place)
            changes.setdefault(start, ([], []))[1].append(place)
    since = 0
    shown: set[int] = set()
    for now in sorted(changes):
        if shown:
            yield Cue(since, now, tuple(result.segments[place] for place in sorted(shown)))
        ending, starting = changes[now]
        since, shown = now, (shown - set(ending)) | set(starting)


def write_srt(result: Result, file: TextIO) -> None:
    """SubRip: `Person 1: happy (82 %)`; without the name where there is one person only."""
    named = _named(result)
    for number, cue in enumerate(cues(result), 1):
        lines = [f"{_who(s, named)}{line(s.label)} ({percent(s.confidence)})" for s in cue.segments]
        file.write("\n".join([str(number), f"{_stamp(cue.start, ',')} --> {_stamp(cue.end, ',')}", *lines, "\n"]))


def write_vtt(result: Result, file: TextIO) -> None:
    """WebVTT: the same words at the top of the picture, each emotion on its colour."""
    named = _named(result)
    what = f"Emotions in {result.path.name}, by {result.model} {result.model_version}"
    file.write(f"WEBVTT - {line(what).replace('-->', '→')}\n\n")
    if result.labels:
        file.write("STYLE\n" + "".join(_style(label) for label in result.labels) + "\n")
    for number, cue in enumerate(cues(result), 1):
        lines = [
            f"{_who(s, named)}<c.{_css_class(s.label)}>{_escaped(s.label)}</c> ({percent(s.confidence)})"
            for s in cue.segments
        ]
        times = f"{_stamp(cue.start, '.')} --> {_stamp(cue.end, '.')} line:0"  # below may stand what is said
        file.write("\n".join([str(number), times, *lines, "\n"]))


def _named(result: Result) -> bool:
    """Whether lines have to say whose they are."""
    return len({p.person for p in result.people} | {s.person for s in result.segments}) > 1


def _who(segment: Segment, named: bool) -> str:
    return f"{person_name(segment.person)}: " if named else ""


def _stamp(ms: int, point: str) -> str:
    seconds, ms = divmod(ms, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{ms:03d}"


def _style(label: str) -> str:
    shade = colour(label).hex
    return f"::cue(.{_css_class(label)}) {{ background-color: {shade}; color: {ink(shade)}; }}\n"


def _css_class(label: str) -> str:
    return "e-" + re.sub(r"[^A-Za-z0-9_-]+", "-", label)


def _escaped(text: str) -> str:
    return line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
