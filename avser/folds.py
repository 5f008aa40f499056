"""A fold: three parts of clips that refuse to share a subject.

Speech and faces give away who they are from. A model that has met a person, or worse the very take, measures what
it remembers; so a `Fold` whose parts share either cannot be built. The one exception says so in its name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from avser.subjects import subject_of
from avser.types import Clip, DataError


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
            self._refuse("take", take_of)
        if not self.inflated:
            self._refuse("subject", subject_of)

    def _refuse(self, what: str, key: Callable[[Clip], Any]) -> None:
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
    return Fold(name, tuple(parts["train"]), tuple(parts["val"]), tuple(parts["test"]))


def take_of(clip: Clip) -> tuple[str, str] | None:
    """Which performance it is, as (corpus, take), in whatever files it was kept; None if nobody knows."""
    return (clip.corpus, clip.info["take"]) if "take" in clip.info else None
