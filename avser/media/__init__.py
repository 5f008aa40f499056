"""The sound of a file and its frames with their times, by ffmpeg. What a file holds is told by `probe`.

Both streams come on one clock. ffmpeg is told to leave timestamps as they are in the file (`-copyts`), and the
start of the container, which is the start of its earliest stream, is subtracted from both. ffmpeg's own zero
would differ between streams for MPEG files, where it starts at the first stream that is read.
"""

from __future__ import annotations

import logging
import queue
import re
from collections.abc import Iterator
from pathlib import Path

import ffmpeg
import numpy as np

from avser.media.headers import MAX_DURATION, Header, input_options, probe, read_header
from avser.media.paths import find_media, show, url
from avser.media.processes import CPU_BASE, CPU_PER_SECOND, MAX_MEMORY, Process, every_frame, ffmpeg_binary
from avser.types import AudioTrack, Frame, MediaError

__all__ = ["NoStreamError", "ffmpeg_binary", "find_media", "iter_audio", "iter_frames", "probe", "read_audio"]

THREADS = 0
"""Decoder threads of one ffmpeg process; 0 lets ffmpeg take one a core. Set 1 to read many files side by side."""

SEEK_MARGIN = 5.0
"""How long before a wanted start decoding begins, in s, so that decoders have settled by then."""

MAX_DRIFT = 0.04
"""Longest difference between sound and its timestamps that is let be, in s; beyond it silence fills the gap."""

MAX_GAP = 3600.0
"""Longest time that a stream may be silent or dark, in s. What comes after a longer one is left out: a timestamp
that a flipped bit sends into the future would otherwise bring years of silence."""

_COMPLAINT = re.compile(r"\S.*(error|invalid|corrupt|partial file|prematurely|truncat)", re.I)
_log = logging.getLogger(__name__)


class NoStreamError(MediaError):
    """A file has no sound where sound was asked for, or no picture where frames were."""


def read_audio(path: str | Path, rate: int = 16000, start: float = 0.0, end: float | None = None) -> AudioTrack:
    """The sound of a file from `start` to `end` (s) in one piece; see `iter_audio` for how, and for the errors.

    The track is empty where the file ends before `start`.
    """
    tracks = list(iter_audio(path, rate, start=start, end=end))
    if not tracks:
        return AudioTrack(np.zeros(0, np.float32), rate, round(max(start, 0.0) * rate) / rate)
    return AudioTrack(np.concatenate([t.samples for t in tracks]), rate, tracks[0].start)


def iter_audio(
    path: str | Path, rate: int = 16000, block: float = 30.0, start: float = 0.0, end: float | None = None
) -> Iterator[AudioTrack]:
    """The sound of a file in blocks, in order and without overlap, in constant memory.

    Silence stands where the file has no sound: before a stream that starts later than the picture, and in gaps.
    A file that is damaged at its end gives what can be read and a warning in the log.

    Args:
        rate: samples a second wanted.
        block: length of a block, in s; the last one may be shorter.
        start: where to begin, in s.
        end: where to stop, in s; None for the end of the stream.

    Yields:
        mono sound in [-1, 1].

    Raises:
        NoStreamError: the file has no sound, or a sound stream that is empty.
        MediaError: the file cannot be read, or nothing of the sound can be decoded.
    """
    header = read_header(path)
    if header.audio is None:
        raise NoStreamError(f"{show(path)} has no sound: give a file with a sound stream")
    start = max(start, 0.0)
    position = first = round(start * rate)
    last = None if end is None else round(end * rate)
    size = max(1, round(block * rate))
    stream = _input(header, start)[str(header.audio)]
    # 0 is where the wanted part starts: aresample counts first_pts by the rate of its input
    stream = stream.filter("asetpts", f"PTS-({_seconds(header.start + first / rate)})/TB")
    stream = stream.filter("atrim", start=0, **({} if end is None else {"end": _seconds(end - first / rate)}))
    # rematrix_maxval: the down-mix of float samples would exceed 1 without it
    mono = {"sample_fmts": "flt", "channel_layouts": "mono", "sample_rates": rate}
    stream = stream.filter("aresample", rate, rematrix_maxval=1).filter("aformat", **mono)
    # silence comes last: ffmpeg holds the whole of a gap in memory, and before it is mono that is many times more
    near = f"lt(t-if(isnan(prev_selected_t),0,prev_selected_t),{MAX_GAP:.0f})"
    stream = stream.filter("aselect", near)
    stream = stream.filter("aresample", **{"async": 1, "first_pts": 0, "min_hard_comp": MAX_DRIFT})
    output = stream.filter("aformat", **mono).output("pipe:", format="f32le", acodec="pcm_f32le")
    with _Process(output, header) as process:
        while last is None or position < last:
            samples = np.empty(size if last is None else min(size, last - position), "<f4")
            samples = samples[: process.read_into(samples) // 4]
            if not len(samples):
                break
            yield AudioTrack(np.nan_to_num(samples).clip(-1.0, 1.0), rate, position / rate)
            position += len(samples)
            _check_end(header, position / rate)
        if last is None or position < last:
            process.finish("sound", got=position > first, whole=start == 0 and end is None)


def iter_frames(
    path: str | Path,
    fps: float | None = None,
    height: int | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> Iterator[Frame]:
    """The frames of a video, upright, with their true times on the clock of the sound, in constant memory.

    Frames are thinned and scaled inside ffmpeg. Thinning picks the first frame in each cell of a grid of 1/`fps`,
    and so never shows a frame twice nor at a time other than its own. Closing the generator ends ffmpeg. A file
    that is damaged at its end gives what can be read and a warning in the log.

    Args:
        fps: most frames a second on average; None for all.
        height: greatest height in px; smaller pictures stay as they are. The aspect is kept, sizes are even.
        start: time of the first frame wanted, in s.
        end: frames from here on are left out, in s; None for the end.

    Yields:
        frames in order of time, no two at the same time.

    Raises:
        NoStreamError: the file has no video, or a video stream that is empty.
        MediaError: the file cannot be read, or nothing of the video can be decoded.
    """
    header = read_header(path)
    info = header.info
    if header.video is None:
        raise NoStreamError(f"{show(path)} has no video: give a file with a video stream")
    if end is not None and end <= start:
        return
    width, height = _fit(info.width, info.height, height)
    start = max(start, 0.0)
    stream = video_stream(header, start)
    stream = stream.filter("trim", start=_seconds(start), **({} if end is None else {"end": _seconds(end)}))
    if fps is not None:
        # the grid is shifted so that the frames of a rate that fps divides do not lie on the edges of its cells
        cell = "floor({}*" + f"{float(fps):.6f}+0.3)"
        new_cell = f"gt({cell.format('t')},{cell.format('prev_selected_t')})"
        stream = stream.filter("select", f"isnan(prev_selected_t)+{new_cell}")
    stream = stream.filter("scale", width, height, flags="area").filter("setsar", "1").filter("format", "rgb24")
    yield from read_frames(stream, header, (height, width, 3), "rgb24", start, whole=start == 0 and end is None)


def video_stream(header: Header, start: float = 0.0):
    """The pictures of a file as an ffmpeg-python stream for `read_frames`, upright, on the clock of the sound."""
    stream = _input(header, start)[str(header.video)]
    return stream.filter("settb", "AVTB").filter("setpts", f"PTS-({round(header.start * 1_000_000)})")  # µs


def read_frames(
    stream, header: Header, shape: tuple[int, ...], pixels: str, start: float = 0.0, whole: bool = True
) -> Iterator[Frame]:
    """The frames of a filtered `video_stream`; see `iter_frames` for the errors.

    Args:
        shape: of the array that holds a picture. pixels: ffmpeg's name of its pixel format.
        start: where the stream was cut to begin, in s. whole: that it was not cut at all.
    """
    own_words = {"map_metadata": -1, "map_chapters": -1}
    stream = stream.filter("showinfo", checksum=0)
    output = stream.output("pipe:", format="rawvideo", pix_fmt=pixels, **own_words, **every_frame())
    time = -1.0
    got = False
    with _Process(output, header) as process:
        while True:
            image = np.empty(shape, np.uint8)
            if process.read_into(image) < image.nbytes:
                break
            shown, duration = process.next_time()
            got = True
            if not time < shown < max(time, start) + MAX_GAP:  # a broken clock: the frame has no place in time
                continue
            _check_end(header, shown)
            time = shown
            yield Frame(time, image, duration)
        process.finish("video", got=got, whole=whole)


def _check_end(header: Header, time: float) -> None:
    """Refuse a stream without end.

    Raises:
        MediaError: it has come beyond `MAX_DURATION`.
    """
    if time > MAX_DURATION:
        hours = MAX_DURATION / 3600
        raise MediaError(f"{show(header.info.path)} goes on for more than {hours:.0f} h: cut it in parts")


class _Process(Process):
    """A running ffmpeg whose output is read from a pipe.

    Args:
        output: an ffmpeg-python graph on the file of `_input`.
        header: of the file.
    """

    def __init__(self, output, header: Header) -> None:
        self.times: queue.SimpleQueue[tuple[float, float | None] | None] = queue.SimpleQueue()
        path = header.info.path
        command = output.global_args("-copyts").compile()[1:]
        seconds = header.info.duration or MAX_DURATION
        cpu = CPU_BASE + CPU_PER_SECOND * seconds
        super().__init__([url(path) if part == _FILE else part for part in command], path, cpu)

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


_FILE = "file:"
"""Stands for the file in a graph: ffmpeg-python takes no name that holds bytes which are no text."""


def _input(header: Header, start: float):
    """The file as an ffmpeg-python input. A seek is only a head start: filters cut by the true timestamps."""
    options = {"threads": THREADS}
    if start > SEEK_MARGIN:
        options |= {"noaccurate_seek": None, "ss": _seconds(start - SEEK_MARGIN)}
    return ffmpeg.input(_FILE, **input_options(), **options)


def _fit(width: int, height: int, limit: int | None) -> tuple[int, int]:
    """Even size of a picture whose height is at most `limit`.

    >>> _fit(1280, 720, 360), _fit(320, 241, 360)
    ((640, 360), (320, 240))
    """
    scale = 1.0 if limit is None else min(1.0, limit / height)
    return max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)


def _seconds(value: float) -> str:
    return f"{value:.6f}"


def _clean(message: str) -> str:
    """A message of ffmpeg without the address of the part that says it, fit for one line."""
    text = re.sub(r"^(\[[^]]*\] *)+", "", message).strip().rstrip(".")
    return show(text if len(text) < 200 else f"{text[:200]} …")
