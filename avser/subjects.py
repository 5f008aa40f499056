"""Who is in a corpus, and choosing among them: by name, by chance, and evenly in genders or labels.

A subject is a pair (corpus, subject), for each corpus counts its people by itself.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from avser.types import Clip, DataError


def subject_of(clip: Clip) -> tuple[str, str] | None:
    """Who is in the clip, as (corpus, subject); None if nobody knows."""
    return None if clip.subject is None else (clip.corpus, clip.subject)


def everyone_in(clips: Iterable[Clip]) -> set[tuple[str, str]]:
    """Who is in the clips, as (corpus, subject), as far as it is known."""
    return {who for clip in clips if (who := subject_of(clip)) is not None}


def choose_subjects(
    clips: Sequence[Clip], counts: Mapping[str, int], seed: int | list[int]
) -> set[tuple[str, str]]:
    """Subjects to set apart, by chance, in turn of each gender.

    Args:
        counts: number wanted, by corpus.

    Raises:
        DataError: a corpus would have nobody left.
    """
    rng = np.random.default_rng(seed)
    chosen: set[tuple[str, str]] = set()
    for corpus in sorted(counts):
        genders: dict[str, list[tuple[str, str]]] = defaultdict(list)
        gender_of = {
            (corpus, c.subject): c.info.get("gender", "") for c in clips if c.corpus == corpus and c.subject
        }
        if not 0 <= counts[corpus] < max(1, len(gender_of)):
            raise DataError(
                f"cannot set {counts[corpus]} validation subjects of {corpus} apart: "
                f"{len(gender_of)} are left to train on"
            )
        for who in sorted(gender_of):
            genders[gender_of[who]].append(who)
        queues = [[genders[g][i] for i in rng.permutation(len(genders[g]))] for g in sorted(genders)]
        # Which gender gets the odd one is up to chance too.
        queues = [queues[i] for i in rng.permutation(len(queues))]
        turns = sorted((turn, q) for q, queue in enumerate(queues) for turn in range(len(queue)))
        chosen |= {queues[q][turn] for turn, q in turns[: counts[corpus]]}
    return chosen


def deal_subjects(clips: Sequence[Clip], subjects: Sequence[tuple[str, str]], k: int, seed: int) -> list[set]:
    """`k` groups of subjects, each one put by chance and in order of size where it evens out the labels best."""
    labels = sorted({clip.label or "" for clip in clips})
    counts = {who: np.zeros(len(labels)) for who in subjects}
    for clip in clips:
        if who := subject_of(clip):
            counts[who][labels.index(clip.label or "")] += 1
    shares = {who: count / sum(counts.values()) for who, count in counts.items()}
    order = [subjects[i] for i in np.random.default_rng(seed).permutation(len(subjects))]
    order.sort(key=lambda who: -counts[who].sum())  # the largest first, while there is room to even out
    groups: list[set] = [set() for _ in range(k)]
    held = np.zeros((k, len(labels)))
    for place, who in enumerate(order):
        empty = [g for g in range(k) if not groups[g]]
        choices = empty if len(empty) >= len(order) - place else range(k)
        best = min(choices, key=lambda g: float(((held[g] + shares[who]) ** 2 - held[g] ** 2).sum()))
        groups[best].add(who)
        held[best] += shares[who]
    return groups


def measured_corpus(clips: Sequence[Clip], corpus: str | None) -> str:
    """The corpus that figures are about: the one that is named, else RAVDESS, else the only one.

    Raises:
        DataError: there are no such clips, or several corpora to choose from.
    """
    corpora = Counter(clip.corpus for clip in clips)
    if corpus is None:
        if "ravdess" not in corpora and len(corpora) > 1:
            raise DataError(f"say which corpus is measured: corpus is one of {', '.join(sorted(corpora))}")
        return "ravdess" if "ravdess" in corpora else next(iter(corpora))
    if corpus not in corpora:
        raise DataError(f"there are no clips of corpus {corpus!r}, only of {', '.join(sorted(corpora))}")
    return corpus


def subjects_of(clips: Sequence[Clip], corpus: str, protocol: str) -> list[tuple[str, str]]:
    """All (corpus, subject) of a corpus, sorted.

    Raises:
        DataError: a clip has no subject, or there is only one; the message names the `protocol`.
    """
    measured = [clip for clip in clips if clip.corpus == corpus]
    unknown = [clip for clip in measured if clip.subject is None]
    if unknown:
        raise DataError(
            f"protocol {protocol!r} splits by subject, but {len(unknown)} clips of {corpus} have none "
            f"(the first is {unknown[0].name}): choose official or random"
        )
    subjects = sorted(everyone_in(measured))
    if len(subjects) < 2:
        raise DataError(f"protocol {protocol!r} needs two subjects, {corpus} as found has {len(subjects)}")
    return subjects


def find_subject(clips: Sequence[Clip], name: str) -> tuple[str, str]:
    """The (corpus, subject) that "01" or "ravdess/01" names.

    Raises:
        DataError: it names nobody, or more than one.
    """
    everyone = everyone_in(clips)
    found = sorted(who for who in everyone if name in (who[1], "/".join(who)))
    if len(found) != 1:
        among = ", ".join("/".join(who) for who in (found or sorted(everyone)))
        raise DataError(f"{'no' if not found else 'more than one'} subject is named {name!r}: choose from {among}")
    return found[0]
