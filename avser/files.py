"""Writing a file so that it appears under its name only when it is complete; the folder for what is kept."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import platform
import re
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import platformdirs

ABANDONED = 24 * 3600.0
"""Age in s from which a temporary file that nobody has written to counts as left behind by a crash."""

_STARTED = time.time()
_numbers = itertools.count()


def cache_folder() -> Path:
    """Where decoded sound, crops and fetched files are kept: AVSER_CACHE, else the user's cache folder."""
    return Path(os.environ.get("AVSER_CACHE") or platformdirs.user_cache_dir("avser"))


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it takes the place of `path` where the block ends well.

    The folder is made. Whatever happens, the temporary file is gone in the end. Only a process that is killed
    leaves it, under a hidden name; the next one that writes to this folder removes it.
    """
    temporary = path.with_name(f".avser-{_machine():08x}-{os.getpid()}-{next(_numbers)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent.absolute())
        yield temporary
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # a folder that cannot be entered never held it
            temporary.unlink(missing_ok=True)


@functools.cache
def _machine() -> int:
    """A number for this machine: the processes of another one in a shared folder cannot be asked after."""
    return zlib.crc32(platform.node().encode())


@functools.lru_cache(maxsize=4096)
def _sweep(folder: Path) -> None:
    """Remove the temporary files that processes which are no more left in a folder; once a run and folder."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            found = re.fullmatch(r"\.avser-([0-9a-f]{8})-(\d+)-\d+\.tmp", path.name)
            if found and _left(path, int(found[1], 16), int(found[2])):
                path.unlink(missing_ok=True)


def _left(path: Path, machine: int, process: int) -> bool:
    """Whether nobody writes to a temporary file any more."""
    written = path.stat().st_mtime
    if time.time() - written > ABANDONED:
        return True
    if machine != _machine() or os.name != "posix":
        return False
    if process == os.getpid():  # in containers every run may have the same number
        return written < _STARTED - 1
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is another user's
        pass
    return False
