"""Media made by ffmpeg for the tests, once a session.

`make_media` runs ffmpeg for one file; `flash_beep` makes clips with a white flash and a beep at known times.
Every fixture skips with a reason where this machine's ffmpeg lacks an encoder.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from avser.media import ffmpeg_binary

FLASH = 1.0
"""When the flash and the beep of `flash_beep` begin in the untouched streams, in s; both last 0.2 s."""


@dataclass(frozen=True)
class FlashBeep:
    """A clip with one flash and one beep, and when they begin, in s from the start of the presentation."""

    path: Path
    flash: float
    beep: float


@functools.cache
def encoders() -> frozenset[str]:
    """Names of the encoders that this machine's ffmpeg has."""
    command = [ffmpeg_binary(), "-hide_banner", "-encoders"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return frozenset(line.split()[1] for line in lines if len(line.split()) > 2)


def need_encoder(*names: str) -> str:
    """The first of these encoders that ffmpeg has; skips the test if it has none."""
    for name in names:
        if name in encoders():
            return name
    pytest.skip(f"this ffmpeg has no encoder {' or '.join(names)}")


@pytest.fixture(scope="session")
def make_media(tmp_path_factory) -> Callable[..., Path]:
    """`make_media(name, *arguments)`: run ffmpeg, writing a file of this name in a new folder."""

    def make(name: str, *arguments: str | Path) -> Path:
        path = tmp_path_factory.mktemp("media") / name
        command = [ffmpeg_binary(), "-hide_banner", "-nostdin", "-y", "-loglevel", "error", *map(str, arguments)]
        done = subprocess.run([*command, f"file:{path}"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return path

    return make


@pytest.fixture(scope="session")
def flash_beep(make_media) -> Callable[..., FlashBeep]:
    """`flash_beep(...)`: a clip of 3 s with a flash and a beep at `FLASH`.

    Arguments of the function (all but the first by name):
        name: file name, its suffix says the container.
        fps: frame rate as ffmpeg takes it, for instance `30000/1001`.
        vfr: leave out frames by an irregular pattern.
        video, audio: encoder and its options.
        video_delay, audio_delay: how much later a stream starts, in s.
        size: width x height.
        rate: sampling rate of the sound.
    """

    @functools.cache
    def make(
        name: str = "clip.mp4",
        *,
        fps: str = "25",
        vfr: bool = False,
        video: tuple[str, ...] = ("mpeg4", "-q:v", "5"),
        audio: tuple[str, ...] = ("aac",),
        video_delay: float = 0.0,
        audio_delay: float = 0.0,
        size: str = "160x120",
        rate: int = 44100,
    ) -> FlashBeep:
        when = f"between(t,{FLASH},{FLASH + 0.2})"
        picture = f"color=black:s={size}:r={fps}:d=3,drawbox=color=white:t=fill:enable='{when}'"
        if vfr:
            # of every 7 frames 4 stay, and 1.4 to 1.9 s has none
            picture += ",select='not(eq(mod(n,7),2)+eq(mod(n,7),3)+eq(mod(n,7),5))*not(between(t,1.4,1.9))'"
        sound = f"aevalsrc='0.5*sin(2*PI*880*t)*{when}:s={rate}:d=3'"
        path = make_media(
            *(name, "-itsoffset", f"{video_delay}", "-f", "lavfi", "-i", picture),
            *("-itsoffset", f"{audio_delay}", "-f", "lavfi", "-i", sound),
            *("-map", "0:v", "-map", "1:a", "-pix_fmt", "yuv420p", "-c:v", *video, "-c:a", *audio),
        )
        first = min(video_delay, audio_delay)
        return FlashBeep(path, FLASH + video_delay - first, FLASH + audio_delay - first)

    return make


@pytest.fixture(scope="session")
def video_only(make_media) -> Path:
    """A video of 1 s without a sound stream."""
    return make_media("silent_film.mp4", "-f", "lavfi", "-i", "testsrc=s=160x120:r=25:d=1", "-c:v", "mpeg4")


@pytest.fixture(scope="session")
def audio_only(make_media) -> Path:
    """A WAV file with a tone of 1 s, 16 kHz mono."""
    return make_media("tone.wav", "-f", "lavfi", "-i", "sine=f=440:r=16000:d=1", "-c:a", "pcm_s16le")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with real recordings that AVSER_DATA names; skips without it."""
    root = os.environ.get("AVSER_DATA")
    if not root:
        pytest.skip("AVSER_DATA is not set: it names the folder with the real recordings")
    if not Path(root).is_dir():
        pytest.fail(f"AVSER_DATA names no folder: {root}")
    return Path(root)
