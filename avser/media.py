"""All that touches ffmpeg: what a file holds, its sound, and its frames with their times.

Both streams come on one clock. ffmpeg is told to leave timestamps as they are in the file (`-copyts`), and the
start of the container, which is the start of its earliest stream, is subtracted from both. ffmpeg's own zero
would differ between streams for MPEG files, where it starts at the first stream that is read.

A file is opened by its absolute path with the `file:` protocol alone and by demuxers that read nothing but the
file itself (no playlists, no image patterns), so that it cannot send ffmpeg to the network or to other files.
"""

from __future__ import annotations

import functools
import logging
import os
import queue
import re
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import ffmpeg
import numpy as np

from avser.types import AudioTrack, Frame, MediaError, MediaInfo

VIDEO_SUFFIXES = (
    *(".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
    *(".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
)
AUDIO_SUFFIXES = (
    *(".aac", ".ac3", ".aif", ".aiff", ".amr", ".au", ".caf", ".flac", ".m4a", ".mka", ".mp2", ".mp3", ".oga"),
    *(".ogg", ".opus", ".wav", ".weba", ".wma"),
)
MEDIA_SUFFIXES = frozenset(VIDEO_SUFFIXES + AUDIO_SUFFIXES)
"""Suffixes by which a folder is searched. A file named outright is read whatever its suffix."""

DEMUXERS = (
    "3gp,aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dv,eac3,flac,flv,gif,h264,hevc,ivf,live_flv,loas,m4v,"
    "matroska,mjpeg,mov,mp3,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,tta,vc1,w64,wav,webm,wv"
)
"""Demuxers that a file may be read with: containers and plain streams that hold all their data themselves."""

THREADS = 0
"""Decoder threads of one ffmpeg process; 0 lets ffmpeg take one a core. Set 1 to read many files side by side."""

SEEK_MARGIN = 5.0
"""How long before a wanted start decoding begins, in s, so that decoders have settled by then."""

MAX_DRIFT = 0.04
"""Longest difference between sound and its timestamps that is let be, in s; beyond it silence fills the gap."""

_PROBE_TIMEOUT = 60.0  # s
_CHANNELS = {"mono": 1, "stereo": 2, "downmix": 2, "quad": 4, "hexagonal": 6, "octagonal": 8}
_COMPLAINT = re.compile(r"\S.*(error|invalid|corrupt|partial file|prematurely|truncat)", re.I)
_log = logging.getLogger(__name__)


class NoStreamError(MediaError):
    """A file has no sound where sound was asked for, or no picture where frames were."""


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
        raise MediaError(f"no media files in {_show(path)}: name a folder with videos or sound files")
    return files


def probe(path: str | Path) -> MediaInfo:
    """What a media file holds, from its header.

    A cover picture does not count as video. Width and height are those of the upright picture with square
    pixels. Common NTSC rates come as their exact fractions.

    Raises:
        MediaError: the file is missing, empty, damaged or no media file.
    """
    return _read_header(path).info


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
    header = _read_header(path)
    if header.audio is None:
        raise NoStreamError(f"{_show(path)} has no sound: give a file with a sound stream")
    start = max(start, 0.0)
    position = first = round(start * rate)
    last = None if end is None else round(end * rate)
    size = max(1, round(block * rate))
    stream = _input(header, start)[str(header.audio)]
    # 0 is where the wanted part starts: aresample counts first_pts by the rate of its input
    stream = stream.filter("asetpts", f"PTS-({_seconds(header.start + first / rate)})/TB")
    stream = stream.filter("atrim", start=0, **({} if end is None else {"end": _seconds(end - first / rate)}))
    # rematrix_maxval: the down-mix of float samples would exceed 1 without it
    resample = {"async": 1, "first_pts": 0, "min_hard_comp": MAX_DRIFT, "rematrix_maxval": 1}
    stream = stream.filter("aresample", rate, **resample)
    stream = stream.filter("aformat", sample_fmts="flt", channel_layouts="mono", sample_rates=rate)
    with _Process(stream.output("pipe:", format="f32le", acodec="pcm_f32le"), path) as process:
        while last is None or position < last:
            wanted = size if last is None else min(size, last - position)
            data = process.read(wanted * 4)
            samples = np.frombuffer(data[: len(data) // 4 * 4], "<f4")
            if not len(samples):
                break
            yield AudioTrack(np.nan_to_num(samples).clip(-1.0, 1.0), rate, position / rate)
            position += len(samples)
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
    header = _read_header(path)
    info = header.info
    if header.video is None:
        raise NoStreamError(f"{_show(path)} has no video: give a file with a video stream")
    if end is not None and end <= start:
        return
    width, height = _fit(info.width, info.height, height)
    start = max(start, 0.0)
    stream = _input(header, start)[str(header.video)]
    stream = stream.filter("settb", "AVTB").filter("setpts", f"PTS-({round(header.start * 1_000_000)})")  # µs
    stream = stream.filter("trim", start=_seconds(start), **({} if end is None else {"end": _seconds(end)}))
    if fps is not None:
        # the grid is shifted so that the frames of a rate that fps divides do not lie on the edges of its cells
        cell = "floor({}*" + f"{float(fps):.6f}+0.3)"
        new_cell = f"gt({cell.format('t')},{cell.format('prev_selected_t')})"
        stream = stream.filter("select", f"isnan(prev_selected_t)+{new_cell}")
    stream = stream.filter("scale", width, height, flags="area").filter("setsar", "1").filter("format", "rgb24")
    stream = stream.filter("showinfo", checksum=0)
    output = stream.output("pipe:", format="rawvideo", pix_fmt="rgb24", **_every_frame())
    time = -1.0
    got = False
    with _Process(output, path) as process:
        while True:
            image = np.empty((height, width, 3), np.uint8)
            if process.read_into(image) < image.nbytes:
                break
            shown = process.next_time()
            got = True
            if not shown > time:  # a broken clock: the frame has no place in time
                continue
            time = shown
            yield Frame(time, image)
        process.finish("video", got=got, whole=start == 0 and end is None)


@dataclass(frozen=True)
class _Header:
    """What reading needs besides the public facts: start of the container in s, and the streams' numbers."""

    info: MediaInfo
    start: float
    audio: int | None
    video: int | None


class _Process:
    """A running ffmpeg whose output is read from a pipe. A thread reads its messages so that it never blocks.

    Leaving the context ends the process, whatever state it is in.
    """

    def __init__(self, output, path: str | Path) -> None:
        # -hide_banner and -nostats leave on stderr what is about the streams, and showinfo's lines
        output = output.global_args("-hide_banner", "-nostdin", "-nostats", "-copyts", "-loglevel", "info")
        self.path = path
        self.messages: deque[str] = deque(maxlen=50)
        self.times: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            output.compile(cmd=ffmpeg_binary()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.reader = threading.Thread(target=self._read_messages, daemon=True)
        self.reader.start()

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()
        self.process.stderr.close()

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end."""
        return self.process.stdout.read(size)

    def read_into(self, array: np.ndarray) -> int:
        """Fill an array with the next bytes; the number of bytes, smaller than the array at the end."""
        return self.process.stdout.readinto(memoryview(array).cast("B"))

    def next_time(self) -> float:
        """Time of the next frame in s, not a number if it has none. showinfo tells it before it is written."""
        time = self.times.get()
        if time is None:
            raise MediaError(f"ffmpeg gives no times for the frames of {_show(self.path)}: try another ffmpeg")
        return time

    def finish(self, what: str, got: bool, whole: bool) -> None:
        """Wait for the end and judge it.

        Raises:
            NoStreamError: the whole stream was asked for and it is empty.
            MediaError: ffmpeg failed before anything could be decoded, or was killed.
        """
        code = self.process.wait()
        self.reader.join()
        if code < 0:
            raise MediaError(f"ffmpeg was stopped by signal {-code} while it read {_show(self.path)}: try again")
        complaints = [m for m in self.messages if _COMPLAINT.match(m)]
        if not got and (code or (whole and complaints)):
            why = _clean(complaints[-1]) if complaints else f"ffmpeg ended with code {code}"
            raise MediaError(f"no {what} in {_show(self.path)} can be decoded ({why}): copy the file anew")
        if not got and whole:
            raise NoStreamError(f"the {what} stream of {_show(self.path)} is empty: give a file that has {what}")
        if code or any(re.search("partial file|prematurely|truncat", m, re.I) for m in complaints):
            _log.warning("the %s in %s is damaged or cut short: only a part was read", what, _show(self.path))

    def _read_messages(self) -> None:
        for line in self.process.stderr:
            text = line.decode("utf-8", "replace").rstrip()
            # searched anywhere in the line: messages of other threads may come before it
            found = re.search(r"\bn:\s*\d+\s+pts:\s*(-?\d+|NOPTS)\s+pts_time:", text)
            if found:
                self.times.put(float("nan") if found[1] == "NOPTS" else int(found[1]) / 1_000_000)
            else:
                self.messages.append(text)
        self.times.put(None)  # so that nobody waits for ever


def _read_header(path: str | Path) -> _Header:
    path = _existing_file(Path(path))
    if path.stat().st_size == 0:
        raise MediaError(f"{_show(path)} is empty (0 bytes): record or copy it again")
    if not os.access(path, os.R_OK):
        raise MediaError(f"{_show(path)} may not be read: change its permissions")
    command = [ffmpeg_binary(), "-hide_banner", "-nostdin", "-protocol_whitelist", "file,pipe"]
    command += ["-format_whitelist", DEMUXERS, "-i", _url(path)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise MediaError(f"ffmpeg finds no end to the header of {_show(path)}: copy the file anew") from error
    text = done.stderr.decode("utf-8", "replace").replace(str(path.absolute()), "")
    if not re.search(r"^Input #0", text, re.M):
        raise _unreadable(path, text)
    header = _parse_header(path, text)
    if header.audio is None and header.video is None:
        raise MediaError(f"{_show(path)} holds neither sound nor video that ffmpeg can decode: convert it first")
    return header


def _parse_header(path: Path, text: str) -> _Header:
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
    return _Header(info, float(start[1]) if start else 0.0, audio_number, video_number)


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


def _input(header: _Header, start: float):
    """The file as an ffmpeg-python input. A seek is only a head start: filters cut by the true timestamps."""
    options = {"protocol_whitelist": "file,pipe", "format_whitelist": DEMUXERS, "threads": THREADS}
    if start > SEEK_MARGIN:
        options |= {"noaccurate_seek": None, "ss": _seconds(start - SEEK_MARGIN)}
    return ffmpeg.input(_url(header.info.path), **options)


@functools.cache
def _every_frame() -> dict[str, str]:
    """The option by which ffmpeg neither doubles nor drops frames; its name changed in version 5.1."""
    command = [ffmpeg_binary(), "-version"]
    text = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
    version = re.search(r"libavcodec\s+(\d+)\.\s*(\d+)", text)
    if version and (int(version[1]), int(version[2])) < (59, 37):
        return {"vsync": "passthrough"}
    return {"fps_mode": "passthrough"}


def _fit(width: int, height: int, limit: int | None) -> tuple[int, int]:
    """Even size of a picture whose height is at most `limit`.

    >>> _fit(1280, 720, 360), _fit(320, 241, 360)
    ((640, 360), (320, 240))
    """
    scale = 1.0 if limit is None else min(1.0, limit / height)
    return max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)


def _existing_file(path: Path) -> Path:
    try:
        found = path.exists()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise MediaError(f"{_show(path)} cannot be opened ({error.strerror}): check the name") from error
    if not found:
        raise MediaError(f"there is no file {_show(path)}: check the name")
    if path.is_dir():
        raise MediaError(f"{_show(path)} is a folder: name a file in it")
    if not path.is_file():
        raise MediaError(f"{_show(path)} is no regular file: name a media file")
    return path


def _unreadable(path: Path, text: str) -> MediaError:
    """The error for a file that ffmpeg does not open, by what ffmpeg says about it."""
    with path.open("rb") as file:
        kind = file.read(8)[4:]
    if "moov atom not found" in text and kind in (b"ftyp", b"mdat", b"wide", b"free", b"skip"):
        return MediaError(f"{_show(path)} is cut short (it has no index, the moov atom): copy or record it again")
    return MediaError(f"{_show(path)} is damaged or no media file: give a video or sound file that a player opens")


def _url(path: Path) -> str:
    return f"file:{path.absolute()}"


def _seconds(value: float) -> str:
    return f"{value:.6f}"


def _show(path: str | Path) -> str:
    """A path for a message of one line that any terminal can print."""
    text = str(path).encode("utf-8", "backslashreplace").decode()
    return text.replace("\n", "\\n").replace("\r", "\\r")


def _clean(message: str) -> str:
    """A message of ffmpeg without the address of the part that says it."""
    return re.sub(r"^(\[[^]]*\] *)+", "", message).strip().rstrip(".")
