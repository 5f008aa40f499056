"""Whether a split keeps apart what belongs together: subjects, takes, and media that are the same or nearly so.

`read_split` takes a split from a config's protocol, from any CSV manifest or from a file of logits; `audit` looks
for what lies in two parts of one fold.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from avser.audit import prints, twins
from avser.audit.prints import Print
from avser.audit.sources import Split
from avser.audit.twins import Pair
from avser.caching import file_digest
from avser.files import replacing
from avser.folds import take_of
from avser.subjects import subject_of
from avser.types import AvserError, DataError

KINDS = {
    "file": "the same file in two parts",
    "subject": "the same subject in two parts",
    "take": "the same take in two parts, in several files",
    "bytes": "identical files",
    "content": "other files, identical samples or pixels",
    "sound": "nearly identical sound",
    "picture": "nearly identical pictures",
    "film": "nearly identical films",
}
"""What is looked for; groups of the first three are listed only where they cross."""


@dataclass(frozen=True)
class Finding:
    """A group of clips that belong together.

    Attributes:
        kind: see `KINDS`.
        name: the subject, take or file that they share, else "".
        clips: their numbers in the split.
        score: 1 for the same; else how alike the least alike link of the group is: share of equal bits of sound,
            correlation of pixels, or of what moves in films.
        crossings: (fold, part, part) that it lies in on both sides.
    """

    kind: str
    name: str
    clips: tuple[int, ...]
    score: float
    crossings: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Audit:
    """All findings on a split, and a sentence for each clip whose media could not be looked at."""

    split: Split
    findings: list[Finding]
    unread: list[str] = field(default_factory=list)

    @property
    def crossing(self) -> list[Finding]:
        """The findings that lie in two parts of one fold."""
        return [finding for finding in self.findings if finding.crossings]

    def labels_differ(self, finding: Finding) -> bool:
        """Whether the clips of a group bear different labels."""
        return len({label for i in finding.clips if (label := self.split.clips[i].label)}) > 1

    def to_dict(self) -> dict:
        """The audit as plain values; the groups as in the CSV file."""
        return {
            "split": self.split.name,
            "clips": len(self.split.clips),
            "folds": self.split.folds(),
            "clean": not self.crossing,
            "kinds": {
                kind: {
                    "groups": len(found),
                    "clips": sum(len(finding.clips) for finding in found),
                    "crossing": sum(bool(finding.crossings) for finding in found),
                    "labels_differ": sum(map(self.labels_differ, found)),
                }
                for kind in KINDS
                if (found := [finding for finding in self.findings if finding.kind == kind])
            },
            "groups": [
                {
                    "kind": finding.kind,
                    "name": finding.name,
                    "score": round(finding.score, 4),
                    "crossings": [list(crossing) for crossing in finding.crossings],
                    "clips": [self._facts(i) for i in finding.clips],
                }
                for finding in self.findings
            ],
            "notes": self.split.notes,
            "unread": self.unread,
        }

    def _facts(self, i: int) -> dict:
        clip = self.split.clips[i]
        row = {} if clip.row is None else {"row": clip.row}
        parts = {"parts": sorted(" ".join(filter(None, place)) for place in self.split.places[i])}
        return {"path": str(clip.path), **row, "subject": clip.subject, "label": clip.label, **parts}

    def write(self, path: Path) -> None:
        """All groups as CSV, one row a clip.

        Raises:
            DataError: the file cannot be written.
        """
        names = ("group", "kind", "name", "score", "crossings", "path", "row", "subject", "label", "parts")
        try:
            with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(names)
                for number, finding in enumerate(self.findings):
                    crossings = "; ".join(" ".join(filter(None, crossing)) for crossing in finding.crossings)
                    for i in finding.clips:
                        facts = self._facts(i)
                        group = (number, finding.kind, finding.name, f"{finding.score:.4f}", crossings)
                        about = (facts["path"], facts.get("row", ""), facts["subject"] or "", facts["label"] or "")
                        writer.writerow([*group, *about, "; ".join(facts["parts"])])
        except OSError as error:
            raise DataError(f"cannot write the groups {path} ({error.strerror}): choose another place") from error


def audit(split: Split, progress: Callable[[Iterable, int], Iterable] = lambda found, count: found) -> Audit:
    """Look for all that a split should keep apart and does not, and for media that occur twice inside a part.

    Args:
        progress: wraps what is read of the clips, of which there are so many, to show how far it is.

    Raises:
        DataError: none of its files can be read.
    """
    findings = _shared(split)
    if not split.media:
        return Audit(split, findings)
    made = prints.prints_of(split.clips, progress)
    unread = [str(one) for one in made if isinstance(one, AvserError)]
    if len(unread) == len(made):
        raise DataError(f"{split.name}: none of its {len(made)} clips can be read; the first: {unread[0]}")
    return Audit(split, findings + _twins(split, made), unread)


def _shared(split: Split) -> list[Finding]:
    """Files, subjects and takes that lie in two parts of a fold."""
    findings = []
    for i, clip in enumerate(split.clips):
        if crossings := _crossings(split, [i]):
            findings.append(Finding("file", str(clip.path), (i,), 1.0, crossings))
    for kind, key in (("subject", subject_of), ("take", take_of)):
        groups: dict[tuple[str, str], list[int]] = defaultdict(list)
        for i, clip in enumerate(split.clips):
            if (what := key(clip)) is not None:
                groups[what].append(i)
        for whose, clips in sorted(groups.items()):
            if len(clips) > 1 and (crossings := _crossings(split, clips)):
                findings.append(Finding(kind, "/".join(filter(None, whose)), tuple(clips), 1.0, crossings))
    return findings


def _twins(split: Split, made: Sequence[Print | AvserError]) -> list[Finding]:
    """Groups of identical and of nearly identical media.

    Each content is compared once, whoever holds it; what is nearly identical is then so for all that hold it.
    """
    holders: dict[bytes, list[int]] = defaultdict(list)
    for i, one in enumerate(made):
        if isinstance(one, Print):
            holders[one.content].append(i)
        elif split.clips[i].path.is_file():  # what nobody can decode may still be the same file
            holders[b"bytes" + _bytes_of(split, i)].append(i)
    findings = []
    for same in holders.values():
        if len(same) > 1:
            equal = len({_bytes_of(split, i) for i in same}) == 1
            findings.append(_finding(split, "bytes" if equal else "content", same, 1.0))
    groups = list(holders.values())
    firsts = [made[same[0]] for same in groups]
    known = [(k, one) for k, one in enumerate(firsts) if isinstance(one, Print)]
    films = [(k, one.frames) for k, one in known if len(one.frames) and not one.is_picture]
    looks: tuple[tuple[str, Callable[[list[Any]], list[Pair]], list[tuple[int, Any]]], ...] = (
        ("sound", twins.near_sounds, [(k, one.sound) for k, one in known if one.sound.active.any()]),
        ("picture", twins.near_pictures, [(k, one.frames[0]) for k, one in known if one.is_picture]),
        ("film", twins.near_films, films),
    )
    for kind, look, chosen in looks:
        numbers = [k for k, _ in chosen]
        pairs = [(numbers[i], numbers[j], score) for i, j, score in look([given for _, given in chosen])]
        links: dict[int, float] = {}
        for *ends, score in pairs:
            for end in ends:
                links[end] = min(score, links.get(end, 1.0))
        for group in twins.join(len(groups), [pair[:2] for pair in pairs]):
            score = min(links[k] for k in group)
            findings.append(_finding(split, kind, [i for k in group for i in groups[k]], score))
    return findings


def _bytes_of(split: Split, i: int) -> bytes:
    """What says that two clips are the same bytes; a row of a table has none of its own."""
    clip = split.clips[i]
    digest = file_digest(clip.path).digest() if clip.row is None else str(clip.path).encode()
    return digest + f"|{clip.start}|{clip.end}|{clip.row}".encode()


def _finding(split: Split, kind: str, clips: list[int], score: float) -> Finding:
    return Finding(kind, "", tuple(sorted(clips)), score, _crossings(split, clips))


def _crossings(split: Split, clips: Sequence[int]) -> tuple[tuple[str, str, str], ...]:
    """(fold, part, part) in which some of the clips lie in the one part, some in the other."""
    parts: dict[str, set[str]] = defaultdict(set)
    for fold, part in dict.fromkeys(place for i in clips for place in split.places[i]):
        parts[fold].add(part)
    order = {"train": 0, "val": 1, "test": 2}
    return tuple(
        (fold, *pair)
        for fold in sorted(parts)
        for pair in combinations(sorted(parts[fold], key=lambda part: (order.get(part, 3), part)), 2)
    )
