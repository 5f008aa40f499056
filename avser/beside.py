"""Listening in a thread of its own, while the pictures are looked at."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from avser.branches import Progress, Voice

LOADED = 2
"""Pictures after which listening begins: by then the face networks are loaded, and what is said about the sound is
not lost in the silence that their loading asks for (see `avser.faces.seeing.quiet`)."""


class Beside:
    """Listens beside the looking, as a context that does not outlive its block.

    Args:
        listening: called with `seen`, which waits for the end of the video and tells it (s), and `report`.
    """

    def __init__(self, listening: Callable[..., Voice]) -> None:
        self._listening = listening
        self._seen: Future[float] = Future()
        self._voice: Future[Voice] = Future()
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self._pictures = 0

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._seen.cancel()
        if self._thread is not None:
            self._thread.join()

    def reporting(self, report: Progress) -> Progress:
        """A report for the looking that lets the listening begin."""

        def reported(second: float) -> None:
            report(second)
            self._pictures += 1
            if self._pictures == LOADED:
                self._begin()

        return reported

    def result(self, end: float) -> Voice:
        """What was heard, now that the video is known to end at `end`, s; raises what the listening raises."""
        if self._thread is None:
            self._begin()
        self._seen.set_result(end)
        return self._voice.result()

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            self._voice.set_result(self._listening(seen=self._seen.result, report=self._go_on))
        except BaseException as error:  # for the thread that asks for the result
            self._voice.set_exception(error)

    def _go_on(self, second: float) -> None:
        """End the listening when nobody waits for it any more."""
        if self._is_over.is_set():
            raise InterruptedError
