"""Rolling prediction of what happens now: a window every few moments, told with a bounded delay.

Each window takes the way of a file's window (`avser.story`). Where the machine is too slow, frames are dropped,
then whole windows; neither the delay nor memory grows.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avser import evidence, inputs, media
from avser.branches import LOOK_HEIGHT, Voice, Watcher, hear
from avser.faces import FaceDetector
from avser.faces.mouths import MouthMeter
from avser.live import devices, feeds
from avser.live.feeds import Clock, Feed
from avser.options import Options
from avser.recognizer import Recognizer
from avser.results import Prediction
from avser.speech import EnvelopeFinder, SpeechFinder
from avser.story import Story
from avser.types import AudioTrack, ConfigError, Frame, MediaInfo, ModelError
from avser.windows import window_grid

GRACE = 0.5
"""How long after the end of a window its last frames and sounds are waited for, s."""
LATE = 1.0
"""A window that could only be told this much later than it should is left out, s."""
WAITING = 1.0
"""Frames of so many seconds may wait to be looked at."""
BLOCK = 0.1
"""Length of a block of sound, s."""
GLANCE = 0.02
"""How often it is looked whether something has come, s."""


@dataclass(frozen=True)
class Source:
    """What is watched and listened to: a camera and a microphone, or a file that is played in real time.

    Attributes:
        file: the file, or None.
        camera, microphone: names as for `avser.live.devices`; None for none.
    """

    file: Path | None = None
    camera: str | None = None
    microphone: str | None = None


@dataclass(frozen=True)
class Moment:
    """A window as soon as it is over.

    Attributes:
        start, end: the window, s since the beginning.
        predictions: one a person, as in a `Result`.
        delay: between the end of the window and now, s.
        dropped: frames that have not been looked at since the last moment.
        skipped: windows left out since then.
    """

    start: float
    end: float
    predictions: tuple[Prediction, ...]
    delay: float
    dropped: int = 0
    skipped: int = 0


class Live:
    """A camera and a microphone, or a file in real time, under way.

    Args:
        model: what predicts.
        source: what is watched and listened to.
        options: settings; `smooth` has no meaning here.

    Raises:
        ConfigError: nothing is left to watch or listen to.
        ModelError: the model does not have the modality.
        MediaError: the file cannot be read.
    """

    def __init__(self, model: Recognizer, source: Source, options: Options) -> None:
        self.model, self.source = model, source
        self.options = model.check(options)
        path = source.file
        held = media.probe(path) if path else MediaInfo(Path(), None, bool(source.microphone), bool(source.camera))
        self.info = held
        self._watches = held.has_video and self.options.modality != "audio"
        self._listens = held.has_audio and self.options.modality != "face"
        if not (self._watches or self._listens):
            raise ConfigError(f"there is nothing to find {self.options.modality} emotions in: give another source")
        if self._watches and model.checkpoint.branches["face"].config.signal == "action_units":
            raise ModelError(f"model {model.name!r} takes action units; choose a model that takes pictures")
        self._clock = Clock(self._watches + self._listens)
        self._pictures: Feed[Frame] | None = None
        self._sound: Feed[AudioTrack] | None = None
        self._watcher: Watcher | None = None
        self._speech: SpeechFinder | None = None
        self._envelope: EnvelopeFinder | None = None
        self._seen = 0.0  # time of the last frame that was looked at
        self._listened = 0.0  # end of the sound in which speech was looked for

    def run(self) -> Generator[Moment]:
        """The windows as they end; for a file until it is over, else until the iterator is closed.

        Raises:
            MediaError: a device or the file cannot be read.
        """
        window, hop = self.options.window, self.options.hop
        with contextlib.ExitStack() as stack:
            self._open(stack)
            number = skipped = told = 0
            while not self._over(end := number * hop + window):
                yield self._moment(number * hop, end, told, skipped)
                number, told = number + 1, self._dropped
                late = self._clock.now() - (number * hop + window)
                skipped = math.ceil((late - LATE) / hop) if late > LATE and not self._ended else 0
                number += skipped
            for start, end in window_grid(self._end, window, hop)[number:]:
                yield self._moment(start, end, told, skipped)
                told, skipped = self._dropped, 0

    def _open(self, stack: contextlib.ExitStack) -> None:
        """Start reading; what is started ends with the stack."""
        branches = self.model.checkpoint.branches
        detector = stack.enter_context(FaceDetector())
        mouths = stack.enter_context(MouthMeter()) if self._watches and self._listens else None
        if self._watches:
            rate = branches["face"].config.face.fps
            self._watcher = Watcher(branches["face"], detector, self.options, self.info.height, mouths)
            self._pictures = Feed(self._frames(rate), self._clock, max(1, round(WAITING * rate)))
        if self._listens:
            kept = self.options.window + self.options.hop + GRACE + LATE
            self._sound = Feed(self._blocks(), self._clock, math.ceil(kept / BLOCK) + 1)
        self._warm_up(detector)
        for feed in self._feeds:
            feed.start()
            stack.callback(feed.join, 2.0)
            stack.callback(feed.stop)

    def _warm_up(self, detector: FaceDetector) -> None:
        """Load what is loaded with the first frame or sound: it takes seconds, which would cost frames."""
        branches = self.model.checkpoint.branches
        if self._watcher is not None:
            detector.detect(np.zeros((64, 64, 3), np.uint8))
            side = branches["face"].config.face.size
            branches["face"].run(np.zeros((1, 3, side, side), np.float32))
        if self._sound is not None:
            noise = np.random.default_rng(0).normal(0, 0.1, round(self.options.window * self._rate))
            sound = inputs.prepare(noise.astype(np.float32), branches["audio"].config.audio)
            hear(branches["audio"], [(0, sound)])

    @property
    def _rate(self) -> int:
        """Of the sound that the model hears, Hz."""
        return self.model.checkpoint.branches["audio"].config.audio.rate

    def _frames(self, rate: float) -> Generator[Frame]:
        file, camera = self.source.file, self.source.camera
        if file is not None:
            return feeds.played_frames(media.iter_frames(file, rate, LOOK_HEIGHT, skip=True), self._clock)
        assert camera is not None  # else there would be nothing to watch
        return feeds.live_frames(devices.camera(camera, rate), self._clock)

    def _blocks(self) -> Generator[AudioTrack]:
        file, microphone = self.source.file, self.source.microphone
        if file is not None:
            return feeds.played_sound(media.iter_audio(file, self._rate, BLOCK), self._clock)
        assert microphone is not None  # else there would be nothing to listen to
        return feeds.live_sound(devices.microphone(microphone, self._rate, BLOCK), self._rate, self._clock)

    @property
    def _feeds(self) -> list[Feed]:
        return [feed for feed in (self._pictures, self._sound) if feed is not None]

    @property
    def _ended(self) -> bool:
        return all(feed.over for feed in self._feeds)

    @property
    def _end(self) -> float:
        """End of a file that is over, s. Its last picture is shown for one step."""
        shown = 0.0
        if self._pictures is not None and self._pictures.end:
            shown = self._pictures.end + (float(1 / self.info.fps) if self.info.fps else 0.0)
        if self._sound is not None:
            return max(shown, self._sound.end)
        return max(shown, 0.0 if self.info.has_audio else self.info.duration or 0.0)

    @property
    def _dropped(self) -> int:
        return self._pictures.dropped if self._pictures is not None else 0

    def _over(self, end: float) -> bool:
        """Look at what comes until a window is full, or time is up; whether the streams end before it does."""
        while True:
            frame = None
            if self._pictures is None or self._pictures.empty:
                time.sleep(GLANCE)
            else:
                frame = self._pictures.take(GLANCE)
            if frame is not None and self._watcher is not None:
                self._watcher.update(frame)
                self._seen = frame.time
            seen = self._pictures is None or self._seen >= end or self._pictures.empty
            heard = self._sound is None or self._sound.end >= end or self._sound.over
            self._check()
            # a file is about to end where its header says so: no window goes beyond it
            may_end = end > (self.info.duration or math.inf) and not self._ended
            if (seen and heard) or (self._clock.now() > end + GRACE and not may_end):
                return self._ended and self._end < end - 1e-3

    def _check(self) -> None:
        """Raise what a stream ended with; one that is announced, but empty, shows and says nothing."""
        for feed in self._feeds:
            if feed.error is not None and not isinstance(feed.error, media.NoStreamError):
                raise feed.error

    def _moment(self, start: float, end: float, told: int, skipped: int) -> Moment:
        faces = voice = None
        if self._watcher is not None:
            faces = self._watcher.faces(end)
        if self._sound is not None:
            voice = self._voice(self._sound, start, end)
        story = Story(self.model.decider, self.info, self.options, faces, voice)
        predictions = tuple(story.window(start, end))
        if self._watcher is not None:
            # not later: the last window of a file may begin before the next one of the grid
            self._watcher.forget(start)
        return Moment(start, end, predictions, self._clock.now() - end, self._dropped - told, skipped)

    def _voice(self, sound: Feed[AudioTrack], start: float, end: float) -> Voice:
        """What the voice says in a window, and where somebody speaks."""
        branch = self.model.checkpoint.branches["audio"]
        samples = self._heard(sound, start, end)
        prepared = inputs.prepare(samples, branch.config.audio)
        for block in sound.between(self._listened, math.inf):
            lost = abs(block.start - self._listened) > BLOCK / 2
            if lost or self._speech is None or self._envelope is None:
                self._speech, self._envelope = SpeechFinder(self._rate), EnvelopeFinder(self._rate)
            self._speech.update(block)
            self._envelope.update(block)
            self._listened = block.end
        logits = hear(branch, [((start, end), prepared)])
        known = {(start, end): evidence.of_voice(samples, self._rate)} if self.model.decider.needs else {}
        if self._speech is None or self._envelope is None:
            return Voice(logits, end, known=known)
        self._speech.forget(start)
        self._envelope.forget(start)
        return Voice(logits, end, self._speech.so_far(), self._envelope.so_far(), known)

    def _heard(self, sound: Feed[AudioTrack], start: float, end: float) -> np.ndarray:
        """The sound of a window, (S,), as far as it has been heard; silence before a microphone began."""
        rate = self._rate
        first, last = round(start * rate), round(end * rate)
        samples, filled = np.zeros(max(0, last - first), np.float32), 0
        for block in sound.between(start, end):
            place = round(block.start * rate) - first
            low, high = max(place, 0), min(place + len(block.samples), len(samples))
            if high > low:
                samples[low:high] = block.samples[low - place : high - place]
                filled = max(filled, high)
        return samples[:filled]
