"""Spectrograms as pictures of fixed size, as image networks take them."""

from __future__ import annotations

import numpy as np

from avser.features import log_mel
from avser.signals import AudioInput

RANGE_DB = 80.0
"""What lies further below the loudest point is black."""


def spectrogram_picture(samples: np.ndarray, params: AudioInput) -> np.ndarray:
    """A log-spectrogram of a whole sound, low frequencies at the bottom.

    Args:
        samples: (S,) float32.

    Returns:
        (side, side, 3) uint8, grey or coloured. White is the loudest point of the spectrogram before it is brought
        to the size of the picture, which averages decibels; black is 80 dB below that.
    """
    plain = params.model_copy(update={"mean": 0.0, "std": 1.0})
    mel = log_mel(samples[None], plain)[0, 0]  # (M, T), natural logarithm
    decibels = mel * ((10 if params.power == 2 else 20) / np.log(10))
    picture = ((decibels - decibels.max()) / RANGE_DB + 1).clip(0, 1)[::-1]
    rows, columns = (_averages(size, params.picture) for size in picture.shape)
    grey = (rows @ picture @ columns.T * 255).round().astype(np.uint8)
    return VIRIDIS[grey] if params.colours == "viridis" else np.repeat(grey[..., None], 3, axis=2)


def _averages(size: int, wanted: int) -> np.ndarray:
    """Weights (W, S) that bring S points to W, straight between points, or triangles where there are more of them.

    As torch's interpolation `bilinear` with `antialias`.
    """
    step = size / wanted
    apart = (np.arange(wanted)[:, None] + 0.5) * step - (np.arange(size) + 0.5)
    weight = (1 - np.abs(apart) / max(step, 1)).clip(0)
    return weight / weight.sum(1, keepdims=True)


def _viridis() -> np.ndarray:
    """Matplotlib's viridis within 5 of 255, by straight lines between every fifteenth of its 256 colours."""
    stops = bytes.fromhex(
        "440154 481769 472a7a 433d84 3d4e8a 355e8d 2e6d8e 297b8e 23898e"
        "1f978b 21a585 2eb37c 46c06f 65cb5e 89d548 b0dd2f d8e219 fde725"
    )
    colours = np.frombuffer(stops, np.uint8).reshape(-1, 3).astype(float)
    places = np.linspace(0, 255, len(colours))
    table = [np.interp(np.arange(256), places, colours[:, channel]) for channel in range(3)]
    return np.stack(table, 1).round().astype(np.uint8)


VIRIDIS = _viridis()
"""Colours by grey level, (256, 3) uint8."""
