"""Pictures and sound as they happen, on one clock: of a camera and a microphone, or of a file in real time.

Each stream is read by a thread of its own, so that nothing waits where it comes from. What nobody looks at in time
is dropped: memory and delay stay bounded however slow the machine is.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

import numpy as np

from avser.types import AudioTrack, Frame

START = 60.0
"""Longest time that one stream waits for the other to begin, s."""
DRIFT = 0.25
"""Difference between a microphone's count of samples and the clock that is let be, s."""

Item = TypeVar("Item", bound=Frame | AudioTrack)


class Clock:
    """Time in s since all streams had begun, of this many streams."""

    def __init__(self, streams: int) -> None:
        self._zero: float | None = None
        self._all_here = threading.Barrier(streams, action=self._start)

    def _start(self) -> None:
        self._zero = time.monotonic()

    def now(self) -> float:
        return 0.0 if self._zero is None else time.monotonic() - self._zero

    def begin(self) -> None:
        """A stream has begun; waits for the others."""
        try:
            self._all_here.wait(START)
        except threading.BrokenBarrierError:  # one came to nothing: the others go on
            if self._zero is None:
                self._start()

    def give_up(self) -> None:
        """A stream has come to nothing, or is over."""
        self._all_here.abort()

    def wait(self, until: float) -> None:
        if (left := until - self.now()) > 0:
            time.sleep(left)


def played_frames(frames: Generator[Frame], clock: Clock) -> Generator[Frame]:
    """The frames of a file, each when its time has come."""
    return _played(frames, clock, lambda frame: frame.time)


def played_sound(blocks: Generator[AudioTrack], clock: Clock) -> Generator[AudioTrack]:
    """The sound of a file, each block when it has been heard to its end."""
    return _played(blocks, clock, lambda block: block.end)


def _played(items: Generator[Item], clock: Clock, due: Callable[[Item], float]) -> Generator[Item]:
    with contextlib.closing(items):
        for number, item in enumerate(items):
            if not number:
                clock.begin()
            clock.wait(due(item))
            yield item


def live_frames(images: Generator[np.ndarray], clock: Clock) -> Generator[Frame]:
    """Pictures of a camera with the time at which they come."""
    with contextlib.closing(images):
        for number, image in enumerate(images):
            if not number:
                clock.begin()
            yield Frame(clock.now(), image)


def live_sound(blocks: Generator[np.ndarray], rate: int, clock: Clock) -> Generator[AudioTrack]:
    """Sound of a microphone. Its samples are counted, and the count is corrected where it leaves the clock."""
    with contextlib.closing(blocks):
        start = None
        for samples in blocks:
            if start is None:
                clock.begin()
            came = clock.now() - len(samples) / rate
            if start is None or abs(came - start) > DRIFT:
                start = came
            yield AudioTrack(samples, rate, start)
            start += len(samples) / rate


class Feed(threading.Thread, Generic[Item]):
    """Reads a stream. `most` items are kept, the latest ones.

    Attributes:
        end: how far the stream has come, s.
        over: whether nothing more comes.
        error: why, if it is an error.
        dropped: items that nobody took in time.
    """

    def __init__(self, items: Generator[Item], clock: Clock, most: int) -> None:
        super().__init__(daemon=True)
        self._items, self._clock = items, clock
        self._kept: deque[Item] = deque(maxlen=most)
        self._lock = threading.Condition()
        self._stopped = False
        self.end, self.over, self.dropped = 0.0, False, 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with contextlib.closing(self._items):
                for item in self._items:
                    with self._lock:
                        if self._stopped:
                            break
                        self.dropped += len(self._kept) == self._kept.maxlen
                        self._kept.append(item)
                        self.end = item.end if isinstance(item, AudioTrack) else item.time
                        self._lock.notify()
        except Exception as error:  # whatever it is, it is raised where the items are taken
            self.error = error
        finally:
            self._clock.give_up()
            with self._lock:
                self.over = True
                self._lock.notify()

    def stop(self) -> None:
        """Let the thread end; the program that it reads from ends with it."""
        with self._lock:
            self._stopped = True

    def take(self, patience: float) -> Item | None:
        """The next item; None if none comes in `patience` s."""
        with self._lock:
            if not self._kept and not self.over:
                self._lock.wait(patience)
            return self._kept.popleft() if self._kept else None

    @property
    def empty(self) -> bool:
        """Whether nothing more is to be taken."""
        with self._lock:
            return self.over and not self._kept

    def between(self: Feed[AudioTrack], start: float, end: float) -> list[AudioTrack]:
        """What is kept of a stretch of sound."""
        with self._lock:
            return [item for item in self._kept if item.end > start and item.start < end]
