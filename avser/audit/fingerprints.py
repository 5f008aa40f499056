"""Fingerprints by which a copy of a sound, a picture or a film is known again after re-encoding.

Sound: J. Haitsma and T. Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002: one bit for each band
and step in time, which says whether the difference of energy to the next band rises or falls. Neither level nor
codec changes most of the bits. Pictures: bits that say which of two neighbours is lighter (difference hash), and
the correlation of the pixels themselves, which decides. Films: the correlation of what moves in them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RATE = 16000
"""Rate of the sound that is fingerprinted, in Hz."""
FRAME, HOP = 4096, 256
"""Length of a frame and the step to the next, in samples; 0.26 s instead of the 0.37 s of the paper, as clips of
speech are short."""
EDGES = np.round(np.geomspace(300, 3000, 34) * FRAME / RATE).astype(int)
"""Bins between which 33 bands lie; what telephones and low bit rates keep."""
QUIET = 1e-3
"""Frames this far below the loud ones hold noise, which a codec changes at will; they are not compared."""
LEAST_FRAMES = 30
"""Frames that two sounds must have in common, 0.5 s and a frame; shorter sounds are too much alike by chance."""

SIDE, FILM_SIDE = 48, 32
"""Height and width (px) to which pictures and frames of films are reduced."""
HASH_SIDE = 12
STILL = 1.0
"""Mean square of the changes (grey levels²) below which a film shows a still."""

_ONES = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16).sum(1)


@dataclass(frozen=True)
class Sound:
    """The fingerprint of a sound: 32 bits a frame, `words` (T,) uint32; `active` (T,): which are not silence."""

    words: np.ndarray
    active: np.ndarray


def sound_print(samples: np.ndarray) -> Sound:
    """The fingerprint of a sound (S,) at `RATE`; empty where it is shorter than two frames."""
    count = max(0, (len(samples) - FRAME) // HOP + 1)
    if count < 2:
        return Sound(np.zeros(0, np.uint32), np.zeros(0, bool))
    window = np.hanning(FRAME).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP]  # (T + 1, FRAME)
    blocks = (np.abs(np.fft.rfft(frames[i : i + 512] * window, axis=1)) ** 2 for i in range(0, count, 512))
    energies = np.concatenate([np.add.reduceat(block, EDGES, axis=1)[:, :33] for block in blocks])
    rises = np.diff(np.diff(energies, axis=1), axis=0) < 0  # (T, 32)
    words = np.packbits(rises, axis=1).view(">u4").ravel().astype(np.uint32)
    loudness = energies[1:].sum(1)
    return Sound(words, loudness > max(QUIET * np.percentile(loudness, 95), 1e-7))


def sound_likeness(one: Sound, other: Sound, offset: int) -> float:
    """Share of bits (0 to 1) that agree where both sound, the other laid `offset` frames later over the one.

    It is 0 where too little of them overlaps: fewer than `LEAST_FRAMES`, or half of the shorter one. Unrelated
    sounds have 0.5 on average.
    """
    start, end = max(0, offset), min(len(one.words), len(other.words) + offset)
    if end - start < LEAST_FRAMES:
        return 0.0
    both = one.active[start:end] & other.active[start - offset : end - offset]
    if both.sum() < max(LEAST_FRAMES, 0.5 * min(one.active.sum(), other.active.sum())):
        return 0.0
    wrong = (one.words[start:end] ^ other.words[start - offset : end - offset])[both]
    return 1.0 - float(_ONES[wrong & 0xFFFF].sum() + _ONES[wrong >> 16].sum()) / (32 * len(wrong))


def reduce(picture: np.ndarray, side: int = SIDE) -> np.ndarray:
    """A picture (H, W, 3) as a small grey one (side, side) uint8, its aspect given up."""
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return grey if grey.shape == (side, side) else cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA)


def hash_bits(picture: np.ndarray) -> np.ndarray:
    """Difference hash of a grey picture: `HASH_SIDE`² values, 1 where a field is lighter than its left one or -1.

    The usual 64 bits tell aligned faces of 48×48 px badly apart; 144 do better.
    """
    import cv2

    fields = cv2.resize(picture, (HASH_SIDE + 1, HASH_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.where(np.diff(fields, axis=1) > 0, 1, -1).astype(np.int8).ravel()


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Normalised correlation of the pixels of two pictures of one size, -1 to 1; 0 where one is flat."""
    x, y = (np.asarray(picture, np.float32) - np.mean(picture) for picture in (one, other))
    size = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / size if size > 0 else 0.0


def film_likeness(one: np.ndarray, other: np.ndarray) -> float:
    """How alike two films (N, side, side) are at the best offset, 1 at most.

    It is the correlation of what changes: each film's own mean picture is subtracted, for all films of a person in
    a studio look alike. Films that show a still each are compared by that picture, more strictly.
    """
    means = [film.mean(0, dtype=np.float32) for film in (one, other)]
    x, y = (film.reshape(len(film), -1) - mean.ravel() for film, mean in zip((one, other), means, strict=True))
    if max(np.mean(x * x), np.mean(y * y)) < STILL:
        return 1 - 4 * (1 - correlation(*means))  # faces are soon alike: 0.95 counts as 0.8
    products, x2, y2 = x @ y.T, (x * x).sum(1), (y * y).sum(1)  # (N, M), (N,), (M,)
    least = max(2, -(-min(len(x), len(y)) // 2))
    best = 0.0
    for offset in range(least - len(y), len(x) - least + 1):  # y[i] lies over x[i + offset]
        start, end = max(0, offset), min(len(x), len(y) + offset)
        size = float(np.sqrt(x2[start:end].sum() * y2[start - offset : end - offset].sum()))
        if size > 0:
            best = max(best, float(np.trace(products, -offset)) / size)
    return best
