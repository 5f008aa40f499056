"""Writing a file so that it appears under its name only when it is complete."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it takes the place of `path` where the block ends well.

    The folder is made. Whatever happens, the temporary file is gone in the end.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # a folder that cannot be entered never held it
            temporary.unlink(missing_ok=True)
