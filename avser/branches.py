"""The two branches along a file: what the voice and the face say, as logits. They stream."""

from __future__ import annotations

import atexit
import bisect
import contextlib
import dataclasses
import math
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from avser import evidence, inputs, media
from avser.checkpoint import Branch
from avser.faces import FaceDetector
from avser.faces.mouths import MouthMeter
from avser.faces.tracking import FaceSample, PeopleFollower
from avser.options import Options
from avser.results import Sightings
from avser.speech import Envelope, EnvelopeFinder, SpeechFinder
from avser.types import Frame, MediaInfo
from avser.windows import audio_windows

LOOK_HEIGHT = 720
"""Height in px to which larger pictures are scaled before faces are looked for."""
TAIL = 2.0
"""Most pictures that may be left out at the end, of those that are wanted."""
WINDOWS = 4
"""Windows that the voice's network hears at once; more are no faster on a processor, but take more memory."""
FACES = 8
"""Faces that the face's network sees at once; four take a tenth more time each."""

Key = TypeVar("Key", bound=Hashable)

Known = dict[str, float | np.ndarray]
"""Evidence besides logits, by name (see `avser.evidence`)."""

Progress = Callable[[float], None]
"""Called with the second of the file that has been reached."""


@dataclass(frozen=True)
class Voice:
    """What was heard.

    Attributes:
        logits: of the audio branch, (C,) by window, None where there was no sound to speak of.
        end: of the sound, s.
        speech: (start, end) of each stretch in which somebody speaks, s; None if nobody looked for it.
        envelope: how loud the sound is; None if nobody measured it.
        known: evidence by window, where the fusion goes by it.
    """

    logits: dict[tuple[float, float], np.ndarray | None]
    end: float
    speech: tuple[tuple[float, float], ...] | None = None
    envelope: Envelope | None = None
    known: dict[tuple[float, float], Known] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Faces:
    """What was seen: one row a face and frame, in order of time.

    Attributes:
        sightings: time, person, box and score of each row.
        logits: of the face branch, (N, C) float32.
        end: of the video, s.
        spans: by person, (start, end) of each stretch in which the face was followed without a break, s.
        thumbnails: by person, (S, S, 3) uint8 RGB, the clearest crop.
        cuts: times at which the shot changes, s.
        mouths: (N,) float32, how far each mouth is open (see `MouthMeter`), NaN where unknown; None if none was
            measured.
        looked: (M,) times of all pictures in which faces were looked for; None where they were not kept.
    """

    sightings: Sightings
    logits: np.ndarray
    end: float
    spans: dict[int, tuple[tuple[float, float], ...]]
    thumbnails: dict[int, np.ndarray]
    cuts: tuple[float, ...] = ()
    mouths: np.ndarray | None = None
    looked: np.ndarray | None = None


def listen(
    branch: Branch,
    path: Path,
    info: MediaInfo,
    options: Options,
    seen: Callable[[], float],
    report: Progress,
    needs: bool = False,
) -> Voice:
    """What the voice says in each window, and where somebody speaks.

    Args:
        options: length and hop of the windows, and whether speech is looked for.
        seen: tells the end of the video, in s, when the sound has ended; windows go on to the later of the two.
        needs: whether the fusion goes by evidence as well (see `avser.evidence`).
    """
    if not info.has_audio:
        return Voice({}, 0.0)
    sounds: list[tuple[tuple[float, float], np.ndarray | None]] = []
    logits: dict[tuple[float, float], np.ndarray | None] = {}
    known: dict[tuple[float, float], Known] = {}

    def flush() -> None:
        logits.update(hear(branch, sounds))
        sounds.clear()

    end = 0.0
    params = branch.config.audio
    finders = (SpeechFinder(params.rate), EnvelopeFinder(params.rate)) if options.vad else None
    taps = [] if finders is None else [finders[0].update, finders[1].update]
    with contextlib.suppress(media.NoStreamError):  # a stream that is announced, but empty
        for start, stop, track in audio_windows(path, params.rate, options.window, options.hop, seen, taps):
            end = max(end, track.end)
            samples = track.between(start, stop).samples
            sounds.append(((start, stop), inputs.prepare(samples, params)))
            if needs:
                known[start, stop] = evidence.of_voice(samples, params.rate)
            report(stop)
            if len(sounds) >= WINDOWS:
                flush()
    flush()
    if finders is None:
        return Voice(logits, end, known=known)
    speech, envelope = finders
    return Voice(logits, end, speech.finish(), envelope.finish(), known)


def hear(branch: Branch, sounds: Iterable[tuple[Key, np.ndarray | None]]) -> dict[Key, np.ndarray | None]:
    """Logits (C,) of prepared sounds by their keys, None where there is no sound to speak of; one batch."""
    logits: dict[Key, np.ndarray | None] = dict.fromkeys(key for key, _ in sounds)
    audible = [(key, sound) for key, sound in sounds if sound is not None]
    if audible:
        together, lengths = inputs.padded([sound for _, sound in audible])
        rows = branch.run(*inputs.batch(together, lengths, branch.config.audio))
        for (key, _), row in zip(audible, rows, strict=True):
            logits[key] = row
    return logits


class Watcher:
    """What each followed face says, frame by frame; of a file, or of what a camera sees.

    Args:
        branch: the face branch.
        detector: finds the faces.
        options: how many faces are followed, and how small.
        height: of the full picture, px, to which boxes are scaled; None for that of the frames.
        mouths: measures mouths where several faces are seen at once; None to measure none.
    """

    def __init__(
        self,
        branch: Branch,
        detector: FaceDetector,
        options: Options,
        height: int | None = None,
        mouths: MouthMeter | None = None,
    ) -> None:
        self._branch, self._height, self._scale = branch, height, 1.0
        self._follower = PeopleFollower(branch.config.face.size, detector, options.max_faces, options.min_face)
        self._mouths = mouths
        self._waiting: list[tuple[FaceSample, float]] = []  # with its mouth; the network has not seen them
        self._looked = array("d")
        self._seen = _Rows(6 + len(branch.labels))

    def update(self, frame: Frame) -> None:
        """Look at the next frame."""
        if self._height is not None:
            self._scale = self._height / frame.image.shape[0]
        self._looked.append(frame.time)
        samples = self._follower.update(frame)
        meter = self._mouths if len(samples) > 1 else None
        self._waiting += [(s, meter.opening(frame.image, s.box) if meter else math.nan) for s in samples]
        if len(self._waiting) >= FACES:
            self.flush()

    def flush(self) -> None:
        """Have the network look at what waits for it."""
        if self._waiting:
            crops = np.stack([sample.crop for sample, _ in self._waiting])
            logits = self._branch.run(inputs.pictures_of(crops))
            for (sample, mouth), said in zip(self._waiting, logits, strict=True):
                self._seen.add(sample.time, sample.track, (*sample.box, sample.score, mouth, *said))
            self._waiting.clear()

    def forget(self, before: float) -> None:
        """Drop all that was seen before a time, s."""
        self.flush()
        self._seen.forget(before)
        self._looked = array("d", (time for time in self._looked if time >= before))

    def faces(self, end: float) -> Faces:
        """All that was seen, up to the `end` of the video, s."""
        self.flush()
        people = self._follower.people()
        numbers = {track: number for number, person in enumerate(people) for track in person.tracks}
        times, tracks, rows = self._seen.arrays()
        who = np.array([numbers.get(track, -1) for track in tracks.tolist()], int)
        if (who < 0).any():  # seen for too short a time to be anybody
            times, rows, who = times[who >= 0], rows[who >= 0], who[who >= 0]
        return Faces(
            Sightings(times, who, rows[:, :4] * np.float32(self._scale), rows[:, 4]),
            rows[:, 6:],
            end,
            {number: person.spans for number, person in enumerate(people)},
            {number: person.thumbnail for number, person in enumerate(people)},
            self._follower.cuts,
            rows[:, 5],
            np.array(self._looked),
        )


class _Rows:
    """What was seen of a face in a frame, row after row, in little memory.

    Args:
        width: W, numbers of a row: box, score, how far the mouth is open, logits.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._times, self._tracks, self._values = array("d"), array("q"), array("f")

    def __len__(self) -> int:
        return len(self._times)

    def add(self, time: float, track: int, values: Iterable[float]) -> None:
        """One row, of a time, s, not before that of the last."""
        self._times.append(time)
        self._tracks.append(track)
        self._values.extend(values)

    def forget(self, before: float) -> None:
        """Drop the rows before a time, s."""
        count = bisect.bisect_left(self._times, before)
        del self._times[:count], self._tracks[:count], self._values[: count * self._width]

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Times (N,), tracks (N,) and values (N, W) float32."""
        return np.array(self._times), np.array(self._tracks), np.array(self._values).reshape(-1, self._width)


_idle: list[tuple[FaceDetector, MouthMeter]] = []
"""Networks that no prediction uses now: to load them takes as long as to look at a second of video."""


@contextlib.contextmanager
def _loaded() -> Iterator[tuple[FaceDetector, MouthMeter]]:
    """Networks for one thread, those of an earlier prediction if they are free."""
    try:
        networks = _idle.pop()
    except IndexError:
        networks = FaceDetector(), MouthMeter()
    try:
        yield networks
    finally:
        _idle.append(networks)


@atexit.register
def free_networks() -> None:
    """Close the networks that are kept for the next prediction."""
    while _idle:
        for network in _idle.pop():
            network.close()


def look(branch: Branch, path: Path, info: MediaInfo, options: Options, report: Progress) -> Faces:
    """What each followed face says in each frame in which it is seen."""
    end, fps = 0.0, branch.config.face.fps
    asks_who_speaks = options.modality == "fused" and options.vad and info.has_audio
    # a stream that is announced, but empty, shows no face
    with _loaded() as (detector, mouths):
        watcher = Watcher(branch, detector, options, info.height, mouths if asks_who_speaks else None)
        if info.has_video:
            with contextlib.suppress(media.NoStreamError):
                for frame in media.iter_frames(path, fps, LOOK_HEIGHT, skip=True):
                    end = frame.time
                    report(frame.time)
                    watcher.update(frame)
            # The last picture is shown until the end of the stream, which the header tells best. It may speak of
            # the sound, which counts for itself; but where that ends about now, left out pictures may follow.
            shown = end + float(1 / info.fps) if info.fps else end
            length = info.duration or 0.0
            end = max(shown, 0.0 if info.has_audio and length > end + TAIL / fps else length)
        return watcher.faces(end)
