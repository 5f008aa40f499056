"""Which files are media, and what they hold: all that is read from a header, by ffmpeg.

A file is opened by its absolute path with the `file:` protocol alone and by demuxers that read nothing but the
file itself (no playlists, no image patterns), so that it cannot send ffmpeg to the network or to other files.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from avser.types import MediaError, MediaInfo

VIDEO_SUFFIXES = (
    *(".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
    *(".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
)
AUDIO_SUFFIXES = (
    *(".aac", ".ac3", ".aif", ".aiff", ".amr", ".au", ".caf", ".flac", ".m4a", ".mka", ".mp2", ".mp3", ".oga"),
    *(".ogg", ".opus", ".wav", ".weba", ".wma"),
)
MEDIA_SUFFIXES = frozenset(VIDEO_SUFFIXES + AUDIO_SUFFIXES)
"""Suffixes by which folders and corpora are searched. A file named outright is read whatever its suffix."""

DEMUXERS = (
    "3gp,aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dv,eac3,flac,flv,gif,h264,hevc,ivf,live_flv,loas,m4v,"
    "matroska,mjpeg,mov,mp3,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,tta,vc1,w64,wav,webm,wv"
)
"""Demuxers that a file may be read with: containers and plain streams that hold all their data themselves."""

_PROBE_TIMEOUT = 60.0  # s
_CHANNELS = {"mono": 1, "stereo": 2, "downmix": 2, "quad": 4, "hexagonal": 6, "octagonal": 8}


@dataclass(frozen=True)
class Header:
    """What reading needs besides the public facts: start of the container in s, and the streams' numbers."""

    info: MediaInfo
    start: float
    audio: int | None
    video: int | None


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


def find_media(path: str | Path) -> list[Path]:
    """Media files at a path: the file itself, or all those in a folder and below it, sorted.

    Raises:
        MediaError: there is no such path, or a folder without media files.
    """
    path = Path(path)
    if not path.is_dir():
        return [_existing_file(path)]
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in MEDIA_SUFFIXES and p.is_file())
    files = [p for p in files if not p.name.startswith(".")]  # such as the ._name.mp4 that macOS leaves
    if not files:
        raise MediaError(f"no media files in {show(path)}: name a folder with videos or sound files")
    return files


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
    path = _existing_file(Path(path))
    if path.stat().st_size == 0:
        raise MediaError(f"{show(path)} is empty (0 bytes): record or copy it again")
    if not os.access(path, os.R_OK):
        raise MediaError(f"{show(path)} may not be read: change its permissions")
    command = [ffmpeg_binary(), "-hide_banner", "-nostdin", "-protocol_whitelist", "file,pipe"]
    command += ["-format_whitelist", DEMUXERS, "-i", url(path)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise MediaError(f"ffmpeg finds no end to the header of {show(path)}: copy the file anew") from error
    text = done.stderr.decode("utf-8", "replace").replace(str(path.absolute()), "")
    if not re.search(r"^Input #0", text, re.M):
        raise _unreadable(path, text)
    header = _parse_header(path, text)
    if header.audio is None and header.video is None:
        raise MediaError(f"{show(path)} holds neither sound nor video that ffmpeg can decode: convert it first")
    return header


def _parse_header(path: Path, text: str) -> Header:
    """What `ffmpeg -i` prints about a file, as facts."""
    duration = re.search(r"^ *Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)", text, re.M)
    start = re.search(r"^ *Duration: [^\n]*\bstart: (-?\d+\.\d+)", text, re.M)
    seconds = int(duration[1]) * 3600 + int(duration[2]) * 60 + float(duration[3]) if duration else None
    audio, video = {}, {}
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
            facts = _video_facts(facts, part)
            video = {"number": number, "video_codec": codec, **facts} if facts else {}
    audio_number, video_number = audio.pop("number", None), video.pop("number", None)
    info = MediaInfo(path, seconds, bool(audio), bool(video), **audio, **video)
    return Header(info, float(start[1]) if start else 0.0, audio_number, video_number)


def _audio_facts(facts: str) -> dict:
    found = re.search(r"(\d+) Hz(?:, ([^,]+))?", facts)
    layout = (found[2] or "").strip() if found else ""
    name = layout.partition("(")[0].strip()
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
    size = re.search(r", (\d{1,5})x(\d{1,5})(?=[ ,\[]|$)", facts)
    if not size:
        return None
    width, height = int(size[1]), int(size[2])
    # the container's word on pixel shape follows the codec's and counts more
    shapes = re.findall(r"SAR (\d+):(\d+)", facts)
    if shapes and int(shapes[-1][0]) and int(shapes[-1][1]):
        width = max(1, round(width * int(shapes[-1][0]) / int(shapes[-1][1])))
    turn = re.search(r"(?i)^ *(?:display ?matrix: rotation of|rotate *:) (-?[\d.]+)", part, re.M)
    if turn and abs(abs(float(turn[1])) % 180 - 90) < 2:
        width, height = height, width
    rate = re.search(r"([\d.]+k?) fps", facts) or re.search(r"([\d.]+k?) tbr", facts)
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


def _existing_file(path: Path) -> Path:
    try:
        found = path.exists()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise MediaError(f"{show(path)} cannot be opened ({error.strerror}): check the name") from error
    if not found:
        raise MediaError(f"there is no file {show(path)}: check the name")
    if path.is_dir():
        raise MediaError(f"{show(path)} is a folder: name a file in it")
    if not path.is_file():
        raise MediaError(f"{show(path)} is no regular file: name a media file")
    return path


def _unreadable(path: Path, text: str) -> MediaError:
    """The error for a file that ffmpeg does not open, by what ffmpeg says about it."""
    with path.open("rb") as file:
        kind = file.read(8)[4:]
    if "moov atom not found" in text and kind in (b"ftyp", b"mdat", b"wide", b"free", b"skip"):
        return MediaError(f"{show(path)} is cut short (it has no index, the moov atom): copy or record it again")
    return MediaError(f"{show(path)} is damaged or no media file: give a video or sound file that a player opens")


def url(path: Path) -> str:
    """A path as ffmpeg is to open it: by the file protocol, whatever the name looks like."""
    return f"file:{path.absolute()}"


def show(path: str | Path) -> str:
    """A path for a message of one line that any terminal can print."""
    text = str(path).encode("utf-8", "backslashreplace").decode()
    return text.replace("\n", "\\n").replace("\r", "\\r")
