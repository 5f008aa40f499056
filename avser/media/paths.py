"""Which files are media, by their names, and which of them may be opened at all."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path

from avser.errors import MediaError

VIDEO_SUFFIXES = (
    *(".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
    *(".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
)
AUDIO_SUFFIXES = (
    *(".aac", ".ac3", ".aif", ".aiff", ".amr", ".au", ".caf", ".flac", ".m4a", ".mka", ".mp2", ".mp3", ".oga"),
    *(".ogg", ".opus", ".wav", ".weba", ".wma"),
)
MEDIA_SUFFIXES = frozenset(VIDEO_SUFFIXES + AUDIO_SUFFIXES)
"""Suffixes by which folders and corpora are searched. A file named outright is read whatever its suffix."""


def find_media(path: str | Path) -> list[Path]:
    """Media files at a path: the file itself, or all those in a folder and below it, sorted.

    Raises:
        MediaError: there is no such path, or a folder without media files.
    """
    path = Path(path)
    if not _is_folder(path):
        return [existing_file(path)]
    try:
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in MEDIA_SUFFIXES and p.is_file())
    except OSError as error:  # a disk that fails, a tree deeper than a path may be long
        raise MediaError(f"{show(path)} cannot be searched ({error.strerror}): name its files") from error
    files = [p for p in files if not p.name.startswith(".")]  # such as the ._name.mp4 that macOS leaves
    if not files:
        raise MediaError(f"no media files in {show(path)}: name a folder with videos or sound files")
    return files


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # `existing_file` says why
        return False


def existing_file(path: Path) -> Path:
    """The path, if a regular file lies there: to open anything else might take for ever."""
    file = show(path)
    try:
        status = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise MediaError(f"{file} is a link to a file that is not there: name the file itself") from None
        raise MediaError(f"there is no file {file}: check the name") from None
    except NotADirectoryError:
        raise MediaError(f"there is no file {file}: check the name") from None
    except (OSError, ValueError) as error:  # such as a name that is too long, links in a circle
        why = getattr(error, "strerror", None) or error
        raise MediaError(f"{file} cannot be opened ({why}): check the name") from error
    if stat.S_ISDIR(status.st_mode):
        raise MediaError(f"{file} is a folder: name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(f"{file} is no regular file: name a media file")
    return path


def readable_file(path: Path) -> Path:
    """The path, if there is a regular file that may be read and holds something."""
    existing_file(path)
    with contextlib.suppress(OSError):  # gone since: ffmpeg will say so
        if path.stat().st_size == 0:
            raise MediaError(f"{show(path)} is empty (0 bytes): record or copy it again")
    if not os.access(path, os.R_OK):
        raise MediaError(f"{show(path)} may not be read: change its permissions")
    return path


def url(path: Path) -> str:
    """A path as ffmpeg is to open it: by the file protocol, whatever the name looks like."""
    return f"file:{path.absolute()}"


def show(path: str | Path) -> str:
    r"""A path for a message of one line that any terminal can print, and that cannot command it.

    >>> print(show("a\nb\x1b[2J\u202e.mp4"))
    a\nb\x1b[2J\u202e.mp4
    """
    text = str(path).encode("utf-8", "backslashreplace").decode()
    return _UNSHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that break lines or turn the direction of text."""
