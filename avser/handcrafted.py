"""Hand-crafted features of a whole sound, by librosa."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType

import numpy as np

from avser.config import AudioInput
from avser.types import ConfigError


@functools.cache
def librosa() -> ModuleType:
    """The library, when it is needed first: it belongs to the extra `train`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import librosa as library
    except ImportError as error:
        raise ConfigError(
            f"hand-crafted features need librosa, which does not load ({error}): pip install 'avser[train]'"
        ) from None
    return library


def extract(samples: np.ndarray, params: AudioInput) -> np.ndarray:
    """The features of a sound, (D,) float32.

    Raises:
        ConfigError: no set of features has the name that the config gives.
    """
    if params.features not in FEATURE_SETS:
        raise ConfigError(f"unknown audio.features {params.features!r}: choose from {', '.join(FEATURE_SETS)}")
    return FEATURE_SETS[params.features](samples, params.rate).astype(np.float32)


def means162(samples: np.ndarray, rate: int) -> np.ndarray:
    """Means over time of zero-crossing rate, chroma (12), MFCC (20), RMS and mel energies (128): (162,).

    Source: the CNN-1D and LSTM of "Deep learning for emotion recognition from images (CK+) and audio (CREMA-D,
    SAVEE)".
    """
    feature = librosa().feature
    spectrum = np.abs(librosa().stft(samples))
    parts = [
        feature.zero_crossing_rate(y=samples),
        feature.chroma_stft(S=spectrum, sr=rate),
        feature.mfcc(y=samples, sr=rate),
        feature.rms(y=samples),
        feature.melspectrogram(y=samples, sr=rate),
    ]
    return np.concatenate([part.mean(axis=1) for part in parts])


FEATURE_SETS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {"means162": means162}
"""Sets of features by name: sound (S,) and rate to (D,)."""
