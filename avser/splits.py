"""Protocols: how clips are dealt into folds that refuse to share a subject, and some that say that they do not."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from avser.folds import Fold, holdout, take_of
from avser.subjects import (
    choose_subjects,
    deal_subjects,
    everyone_in,
    find_subject,
    measured_corpus,
    subject_of,
    subjects_of,
)
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

    One corpus is measured, and the clips of all others go to the training part of every fold; protocols whose name
    begins with `pooled`, and `copies`, measure all corpora at once.

    Args:
        protocol: see `PROTOCOLS`.
        seed: chooses the validation subjects (and deals the folds of `random`, `subject…` and `pooled…`).
        val: number of validation subjects a fold, evenly women and men where the corpus tells, or that number for
            each corpus by name; None for what suits the protocol. They are taken from what would be trained on.
            `pooled5` shares one number out over the corpora by their sizes; `pooled_random` validates on a tenth
            of the clips, whatever it is.
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
    if val is not None and protocol in ("random", "official", "official_or_random", "copies"):
        raise ConfigError(f"protocol {protocol!r} does not choose validation subjects: drop val")
    if isinstance(val, int) and val < 0:
        raise DataError(f"cannot set {val} validation subjects apart: give a number from 0 on")
    clips = sorted(
        clips, key=lambda clip: (clip.corpus, str(clip.path), clip.row or 0, clip.start, clip.info.get("copy", ""))
    )
    if not clips:
        raise DataError("there are no clips to make folds of")
    return PROTOCOLS[protocol](clips, _Settings(seed, val, corpus, exclude))


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
            rest, _counts(settings, {measured_corpus(known, settings.corpus): 0}, 4), settings.seed
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


def _pooled(k: int) -> Callable[[list[Clip], _Settings], list[Fold]]:
    """Folds over all corpora at once, disjoint by subject, even in the labels of each corpus."""
    name = f"pooled{k}"

    def protocol(clips: list[Clip], settings: _Settings) -> list[Fold]:
        subjects = sorted(everyone_in(clips))
        if unknown := [clip for clip in clips if clip.subject is None]:
            raise DataError(
                f"protocol {name!r} splits by subject, but {len(unknown)} clips have none (the first is "
                f"{unknown[0].name} of {unknown[0].corpus}): leave that corpus out or choose pooled_random"
            )
        if len(subjects) < k:
            raise DataError(f"protocol {name!r} needs {k} subjects, there are {len(subjects)}: choose loso")
        # A label of another corpus is another label, so that every corpus is dealt out evenly by itself.
        apart = [dataclasses.replace(clip, label=f"{clip.corpus} {clip.label}") for clip in clips]
        groups = deal_subjects(apart, subjects, k, settings.seed)
        return _folds_of(name, groups, clips, settings, max(2, round(len(subjects) * (1 - 1 / k) / 10)))

    return protocol


def _by_chance(name: str, pooled: bool) -> Callable[[list[Clip], _Settings], list[Fold]]:
    """Five folds by chance, 70 : 10 : 20, even in labels: what inflated figures in the literature are made of."""

    def protocol(clips: list[Clip], settings: _Settings) -> list[Fold]:
        corpora = {clip.corpus for clip in clips} if pooled else {measured_corpus(clips, settings.corpus)}
        takes: dict[tuple, list[Clip]] = defaultdict(list)
        for clip in clips:
            if clip.corpus in corpora:
                takes[take_of(clip) or (clip.corpus, str(clip.path), str(clip.row))].append(clip)
        by_label: dict[tuple, list[tuple]] = defaultdict(list)
        for take in sorted(takes):
            by_label[takes[take][0].corpus, takes[take][0].label or ""].append(take)
        rng = np.random.default_rng(settings.seed)
        dealt = [by_label[label][i] for label in sorted(by_label) for i in rng.permutation(len(by_label[label]))]
        if len(dealt) < 10:
            raise DataError(f"protocol {name!r} needs 10 clips, {', '.join(sorted(corpora))} has {len(dealt)}")
        slots = [tuple(clip for take in dealt[slot::10] for clip in takes[take]) for slot in range(10)]
        others = tuple(clip for clip in clips if clip.corpus not in corpora)
        folds = []
        for k in range(5):
            test = slots[2 * k] + slots[2 * k + 1]
            validated = (2 * k + 2) % 10
            train = [slots[slot] for slot in range(10) if slot not in (2 * k, 2 * k + 1, validated)]
            parts = (sum([*train, others], ()), slots[validated], test)
            folds.append(Fold(f"{name} (inflated) {k + 1}", *parts, inflated=True))
        return folds

    return protocol


def _copies(clips: list[Clip], settings: _Settings) -> list[Fold]:
    """One split of all corpora by chance, 70 : 10 : 20, in which copies of one clip go their own ways."""
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


def _official_or_random(clips: list[Clip], settings: _Settings) -> list[Fold]:
    """The published split where the corpus as found tells one, else folds by chance."""
    told = any("split" in clip.info for clip in clips)
    return _official(clips, settings) if told else _by_chance("random", pooled=False)(clips, settings)


def _folds_of(
    name: str,
    groups: Sequence[set[tuple[str, str]]],
    clips: list[Clip],
    settings: _Settings,
    default_val: int,
    names: Sequence[str] = (),
) -> list[Fold]:
    """One fold for each group of tested subjects."""
    corpora = {corpus for group in groups for corpus, _ in group}
    folds = []
    for number, group in enumerate(groups):
        rest = [clip for clip in clips if subject_of(clip) not in group]
        left = Counter(corpus for corpus, _ in everyone_in(clip for clip in rest if clip.corpus in corpora))
        # Unless told otherwise, a small corpus keeps at least half of its subjects for training.
        counts = _counts(settings, left, min(default_val, left.total() // 2))
        validated = choose_subjects(rest, counts, [settings.seed, number])
        folds.append(holdout(clips, group, validated, f"{name} {names[number] if names else number + 1}"))
    return folds


def _counts(settings: _Settings, left: Mapping[str, int], default: int) -> Mapping[str, int]:
    """Number of validation subjects by corpus, in proportion to those `left` (by highest averages, D'Hondt)."""
    if isinstance(settings.val, Mapping):
        return settings.val
    counts = dict.fromkeys(sorted(left), 0)
    for _ in range(default if settings.val is None else settings.val):
        counts[max(counts, key=lambda corpus: left[corpus] / (counts[corpus] + 1))] += 1
    return counts


def _by_split(clips: Iterable[Clip]) -> dict[str, tuple[Clip, ...]]:
    parts: dict[str, list[Clip]] = {"train": [], "val": [], "test": []}
    for clip in clips:
        parts[clip.info.get("split", "train")].append(clip)
    return {part: tuple(chosen) for part, chosen in parts.items()}


PROTOCOLS: dict[str, Callable[[list[Clip], _Settings], list[Fold]]] = {
    "actor6": _by_actor("actor6", ACTOR6),
    "luna5": _by_actor("luna5", LUNA5),
    "loso": _loso,
    "subject10": _by_subject(10),
    "subject5": _by_subject(5),
    "pooled5": _pooled(5),
    "random": _by_chance("random", pooled=False),
    "pooled_random": _by_chance("pooled_random", pooled=True),
    "copies": _copies,
    "official": _official,
    "official_or_random": _official_or_random,
    "final": _final,
}
"""Protocols by name."""
