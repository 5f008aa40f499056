"""Finding the files of a corpus: by suffix, in a fixed order, without opening any of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from avser.media.headers import AUDIO_SUFFIXES, MEDIA_SUFFIXES
from avser.types import Clip

__all__ = ["AUDIO_SUFFIXES", "IMAGE_SUFFIXES", "MEDIA_SUFFIXES", "distinct", "find"]

IMAGE_SUFFIXES = frozenset([".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"])


def find(root: Path, suffixes: Iterable[str]) -> list[Path]:
    """All files below `root` with one of the suffixes (lower case, with dot), sorted; hidden ones are skipped."""
    suffixes = frozenset(suffixes)
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(folder, name)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes  # noqa: PTH122 (speed)
        ]
    return sorted(found)


def distinct(clips: Iterable[Clip], key: Callable[[Clip], object]) -> list[Clip]:
    """The first clip of each key: archives are often unpacked twice, or kept beside a converted copy."""
    first: dict[object, Clip] = {}
    for clip in clips:
        first.setdefault(key(clip), clip)
    return list(first.values())
