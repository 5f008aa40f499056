"""What any worker process does besides its work: Ctrl-C is left to its owner, and it never outlives that one."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any

from avser import media, runtime

END = 5.0
"""Time that workers get to end in order, s; then they are killed."""
STEADY = 0.2
"""Shortest time between two reports of a worker, s."""

Tell = Callable[..., None]
"""Sends a message to the owner: its kind, and what belongs to it."""


def start(work: Callable[..., None], *arguments: Any) -> tuple[BaseProcess, connection.Connection]:
    """A new process that does `work(pipe, *arguments)`, and this side of the pipe."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, *arguments), daemon=True)
    with _uninterrupted():
        process.start()
    theirs.close()  # so that the end of the process is seen here
    return process, pipe


def how_it_ended(process: BaseProcess) -> str:
    """How a dead process ended, in words."""
    process.join(END)
    code = process.exitcode
    if code is None or code >= 0:
        return f"it ended with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"it was stopped by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")


def end(*processes: BaseProcess) -> None:
    """End processes in order, or else by force."""
    for process in processes:
        process.terminate()
    limit = time.monotonic() + END
    for process in processes:
        process.join(max(0.0, limit - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join(END)


def settle(pipe: connection.Connection) -> Tell:
    """What a worker begins with, in its own process; how it tells its owner something.

    Warnings of the log are told as `("warning", text)`: only the owner knows what the terminal shows.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, who ends the workers
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_owner, daemon=True).start()
    lock = threading.Lock()

    def tell(*message: object) -> None:
        with lock:
            pipe.send(message)

    logging.getLogger().addHandler(_Warnings(tell))
    return tell


def set_threads(count: int) -> None:
    """How many threads a network and ffmpeg may each use in this process."""
    runtime.THREADS = media.THREADS = count


def steadily(report: Callable[[float, float | None], None]) -> Callable[[float, float | None], None]:
    """A report that is not made more often than the owner can show it."""
    last = -STEADY

    def sometimes(second: float, duration: float | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= STEADY:
            last = now
            report(second, duration)

    return sometimes


class _Warnings(logging.Handler):
    """Warnings of a worker, told to its owner."""

    def __init__(self, tell: Tell) -> None:
        super().__init__(logging.WARNING)
        self.tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            self.tell("warning", record.getMessage())


def _leave(*_: object) -> None:
    """End in order: what is half written is removed, ffmpeg is stopped."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(1)


def _end_with_owner() -> None:
    """A worker whose owner was killed does not go on for hours."""
    owner = multiprocessing.parent_process()
    assert owner is not None  # a worker has one
    connection.wait([owner.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back, here for a moment and in the process that is started here for good."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
