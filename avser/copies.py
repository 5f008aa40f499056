"""Varied copies of clips, made once: how several papers enlarge a small corpus before they train.

A copy is a clip whose `info["copy"]` is its number; the same number always gives the same copy. They belong into
the training part. The protocol `copies` deals them out like clips of their own instead, as some published figures
did: then copies of one recording lie on both sides of the split, and the figure says little about new recordings.
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


def vary_sound(samples: np.ndarray, clip: Clip, config: Config) -> np.ndarray:
    """The sound of a copy (S',); that of the clip itself is left as it is."""
    kinds = [kind for kind in config.augment.copy_kinds if kind in SOUND_KINDS]
    if not which(clip):
        return samples
    for kind in kinds:
        samples = SOUND_KINDS[kind](samples, config.audio.rate, _dice(clip, kind))
    return samples.astype(np.float32)


def vary_picture(picture: np.ndarray, clip: Clip, config: Config) -> np.ndarray:
    """The picture (H, W, 3) of a copy: shifted and zoomed by up to a tenth, half of them mirrored in time."""
    if not which(clip) or "picture" not in config.augment.copy_kinds:
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


def _noise(samples: np.ndarray, rate: int, dice: np.random.Generator) -> np.ndarray:
    """White noise of up to 3.5 % of the largest sample."""
    return samples + 0.035 * dice.random() * np.abs(samples).max() * dice.standard_normal(len(samples))


def _stretch(samples: np.ndarray, rate: int, dice: np.random.Generator) -> np.ndarray:
    """Slower or faster by up to a fifth, at the same pitch."""
    return librosa().effects.time_stretch(samples, rate=float(dice.uniform(0.8, 1.2)))


def _shift(samples: np.ndarray, rate: int, dice: np.random.Generator) -> np.ndarray:
    """Rolled around by up to 5 % of a second."""
    return np.roll(samples, int(dice.uniform(-0.05, 0.05) * rate))


def _pitch(samples: np.ndarray, rate: int, dice: np.random.Generator) -> np.ndarray:
    """Higher or lower by up to two semitones, at the same speed."""
    return librosa().effects.pitch_shift(samples, sr=rate, n_steps=float(dice.uniform(-2, 2)))


SOUND_KINDS: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "noise": _noise,
    "stretch": _stretch,
    "shift": _shift,
    "pitch": _pitch,
}
"""How a copy may differ in sound; those a config names are applied one after the other."""
