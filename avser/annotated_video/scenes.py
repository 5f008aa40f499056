"""What an annotated video is drawn on: the pictures of a file, or a canvas where it has none."""

from __future__ import annotations

import functools
import math
import re
import subprocess
from collections.abc import Generator
from fractions import Fraction

import numpy as np

from avser import media
from avser.annotated_video import overlays
from avser.annotated_video.encoding import MAX_RATE
from avser.annotated_video.instants import Instants
from avser.annotated_video.overlays import answer, hue, plate, rgb
from avser.annotated_video.planes import Planes, matrix
from avser.media.headers import Header
from avser.media.processes import ffmpeg_binary
from avser.palette import colour
from avser.results import Prediction, Result
from avser.types import Frame

MOST_WIDTH, MOST_HEIGHT = 4096, 1920
"""Largest picture, px: with the strip below it is within what decoders in hardware take."""
LEAST_SIDE = 300
"""Pictures with a shorter side are enlarged by a whole number, px."""

CANVAS = (1280, 320)
CANVAS_RATE = Fraction(10)
"""Size in px and frames a second of the canvas that stands for missing pictures."""

_TONE = (
    ("zscale", {"t": "linear", "npl": 100}),
    ("format", {"pix_fmts": "gbrpf32le"}),
    ("zscale", {"p": "bt709"}),
    ("tonemap", {"tonemap": "hable", "desat": 0}),
    ("zscale", {"t": "bt709", "m": "bt709", "r": "tv"}),
)
"""From HDR to standard range, by the curve of Hable, with 100 cd/m² as the white that the curve starts from."""


class Pictures:
    """The pictures of a video, to be drawn on.

    Attributes:
        width, height: as they are drawn on, even, px.
        scale: (2,) by which x and y of the full picture are multiplied.
        unit: see `overlays.Strip`.
        colours: for ffmpeg's `setparams`. matrix: for `Planes`.
    """

    def __init__(self, header: Header) -> None:
        (width, height), fps = header.size, header.info.fps
        self._header = header
        self.width, self.height = _size(width, height)
        self.scale = np.array([self.width / width, self.height / height])
        self.unit = max(1.0, min(self.width, self.height) / 360)
        self.fps = fps if fps and 1 <= fps <= MAX_RATE else Fraction(25)
        self._tone = bool(re.search("smpte2084|arib-std-b67", header.pixels)) and _can_tone()
        self._from_rgb = bool(re.match(r"[0axi]?(rgb|bgr|gbr)|pal8", header.pixels))
        standard = "range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
        self.colours = standard if self._tone or self._from_rgb else _colours(header.pixels)
        unknown = "colorspace=unknown" in self.colours
        wide = height >= 720 if unknown else re.search("colorspace=bt(709|2020)", self.colours)
        self.matrix = matrix("bt709" if wide else "bt601")

    def frames(self) -> Generator[Frame]:
        """The pictures as bytes of `yuv420p`, with their times."""
        stream = media.video_stream(self._header).filter("trim", start=0)
        if self._tone:
            for name, options in _TONE:
                stream = stream.filter(name, **options)
        kind = {"out_color_matrix": "bt709"} if self._from_rgb else {}
        flags = "area" if self.scale[0] <= 1 else "bicubic"
        stream = stream.filter("scale", self.width, self.height, flags=flags, out_range="tv", **kind)
        stream = stream.filter("setsar", "1").filter("format", "yuv420p")
        yield from media.read_frames(stream, self._header, (self.width * self.height * 3 // 2,), "yuv420p")


class Canvas:
    """What is drawn on where there are no pictures: the emotion in large letters, and the timeline."""

    def __init__(self, result: Result, instants: Instants) -> None:
        self.width, self.height = CANVAS
        self.scale, self.unit, self.fps = np.ones(2), 2.0, CANVAS_RATE
        self.colours = "range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
        self.matrix = matrix("bt709")
        self._planes = Planes(self.width, self.height, self.matrix)
        self._instants, self._end = instants, max(result.overall.end, float(1 / CANVAS_RATE))
        self._timeline = _timeline(result, self.width - 80, 40, self._end)
        self._shown: tuple[Prediction, ...] | None = None

    def frames(self) -> Generator[Frame]:
        """Pictures as bytes of `yuv420p`, with their times."""
        for number in range(math.ceil(self._end * CANVAS_RATE)):
            time = number / float(CANVAS_RATE)
            self._draw(time)
            yield Frame(time, self._planes.data.copy())

    def _draw(self, time: float) -> None:
        group = self._instants.group(time)
        if group is not self._shown:
            image = np.full((self.height - 100, self.width, 3), overlays.BACKGROUND, np.uint8)
            if group:
                title = plate(answer(group[0]), hue(group[0]), 6.0)
                image[60 : 60 + title.shape[0], 40 : 40 + title.shape[1]] = title[:, : self.width - 40]
            self._planes.paste(self._planes.convert(image), 0, 0)
            self._shown = group
        image = np.full((100, self.width, 3), overlays.BACKGROUND, np.uint8)
        image[30:70, 40:-40] = self._timeline
        x = 40 + round(time / self._end * (self.width - 80))
        image[20:80, x - 2 : x + 2] = overlays.WHITE
        self._planes.paste(self._planes.convert(image), 0, self.height - 100)


def _timeline(result: Result, width: int, height: int, end: float) -> np.ndarray:
    """The segments of the voice as a picture (H, W, 3)."""
    image = np.full((height, width, 3), overlays.TRACK, np.uint8)
    for segment in result.segments:
        start, stop = (round(min(time / end, 1.0) * width) for time in (segment.start, segment.end))
        image[:, start:stop] = rgb(colour(segment.label).hex)
    return image


def _size(width: int, height: int) -> tuple[int, int]:
    """Size in which a picture is drawn on.

    >>> _size(1280, 720), _size(3840, 2160), _size(161, 121), _size(64, 48)
    ((1280, 720), (3412, 1920), (482, 362), (448, 336))
    """
    factor = min(1.0, MOST_WIDTH / width, MOST_HEIGHT / height)
    if min(width, height) < LEAST_SIDE:
        wanted = math.ceil(LEAST_SIDE / min(width, height))
        factor = min(factor, 1.0) if factor < 1 else min(wanted, MOST_WIDTH // width, MOST_HEIGHT // height)
    width, height = (max(2, round(side * factor) // 2 * 2) for side in (width, height))
    return width, height


def _colours(pixels: str) -> str:
    """What ffmpeg says of a video's colours, for its filter `setparams`; limited range, as all is written.

    >>> _colours("yuv420p(pc, smpte170m, progressive)"), _colours("yuv420p(tv, bt709/unknown/smpte170m)")
    ('range=tv:colorspace=smpte170m:color_primaries=smpte170m:color_trc=smpte170m', \
'range=tv:colorspace=bt709:color_primaries=unknown:color_trc=smpte170m')
    """
    facts = [fact.split("/") for fact in pixels.partition("(")[2].rstrip(")").split(", ")]
    three = next((fact for fact in facts if _COLOURS.intersection(fact)), ["unknown"])
    three = [name if name in _COLOURS else "unknown" for name in (three if len(three) == 3 else three * 3)]
    names = ("colorspace", "color_primaries", "color_trc")
    return "range=tv" + "".join(f":{name}={value}" for name, value in zip(names, three, strict=True))


_COLOURS = {
    *("bt709", "bt470m", "bt470bg", "smpte170m", "smpte240m", "bt2020nc", "bt2020", "bt2020-10"),
    *("iec61966-2-1", "smpte2084", "arib-std-b67"),
}
"""Names that every ffmpeg knows; others are left out."""


@functools.cache
def _can_tone() -> bool:
    """Whether ffmpeg has the filters that bring HDR to standard range."""
    command = [ffmpeg_binary(), "-hide_banner", "-filters"]
    text = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
    return all(re.search(rf" {name} ", text) for name, _ in _TONE)
