"""Folds of a corpus that refuse to share a subject.

Speech and faces give away who they are from. A model that has met a person, or worse the very take, measures what
it remembers; so a `Fold` whose parts share either cannot be built. The one exception says so in its name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from avser.subjects import choose_subjects, deal_subjects, find_subject, measured_corpus, subject_of, subjects_of
from avser.types import Clip, ConfigError, DataError

ACTOR6 = tuple(tuple(f"{actor:02d}" for actor in range(first, first + 4)) for first in range(1, 25, 4))
"""Six groups of four actors of RAVDESS in their order, two women and two men each."""

LUNA5 = (
    ("02", "05", "14", "15", "16"),
    ("03", "06", "07", "13", "18"),
    ("10", "11", "12", "19", "20"),
    ("08", "17", "21", "23", "24"),
    ("01", "04", "09", "22"),
)
"""The five groups of actors of RAVDESS of Luna-Jiménez et al., Applied Sciences 12(1): 327, 2022."""


@dataclass(frozen=True)
class Fold:
    """Three parts of a corpus: to train on, to choose and calibrate by, to measure on.

    Attributes:
        name: says the protocol and which of its folds this is.
        inflated: the parts may share subjects (but no take), and the name says "inflated".
        leaky: the parts may even share takes, in varied copies, and the name says "copies".

    Raises:
        DataError: two parts share a subject, a take or a file.
    """

    name: str
    train: tuple[Clip, ...]
    val: tuple[Clip, ...]
    test: tuple[Clip, ...]
    inflated: bool = False
    leaky: bool = False

    def __post_init__(self) -> None:
        if self.inflated and "inflated" not in self.name:
            raise DataError(f"fold {self.name!r} may share subjects, so its name must say inflated")
        if self.leaky and "copies" not in self.name:
            raise DataError(f"fold {self.name!r} may share takes in copies, so its name must say copies")
        if not self.leaky:
            self._refuse("file", lambda clip: clip.path if clip.row is None else (clip.path, clip.row))
            self._refuse("take", _take)
        if not self.inflated:
            self._refuse("subject", subject_of)

    def _refuse(self, what: str, key: Callable[[Clip], Hashable | None]) -> None:
        parts = {
            part: {k for clip in getattr(self, part) if (k := key(clip)) is not None}
            for part in ("train", "val", "test")
        }
        for one, other in combinations(parts, 2):
            if shared := parts[one] & parts[other]:
                some = sorted("/".join(k) if what != "file" else str(k) for k in shared)
                dots = ", …" if len(some) > 5 else ""
                raise DataError(
                    f"{one} and {other} of fold {self.name!r} share {what} {', '.join(some[:5])}{dots}: "
                    "keep all of it in one part"
                )


@dataclass(frozen=True)
class _Settings:
    """What `make_folds` was asked for besides the clips."""

    seed: int
    val: int | Mapping[str, int] | None
    corpus: str | None
    exclude: Collection[str]


def make_folds(
    clips: Iterable[Clip],
    protocol: str,
    seed: int = 0,
    val: int | Mapping[str, int] | None = None,
    corpus: str | None = None,
    exclude: Collection[str] = (),
) -> list[Fold]:
    """The folds of a protocol; they do not depend on the order of the clips.

    One corpus is measured; the clips of all others go to the training part of every fold.

    Args:
        protocol: see `PROTOCOLS`.
        seed: chooses the validation subjects (and deals the folds of `random` and `subject…`).
        val: number of validation subjects a fold, evenly women and men where the corpus tells, or that number for
            each corpus by name; None for what suits the protocol. They are taken from what would be trained on.
        corpus: the corpus that is measured; None for RAVDESS if it is there, else the only one.
        exclude: for `final`: the subjects that are tested, as "01" or "ravdess/01".

    Raises:
        ConfigError: unknown protocol, or an argument that it does not take.
        DataError: the clips do not fit the protocol.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(f"unknown protocol {protocol!r}: choose from {', '.join(PROTOCOLS)}")
    if exclude and protocol != "final":
        raise ConfigError(f"protocol {protocol!r} excludes nobody: choose final, or drop exclude")
    if val is not None and protocol in ("random", "official", "copies"):
        raise ConfigError(f"protocol {protocol!r} does not choose validation subjects: drop val")
    clips = sorted(
        clips, key=lambda clip: (clip.corpus, str(clip.path), clip.row or 0, clip.start, clip.info.get("copy", ""))
    )
    if not clips:
        raise DataError("there are no clips to make folds of")
    return PROTOCOLS[protocol](clips, _Settings(seed, val, corpus, exclude))


def holdout(
    clips: Iterable[Clip],
    test_subjects: Collection[tuple[str, str]],
    val_subjects: Collection[tuple[str, str]],
    name: str = "holdout",
) -> Fold:
    """The fold in which the given (corpus, subject) are tested and validated on, and all others trained on."""
    parts: dict[str, list[Clip]] = {"train": [], "val": [], "test": []}
    for clip in clips:
        who = subject_of(clip)
        parts["test" if who in test_subjects else "val" if who in val_subjects else "train"].append(clip)
    return Fold(name, **{part: tuple(chosen) for part, chosen in parts.items()})


def _final(clips: list[Clip], settings: _Settings) -> list[Fold]:
    """All but the excluded subjects, for weights to be used; by default four are set apart for validation.

    Clips without a subject stay in their official part, or are trained on if they have none.
    """
    known = [clip for clip in clips if clip.subject is not None]
    tested = {find_subject(known, name) for name in settings.exclude}
    chosen: set[tuple[str, str]] = set()
    if known:
        rest = [clip for clip in known if subject_of(clip) not in tested]
        chosen = choose_subjects(
            rest, _counts(settings, measured_corpus(known, settings.corpus), 4), settings.seed
        )
    fold = holdout(known, tested, chosen)
    loose = _by_split(clip for clip in clips if clip.subject is None)
    return [Fold("final", fold.train + loose["train"], fold.val + loose["val"], fold.test + loose["test"])]


def _by_actor(name: str, groups: Sequence[Sequence[str]]) -> Callable[[list[Clip], _Settings], list[Fold]]:
    """Given groups of RAVDESS actors, one tested at a time."""

    def protocol(clips: list[Clip], settings: _Settings) -> list[Fold]:
        actors = {clip.subject for clip in clips if clip.corpus == "ravdess"}
        if not actors or settings.corpus not in (None, "ravdess"):
            raise DataError(f"protocol {name!r} is made of the 24 actors of RAVDESS: for others choose subject10")
        for group in groups:
            if not actors & set(group):
                raise DataError(
                    f"protocol {name!r} needs clips of RAVDESS actors {', '.join(group)}: there are none"
                )
        return _folds_of(name, [{("ravdess", actor) for actor in group} for group in groups], clips, settings, 4)

    return protocol


def _loso(clips: list[Clip], settings: _Settings) -> list[Fold]:
    """One subject out at a time."""
    subjects = subjects_of(clips, measured_corpus(clips, settings.corpus), "loso")
    return _folds_of("loso", [{who} for who in subjects], clips, settings, 2, [who[1] for who in subjects])


def _by_subject(k: int) -> Callable[[list[Clip], _Settings], list[Fold]]:
    """Stratified folds, disjoint by subject: each subject goes where it evens out the counts of labels best."""
    name = f"subject{k}"

    def protocol(clips: list[Clip], settings: _Settings) -> list[Fold]:
        corpus = measured_corpus(clips, settings.corpus)
        subjects = subjects_of(clips, corpus, name)
        if len(subjects) < k:
            raise DataError(f"protocol {name!r} needs {k} subjects, {corpus} has {len(subjects)}: choose loso")
        groups = deal_subjects([clip for clip in clips if clip.corpus == corpus], subjects, k, settings.seed)
        return _folds_of(name, groups, clips, settings, max(2, round(len(subjects) * (1 - 1 / k) / 10)))

    return protocol


def _random(clips: list[Clip], settings: _Settings) -> list[Fold]:
    """Five folds by chance, 70 : 10 : 20, even in labels: what inflated figures in the literature are made of."""
    corpus = measured_corpus(clips, settings.corpus)
    takes: dict[tuple, list[Clip]] = defaultdict(list)
    for clip in clips:
        if clip.corpus == corpus:
            takes[_take(clip) or (str(clip.path), str(clip.row))].append(clip)
    by_label: dict[str, list[tuple]] = defaultdict(list)
    for take in sorted(takes):
        by_label[takes[take][0].label or ""].append(take)
    rng = np.random.default_rng(settings.seed)
    dealt = [by_label[label][i] for label in sorted(by_label) for i in rng.permutation(len(by_label[label]))]
    if len(dealt) < 10:
        raise DataError(f"protocol 'random' needs 10 clips, {corpus} has {len(dealt)}")
    slots = [tuple(clip for take in dealt[slot::10] for clip in takes[take]) for slot in range(10)]
    folds = []
    for k in range(5):
        test = slots[2 * k] + slots[2 * k + 1]
        validated = (2 * k + 2) % 10
        train = [slots[slot] for slot in range(10) if slot not in (2 * k, 2 * k + 1, validated)]
        train += [tuple(clip for clip in clips if clip.corpus != corpus)]
        folds.append(Fold(f"random (inflated) {k + 1}", sum(train, ()), slots[validated], test, inflated=True))
    return folds


def _copies(clips: list[Clip], settings: _Settings) -> list[Fold]:
    """One split by chance, 70 : 10 : 20, in which copies of one clip go their own ways: to show what that does."""
    order = np.random.default_rng(settings.seed).permutation(len(clips))
    ends = [0, round(0.7 * len(clips)), round(0.8 * len(clips)), len(clips)]
    train, val, test = (tuple(clips[i] for i in order[a:b]) for a, b in pairwise(ends))
    return [Fold("copies of one recording on both sides (inflated)", train, val, test, inflated=True, leaky=True)]


def _official(clips: list[Clip], settings: _Settings) -> list[Fold]:
    """The split that a corpus was published with; other corpora are trained on."""
    corpus = measured_corpus([clip for clip in clips if "split" in clip.info] or clips, settings.corpus)
    parts = _by_split(clip for clip in clips if clip.corpus == corpus)
    if not parts["train"] or not parts["test"]:
        raise DataError(f"{corpus} as found has no official training and test part: choose another protocol")
    others = tuple(clip for clip in clips if clip.corpus != corpus)
    return [Fold("official", parts["train"] + others, parts["val"], parts["test"])]


def _folds_of(
    name: str,
    groups: Sequence[set[tuple[str, str]]],
    clips: list[Clip],
    settings: _Settings,
    default_val: int,
    names: Sequence[str] = (),
) -> list[Fold]:
    """One fold for each group of tested subjects (of one corpus)."""
    (corpus,) = {corpus for group in groups for corpus, _ in group}
    folds = []
    for number, group in enumerate(groups):
        rest = [clip for clip in clips if subject_of(clip) not in group]
        left = len({subject_of(clip) for clip in rest if clip.corpus == corpus})
        # Unless told otherwise, a small corpus keeps at least half of its subjects for training.
        counts = _counts(settings, corpus, min(default_val, left // 2))
        validated = choose_subjects(rest, counts, [settings.seed, number])
        folds.append(holdout(clips, group, validated, f"{name} {names[number] if names else number + 1}"))
    return folds


def _counts(settings: _Settings, corpus: str, default: int) -> Mapping[str, int]:
    """Number of validation subjects by corpus."""
    if isinstance(settings.val, Mapping):
        return settings.val
    return {corpus: default if settings.val is None else settings.val}


def _by_split(clips: Iterable[Clip]) -> dict[str, tuple[Clip, ...]]:
    parts: dict[str, list[Clip]] = {"train": [], "val": [], "test": []}
    for clip in clips:
        parts[clip.info.get("split", "train")].append(clip)
    return {part: tuple(chosen) for part, chosen in parts.items()}


def _take(clip: Clip) -> tuple[str, str] | None:
    return (clip.corpus, clip.info["take"]) if "take" in clip.info else None


PROTOCOLS: dict[str, Callable[[list[Clip], _Settings], list[Fold]]] = {
    "actor6": _by_actor("actor6", ACTOR6),
    "luna5": _by_actor("luna5", LUNA5),
    "loso": _loso,
    "subject10": _by_subject(10),
    "subject5": _by_subject(5),
    "random": _random,
    "copies": _copies,
    "official": _official,
    "final": _final,
}
"""Protocols by name."""
