"""ffmpeg reading a file whose output comes through a pipe: the times of its frames, and how it ended."""

from __future__ import annotations

import logging
import queue
import re

from avser.media.headers import MAX_DURATION, Header
from avser.media.paths import show, url
from avser.media.processes import CPU_BASE, CPU_PER_SECOND, MAX_MEMORY, Process
from avser.types import MediaError

FILE = "file:"
"""Stands for the file in a graph: ffmpeg-python takes no name that holds bytes which are no text."""

_COMPLAINT = re.compile(r"\S.*(error|invalid|corrupt|partial file|prematurely|truncat)", re.I)
_log = logging.getLogger(__name__)


class NoStreamError(MediaError):
    """A file has no sound where sound was asked for, or no picture where frames were."""


class Reading(Process):
    """A running ffmpeg whose output is read from a pipe.

    Args:
        output: an ffmpeg-python graph on an input called `FILE`.
        header: of the file.
    """

    def __init__(self, output, header: Header) -> None:
        self.times: queue.SimpleQueue[tuple[float, float | None] | None] = queue.SimpleQueue()
        path = header.info.path
        command = output.global_args("-copyts").compile()[1:]
        seconds = header.info.duration or MAX_DURATION
        cpu = CPU_BASE + CPU_PER_SECOND * seconds
        super().__init__([url(path) if part == FILE else part for part in command], path, cpu)

    def next_time(self) -> tuple[float, float | None]:
        """Time of the next frame in s, not a number if it has none, and how long it lasts, None if unknown.

        showinfo tells them before the frame is written.
        """
        with self.waiting():
            times = self.times.get()
        if times is None:
            self.wait()
            raise MediaError(f"ffmpeg gives no times for the frames of {show(self.path)}: try another ffmpeg")
        return times

    def finish(self, what: str, got: bool, whole: bool) -> None:
        """Wait for the end and judge it.

        Raises:
            NoStreamError: the whole stream was asked for and it is empty.
            MediaError: ffmpeg failed before anything could be decoded, came to a limit, or was killed.
        """
        code = self.wait()
        complaints = [m for m in self.messages if _COMPLAINT.match(m)]
        if not got and code and self.short_of_memory:
            limit = f"{MAX_MEMORY >> 30} GiB"
            raise MediaError(
                f"the {what} in {show(self.path)} needs more than {limit} to be decoded: re-encode it"
            )
        if not got and (code or (whole and complaints)):
            why = _clean(complaints[-1]) if complaints else f"ffmpeg ended with code {code}"
            raise MediaError(f"no {what} in {show(self.path)} can be decoded ({why}): copy the file anew")
        if not got and whole:
            raise NoStreamError(f"the {what} stream of {show(self.path)} is empty: give a file that has {what}")
        if code or any(re.search("partial file|prematurely|truncat", m, re.I) for m in complaints):
            _log.warning("the %s in %s is damaged or cut short: only a part was read", what, show(self.path))

    def heed(self, message: str) -> None:
        # Searched anywhere in the line: messages of other threads may come before it. What a file says of itself,
        # and might feign, is shown before the line on the mapping, and not again: the output has no metadata.
        found = re.search(r"\bn:\s*\d+\s+pts:\s*(-?\d+|NOPTS)\s+pts_time:", message)
        if "Stream mapping:" in message:
            while not self.times.empty():
                self.times.get()
        elif found:
            time = float("nan") if found[1] == "NOPTS" else int(found[1]) / 1_000_000
            lasts = re.search(r"\bduration:\s*([1-9]\d*)\s", message)
            self.times.put((time, int(lasts[1]) / 1_000_000 if lasts else None))
        else:
            super().heed(message)

    def silent(self) -> None:
        self.times.put(None)  # so that nobody waits for ever


def _clean(message: str) -> str:
    """A message of ffmpeg without the address of the part that says it, fit for one line."""
    text = re.sub(r"^(\[[^]]*\] *)+", "", message).strip().rstrip(".")
    return show(text if len(text) < 200 else f"{text[:200]} …")
