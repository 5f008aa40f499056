"""What is official about a corpus: where it comes from, its terms, and what a complete copy holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avser.types import Clip


@dataclass(frozen=True)
class Part:
    """A part of a corpus that is got by itself, or one of the forms it comes in, as officially released.

    What is not known for sure is left out, and then not checked.

    Attributes:
        clips: how many there are; None where that differs (your own recordings).
        subjects: how many people there are.
        hours: length of all clips in h.
        counts: for a fact of clips (`label`, `subject` or a key of `info`), how many have each of its values.
        names: tells the names (see `Facts.name_of`) of all clips there should be, given those that are there.
    """

    clips: int | None = None
    subjects: int | None = None
    hours: float | None = None
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    names: Callable[[Sequence[Clip]], Iterable[str]] | None = None


@dataclass(frozen=True)
class Facts:
    """What is official about a corpus.

    Attributes:
        title: its name in writing.
        page: where it is found; None for recordings of your own.
        licence: its terms, in a few words.
        citation: the paper that describes it.
        layout: which files the reader looks for; completes "it needs …".
        emotions: those that its labels may be.
        parts: its parts by name.
        volume: size of the whole, in words.
        part_of: name of the part that a clip belongs to; by default the only one.
        name_of: the official name of a clip.
        twins: groups of names that are identical in the official release.
        twin_groups: how many groups of identical clips the official release has, where not all are named.
        flaws: what else is wrong with the official release, in sentences.
        listed: names of the clips for which label files in a folder hold labels.
        opened: opens a clip as training would, and raises an AvserError if it cannot be used; None: by its suffix.
        any_names: the reader takes files of any name, so that it is no sign of this corpus that it finds some.
    """

    title: str
    page: str | None
    licence: str
    citation: str | None
    layout: str
    emotions: tuple[str, ...]
    parts: Mapping[str, Part]
    volume: str | None = None
    part_of: Callable[[Clip], str] | None = None
    name_of: Callable[[Clip], str] = lambda clip: clip.path.stem
    twins: tuple[tuple[str, ...], ...] = ()
    twin_groups: int = 0
    flaws: tuple[str, ...] = ()
    listed: Callable[[Path], Iterable[str]] | None = None
    opened: Callable[[Clip], object] | None = None
    any_names: bool = False

    @property
    def expects(self) -> str:
        """What the reader looks for and where to find it."""
        return self.layout if self.page is None else f"{self.layout}, see {self.page}"

    def part(self, clip: Clip) -> str:
        """Name of the part that a clip belongs to."""
        return self.part_of(clip) if self.part_of else next(iter(self.parts))
