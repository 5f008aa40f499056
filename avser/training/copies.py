"""Varied copies of clips, made once: how several papers enlarge a small corpus before they train.

A copy is a clip whose `info["copy"]` is its number; the same number always gives the same copy. The entries of
`augment.copy_kinds` take turns: with `[noise, stretch+pitch]` copy 1 has noise, copy 2 is stretched and then
shifted in pitch, copy 3 has other noise.

Copies belong into the training part. The protocol `copies` deals them out like clips of their own instead, as some
published figures did: then copies of one recording lie on both sides of the split, and the figure says little
about new recordings.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from avser.config import Config
from avser.handcrafted import librosa
from avser.types import Clip


def expand(clips: Sequence[Clip], count: int) -> tuple[Clip, ...]:
    """The clips, each followed by `count` copies."""
    return tuple(
        dataclasses.replace(clip, info={**clip.info, "copy": str(number)}) if number else clip
        for clip in clips
        for number in range(count + 1)
    )


def which(clip: Clip) -> int:
    """The number of a copy; 0 is the clip itself."""
    return int(clip.info.get("copy", 0))


def kinds_of(clip: Clip, config: Config) -> tuple[str, ...]:
    """How a copy differs from its clip, in the order in which it is applied; nothing for the clip itself."""
    entries, number = config.augment.copy_kinds, which(clip)
    return tuple(entries[(number - 1) % len(entries)].split("+")) if number and entries else ()


def vary_sound(samples: np.ndarray, clip: Clip, config: Config) -> np.ndarray:
    """The sound of a copy, (S,) to (S',) float32; that of the clip itself is left as it is.

    Raises:
        ConfigError: librosa is not installed, and a kind needs it.
    """
    kinds = [kind for kind in kinds_of(clip, config) if kind in SOUND_KINDS]
    if not kinds or not samples.any():
        return samples
    for kind in kinds:
        samples = SOUND_KINDS[kind](samples, config.audio.rate, _dice(clip, kind))
    return samples.astype(np.float32)


def vary_picture(picture: np.ndarray, clip: Clip, config: Config) -> np.ndarray:
    """The picture (H, W, 3) of a copy: shifted and zoomed by up to a tenth, half of them mirrored in time."""
    if "picture" not in kinds_of(clip, config):
        return picture
    dice = _dice(clip, "picture")
    side = np.array(picture.shape[:2])
    zoom, shift = dice.uniform(0.9, 1.1), dice.uniform(-0.1, 0.1, 2) * side
    rows, columns = (
        np.clip(np.round((np.arange(n) - n / 2) / zoom + n / 2 + by), 0, n - 1).astype(int)
        for n, by in zip(side, shift, strict=True)
    )
    varied = picture[rows][:, columns]
    return np.ascontiguousarray(varied[:, ::-1] if dice.random() < 0.5 else varied)


def _dice(clip: Clip, kind: str) -> np.random.Generator:
    seed = hashlib.blake2b(f"{clip.name}|{which(clip)}|{kind}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(seed, "big"))


# The usual recipe before the 162 features of `handcrafted.means162` are taken: beside the clip itself a copy with
# noise, and one slowed to 0.8 of its speed and then raised by 0.7 semitones. Here speed and pitch are drawn from
# ranges around that, so that several copies of one kind differ.


def _noise(samples: np.ndarray, rate: int, dice: np.random.Generator) -> np.ndarray:
    """White noise with a deviation of up to 3.5 % of the largest sample."""
    return samples + 0.035 * dice.random() * np.abs(samples).max() * dice.standard_normal(len(samples))


def _stretch(samples: np.ndarray, rate: int, dice: np.random.Generator) -> np.ndarray:
    """Slower or faster by up to a fifth, at the same pitch."""
    speed = float(dice.uniform(0.8, 1.2))
    return librosa().effects.time_stretch(samples, rate=speed, n_fft=_frame(samples))


def _shift(samples: np.ndarray, rate: int, dice: np.random.Generator) -> np.ndarray:
    """Rolled around by up to 0.23 s (5000 samples at 22.05 kHz)."""
    return np.roll(samples, int(dice.uniform(-1, 1) * rate * 5000 / 22050))


def _pitch(samples: np.ndarray, rate: int, dice: np.random.Generator) -> np.ndarray:
    """Higher or lower by up to two semitones, at the same speed."""
    steps = float(dice.uniform(-2, 2))
    return librosa().effects.pitch_shift(samples, sr=rate, n_steps=steps, n_fft=_frame(samples))


def _frame(samples: np.ndarray) -> int:
    """Length of the Fourier transform, 2048 samples unless the sound is shorter."""
    return min(2048, 1 << max(3, len(samples).bit_length() - 1))


SOUND_KINDS: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "noise": _noise,
    "stretch": _stretch,
    "shift": _shift,
    "pitch": _pitch,
}
"""How a copy may differ in sound: sound (S,), rate and dice to sound (S',)."""
