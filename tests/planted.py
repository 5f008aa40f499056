"""Made-up voices, faces and films, each of them unlike the others, for copies to be planted among them."""

from __future__ import annotations

import cv2
import numpy as np

from avser.audit.fingerprints import RATE, reduce


def voice(seed: int, seconds: float = 2.5) -> np.ndarray:
    """A made-up voice (S,) at `RATE`: syllables of harmonics through formants that wander, in faint noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE

    def wander(low: float, high: float, a_second: float = 5) -> np.ndarray:
        points = rng.uniform(low, high, int(seconds * a_second) + 2)
        return np.interp(t, np.linspace(0, seconds, len(points)), points)

    phase = 2 * np.pi * np.cumsum(wander(110, 260)) / RATE
    harmonics = np.zeros_like(t)
    formants = [wander(300, 900), wander(900, 2400), wander(2300, 3400)]
    pitch = np.gradient(phase) * RATE / (2 * np.pi)
    for number in range(1, 25):
        gain = sum(np.exp(-(((number * pitch - formant) / 250) ** 2)) for formant in formants)
        harmonics += (gain + 0.02) * np.sin(number * phase)
    sound = harmonics * np.clip(wander(-0.4, 1, 8), 0, 1)
    return (0.2 * sound / np.abs(sound).max() + 1e-4 * rng.standard_normal(len(t))).astype(np.float32)


def face(seed: int, side: int = 96) -> np.ndarray:
    """A made-up picture (side, side, 3) of smooth light and shade."""
    rng = np.random.default_rng(seed)
    rough = cv2.resize(rng.uniform(0, 255, (9, 9)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    grey = np.clip(rough + rng.normal(0, 4, rough.shape), 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def film(seed: int, count: int = 24, start: int = 0) -> np.ndarray:
    """A made-up film (N, 32, 32): before one and the same background, a patch wanders as the seed says."""
    rng = np.random.default_rng(seed)
    path = np.cumsum(rng.normal(0, 2.5, (60, 2)), 0) % 24
    frames = np.repeat(reduce(face(0), 32)[None], 60, 0)
    for frame, (row, column) in zip(frames, path.astype(int), strict=True):
        frame[row : row + 8, column : column + 8] = 230
    return frames[start : start + count]
