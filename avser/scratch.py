"""Folders that one process has for itself: temporary ones, which go with it however it ends, and those of runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from avser.types import ConfigError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A new folder among the machine's temporary files, removed in the end.

    A process that is killed leaves its own; whoever makes one with the same prefix removes that first.

    Args:
        prefix: beginning of the folder's name; it says whose it is, and what for.
    """
    _sweep(prefix)
    folder = Path(tempfile.mkdtemp(prefix=f".{prefix}"))
    lock = _lock(folder)
    folder = folder.rename(folder.with_name(folder.name.removeprefix(".")))  # now others see that it is locked
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock:
            lock.close()


def _sweep(prefix: str) -> None:
    """Remove the folders of killed processes: those that nobody locks, and that are not another user's."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if lock := _lock(folder):
            shutil.rmtree(folder, ignore_errors=True)
            lock.close()


def _lock(folder: Path) -> IO | None:
    """The lock on a folder, if nobody has it."""
    if fcntl is None:
        return None
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        file = stack.enter_context((folder / ".lock").open("w"))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        stack.pop_all()
        return file
    return None


@contextlib.contextmanager
def reserved(folder: Path) -> Iterator[None]:
    """A folder, made if need be, for this process alone until the end of the context. No file is left in it.

    Where files cannot be locked (Windows, some network drives) every process gets it.

    Raises:
        ConfigError: another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{folder}: another process is at work there; wait for it, or name another folder"
            ) from None
        except OSError:
            pass  # the drive has no locks
        yield
    finally:
        os.close(descriptor)
