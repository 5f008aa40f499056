"""The annotated video: the pictures and the sound of a file with what was found in it drawn in.

Each face gets a frame and a plate with name and emotion; below the picture, so that nothing of it is covered, a
strip shows the file as a whole and the distributions of everybody in the window. Every frame keeps its own time,
whatever the rate, and the sound goes along untouched where an mp4 file can hold it (AAC, MP3), else as AAC. The
video is H.264 in 8 bits; HDR is brought to standard range. Very large pictures are scaled down, and small ones
enlarged until text can be read (see `scenes`). A file without pictures gets a plain canvas with its
timeline.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from avser import media
from avser.annotated_video import overlays
from avser.annotated_video.encoding import Encoder, EncodingError, sound_codecs
from avser.annotated_video.instants import Instants
from avser.annotated_video.overlays import Strip, answer, hue, plate, rgb
from avser.annotated_video.planes import Planes
from avser.annotated_video.scenes import Canvas, Pictures
from avser.media.headers import Header, read_header
from avser.media.paths import show
from avser.results import Prediction, Result
from avser.types import Frame
from avser.wording import person_name

_log = logging.getLogger(__name__)


def write_mp4(result: Result, path: Path, progress: Callable[[float], None] | None = None) -> None:
    """Write the annotated video of a result; the video is read again.

    Args:
        path: where to; the file is of no use before this returns.
        progress: called with the second of the file that has been reached.

    Raises:
        OSError: the file cannot be written.
        MediaError: the video cannot be read any more, or ffmpeg cannot encode.
    """
    header = read_header(result.path)
    ways = sound_codecs(header)
    for sound in ways:
        try:
            _write(result, header, path, sound, progress or (lambda second: None))
        except (
            EncodingError
        ):  # the sound may be so damaged that it can be decoded but not copied, or not even that
            if sound == ways[-1]:
                raise
        else:
            break
    if sound is None and header.audio is not None:
        _log.warning("the sound of %s is left out of the annotated video: it is damaged", show(result.path))


def _write(
    result: Result, header: Header, path: Path, sound: str | None, progress: Callable[[float], None]
) -> None:
    """Write the video with its sound in one of the ways of `sound_codecs`."""
    instants = Instants(result)
    with contextlib.ExitStack() as stack:
        scene: Pictures | Canvas
        first = None
        if header.video is not None:
            with contextlib.suppress(media.NoStreamError):  # a stream that is announced, but empty
                scene = Pictures(header)
                frames = stack.enter_context(contextlib.closing(scene.frames()))
                first = next(frames, None)
        if first is None:
            scene = Canvas(result, instants)
            frames = scene.frames()
            first = next(frames)
        painter = _Painter(result, instants, scene)
        size = painter.planes.width, painter.planes.height
        encoder = stack.enter_context(Encoder(path, header, *size, scene.fps, scene.colours, sound))
        _encode(painter, first, frames, encoder, progress)


def _encode(
    painter: _Painter, first: Frame, frames: Iterator[Frame], encoder: Encoder, progress: Callable[[float], None]
) -> None:
    """Paint and hand on frame by frame; each waits for the next one, for the last one has to last to the end."""
    ready = first
    for following in frames:
        encoder.add(ready.time, painter.paint(ready))
        progress(ready.time)
        ready = following
    lasts = None if ready.duration is None else min(ready.duration, media.MAX_GAP)
    encoder.add(ready.time, painter.paint(ready), lasts)
    encoder.finish()
    progress(ready.time)


class _Painter:
    """Draws frame after frame of one video into the same `planes`."""

    def __init__(self, result: Result, instants: Instants, scene: Pictures | Canvas) -> None:
        self.scene, self._instants = scene, instants
        self._strip = Strip(result, instants, scene.width, scene.height, scene.unit)
        self.planes = Planes(scene.width, scene.height + self._strip.height, scene.matrix)
        self._key: tuple | None = None
        self._plates = functools.lru_cache(maxsize=256)(lambda *what: self.planes.convert(plate(*what)))

    def paint(self, frame: Frame) -> np.ndarray:
        """The frame with everything drawn, as bytes of `yuv420p`; they are overwritten by the next one."""
        self.planes.lay(frame.image, self.scene.height)
        group = self._instants.group(frame.time)
        speakers = frozenset(p.person for p in group if self._instants.speaks(p, frame.time))
        if self._key != (id(group), speakers):
            self._key = (id(group), speakers)
            self.planes.paste(self.planes.convert(self._strip.draw(group, speakers)), 0, self.scene.height)
        self._paint_faces(frame.time, {p.person: p for p in group}, speakers)
        return self.planes.data

    def _paint_faces(self, time: float, found: dict[int | None, Prediction], speakers: frozenset) -> None:
        limits = np.array([self.scene.width, self.scene.height])
        boxes = {
            person: np.clip((box.reshape(2, 2) * self.scene.scale).round(), 0, limits).astype(int).ravel().tolist()
            for person, box in self._instants.boxes(time).items()
        }
        thick = 2 * max(1, round(self.scene.unit * 0.75))
        edge = max(1, round(self.scene.unit / 2))
        for person, box in boxes.items():
            bold = thick * (1 + (person in speakers))
            grown = (box[0] - bold, box[1] - bold, box[2] + bold, box[3] + bold)
            self.planes.frame(grown, edge, overlays.BACKGROUND, self.scene.height)
            self.planes.frame(box, bold, rgb(hue(found.get(person))), self.scene.height)
        taken = list(boxes.values())
        for person, box in boxes.items():
            space = thick * (1 + (person in speakers)) + edge
            self._paint_plate(person, box, found.get(person), person in speakers, space, taken)

    def _paint_plate(
        self, person: int, box: list[int], prediction: Prediction | None, speaks: bool, space: int, taken: list
    ) -> None:
        """Put a plate outside of the box where it covers no face and no other plate; a shorter one if need be."""
        name = person_name(person) + (" speaks" if speaks else "")
        full = [f"{name}  {answer(prediction)}"] if prediction else []
        for text in (*full, name, str(person + 1)):
            planes = self._plates(text, hue(prediction), self.scene.unit)
            height, width = planes[0].shape
            left, right = box[0] - space, box[2] + space - width
            fits = min(max(left, 0), self.scene.width - width)
            for x in (fits, min(max(right, 0), self.scene.width - width)):
                for y in (box[1] - space - height, box[3] + space + 1):
                    x, y = x // 2 * 2, y // 2 * 2
                    place = (x, y, x + width, y + height)
                    inside = x >= 0 and y >= 0 and place[2] <= self.scene.width and place[3] <= self.scene.height
                    if inside and not any(_meet(place, other) for other in taken):
                        self.planes.paste(planes, x, y)
                        taken.append(place)
                        return


def _meet(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
