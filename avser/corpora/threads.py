"""Work on many files, several at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")
Progress = Callable[[Iterable, int, str], Iterable]
"""Wraps what comes in, of which there are so many, to show how far it is; told what is being done."""


def each(function: Callable[[Item], Made], items: Iterable[Item], workers: int = 0) -> Iterator[Made]:
    """What a function makes of each item, in their order, several at a time.

    Closing the iterator, or Ctrl-C, leaves out what has not begun. For work that runs outside of Python, as by
    ffmpeg and in compressed files.

    Args:
        workers: how many at a time; 0 for as many as there are cores.
    """
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)
