"""Windows over a file: where they lie, and the sound of each, read once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from avser import media
from avser.types import AudioTrack

Tap = Callable[[AudioTrack], None]


def window_grid(duration: float, window: float, hop: float) -> list[tuple[float, float]]:
    """Windows over a file, as (start, end) in s: one every `hop`, the last one flush with the end.

    >>> window_grid(4.5, 3.0, 1.0)
    [(0.0, 3.0), (1.0, 4.0), (1.5, 4.5)]
    >>> window_grid(2.0, 3.0, 1.0)
    [(0.0, 2.0)]
    """
    if duration <= window:
        return [(0.0, duration)]
    count = math.floor((duration - window) / hop + 1e-9) + 1
    grid = [(k * hop, k * hop + window) for k in range(count)]
    if duration - grid[-1][1] > 1e-3:
        grid.append((duration - window, duration))
    return grid


def audio_windows(
    path: Path, rate: int, window: float, hop: float, seen: Callable[[], float], taps: Iterable[Tap] = ()
) -> Iterator[tuple[float, float, AudioTrack]]:
    """Each window of the grid with a stretch of sound that covers it, reading the sound once.

    Args:
        seen: tells the end of the video, in s; the grid goes on to the later of the two ends. It is asked when the
            sound has ended.
        taps: each gets all of the sound in blocks, one after the other, before the windows that lie in them.
    """
    held = AudioTrack(np.zeros(0, np.float32), rate)
    count = 0  # windows of the grid that have been handed out
    for block in media.iter_audio(path, rate):
        for tap in taps:
            tap(block)
        samples = np.concatenate([held.samples, block.samples]) if len(held.samples) else block.samples
        held = AudioTrack(samples, rate, held.start if len(held.samples) else block.start)
        while count * hop + window <= held.end:
            yield count * hop, count * hop + window, held
            count += 1
        # the window that is flush with the end may begin one hop before the next one of the grid
        held = held.between(min((count - 1) * hop, held.end - window - hop), held.end)
    duration = max(held.end, seen())
    for start, end in window_grid(duration, window, hop)[count:]:
        yield start, end, held
