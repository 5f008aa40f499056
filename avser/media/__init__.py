"""The sound of a file and its frames with their times, by ffmpeg. What a file holds is told by `probe`.

Both streams come on one clock. ffmpeg is told to leave timestamps as they are in the file (`-copyts`), and the
start of the container, which is the start of its earliest stream, is subtracted from both. ffmpeg's own zero
would differ between streams for MPEG files, where it starts at the first stream that is read.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator
from pathlib import Path

import ffmpeg
import numpy as np

from avser.media.headers import MAX_DURATION, Header, input_options, probe, read_header
from avser.media.paths import find_media, show
from avser.media.processes import every_frame, ffmpeg_binary
from avser.media.reading import FILE, NoStreamError, Reading
from avser.types import AudioTrack, Frame, MediaError

__all__ = ["NoStreamError", "ffmpeg_binary", "find_media", "iter_audio", "iter_frames", "probe", "read_audio"]

THREADS = 0
"""Decoder threads of one ffmpeg process; 0 lets ffmpeg take one a core. Set 1 to read many files side by side."""

SEEK_MARGIN = 5.0
"""How long before a wanted start decoding begins, in s, so that decoders have settled by then."""

MAX_DRIFT = 0.04
"""Longest difference between sound and its timestamps that is let be, in s; beyond it silence fills the gap."""

SPARE = 2.0
"""Frames of a file for each one that is wanted, from which on some need not be decoded."""

MAX_SKIPPED = 3.0
"""Longest time without a frame where some are not decoded, in wanted frames."""

SHIFT = 0.3
"""Shift of the grid by which frames are thinned, in its cells, so that the frames of a rate that it divides do not
lie on the edges of cells."""

MAX_GAP = 3600.0
"""Longest time that a stream may be silent or dark, in s. What comes after a longer one is left out: a timestamp
that a flipped bit sends into the future would otherwise bring years of silence."""


def read_audio(path: str | Path, rate: int = 16000, start: float = 0.0, end: float | None = None) -> AudioTrack:
    """The sound of a file from `start` to `end` (s) in one piece; see `iter_audio` for how, and for the errors.

    The track is empty where the file ends before `start`.
    """
    tracks = list(iter_audio(path, rate, start=start, end=end))
    if not tracks:
        return AudioTrack(np.zeros(0, np.float32), rate, round(max(start, 0.0) * rate) / rate)
    return AudioTrack(np.concatenate([t.samples for t in tracks]), rate, tracks[0].start)


def iter_audio(
    path: str | Path, rate: int = 16000, block: float = 8.0, start: float = 0.0, end: float | None = None
) -> Generator[AudioTrack]:
    """The sound of a file in blocks, in order and without overlap, in constant memory.

    Silence stands where the file has no sound: before a stream that starts later than the picture, and in gaps.
    A file that is damaged at its end gives what can be read and a warning in the log.

    Args:
        rate: samples a second wanted.
        block: length of a block, in s; the last one may be shorter. Longer ones are no faster to predict from, but
            take more memory.
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
    with Reading(output, header) as process:
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
    skip: bool = False,
) -> Generator[Frame]:
    """The frames of a video, upright, with their true times on the clock of the sound, in constant memory.

    Frames are thinned and scaled inside ffmpeg. Thinning picks the first frame in each cell of a grid of 1/`fps`,
    and so never shows a frame twice nor at a time other than its own. Closing the generator ends ffmpeg. A file
    that is damaged at its end gives what can be read and a warning in the log.

    Args:
        fps: most frames a second on average; None for all.
        height: greatest height in px; smaller pictures stay as they are. The aspect is kept, sizes are even.
        start: time of the first frame wanted, in s.
        end: frames from here on are left out, in s; None for the end.
        skip: whether frames from which no other is decoded may be left out where the file has at least `SPARE` as
            many as `fps` asks for. Decoding then takes about half the time, and most times differ a little.

    Yields:
        frames in order of time, no two at the same time.

    Raises:
        NoStreamError: the file has no video, or a video stream that is empty.
        MediaError: the file cannot be read, or nothing of the video can be decoded.
    """
    header = read_header(path)
    if header.video is None:
        raise NoStreamError(f"{show(path)} has no video: give a file with a video stream")
    if end is not None and end <= start:
        return
    size = _fit(*header.size, height)
    start = max(start, 0.0)
    spared = fps if skip and fps is not None and (header.info.fps or 0) >= SPARE * fps else None
    stream = video_stream(header, start, spared is not None)
    stream = stream.filter("trim", start=_seconds(start), **({} if end is None else {"end": _seconds(end)}))
    if fps is not None:
        cell = "floor({}*" + f"{float(fps):.6f}+{SHIFT})"
        new_cell = f"gt({cell.format('t')},{cell.format('prev_selected_t')})"
        stream = stream.filter("select", f"isnan(prev_selected_t)+{new_cell}")
    stream = stream.filter("scale", *size, flags="area").filter("setsar", "1").filter("format", "rgb24")
    frames = read_frames(stream, header, (*size[::-1], 3), "rgb24", start, whole=start == 0 and end is None)
    last = math.inf
    with contextlib.closing(frames):
        for frame in frames:
            if spared is not None and frame.time - last > MAX_SKIPPED / spared:  # too many were left out
                next_cell = (math.floor(last * spared + SHIFT) + 1 - SHIFT) / spared
                break
            yield frame
            last = frame.time
        else:
            return
    yield from iter_frames(path, fps, height, next_cell, end)


def video_stream(header: Header, start: float = 0.0, skip: bool = False):
    """The pictures of a file as an ffmpeg-python stream for `read_frames`, upright, on the clock of the sound.

    With `skip`, those from which no other is decoded are left out.
    """
    stream = _input(header, start, **({"skip_frame": "noref"} if skip else {}))[str(header.video)]
    return stream.filter("settb", "AVTB").filter("setpts", f"PTS-({round(header.start * 1_000_000)})")  # µs


def read_frames(
    stream, header: Header, shape: tuple[int, ...], pixels: str, start: float = 0.0, whole: bool = True
) -> Generator[Frame]:
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
    with Reading(output, header) as process:
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


def _input(header: Header, start: float, **more: str):
    """The file as an ffmpeg-python input. A seek is only a head start: filters cut by the true timestamps."""
    options = {"threads": THREADS, **more}
    if start > SEEK_MARGIN:
        options |= {"noaccurate_seek": None, "ss": _seconds(start - SEEK_MARGIN)}
    return ffmpeg.input(FILE, **input_options(), **options)


def _fit(width: int, height: int, limit: int | None) -> tuple[int, int]:
    """Even size of a picture whose height is at most `limit`.

    >>> _fit(1280, 720, 360), _fit(320, 241, 360)
    ((640, 360), (320, 240))
    """
    scale = 1.0 if limit is None else min(1.0, limit / height)
    return max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)


def _seconds(value: float) -> str:
    return f"{value:.6f}"
