"""ffmpeg as a process of its own, with limits: a hostile or broken file neither hangs a run nor fills the machine.

No process outlives its reader. Leaving the context kills it. A Python that is itself killed closes the pipe by
its death, which ends ffmpeg with the next bytes it writes; one that writes nothing has its CPU limit. (The signal
that Linux can send on a parent's death comes when the *thread* that started the process ends, which may be long
before its reader does, so it is not used.)
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from avser.media.paths import show
from avser.types import ConfigError, MediaError

if TYPE_CHECKING:
    from typing_extensions import Self

try:
    import fcntl
    import resource
except ImportError:  # Windows
    fcntl = resource = None  # type: ignore[assignment]

STALL_LIMIT = 60.0
"""Longest time without a byte from ffmpeg while one is waited for, in s. The environment's AVSER_STALL_LIMIT sets
another, for disks and machines that are very slow."""

CPU_BASE, CPU_PER_SECOND = 600.0, 60.0
"""CPU time that ffmpeg may use for a file, in s: so much, and so much more for each second that it lasts."""

MAX_MEMORY = 4 * 2**30
"""Most memory that ffmpeg may hold, in bytes (on Linux)."""

MAX_BLOCK = 2**30
"""Largest single block of memory that ffmpeg may ask for, in bytes (everywhere)."""

PIPE = 2**20
"""Bytes that the pipe from ffmpeg holds (on Linux), so that it works on while a picture is looked at; by default
64 KiB, of which a picture takes dozens. It is the most that a user may ask for without rights."""

MAX_LINE = 2**16
"""Bytes of one line of ffmpeg's messages that are kept; a longer one comes in pieces."""

MAX_MESSAGES = 50
"""Messages of ffmpeg that are kept, the last ones."""


@functools.cache
def ffmpeg_binary() -> str:
    """The ffmpeg program to run: the system's if there is one, else the one that imageio-ffmpeg ships.

    Raises:
        MediaError: there is neither.
    """
    found = shutil.which("ffmpeg")
    if found:
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise MediaError("there is no ffmpeg: install it, or `pip install imageio-ffmpeg`") from error


@functools.cache
def every_frame() -> dict[str, str]:
    """The option by which ffmpeg neither doubles nor drops frames; its name changed in version 5.1."""
    command = [ffmpeg_binary(), "-version"]
    text = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
    version = re.search(r"libavcodec\s+(\d+)\.\s*(\d+)", text)
    if version and (int(version[1]), int(version[2])) < (59, 37):
        return {"vsync": "passthrough"}
    return {"fps_mode": "passthrough"}


class Process:
    """A running ffmpeg that reads one file. Its output, if any, is read from a pipe; its messages by a thread.

    Args:
        arguments: of ffmpeg, without the program and its global options.
        path: the file, for errors.
        cpu: CPU time that it may use, in s.
        fed: it is fed through `process.stdin` and may write a file.

    Attributes:
        messages: the last lines that ffmpeg wrote, but for those that a subclass takes in `heed`.

    Raises:
        MediaError: ffmpeg cannot be started.
    """

    def __init__(self, arguments: Sequence[str], path: Path, cpu: float, fed: bool = False) -> None:
        self.path = path
        self.messages: deque[str] = deque(maxlen=MAX_MESSAGES)
        self.stall = _stall_limit()
        self.cpu = max(1, round(cpu))
        self._waiting: float | None = None
        self._stalled = False
        self._ended = threading.Event()
        # -hide_banner and -nostats leave on stderr what is about the streams, and showinfo's lines
        command = [ffmpeg_binary(), "-hide_banner", "-nostdin", "-nostats", "-loglevel", "info"]
        command += ["-max_alloc", str(MAX_BLOCK), "-timelimit", str(self.cpu)]
        try:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.PIPE if fed else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for avser, which ends ffmpeg: a half-read file is no result
            )
        except OSError as error:
            raise MediaError(f"ffmpeg cannot be started for {show(path)}: {error.strerror or error}") from error
        self._output = cast(BufferedReader, self.process.stdout)  # pipes both
        self._errors = cast(BufferedReader, self.process.stderr)
        _limit(self.process.pid, writes=fed)
        _widen(self._output)
        self._threads = [threading.Thread(target=t, daemon=True) for t in (self._read_messages, self._watch)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel, on a disk that is gone
            self.process.wait(self.stall)
            if sys.is_finalizing():  # Python is ending, and its other threads stand still: none is to wait for
                return
            for thread in self._threads:
                thread.join()
            self._output.close()
            self._errors.close()

    def heed(self, message: str) -> None:
        """Take in one line that ffmpeg wrote; called by the thread that reads them."""
        self.messages.append(message)

    def silent(self) -> None:
        """Called by that thread when no more lines come."""

    def read_into(self, buffer) -> int:
        """Fill a contiguous buffer with the next bytes; their number, smaller than the buffer at the end."""
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view):
            with self.waiting():
                count = self._output.readinto1(view[filled:])
            if not count:
                break
            filled += count
        return filled

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """What is done in this block waits for ffmpeg, which is killed when that takes too long."""
        self._waiting = time.monotonic()
        try:
            yield
        finally:
            self._waiting = None

    def wait(self) -> int:
        """Wait for the end; the exit code.

        Raises:
            MediaError: ffmpeg came to a limit, or was killed.
        """
        with self.waiting():
            code = self.process.wait()
            self._threads[0].join()
        file = show(self.path)
        if self._stalled:
            raise MediaError(
                f"ffmpeg got nothing out of {file} for {self.stall:g} s: copy the file anew, or set "
                "AVSER_STALL_LIMIT to more seconds if the disk or the machine is that slow"
            )
        if code == -24 or any("received signal 24" in m for m in self.messages):  # SIGXCPU
            raise MediaError(f"ffmpeg used more than {self.cpu} s of CPU time for {file}: shorten or re-encode it")
        if code < 0:
            raise MediaError(
                f"ffmpeg was stopped by signal {-code} while it read {file}: try again, or re-encode it"
            )
        return code

    @property
    def short_of_memory(self) -> bool:
        """Whether ffmpeg said so."""
        return any(re.search(r"Cannot allocate memory|pthread_create\(\) failed", m) for m in self.messages)

    def _read_messages(self) -> None:
        while line := self._errors.readline(MAX_LINE):
            self.heed(line.decode("utf-8", "replace").rstrip())
        self.silent()

    def _watch(self) -> None:
        """Kill ffmpeg when it has been waited for too long."""
        while not self._ended.wait(min(1.0, self.stall / 4)):
            since = self._waiting
            if since is not None and time.monotonic() - since > self.stall:
                self._stalled = True
                self.process.kill()
                return


def _stall_limit() -> float:
    """The limit in force, in s.

    Raises:
        ConfigError: the environment holds no number above zero.
    """
    text = os.environ.get("AVSER_STALL_LIMIT") or str(STALL_LIMIT)
    if not re.fullmatch(r"\d{1,6}(\.\d*)?", text) or float(text) <= 0:
        raise ConfigError(f"AVSER_STALL_LIMIT is {text!r}: set it to a number of seconds, or unset it")
    return float(text)


def _widen(pipe: IO[bytes]) -> None:
    """Have a pipe hold `PIPE` bytes, if the system lets it."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # the user has too many pipes
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)


def _limit(pid: int, writes: bool) -> None:
    """Have the kernel hold a process to `MAX_MEMORY`, and to writing no file unless it `writes` one.

    Set from outside and not between fork and exec, where a Python with threads may not run code.
    """
    if not hasattr(resource, "prlimit"):
        return
    limits = [(resource.RLIMIT_DATA, MAX_MEMORY), (resource.RLIMIT_CORE, 0)]
    if not writes:
        limits.append((resource.RLIMIT_FSIZE, 0))
    for which, most in limits:
        with contextlib.suppress(OSError, ValueError):  # it has ended, or has a lower limit
            resource.prlimit(pid, which, (most, most))
