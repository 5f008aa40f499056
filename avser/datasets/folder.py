"""Your own recordings or pictures: one sub-folder per emotion.

`angry/anna_01.mp4` is a clip of the class angry; hidden folders are passed over, and files that lie directly in
the root have no class. To split by person, and so to measure honestly, give a regular expression that finds the
subject in a file's path: `subject=r"/([a-z]+)_"` finds anna.
"""

from __future__ import annotations

import re
from pathlib import Path

from avser.datasets._facts import Facts, Part
from avser.datasets._files import IMAGE_SUFFIXES, MEDIA_SUFFIXES, find
from avser.labels import ALIASES, EMOTIONS, canonical
from avser.types import Clip, ConfigError, DataError


def scan(root: Path, subject: str | None = None) -> list[Clip]:
    """The clips in the sub-folders of `root`.

    Args:
        root: the folder of folders.
        subject: regular expression, searched in the path relative to `root` (with `/`); its group named
            `subject`, else its first group, is the subject.

    Raises:
        DataError: a sub-folder is no emotion, or the expression does not match a file.
        ConfigError: the expression is none, or has no group.
    """
    pattern = None if subject is None else _compile(subject)
    if not root.is_dir():
        return []
    clips = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        label = _label(folder)
        for path in find(folder, MEDIA_SUFFIXES | IMAGE_SUFFIXES):
            who = None if pattern is None else _subject(pattern, path.relative_to(root).as_posix(), root)
            clips.append(Clip(path, label, who, "folder"))
    return clips


def _label(folder: Path) -> str:
    if folder.name.lower() not in {*EMOTIONS, *ALIASES}:
        raise DataError(
            f"the folder {folder} is named after no emotion: rename it to one of {', '.join(EMOTIONS)} "
            f"(or {', '.join(ALIASES)}), or move it away"
        )
    return canonical(folder.name)


def _compile(subject: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(subject)
    except re.error as error:
        raise ConfigError(f"subject {subject!r} is no regular expression: {error}") from error
    if not pattern.groups:
        raise ConfigError(f"subject {subject!r} has no group: put the part that names the subject in parentheses")
    return pattern


def _subject(pattern: re.Pattern[str], path: str, root: Path) -> str:
    match = pattern.search(path)
    found = match and match.group("subject" if "subject" in pattern.groupindex else 1)
    if not found:
        # A clip of nobody could land on both sides of a split.
        raise DataError(f"subject {pattern.pattern!r} finds nobody in {path} below {root}: mend one of them")
    return found


FACTS = Facts(
    title="your own",
    page=None,
    licence="your own",
    citation=None,
    layout="one sub-folder per emotion (angry, happy, …) with the media files or pictures of it",
    emotions=EMOTIONS,
    parts={"clips": Part()},
    name_of=lambda clip: str(clip.path),
    any_names=True,
)
