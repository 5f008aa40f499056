"""What a media file holds: all that is read from a header, by ffmpeg.

A file is opened by its absolute path with the `file:` protocol alone and by demuxers that read nothing but the
file itself (no playlists, no image patterns), so that it cannot send ffmpeg to the network or to other files.
What a header says beyond the limits stated here is refused before anything is decoded.
"""

from __future__ import annotations

import functools
import re
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from avser.media.paths import AUDIO_SUFFIXES, MEDIA_SUFFIXES, find_media, readable_file, show, url
from avser.media.processes import Process, ffmpeg_binary
from avser.types import MediaError, MediaInfo

__all__ = ["AUDIO_SUFFIXES", "MEDIA_SUFFIXES", "Header", "ffmpeg_binary", "find_media", "probe", "read_header"]

DEMUXERS = (
    "3gp,aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dv,eac3,flac,flv,gif,h264,hevc,ivf,live_flv,loas,m4v,"
    "matroska,mjpeg,mov,mp3,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,tta,vc1,w64,wav,webm,wv"
)
"""Demuxers that a file may be read with: containers and plain streams that hold all their data themselves."""

MAX_PIXELS = 2**26
"""Largest picture that is decoded, in px: 8192 × 8192. A few bytes can announce thousands of times that."""

MAX_DURATION = 24 * 3600.0
"""Longest file that is read, in s."""

MAX_STREAMS = 100
"""Most streams of a file."""

AUDIO_RATES = (1_000, 768_000)
"""Lowest and highest sampling rate of sound, in Hz."""

PROBE_CPU = 60.0
"""CPU time for finding a header, in s."""

_FACT = re.compile(r" *Duration: | {2,4}Stream #0:\d| *(display ?matrix: rotation|rotate *:)", re.I)
_CHANNELS = {"mono": 1, "stereo": 2, "downmix": 2, "quad": 4, "hexagonal": 6, "octagonal": 8}


@dataclass(frozen=True)
class Header:
    """What reading needs besides the public facts: start of the container in s, and the streams' numbers.

    Attributes:
        pixels: format of the video's pixels and, in brackets, range and colours, in ffmpeg's words.
    """

    info: MediaInfo
    start: float
    audio: int | None
    video: int | None
    pixels: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture, px; zero without one."""
        return self.info.width or 0, self.info.height or 0


def probe(path: str | Path) -> MediaInfo:
    """What a media file holds, from its header.

    A cover picture does not count as video. Width and height are those of the upright picture with square
    pixels. Common NTSC rates come as their exact fractions.

    Raises:
        MediaError: the file is missing, empty, damaged or no media file.
    """
    return read_header(path).info


def read_header(path: str | Path) -> Header:
    """The header of a media file; see `probe` for the errors."""
    path = readable_file(Path(path))
    try:
        stat = path.stat()
    except OSError:  # gone since: ffmpeg will say so
        return _read_header.__wrapped__(path)
    return _read_header(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=16)  # a prediction asks three times: it probes, looks and listens
def _read_header(path: Path, *same_file: int) -> Header:
    options = [part for name, value in input_options().items() for part in (f"-{name}", value)]
    with _HeaderProcess([*options, "-i", url(path)], path, PROBE_CPU) as process:
        process.wait()
    if not process.found:
        raise _unreadable(path, process)
    header = _parse_header(path, "\n".join(process.facts))
    _check_limits(path, header, process)
    if header.audio is None and header.video is None:
        raise MediaError(f"{show(path)} holds neither sound nor video that ffmpeg can decode: convert it first")
    return header


def input_options() -> dict[str, str]:
    """What ffmpeg is told about any file before it opens it: what it may read, and the limits."""
    sources = {"protocol_whitelist": "file,pipe", "format_whitelist": DEMUXERS}
    return {**sources, "max_streams": str(MAX_STREAMS), "max_pixels": str(MAX_PIXELS)}


class _HeaderProcess(Process):
    """ffmpeg on a file without an output. Of what it writes, which may be without end, the facts are kept.

    Attributes:
        found: whether ffmpeg takes the file for media.
        facts: its lines on duration, streams and rotation.
        too_many: whether there are more than `MAX_STREAMS`.
        too_large: the size of a picture of more than `MAX_PIXELS`, as text.
    """

    def __init__(self, arguments: list[str], path: Path, cpu: float) -> None:
        self.found = self.too_many = False
        self.too_large: str | None = None
        self.facts: deque[str] = deque(maxlen=50 * MAX_STREAMS)
        self._name_lines = str(path).count("\n")  # a name may hold line breaks and look like facts
        self._skip = 0
        super().__init__(arguments, path, cpu)

    def heed(self, message: str) -> None:
        if self._skip:
            self._skip -= 1
        elif message.startswith("Input #0"):
            self.found = True
            self._skip = self._name_lines
        elif _FACT.match(message):
            self.facts.append(message)
        else:
            self.too_many |= "exceeds max_streams" in message
            size = re.search(r"Picture size (\d+x\d+) (?:is invalid|exceeds)", message)
            self.too_large = size[1] if size else self.too_large
            super().heed(message)


def _parse_header(path: Path, text: str) -> Header:
    """What `ffmpeg -i` prints about a file, as facts."""
    duration = re.search(r"^ *Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)", text, re.M)
    start = re.search(r"^ *Duration: [^\n]*\bstart: (-?\d+\.\d+)", text, re.M)
    seconds = int(duration[1]) * 3600 + int(duration[2]) * 60 + float(duration[3]) if duration else None
    audio: dict[str, Any] = {}
    video: dict[str, Any] = {}
    parts = re.split(r"^ {2,4}(?=Stream #0:\d+)", text, flags=re.M)[1:]
    for part in sorted(parts, key=lambda p: "(default)" not in p.partition("\n")[0]):
        line = part.partition("\n")[0]
        found = re.match(r"Stream #0:(\d+)[^ ]*: (Audio|Video): (\w+)(.*)", line)
        if not found or found[3] in ("none", "unknown") or "(attached pic)" in line:
            continue
        number, kind, codec, facts = int(found[1]), found[2], found[3], found[4]
        if kind == "Audio" and not audio:
            audio = {"number": number, "audio_codec": codec, **_audio_facts(facts)}
        if kind == "Video" and not video:
            shown = _video_facts(facts, part)
            told = re.search(r", ([a-z]\w*(\([^()]*\))?), \d+x\d+", line)
            more = {"pixels": told[1] if told else "", "video_codec": codec}
            video = {"number": number, **more, **shown} if shown else {}
    audio_number, video_number = audio.pop("number", None), video.pop("number", None)
    pixels = video.pop("pixels", "")
    info = MediaInfo(path, seconds, bool(audio), bool(video), **audio, **video)
    return Header(info, float(start[1]) if start else 0.0, audio_number, video_number, pixels)


def _audio_facts(facts: str) -> dict:
    found = re.search(r"(\d+) Hz(?:, ([^,]+))?", facts)
    layout = (found[2] or "").strip() if found else ""
    name = layout.partition("(")[0].strip()
    channels: int | None
    if name in _CHANNELS:
        channels = _CHANNELS[name]
    elif re.fullmatch(r"\d+(\.\d+)+", name):  # 5.1, 7.1.4
        channels = sum(int(n) for n in name.split("."))
    else:
        count = re.match(r"(\d+) channels", layout)
        channels = int(count[1]) if count else None
    return {"audio_rate": int(found[1]) if found else None, "audio_channels": channels}


def _video_facts(facts: str, part: str) -> dict | None:
    """Upright size with square pixels, and rate; None without a size."""
    size = re.search(r", (\d{1,9})x(\d{1,9})(?=[ ,\[]|$)", facts)
    if not size:
        return None
    width, height = int(size[1]), int(size[2])
    # the container's word on pixel shape follows the codec's and counts more
    shapes = re.findall(r"SAR (\d+):(\d+)", facts)
    if shapes and int(shapes[-1][0]) and int(shapes[-1][1]):
        width = max(1, round(width * int(shapes[-1][0]) / int(shapes[-1][1])))
    turn = re.search(r"(?i)^ *(?:display ?matrix: rotation of|rotate *:) (-?\d+(?:\.\d+)?)", part, re.M)
    if turn and abs(abs(float(turn[1])) % 180 - 90) < 2:
        width, height = height, width
    rate = re.search(r"(\d+(?:\.\d+)?k?) (?:fps|tbr)", facts)
    return {"width": width, "height": height, "fps": _exact_rate(rate[1]) if rate else None}


def _exact_rate(text: str) -> Fraction | None:
    """A frame rate as ffmpeg prints it, with two decimals, as the fraction that it stands for.

    >>> _exact_rate("29.97"), _exact_rate("23.98"), _exact_rate("25")
    (Fraction(30000, 1001), Fraction(24000, 1001), Fraction(25, 1))
    """
    rate = Fraction(text[:-1]) * 1000 if text.endswith("k") else Fraction(text)
    ntsc = Fraction(round(rate) * 1000, 1001)
    if rate.denominator > 1 and abs(ntsc - rate) <= Fraction(5, 1000):
        return ntsc
    return rate or None


def _check_limits(path: Path, header: Header, process: _HeaderProcess) -> None:
    """Refuse what would take absurdly long or large to read.

    Raises:
        MediaError: the file is beyond a limit, which is named.
    """
    info, file = header.info, show(path)
    size = None if info.has_video else process.too_large
    width, height = (int(n) for n in size.split("x")) if size else header.size
    if width * height > MAX_PIXELS:
        limit = f"{MAX_PIXELS // 1_000_000} million"
        raise MediaError(f"the picture of {file} has {width} × {height} px, more than {limit}: scale it down")
    if process.too_many:
        raise MediaError(f"{file} holds more than {MAX_STREAMS} streams: extract those that are wanted")
    duration = info.duration or 0.0
    if duration > MAX_DURATION:
        hours = duration / 3600
        raise MediaError(
            f"{file} lasts {hours:.0f} h by its header, more than {MAX_DURATION / 3600:.0f} h: cut it in parts"
        )
    if info.audio_rate is not None and not AUDIO_RATES[0] <= info.audio_rate <= AUDIO_RATES[1]:
        raise MediaError(
            f"the sound of {file} has {info.audio_rate} samples a second, not from {AUDIO_RATES[0]} to "
            f"{AUDIO_RATES[1]}: resample it"
        )


def _unreadable(path: Path, process: _HeaderProcess) -> MediaError:
    """The error for a file that ffmpeg does not open, by what ffmpeg says about it."""
    if process.too_many:
        return MediaError(f"{show(path)} holds more than {MAX_STREAMS} streams: extract those that are wanted")
    try:
        with path.open("rb") as file:
            kind = file.read(8)[4:]
    except OSError as error:  # it was there a moment ago
        return MediaError(f"{show(path)} cannot be read ({error.strerror}): copy it anew")
    if process.short_of_memory:
        return MediaError(f"{show(path)} needs more memory than ffmpeg may hold: it is damaged, or copy it anew")
    headless = any("moov atom not found" in m for m in process.messages)
    if headless and kind in (b"ftyp", b"mdat", b"wide", b"free", b"skip"):
        return MediaError(f"{show(path)} is cut short (it has no index, the moov atom): copy or record it again")
    return MediaError(f"{show(path)} is damaged or no media file: give a video or sound file that a player opens")
