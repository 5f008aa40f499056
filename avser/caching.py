"""Arrays that took long to make, kept on disk for the next run."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from avser.files import cache_folder, replacing
from avser.types import Clip, DataError


def file_digest(path: Path) -> hashlib.blake2b:
    """Digest of the bytes of a file, to which more can be added.

    Raises:
        DataError: it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); get the file again") from None
    return digest


def cached(clip: Clip, settings: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """An array from the cache, keyed by the file's content and the settings; made and stored if not there."""
    digest = file_digest(clip.path)
    digest.update(f"{clip.start}|{clip.end}|{settings}".encode())
    key = digest.hexdigest()
    path = cache_folder() / key[:2] / f"{key}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        pass  # not there yet, or cut short by a crash: made anew
    array = make()
    # a full or read-only disk costs speed, not the result
    with contextlib.suppress(OSError), replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)
    return array
