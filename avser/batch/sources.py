"""Which files a job is about: paths, folders, patterns, lists and manifests; each file once, its results named.

What is kept of a file is small, for there may be a hundred thousand.
"""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from avser.batch.manifests import Wish, listed, rows
from avser.batch.naming import stems
from avser.media.paths import MEDIA_SUFFIXES, find_media, show
from avser.options import Options
from avser.types import AvserError, ConfigError, MediaError


@dataclass(frozen=True, slots=True)
class Source:
    """One file of a job.

    Attributes:
        path: as given, or below what was given.
        options: settings for this file.
        stem: place and name of its results below the output folder, without a suffix.
        size: in bytes, when it was found.
        extra: what a manifest says besides, in the order of `Found.columns`.
        error: why there is no such file, in one sentence.
    """

    path: str
    options: Options
    stem: str = ""
    size: int = 0
    extra: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Found:
    """The files of a job in the order in which they were named, and the manifest's columns that avser ignores."""

    sources: list[Source]
    columns: tuple[str, ...] = ()


def find(
    given: Iterable[str | Path],
    options: Options,
    list_file: str | None = None,
    manifest: str | None = None,
    reserved: Iterable[str] = (),
) -> Found:
    """All files that are meant, each once.

    A file that two names or two folders lead to is one file, unless a manifest asks for it with several settings
    or outputs. What cannot be found is a source with an `error`, so that it costs nothing but itself.

    Args:
        given: files and folders, which are searched with all below them. A `str` may also be a pattern
            (`clips/**/*.mp4`), or `@FILE` for a list; a `Path`, or the name of something that exists, is taken as
            it is.
        options: settings of files for which a manifest has no others.
        list_file: see `avser.batch.manifests.listed`. manifest: see `avser.batch.manifests.rows`.
        reserved: names that no result may have.

    Raises:
        ConfigError: a list or manifest cannot be read or makes no sense, or nothing is named at all.
    """
    wishes: list[Iterable[Wish]] = [_arguments(given, options)]
    columns: tuple[str, ...] = ()
    if list_file is not None:
        wishes.append(listed(list_file, options))
    if manifest is not None:
        columns, wanted = rows(manifest, options)
        wishes.append(wanted)
    found, places, seen = [], [], set()
    real = functools.cache(os.path.realpath)  # of folders: thousands of files share a few
    for wish in (wish for part in wishes for wish in part):
        for source, place in _expanded(wish):
            folder, name = os.path.split(source.path)
            key = (real(folder), name, wish.options, wish.output)
            if key not in seen:
                seen.add(key)
                found.append(source)
                places.append(place)
    if not found:
        raise ConfigError("no files are named: give VIDEO, a list or a manifest that names some")
    names = stems([place for place in places if place], reserved)
    return Found([replace(s, stem=next(names)) if p else s for s, p in zip(found, places, strict=True)], columns)


def _arguments(given: Iterable[str | Path], options: Options) -> Iterator[Wish]:
    for text in given:
        if isinstance(text, str) and text.startswith("@") and not os.path.lexists(text):
            yield from listed(text[1:], options)
        else:
            yield Wish(os.fspath(text), options, pattern=isinstance(text, str))


def _expanded(wish: Wish) -> Iterator[tuple[Source, tuple[str, str] | None]]:
    """The files of a wish, each with the stem and suffix that its results want; None where there is no file."""
    try:
        root, paths = _search(wish)
    except AvserError as error:
        sentence = " ".join(str(error).split())
        yield Source(wish.path, wish.options, extra=wish.extra, error=sentence), None
        return
    for path in paths:
        try:
            size = path.stat().st_size
        except OSError:  # gone in the meantime, which will be said when its turn comes
            size = 0
        source = Source(str(path), wish.options, size=size, extra=wish.extra)
        yield source, (wish.output or _place(path, wish.root, root), path.suffix)


def _search(wish: Wish) -> tuple[Path | None, list[Path]]:
    """The folder that was searched, if it was one, and the files."""
    if not wish.path:
        raise MediaError("an empty name is given: name a file or folder")
    path = Path(wish.path)
    if wish.pattern and glob.has_magic(wish.path) and not os.path.lexists(wish.path):
        return _matches(path)
    files = find_media(path)
    return (None if files == [path] else path), files


def _matches(pattern: Path) -> tuple[Path, list[Path]]:
    """The folder before the first wildcard, and the media files that match; folders that match are searched.

    A file without a media suffix counts where the pattern spells its suffix out.
    """
    parts = pattern.parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root, rest = Path(*parts[:fixed]), parts[fixed:]
    if rest[-1] == "**":
        rest = (*rest, "*")
    suffixes = MEDIA_SUFFIXES | {Path(rest[-1]).suffix.lower()}
    files: list[Path] = []
    try:
        for path in sorted(root.glob(str(Path(*rest)))):
            if path.name.startswith(".") and not rest[-1].startswith("."):
                continue
            if path.is_dir():
                files += [] if "**" in rest else _media_in(path)
            elif path.suffix.lower() in suffixes:
                files.append(path)
    except (OSError, ValueError, NotImplementedError) as error:
        why = getattr(error, "strerror", None) or error
        raise MediaError(f"{show(pattern)} cannot be searched ({why}): correct the pattern") from None
    if not files:
        raise MediaError(f"no media files match {show(pattern)}: check the pattern")
    return root, files


def _media_in(folder: Path) -> list[Path]:
    try:
        return find_media(folder)
    except MediaError:  # a folder without media among those that match
        return []


def _place(path: Path, *roots: str | Path | None) -> str:
    """Stem of a file's results: its place below the first of these folders that it lies in, else its name."""
    for root in roots:
        if root is not None:
            below = _below(path, root)
            if below is not None:
                return str(below.with_suffix(""))
    return path.stem


def _below(path: Path, root: str | Path) -> Path | None:
    try:
        below = Path(os.path.relpath(path, root or os.curdir))
    except ValueError:  # on another drive
        return None
    return None if below.parts[0] == os.pardir else below
