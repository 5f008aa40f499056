"""Files and rows of a corpus that are identical, apart from those that are so in the official release."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence
from operator import itemgetter
from pathlib import Path

from avser import datasets
from avser.caching import file_digest
from avser.corpora.threads import Progress, each
from avser.datasets import Facts
from avser.types import Clip, DataError


def unread(root: Path, clips: Sequence[Clip]) -> list[Path]:
    """Files that bear the name of a clip and are not read: unpacked twice, or beside a converted copy."""
    if not root.is_dir():
        return []
    read = {clip.path for clip in clips}
    suffixes = {path.suffix.lower() for path in read} | datasets.MEDIA_SUFFIXES
    stems = {path.stem for path in read}
    return [path for path in datasets.find(root, suffixes) if path.stem in stems and path not in read]


def twins(
    clips: Sequence[Clip], copies: Sequence[Path], facts: Facts, progress: Progress
) -> tuple[list[list[str]], list[list[str]]]:
    """Groups of identical files and rows, by their paths: those that should not be, and the official release's.

    Args:
        copies: files that are not read.
    """
    files = {clip.path: facts.name_of(clip) for clip in clips if clip.row is None}
    files |= {path: str(path) for path in copies}
    sizes: dict[int, list[Path]] = defaultdict(list)
    for path in files:
        if path.is_file() and (size := path.stat().st_size):
            sizes[size].append(path)
    alike = [path for group in sizes.values() if len(group) > 1 for path in group]
    groups: dict[Hashable, list[tuple[str, str]]] = defaultdict(list)  # name and place of each
    digests = each(_digest, alike)
    for path, digest in zip(alike, progress(digests, len(alike), "comparing files"), strict=True):
        groups[digest].append((files[path], str(path)))
    for clip in clips:
        if clip.row is not None and facts.opened is None and (digest := _row_digest(clip)):
            groups[digest].append((facts.name_of(clip), f"{clip.path}:{clip.row}"))
    found = [sorted(group, key=itemgetter(1)) for digest, group in groups.items() if digest and len(group) > 1]
    official = {frozenset(group) for group in facts.twins}
    known = [group for group in found if frozenset(name for name, _ in group) in official]
    not_read = set(map(str, copies))
    unnamed = [group for group in found if group not in known and not not_read & {where for _, where in group}]
    if len(unnamed) <= facts.twin_groups:
        known += unnamed
    rest = [group for group in found if group not in known]
    return [[where for _, where in group] for group in rest], [[where for _, where in group] for group in known]


def _digest(path: Path) -> bytes | None:
    try:
        return file_digest(path).digest()
    except DataError:  # it is among the corrupt
        return None


def _row_digest(clip: Clip) -> bytes | None:
    try:
        return hashlib.blake2b(datasets.load_image(clip).tobytes(), digest_size=16).digest()
    except DataError:
        return None
