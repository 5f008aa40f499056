"""What a folder holds of a corpus, beside what the official release does: what is missing, damaged, twice there.

What the official release holds is said by the `FACTS` of each module of `datasets`.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avser import datasets, media
from avser.corpora.finding import corpus_in
from avser.corpora.identical import twins, unread
from avser.corpora.threads import Progress, each
from avser.datasets import Facts, Part
from avser.labels import label_set, place
from avser.media import headers, reading
from avser.types import AvserError, Clip


@dataclass(frozen=True)
class Difference:
    """A count that is not the official one: of clips whose `fact` is `value`."""

    fact: str
    value: str
    here: int
    official: int


@dataclass(frozen=True)
class Holding:
    """What is there of a part of a corpus.

    Attributes:
        name: of the part.
        clips, subjects: how many are there.
        official: what there should be.
        differences: counts by label, subject and the like that are not the official ones.
        missing: names of clips that are not there, where all names are known.
    """

    name: str
    clips: int
    subjects: int
    official: Part
    differences: list[Difference]
    missing: list[str]

    @property
    def complete(self) -> bool:
        """Whether it has the official counts, as far as they are known."""
        pairs = ((self.clips, self.official.clips), (self.subjects, self.official.subjects))
        return not self.missing and not self.differences and all(b is None or a == b for a, b in pairs)


@dataclass(frozen=True)
class Inventory:
    """What a folder holds of a corpus.

    Attributes:
        corpus, root: what was looked at.
        holdings: each part of which something is there.
        absent: names of the parts of which nothing is there; that alone is no fault.
        labels: clips by label; None for those without.
        unplaced: clips by label, of those that have no place in the label set asked for.
        orphans: names that a file of labels lists and that have no media.
        corrupt: a sentence for each clip that cannot be used.
        twins: groups of identical files or rows, by their paths.
        known_twins: such groups that the official release has too.
        copies: files that are not read, as another one of the same name is.
        deep: whether everything was decoded, or only headers read.
    """

    corpus: str
    root: Path
    holdings: list[Holding]
    absent: list[str]
    labels: dict[str | None, int]
    unplaced: dict[str, int]
    orphans: list[str]
    corrupt: list[str]
    twins: list[list[str]]
    known_twins: list[list[str]]
    copies: list[Path] = field(default_factory=list)
    deep: bool = False

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong with what is there."""
        return all(h.complete for h in self.holdings) and not (self.orphans or self.corrupt or self.twins)

    def to_dict(self) -> dict:
        """The inventory as plain values."""
        return {
            "corpus": self.corpus,
            "root": str(self.root),
            "clean": self.clean,
            "deep": self.deep,
            "parts": [
                {
                    "name": holding.name,
                    "complete": holding.complete,
                    "clips": holding.clips,
                    "official_clips": holding.official.clips,
                    "subjects": holding.subjects,
                    "official_subjects": holding.official.subjects,
                    "differences": [vars(difference) for difference in holding.differences],
                    "missing": holding.missing,
                }
                for holding in self.holdings
            ],
            "absent": self.absent,
            "labels": {label or "none": count for label, count in self.labels.items()},
            "unplaced": self.unplaced,
            "labels_without_media": self.orphans,
            "corrupt": self.corrupt,
            "identical": self.twins,
            "identical_officially": self.known_twins,
            "not_read": [str(path) for path in self.copies],
        }


def check(
    root: str | Path,
    corpus: str | None = None,
    deep: bool = False,
    labels: str = "basic7",
    progress: Progress = lambda found, count, what: found,
) -> Inventory:
    """Compare what a folder holds of a corpus with the official release.

    Args:
        corpus: its name; None to find out.
        deep: decode everything, not only pictures and headers.
        labels: the label set in which labels are to have a place.

    Raises:
        DataError: there is nothing of the corpus, or its labels cannot be read, or it is not known which it is.
        ConfigError: unknown label set.
    """
    emotions = label_set(labels)
    root = Path(root).expanduser()
    corpus = corpus or corpus_in(root)
    clips = datasets.scan(corpus, root)
    facts = datasets.facts(corpus)
    by_part: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_part[facts.part(clip)].append(clip)
    holdings = [_holding(name, by_part[name], part, facts) for name, part in facts.parts.items() if by_part[name]]
    names = {facts.name_of(clip) for clip in clips}.union(*(holding.missing for holding in holdings))
    orphans = sorted(set(facts.listed(root)) - names) if facts.listed else []
    counts = Counter(clip.label for clip in clips)
    complaints = progress(_complaints(clips, facts, deep), len(clips), "opening clips")
    corrupt = list(dict.fromkeys(filter(None, complaints)))
    copies = unread(root, clips)
    same, known = twins(clips, copies, facts, progress)
    return Inventory(
        corpus,
        root,
        holdings,
        [name for name in facts.parts if not by_part[name]],
        dict(sorted(counts.items(), key=lambda pair: (pair[0] is None, pair[0] or ""))),
        {label: n for label, n in sorted(counts.items(), key=str) if label and place(label, emotions) is None},
        orphans,
        corrupt,
        same,
        known,
        copies,
        deep,
    )


def _holding(name: str, clips: Sequence[Clip], part: Part, facts: Facts) -> Holding:
    differences = []
    for fact, official in part.counts.items():
        here = Counter(_fact(clip, fact) for clip in clips)
        differences += [
            Difference(fact, value, here[value], count)
            for value, count in official.items()
            if here[value] != count
        ]
    expected = part.names(clips) if part.names else ()
    present = {facts.name_of(clip) for clip in clips}
    missing = [expected_name for expected_name in expected if expected_name not in present]
    subjects = len({clip.subject for clip in clips} - {None})
    return Holding(name, len(clips), subjects, part, differences, missing)


def _fact(clip: Clip, name: str) -> str | None:
    return getattr(clip, name) if name in ("label", "subject") else clip.info.get(name)


def _complaints(clips: Sequence[Clip], facts: Facts, deep: bool) -> Iterator[str | None]:
    """Why each clip cannot be used; nothing if it can."""

    heard = _Heard()

    def complain(clip: Clip) -> str | None:
        try:
            if facts.opened:
                facts.opened(clip)
            elif clip.row is not None or clip.path.suffix.lower() in datasets.IMAGE_SUFFIXES:
                datasets.load_image(clip)
            elif deep:
                return _decode(clip.path, heard)
            else:
                headers.probe(clip.path)
        except AvserError as error:
            return str(error)
        return None

    # rows one after the other: their table is read by the first and kept
    yield from map(complain, (clip for clip in clips if clip.row is not None))
    with heard:
        yield from each(complain, [clip for clip in clips if clip.row is None])


def _decode(path: Path, heard: _Heard) -> str | None:
    """Decode all of a file; what was wrong with it, where a part could be read.

    Raises:
        MediaError: nothing of its sound or of its picture can be decoded.
    """
    info = headers.probe(path)
    heard.by_me()
    for _ in media.iter_audio(path) if info.has_audio else ():
        pass
    for _ in media.iter_frames(path, height=48) if info.has_video else ():
        pass
    return next(iter(heard.by_me()), None)


class _Heard:
    """What is logged about media inside of its context, kept by thread in place of being shown."""

    def __init__(self) -> None:
        self._said: dict[int, list[str]] = defaultdict(list)
        self._logger = logging.getLogger(reading.__name__)

    def __enter__(self) -> None:
        self._logger.addFilter(self._keep)

    def __exit__(self, *_: object) -> None:
        self._logger.removeFilter(self._keep)

    def by_me(self) -> list[str]:
        """What this thread has said since it was last asked."""
        return self._said.pop(threading.get_ident(), [])

    def _keep(self, record: logging.LogRecord) -> bool:
        self._said[threading.get_ident()].append(record.getMessage())
        return False
