"""Where somebody speaks, and how loud the sound is there, from blocks of sound as they come."""

from __future__ import annotations

import copy
import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from avser.silero import CHUNK, CONTEXT, RATE, State, load_network
from avser.types import AudioTrack

CHUNKS = 512
"""Chunks that go through the network at once."""

ONSET, OFFSET = 0.2, 0.1
"""Speech begins with a chunk of at least this probability, and ends where chunks fall below the second one.

silero-vad's own threshold is 0.5 (and the offset 0.15 below), which takes sobs, whispers and screams for something
else: of 3938 windows of RAVDESS and EmoDB 25 would be without speech, with 0.3 13, with these 6, all of them one
actress's screams. Synthesised noise, hum, tones and beats are still none.
"""
MIN_SPEECH, MIN_SILENCE, PAD = 0.1, 0.1, 0.03
"""Shorter speech is none, shorter silence ends none, and speech is extended on both sides; s.

The last two are silero-vad's; it leaves out speech below 0.25 s, but a sob or an "oh" is shorter.
"""

ENVELOPE_RATE = 100
"""Values of the envelope in a second."""
BAND = (300.0, 3400.0)
"""Hz in which the sound follows the opening of the mouth: that of the formants (Chandrasekaran et al. 2009, "The
Natural Statistics of Audiovisual Speech")."""


class SpeechFinder:
    """Finds speech in sound that comes in blocks, in constant memory but for what it finds.

    The network is that of Silero VAD (Silero Team, "Silero VAD: pre-trained enterprise-grade Voice Activity
    Detector"), with the weights in its package; thresholds are applied with hysteresis as there.

    Args:
        rate: of the sound, Hz. Other rates than 16 kHz are resampled in a simple way, straight between samples.

    Raises:
        ModelError: silero-vad is missing or does not hold these weights.
    """

    def __init__(self, rate: int = RATE) -> None:
        self._network = load_network()
        self._rate = rate
        self._start: float | None = None  # of the sound, s
        self._heard = 0  # samples so far
        self._rest = np.zeros(0, np.float32)  # at RATE, for the next chunk
        self._taken = 0  # samples at RATE so far
        self._last = 0.0  # last sample so far, at `rate`
        self._context = np.zeros(CONTEXT, np.float32)
        self._state: State | None = None
        self._chunks = 0  # chunks so far
        self._begin: int | None = None  # chunk with which speech began
        self._quiet: int | None = None  # chunk with which it may have ended
        self._found: list[tuple[int, int]] = []

    def update(self, track: AudioTrack) -> None:
        """Take the next block of sound, which begins where the last one ended."""
        if self._start is None:
            self._start = track.start
        self._rest = np.concatenate([self._rest, self._resampled(track.samples)])
        whole = len(self._rest) // CHUNK * CHUNK
        for first in range(0, whole, CHUNK * CHUNKS):
            self._listen(self._rest[first : min(first + CHUNK * CHUNKS, whole)])
        self._rest = self._rest[whole:].copy()

    def finish(self) -> tuple[tuple[float, float], ...]:
        """(start, end) of each stretch of speech, in s and in order. No sound can be taken afterwards."""
        if len(self._rest):
            self._listen(np.pad(self._rest, (0, CHUNK - len(self._rest))))
        if self._begin is not None:
            self._close(self._begin, self._chunks)
        start = self._start or 0.0
        return _padded(self._found, start, start + self._heard / self._rate)

    def so_far(self) -> tuple[tuple[float, float], ...]:
        """What `finish` would tell now; more sound may come."""
        twin = copy.copy(self)
        twin._found = self._found.copy()
        return twin.finish()

    def forget(self, before: float) -> None:
        """Drop what ended before a time, s."""
        first = (before - (self._start or 0.0)) * RATE / CHUNK
        self._found = [chunks for chunks in self._found if chunks[1] >= first]

    def _resampled(self, samples: np.ndarray) -> np.ndarray:
        """The next samples (S,) at the network's rate."""
        self._heard += len(samples)
        if self._rate == RATE or not len(samples):
            return samples
        places = np.arange(self._taken, int((self._heard - 1) * RATE / self._rate) + 1)
        self._taken += len(places)
        known = np.concatenate([[self._last], samples])
        self._last = float(samples[-1])
        first = self._heard - len(known)
        return np.interp(places * self._rate / RATE, np.arange(first, self._heard), known).astype(np.float32)

    def _listen(self, samples: np.ndarray) -> None:
        """Take whole chunks."""
        chunks = samples.reshape(-1, CHUNK)
        before = np.concatenate([self._context[None], chunks[:-1, -CONTEXT:]])
        self._context = chunks[-1, -CONTEXT:].copy()
        seen = np.concatenate([before, chunks], axis=1)  # (N, CONTEXT + CHUNK)
        probs, self._state = self._network(seen, self._state)
        for prob in probs.tolist():
            self._step(prob)

    def _step(self, prob: float) -> None:
        """Hysteresis: take the probability of the next chunk."""
        here = self._chunks
        self._chunks += 1
        if prob >= ONSET:
            self._quiet = None
            if self._begin is None:
                self._begin = here
        elif self._begin is not None and prob < OFFSET:
            if self._quiet is None:
                self._quiet = here
            if (here - self._quiet) * CHUNK >= MIN_SILENCE * RATE:
                self._close(self._begin, self._quiet)

    def _close(self, begin: int, end: int) -> None:
        if (end - begin) * CHUNK >= MIN_SPEECH * RATE:
            self._found.append((begin, end))
        self._begin = self._quiet = None


def _padded(chunks: list[tuple[int, int]], start: float, end: float) -> tuple[tuple[float, float], ...]:
    """Stretches of chunks in s, extended on both sides as far as the next stretch and the sound allow."""
    spans: list[tuple[float, float]] = []
    for first, last in chunks:
        begin = max(start + first * CHUNK / RATE - PAD, start)
        if spans and spans[-1][1] > begin:
            begin = (spans[-1][1] + begin) / 2
            spans[-1] = (spans[-1][0], begin)
        spans.append((begin, min(start + last * CHUNK / RATE + PAD, end)))
    return tuple(spans)


@dataclass(frozen=True)
class Envelope:
    """How loud a sound is in the band of speech.

    Attributes:
        values: (N,) float32, RMS in [0, 1], one after the other.
        rate: values in a second.
        start: where the first one begins, s.
    """

    values: np.ndarray
    rate: float
    start: float = 0.0

    def around(self, times: np.ndarray, width: float) -> np.ndarray:
        """Mean (N,) from half a `width` (s) before to half of it after each time (N,); zero outside the sound."""
        if not len(times):
            return np.zeros(0)
        first = max(math.floor((times.min() - width / 2 - self.start) * self.rate), 0)
        last = max(math.ceil((times.max() + width / 2 - self.start) * self.rate), first)
        sums = np.concatenate([[0.0], np.cumsum(self.values[first:last], dtype=np.float64)])
        edges = self.start + (first + np.arange(len(sums))) / self.rate
        before, after = (np.interp(times + side * width / 2, edges, sums) for side in (-1, 1))
        return (after - before) / (width * self.rate)


class EnvelopeFinder:
    """Makes an `Envelope` of sound that comes in blocks.

    Args:
        rate: of the sound, Hz.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._frame = round(rate / ENVELOPE_RATE)
        frequencies = np.fft.rfftfreq(2 * self._frame, 1 / rate)
        self._band = (frequencies >= BAND[0]) & (frequencies <= BAND[1])
        self._window = np.hanning(2 * self._frame + 1)[:-1].astype(np.float32)
        self._start: float | None = None
        self._heard = 0  # samples so far
        self._rest = np.zeros(self._frame // 2, np.float32)  # so that a window's middle is that of its value
        self._values = array("f")

    def update(self, track: AudioTrack) -> None:
        """Take the next block of sound, which begins where the last one ended."""
        if self._start is None:
            self._start = track.start
        self._heard += len(track.samples)
        self._take(track.samples)

    def finish(self) -> Envelope:
        """The envelope. No sound can be taken afterwards."""
        self._take(np.zeros(2 * self._frame, np.float32))
        values = np.array(self._values[: math.ceil(self._heard / self._frame)])
        return Envelope(values, self._rate / self._frame, self._start or 0.0)

    def so_far(self) -> Envelope:
        """What `finish` would tell now; more sound may come."""
        twin = copy.copy(self)
        twin._values = self._values[:]
        return twin.finish()

    def forget(self, before: float) -> None:
        """Drop what was heard before a time, s."""
        count = int((before - (self._start or 0.0)) * self._rate / self._frame)
        count = min(max(count, 0), len(self._values))
        del self._values[:count]
        self._start = (self._start or 0.0) + count * self._frame / self._rate
        self._heard -= count * self._frame

    def _take(self, samples: np.ndarray) -> None:
        samples = np.concatenate([self._rest, samples])
        count = max(len(samples) // self._frame - 1, 0)  # windows of two frames, one every frame
        self._rest = samples[count * self._frame :].copy()
        for first in range(0, count, ENVELOPE_RATE):
            frames = samples[first * self._frame : (min(first + ENVELOPE_RATE, count) + 1) * self._frame]
            windows = np.lib.stride_tricks.sliding_window_view(frames, 2 * self._frame)[:: self._frame]
            spectrum = np.abs(np.fft.rfft(windows * self._window)[:, self._band])
            power = 2 * np.square(spectrum).sum(axis=1) / (2 * self._frame) ** 2  # by Parseval
            envelope = np.sqrt(power / 0.375).astype(np.float32)  # the window's own power is 3/8
            self._values.frombytes(envelope.tobytes())


def seconds_of_speech(spans: Iterable[tuple[float, float]], start: float, end: float) -> float:
    """How much of a window (s) is speech, in s.

    >>> seconds_of_speech([(0.0, 1.0), (2.0, 3.0)], 0.5, 2.5)
    1.0
    """
    return sum(max(min(end, stop) - max(start, begin), 0.0) for begin, stop in spans)
