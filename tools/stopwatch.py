"""Where the time of a prediction goes, by stage; for `bench_speed.py`."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

from avser import branches, media, speech, writers
from avser.faces import mouths, tracking
from avser.faces.finding import FaceFinder, FaceLooker
from avser.faces.pyramid import Pyramid
from avser.faces.shots import ShotDetector
from avser.story import Story

STAGES = (
    ("probe", media, "probe"),
    ("decode video", media, "iter_frames"),
    ("decode sound", media, "iter_audio"),
    ("detect", FaceFinder, "find"),
    ("follow", FaceLooker, "follow"),
    ("shots", ShotDetector, "update"),
    ("align", Pyramid, "crop"),
    ("looks", tracking, "describe"),
    ("track", tracking.PeopleFollower, "update"),
    ("mouths", mouths.MouthMeter, "opening"),
    ("face network", branches.Watcher, "flush"),
    ("voice network", branches, "hear"),
    ("speech", speech.SpeechFinder, "update"),
    ("speech", speech.SpeechFinder, "finish"),
    ("envelope", speech.EnvelopeFinder, "update"),
    ("fusion", Story, "window"),
    ("fusion", Story, "overall"),
    ("fusion", Story, "people"),
    ("write", writers, "write"),
)
"""Name of a stage, and the function that it is; what it calls of other stages does not count as its own."""


class Stopwatch:
    """Time of each stage, while its functions are called inside the context.

    Attributes:
        cpu, wall: s by stage, without ffmpeg's.
    """

    def __init__(self) -> None:
        self.cpu: dict[str, float] = defaultdict(float)
        self.wall: dict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._last = (0.0, 0.0)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Stopwatch:
        for stage, owner, name in STAGES:
            function = getattr(owner, name)
            setattr(owner, name, self._timed(stage, function))
            self._stack.callback(setattr, owner, name, function)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def _in(self, stage: str) -> Iterator[None]:
        self._count()
        self._running.append(stage)
        try:
            yield
        finally:
            self._count()
            self._running.pop()

    def _count(self) -> None:
        """Put what has passed down to the stage that runs."""
        now = (time.process_time(), time.perf_counter())
        if self._running:
            self.cpu[self._running[-1]] += now[0] - self._last[0]
            self.wall[self._running[-1]] += now[1] - self._last[1]
        self._last = now

    def _timed(self, stage: str, function: Callable) -> Callable:
        @functools.wraps(function)
        def timed(*args, **kwargs):
            with self._in(stage):
                made = function(*args, **kwargs)
            return self._steps(stage, made) if isinstance(made, Iterator) else made

        return timed

    def _steps(self, stage: str, items: Iterator) -> Iterator:
        """An iterator whose own work is timed, but not what is done between its items."""
        with contextlib.closing(items):
            while True:
                with self._in(stage):
                    item = next(items, self)
                if item is self:
                    return
                yield item
