"""What can go wrong with sound and pictures, done to them on purpose and by degrees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from avser.config import AudioInput
from avser.faces import LEFT_EYE, RIGHT_EYE, opencv
from avser.features import spoken

Level = float | str


@dataclass(frozen=True)
class Degradation:
    """One kind of harm and how bad it gets.

    Attributes:
        title, unit: how it is named in figures.
        levels: from harmless to worst.
        change: what is done. Of sound `(samples (S,), level, rng, rate, others) -> (S,)`, others being sounds of
            other people; of pictures `(crops (N, H, W, 3) uint8, level, rng) -> (N, H, W, 3)`; of frames
            `(times (N,), level, rng) -> (N,) bool`, which of them remain.
    """

    title: str
    unit: str
    levels: Sequence[Level]
    change: Callable[..., np.ndarray]


# Sound


def at_ratio(samples: np.ndarray, noise: np.ndarray, decibels: float, rate: int) -> np.ndarray:
    """Sound with noise so many decibels below the level of its spoken part, (S,)."""
    part = spoken(samples, AudioInput(rate=rate))
    level = np.sqrt(np.mean(np.square(samples if part is None else samples[part], dtype=np.float64)))
    noise = noise / max(float(np.sqrt(np.mean(np.square(noise, dtype=np.float64)))), 1e-9)
    return (samples + level * 10 ** (-decibels / 20) * noise).astype(np.float32)


def _white(samples: np.ndarray, level: float, rng: np.random.Generator, rate: int, others: object) -> np.ndarray:
    return at_ratio(samples, rng.standard_normal(len(samples)), level, rate)


VOICES = 6
"""Voices that babble is mixed of, as far as there are so many."""


def _babble(
    samples: np.ndarray, level: float, rng: np.random.Generator, rate: int, others: Sequence[np.ndarray]
) -> np.ndarray:
    chosen = rng.permutation(len(others))[:VOICES]
    mixed = np.zeros(len(samples))
    for number in chosen:
        part = spoken(others[number], AudioInput(rate=rate))
        voice = others[number] if part is None else others[number][part]
        voice = np.roll(voice, int(rng.integers(len(voice))))
        rms = float(np.sqrt(np.mean(np.square(voice, dtype=np.float64)))) or 1.0
        mixed += np.resize(voice, len(samples)) / rms
    return at_ratio(samples, mixed, level, rate)


def _recorded(
    samples: np.ndarray, level: float, rng: np.random.Generator, rate: int, others: object
) -> np.ndarray:
    """As of rooms and streets: more bass than treble, rising and falling, with hum and a few knocks."""
    size = len(samples)
    spectrum = np.fft.rfft(rng.standard_normal(size))
    hertz = np.fft.rfftfreq(size, 1 / rate).clip(40)
    noise = np.fft.irfft(spectrum * hertz ** -rng.uniform(0.5, 1.2), size)
    noise /= np.std(noise) + 1e-12
    slow = np.interp(np.arange(size) / rate, np.arange(0, size / rate + 1, 0.3), _walk(rng, size, rate))
    noise *= 10 ** (slow / 20)
    time = np.arange(size) / rate
    noise += 0.3 * sum(np.sin(2 * np.pi * 50 * k * time + rng.uniform(0, 6)) / k for k in (1, 2, 3))
    for at in rng.integers(0, size, max(1, round(size / rate))):
        knock = min(size - at, round(0.08 * rate))
        noise[at : at + knock] += 4 * rng.standard_normal(knock) * np.exp(-np.arange(knock) / (0.015 * rate))
    return at_ratio(samples, noise, level, rate)


def _walk(rng: np.random.Generator, size: int, rate: int) -> np.ndarray:
    """Levels in dB every 0.3 s that wander about zero."""
    steps = len(np.arange(0, size / rate + 1, 0.3))
    values = np.zeros(steps)
    for step in range(1, steps):
        values[step] = 0.8 * values[step - 1] + rng.normal(0, 4)
    return values


def _room(samples: np.ndarray, level: float, rng: np.random.Generator, rate: int, others: object) -> np.ndarray:
    """A direct sound and an echo as strong, of noise that decays by 60 dB in `level` seconds (Polack 1988)."""
    if not level:
        return samples
    length = round(level * rate)
    tail = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    tail[: round(0.002 * rate)] = 0  # the first reflection has some way to go
    response = tail / np.sqrt(np.sum(tail**2))
    response[0] = 1
    size = len(samples) + length - 1
    return np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)].astype(
        np.float32
    )


def _band(samples: np.ndarray, level: Level, rng: np.random.Generator, rate: int, others: object) -> np.ndarray:
    if level == "telephone":
        heard = _between(samples, 300, 3400, rate)
        peak = max(float(np.abs(heard).max()), 1e-9)
        pressed = np.sign(heard) * np.log1p(255 * np.abs(heard) / peak) / np.log(256)  # µ-law, 8 bits (G.711)
        coarse = np.round(pressed * 127) / 127
        return (peak * np.sign(coarse) * np.expm1(np.abs(coarse) * np.log(256)) / 255).astype(np.float32)
    return _between(samples, 0, 1000 * float(level), rate)


def _between(samples: np.ndarray, low: float, high: float, rate: int) -> np.ndarray:
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / rate)
    kept = 1 / (1 + np.exp(((hertz - high) / 60).clip(-50, 50)))
    if low:
        kept /= 1 + np.exp(((low - hertz) / 30).clip(-50, 50))
    return np.fft.irfft(spectrum * kept, len(samples)).astype(np.float32)


def _cut(samples: np.ndarray, level: float, rng: np.random.Generator, rate: int, others: object) -> np.ndarray:
    """One stretch of the spoken part remains, of a share of its length; all else is silent."""
    part = spoken(samples, AudioInput(rate=rate)) or slice(0, len(samples))
    length = round((part.stop - part.start) * level / 100)
    start = part.start + int(rng.integers(part.stop - part.start - length + 1))
    heard = np.zeros_like(samples)
    heard[start : start + length] = samples[start : start + length]
    return heard if level < 100 else samples


# Pictures


def _blur(crops: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    if not level:
        return crops
    sigma = level / 100 * crops.shape[1]
    return np.stack([opencv().GaussianBlur(crop, (0, 0), sigma) for crop in crops])


def _darken(crops: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """Less light, in whole grey levels and with a sensor's noise of one of them."""
    if level >= 100:
        return crops
    return (crops * (level / 100) + rng.normal(0, 1, crops.shape)).round().clip(0, 255).astype(np.uint8)


def _jpeg(crops: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    if level >= 100:
        return crops
    cv2 = opencv()
    coded = [cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, int(level)])[1] for crop in crops]
    return np.stack([cv2.imdecode(code, cv2.IMREAD_COLOR) for code in coded])


def _small(crops: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    cv2, side = opencv(), crops.shape[1]
    if level >= side:
        return crops
    less = [cv2.resize(crop, (int(level), int(level)), interpolation=cv2.INTER_AREA) for crop in crops]
    return np.stack([cv2.resize(crop, (side, side), interpolation=cv2.INTER_LINEAR) for crop in less])


MOUTH = (0.5, 0.82)
"""Where the middle of the mouth lies in a crop: 1.15 times the distance of the eyes below them."""
COVERS = {
    "eyes": [(LEFT_EYE[0] - 0.17, LEFT_EYE[1] - 0.12, RIGHT_EYE[0] + 0.17, RIGHT_EYE[1] + 0.1)],
    "mouth": [(MOUTH[0] - 0.27, MOUTH[1] - 0.13, MOUTH[0] + 0.27, 1.0)],
}
COVERS["both"] = [*COVERS["eyes"], *COVERS["mouth"]]
"""What is covered of a crop, as x1, y1, x2, y2 in shares of its side."""


def _cover(crops: np.ndarray, level: str, rng: np.random.Generator) -> np.ndarray:
    covered = crops.copy()
    for x1, y1, x2, y2 in COVERS.get(level, ()):
        left, top, right, bottom = (round(value * crops.shape[1]) for value in (x1, y1, x2, y2))
        covered[:, top:bottom, left:right] = 40
    return covered


# Frames


def thin(times: np.ndarray, fps: float) -> np.ndarray:
    """Which frames remain at a lower rate, (N,) bool: the first in each cell of a grid, as in `media.iter_frames`.

    >>> thin(np.array([0.0, 0.1, 0.2, 0.3, 0.4]), 5.0).tolist()
    [True, False, True, False, True]
    """
    cells = np.floor(times * fps + 0.3)
    return np.diff(cells, prepend=-1.0) > 0


def _drop(times: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """A share of the frames lacks the face, by chance and rounded to whole frames."""
    kept = np.ones(len(times), bool)
    kept[rng.permutation(len(times))[: round(len(times) * level / 100)]] = False
    return kept


RATIOS = (20.0, 10.0, 5.0, 0.0, -5.0)
"""Decibels that the speech lies above the noise."""

SOUND: dict[str, Degradation] = {
    "white": Degradation("white noise", "dB speech to noise", RATIOS, _white),
    "babble": Degradation("babble of other speakers", "dB speech to noise", RATIOS, _babble),
    "recorded": Degradation("noise as of rooms and streets", "dB speech to noise", RATIOS, _recorded),
    "reverberation": Degradation("reverberation", "s to decay by 60 dB", (0.2, 0.4, 0.8, 1.6, 3.2), _room),
    "band": Degradation("low-pass and telephone", "kHz", (6.0, 4.0, 2.0, 1.0, 0.5, "telephone"), _band),
    "sound_share": Degradation("share of the speech that is heard", "%", (75.0, 50.0, 25.0, 10.0, 0.0), _cut),
}
"""What is done to sound, by name."""

PICTURES: dict[str, Degradation] = {
    "blur": Degradation("blur", "sigma, % of the crop's width", (2.0, 4.0, 6.0, 8.0, 12.0), _blur),
    "darkness": Degradation("darkness", "% of the light", (50.0, 25.0, 10.0, 5.0, 2.0), _darken),
    "jpeg": Degradation("JPEG", "quality", (50.0, 30.0, 20.0, 10.0, 5.0), _jpeg),
    "resolution": Degradation("low resolution", "px across the crop", (32.0, 24.0, 16.0, 12.0, 8.0), _small),
    "occlusion": Degradation("covered part of the face", "", ("eyes", "mouth", "both"), _cover),
}
"""What is done to aligned crops of faces, by name."""

FRAMES: dict[str, Degradation] = {
    "frame_rate": Degradation(
        "frame rate", "frames a second", (30.0, 15.0, 10.0, 5.0, 2.0), lambda times, level, rng: thin(times, level)
    ),
    "missing_frames": Degradation("frames without the face", "%", (25.0, 50.0, 75.0, 90.0, 100.0), _drop),
}
"""Which frames with a face remain, by name."""

OFFSETS: dict[str, Degradation] = {
    "offset": Degradation(
        "picture behind the sound",
        "s",
        (-1.0, -0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 1.0),
        lambda times, level, rng: times + level,
    )
}
"""Sound and picture apart in time, by name; `change` gives the frames' times."""

DEGRADATIONS: dict[str, Degradation] = {**SOUND, **PICTURES, **FRAMES, **OFFSETS}
