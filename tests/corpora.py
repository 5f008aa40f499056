"""Miniature corpora in the layout of `avser.datasets.folder`, of sounds and pictures that nobody can confuse."""

from __future__ import annotations

import wave
from pathlib import Path

import cv2
import numpy as np

EMOTIONS = ("happy", "sad", "angry")
SUBJECT = "/([a-z]+)_"
"""The `subject` option that finds who it is of in `happy/anna_0.wav`."""
PEOPLE = ("anna", "bert", "cleo", "dora", "emil", "fritz")
RATE = 16_000


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """Samples (S,) in [-1, 1] as a WAV file, mono, 16 bit."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def make_sound(emotion: str, rng: np.random.Generator) -> np.ndarray:
    """Happy is a rising tone, sad a hum, angry bursts of noise; (S,)."""
    t = np.arange(int(RATE * rng.uniform(0.45, 0.6))) / RATE
    if emotion == "happy":
        return 0.4 * np.sin(2 * np.pi * (rng.uniform(600, 900) * t + 1500 * t**2))
    if emotion == "sad":
        return 0.4 * np.sin(2 * np.pi * rng.uniform(150, 250) * t)
    return 0.3 * rng.normal(0, 0.5, len(t)) * (np.sin(2 * np.pi * rng.uniform(5, 9) * t) > 0)


def make_picture(emotion: str, rng: np.random.Generator) -> np.ndarray:
    """Happy has stripes across, sad has them upright, angry is a disc; (48, 48, 3) uint8."""
    y, x = np.mgrid[:48, :48]
    phase = rng.uniform(0, 6)
    if emotion == "angry":
        pattern = np.hypot(x - rng.uniform(20, 28), y - rng.uniform(20, 28)) < 14
    else:
        pattern = np.sin((y if emotion == "happy" else x) / 3 + phase) > 0
    grey = 60 + 120 * pattern + rng.normal(0, 10, (48, 48))
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def make_corpus(root: Path, kind: str, clips: int = 2, seed: int = 0) -> Path:
    """A corpus of `kind` audio or face: each of `PEOPLE` with `clips` of each of `EMOTIONS`."""
    rng = np.random.default_rng(seed)
    for emotion in EMOTIONS:
        folder = root / emotion
        folder.mkdir(parents=True, exist_ok=True)
        for person in PEOPLE:
            for number in range(clips):
                if kind == "audio":
                    write_wav(folder / f"{person}_{number}.wav", make_sound(emotion, rng))
                else:
                    cv2.imwrite(str(folder / f"{person}_{number}.png"), make_picture(emotion, rng))
    return root
