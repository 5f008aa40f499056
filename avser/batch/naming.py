"""Names for the results of many files, no two alike on any file system."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

LONGEST_NAME = 200
"""Bytes of a result's name; file systems allow 255, of which suffixes need some."""


def stems(wanted: Sequence[tuple[str, str]], reserved: Iterable[str] = ()) -> Iterator[str]:
    """Where each result goes below the output folder, without the format's suffix.

    A name that several files want gets the media suffix, and a number if that is not enough. Names that differ in
    case or in the way their letters are coded count as one, as they do on some file systems.

    Args:
        wanted: (stem, suffix of the media file) by file.
        reserved: names that are taken already.

    >>> list(stems([("a", ".mp4"), ("x/a", ".mp4"), ("b", ".mp4"), ("B", ".wav")]))
    ['a', 'x/a', 'b.mp4', 'B.wav']
    """
    shared = Counter(_folded(stem) for stem, _ in wanted)
    taken = {_folded(name) for name in reserved}
    numbers: Counter[str] = Counter()  # tries so far, as thousands of files may want one name
    for stem, suffix in wanted:
        first = final = _short(stem if shared[_folded(stem)] == 1 else stem + suffix)
        key = _folded(first)
        while _folded(final) in taken:
            numbers[key] += 1
            final = f"{first}-{numbers[key] + 1}"
        taken.add(_folded(final))
        yield final


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _short(stem: str) -> str:
    """A stem whose last part leaves room for suffixes; what is cut off lives on in a digest."""
    folder, name = os.path.split(stem)
    coded = os.fsencode(name)
    if len(coded) <= LONGEST_NAME:
        return stem
    digest = hashlib.blake2b(coded, digest_size=8).hexdigest()
    kept = coded[: LONGEST_NAME - 20].decode("utf-8", "ignore")
    return str(Path(folder, f"{kept}-{digest}"))
