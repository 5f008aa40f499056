"""Writing a video by ffmpeg: pictures with their own times from here, the sound straight from the file."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from avser.annotated_video import matroska
from avser.media import MAX_DRIFT, MAX_GAP
from avser.media.headers import MAX_DURATION, Header, input_options
from avser.media.paths import show, url
from avser.media.processes import CPU_BASE, CPU_PER_SECOND, Process, every_frame, ffmpeg_binary
from avser.types import MediaError

ENCODERS = {
    "libx264": ("-preset", "veryfast", "-crf", "20"),
    "libopenh264": ("-b:v", "6M"),
    "mpeg4": ("-q:v", "4"),
}
"""Encoders with their settings; the first one that works is taken. All players know H.264, most know MPEG-4."""

MAX_RATE = 240
"""Nominal frame rates above this are no frame rates but clocks."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class EncodingError(MediaError):
    """ffmpeg could not make the video."""


class Encoder(Process):
    """An mp4 file in the making. To be left only when it is finished, or to be given up.

    Args:
        path: of the new file.
        header: of the file that the sound is taken from, on whose clock the pictures' times are.
        width, height: of the pictures, even, px.
        colours: what ffmpeg is to note about them, as arguments of its filter `setparams`.
        sound: one of `sound_codecs`.

    Raises:
        MediaError: ffmpeg has no video encoder that works, or cannot be started.
    """

    def __init__(
        self, path: Path, header: Header, width: int, height: int, fps: Fraction, colours: str, sound: str | None
    ) -> None:
        name = video_encoder()
        arguments = [
            *("-f", "matroska", "-i", "pipe:0", *_sound_input(header, sound)),
            *("-map", "0:v:0", "-copyts", "-c:v", name, *ENCODERS[name], "-pix_fmt", "yuv420p"),
            *("-vf", f"setparams={colours}", *(part for k, v in every_frame().items() for part in (f"-{k}", v))),
            *("-enc_time_base:v", f"1:{_ticks(fps)}", "-video_track_timescale", f"{_ticks(fps)}"),
            *_sound_output(header, sound),
            *("-map_metadata", "-1", "-map_chapters", "-1", "-max_muxing_queue_size", "9999"),
            *("-movflags", "+faststart", "-f", "mp4", "-y", url(path)),
        ]
        seconds = header.info.duration or MAX_DURATION
        super().__init__(arguments, header.info.path, CPU_BASE + CPU_PER_SECOND * seconds, fed=True)
        self._input = cast(BinaryIO, self.process.stdin)  # as it is fed
        self._put(matroska.header(width, height, fps))

    def __exit__(self, *unused) -> None:
        super().__exit__(*unused)
        with contextlib.suppress(OSError):  # what was not yet handed over is of no use any more
            self._input.close()

    def add(self, time: float, picture: np.ndarray, duration: float | None = None) -> None:
        """Add a picture (bytes of `yuv420p`) shown at `time` (s), for `duration` (s) if no other follows.

        Raises:
            OSError: the file cannot be written.
            EncodingError: ffmpeg failed.
            MediaError: it came to a limit, or was killed.
        """
        self._put(matroska.before_picture(time, picture.nbytes, duration))
        self._put(picture)

    def finish(self) -> None:
        """Complete the file; see `add` for the errors."""
        with contextlib.suppress(OSError):
            self._input.close()
        self.process.wait()  # as long as it takes: the rest of the sound may be long, or the file large
        self._judge()

    def _put(self, data) -> None:
        try:
            with self.waiting():
                self._input.write(data)
        except OSError:  # ffmpeg has ended, and says why
            self._judge()
            raise

    def _judge(self) -> None:
        if not self.wait():
            return
        for number in _FULL:
            if any(os.strerror(number) in m for m in self.messages):
                raise OSError(number, os.strerror(number))
        complaints = [m for m in self.messages if re.search("error|invalid|could not|cannot|failed", m, re.I)]
        why = re.sub(r"^(\[[^]]*\] *)+", "", complaints[0]) if complaints else "it does not say why"
        raise EncodingError(
            f"ffmpeg cannot write a video of {show(self.path)} ({why}): try another format, or ffmpeg"
        )


@functools.cache
def video_encoder() -> str:
    """The first of `ENCODERS` that works here: what ffmpeg lists may lack its library.

    Raises:
        MediaError: none does.
    """
    for name in ENCODERS:
        source = ("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "64x64", "-i", "pipe:0")
        command = [ffmpeg_binary(), "-loglevel", "quiet", *source, "-c:v", name, "-f", "null", "-"]
        if not subprocess.run(command, input=bytes(2 * 64 * 96), capture_output=True).returncode:
            return name
    raise MediaError(f"ffmpeg has no video encoder ({', '.join(ENCODERS)}): install one that has libx264")


def sound_codecs(header: Header) -> tuple[str | None, ...]:
    """Ways in which a file's sound can go along, the best one first: `copy` as it is, `aac`, None not at all.

    It is copied if it fits into an mp4 file that all players play.
    """
    if header.audio is None:
        return (None,)
    codec, rate = header.info.audio_codec, header.info.audio_rate or 0
    fits = codec == "aac" or (codec == "mp3" and rate >= 16000)
    return (*(["copy"] if fits else []), "aac", *([] if header.video is None else [None]))


def _sound_input(header: Header, sound: str | None) -> list[str]:
    if sound is None:
        return []
    options = [part for name, value in input_options().items() for part in (f"-{name}", value)]
    return [*options, "-itsoffset", f"{-header.start:.6f}", "-vn", "-i", url(header.info.path)]


def _sound_output(header: Header, sound: str | None) -> list[str]:
    if sound is None:
        return []
    chosen = ["-map", f"1:{header.audio}", "-c:a", sound]
    if sound == "copy":
        return chosen
    near = f"aselect='lt(t-if(isnan(prev_selected_t),0,prev_selected_t),{MAX_GAP:.0f})'"
    gaps = f"aresample=async=1:first_pts=0:min_hard_comp={MAX_DRIFT}"  # as in `media.iter_audio`
    stereo = ["-ac", "2"] if (header.info.audio_channels or 3) > 2 else []
    return [*chosen, "-b:a", "160k", *stereo, "-af", f"{near},{gaps}"]


def _ticks(fps: Fraction) -> int:
    """Ticks a second of the new file's clock: few enough for MPEG-4, and whole steps at the common rates.

    >>> [_ticks(Fraction(*rate)) for rate in ((30000, 1001), (24000, 1001), (25, 1), (1981, 100))]
    [60000, 48000, 60000, 60000]
    """
    return 48000 if fps.numerator == 24000 else 60000
