"""Hand-crafted features of a whole sound, by librosa and by a gammatone filter bank."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

import numpy as np
import torch

from avser.config import AudioInput
from avser.features import add_deltas
from avser.types import ConfigError

Value = TypeVar("Value", float, np.ndarray)

N_FFT = 2048
"""Samples of a frame of librosa's features; shorter sound is padded to it with zeros."""


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

    Args:
        samples: (S,) in [-1, 1] at `params.rate`; silence and sound of any length will do.

    Raises:
        ConfigError: no set of features has the name that the config gives.
    """
    if params.features not in FEATURE_SETS:
        raise ConfigError(f"unknown audio.features {params.features!r}: choose from {', '.join(FEATURE_SETS)}")
    padded = np.pad(samples.astype(np.float32), (0, max(0, N_FFT - len(samples))))
    return FEATURE_SETS[params.features](padded, params.rate).astype(np.float32)


def means162(samples: np.ndarray, rate: int) -> np.ndarray:
    """Means over time of zero-crossing rate (1), chroma (12), MFCC (20), RMS (1) and mel power (128): (162,).

    The rate is the share of neighbouring samples that differ in sign; RMS is in units of full scale. All as
    librosa has them, in frames of 2048 samples every 512.
    Source: "Deep Learning for Emotion Recognition: Exploring Image and Audio Modalities" (Chater), whose networks
    take 162 values; it names the five kinds, and this is how many of each are usual and make 162.
    """
    feature = librosa().feature
    return _means(
        feature.zero_crossing_rate(y=samples),
        _chroma(samples, rate),
        feature.mfcc(y=samples, sr=rate),
        feature.rms(y=samples),
        feature.melspectrogram(y=samples, sr=rate),
    )


def mfcc_mel_tonnetz_contrast(samples: np.ndarray, rate: int) -> np.ndarray:
    """Means over time of MFCC (40), mel power (128), tonnetz (6) and spectral contrast in dB (7): (181,).

    Source: the CNN-1D and the perceptron to which the paper on emotion recognition by spectrograms and CNN-2D
    (RAVDESS) compares itself. It names the four kinds and no sizes: these are the usual ones. The tonnetz (Harte
    et al. 2006) is that of the chroma by Fourier transform: the constant-Q chroma of the harmonic part, which is
    common too, takes ten times as long.
    """
    feature = librosa().feature
    return _means(
        feature.mfcc(y=samples, sr=rate, n_mfcc=40),
        feature.melspectrogram(y=samples, sr=rate),
        feature.tonnetz(chroma=_chroma(samples, rate), sr=rate),
        feature.spectral_contrast(y=samples, sr=rate, fmin=min(200.0, rate / 80)),  # six octaves below rate / 2
    )


def _chroma(samples: np.ndarray, rate: int) -> np.ndarray:
    """Magnitude by pitch class, the largest of each frame 1, (12, T)."""
    spectrum = np.abs(librosa().stft(samples))
    # silence has no pitch to estimate the tuning from
    return librosa().feature.chroma_stft(S=spectrum, sr=rate, tuning=None if spectrum.any() else 0.0)


def _means(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate([part.mean(axis=1) for part in parts])


# Functionals of cepstra: baselines of "Emotion Recognition from Speech Signals by Mel-Spectrogram and a CNN-RNN"
# (Sharan, Mascolo, Schuller). It names the two kinds of cepstra; frames, counts and statistics are chosen here.

CEPSTRA = 13
FUNCTIONALS = ("mean", "deviation", "skewness", "kurtosis", "minimum", "maximum")


def mfcc_functionals(samples: np.ndarray, rate: int) -> np.ndarray:
    """Functionals of 13 mel-frequency cepstral coefficients and their derivatives, (234,); see `functionals`.

    40 mel bands, frames of 25 ms every 10 ms, Hann window.
    """
    window, hop = _frames(rate)
    mel = librosa().feature.melspectrogram(y=samples, sr=rate, n_fft=window, hop_length=hop, n_mels=40)
    return functionals(cepstra(mel))


def gtcc_functionals(samples: np.ndarray, rate: int) -> np.ndarray:
    """Functionals of 13 gammatone cepstral coefficients and their derivatives, (234,); see `functionals`.

    Gammatone cepstral coefficients are to a gammatone filter bank what MFCC are to a mel filter bank (Valero and
    Alías, IEEE Transactions on Multimedia 14(6), 2012). 40 filters from 50 Hz to just below half the rate, frames
    as those of `mfcc_functionals`.
    """
    window, hop = _frames(rate)
    power = np.abs(librosa().stft(samples, n_fft=window, hop_length=hop)) ** 2  # (F, T)
    return functionals(cepstra(gammatone_matrix(rate, window).T @ power))


def _frames(rate: int) -> tuple[int, int]:
    """Length and distance of frames, 25 and 10 ms in samples."""
    return round(0.025 * rate), round(0.010 * rate)


def cepstra(bands: np.ndarray) -> np.ndarray:
    """The first 13 coefficients of the cosine transform of band powers in dB: (M, T) to (13, T).

    Bands 80 dB below the loudest count as 80 dB below it.
    """
    from scipy.fft import dct

    return dct(librosa().power_to_db(bands), axis=0, type=2, norm="ortho")[:CEPSTRA]


def functionals(rows: np.ndarray) -> np.ndarray:
    """Six statistics over time of each row of (K, T), of its first and of its second derivative, (18 K,).

    All means come first, then all deviations, skewnesses, kurtoses (zero for a normal distribution), minima and
    maxima. A row that never changes has no shape: its skewness and kurtosis are zero.
    """
    tracks = add_deltas(torch.from_numpy(rows.astype(np.float64))[None, None])  # (1, 3, K, T)
    x = tracks.reshape(-1, rows.shape[1]).numpy()  # (3 K, T)
    mean, deviation = x.mean(1), x.std(1)
    flat = deviation <= 1e-9 * (1 + np.abs(mean))
    z = np.where(flat[:, None], 0.0, (x - mean[:, None]) / np.where(flat, 1.0, deviation)[:, None])
    kurtosis = np.where(flat, 0.0, (z**4).mean(1) - 3)
    return np.concatenate([mean, deviation, (z**3).mean(1), kurtosis, x.min(1), x.max(1)])


def erb(hz: Value) -> Value:
    """Equivalent rectangular bandwidth of the ear at a frequency, both in Hz (Glasberg and Moore 1990)."""
    return 24.7 * (4.37 * hz / 1000 + 1)


def erb_centres(count: int, low: float, high: float) -> np.ndarray:
    """Frequencies from `low` to `high` (Hz), evenly spaced on the ERB-rate scale, (count,).

    The scale counts bandwidths: its slope is 1 / `erb` (Glasberg and Moore 1990), and equal steps on it are equal
    steps of the logarithm of the bandwidth.
    """
    widths = np.geomspace(erb(low), erb(high), count)
    return (widths / 24.7 - 1) * 1000 / 4.37


@functools.lru_cache(maxsize=8)
def gammatone_matrix(rate: int, n_fft: int, filters: int = 40, low: float = 50.0) -> np.ndarray:
    """Power responses of a bank of fourth-order gammatone filters, (n_fft // 2 + 1, filters).

    A filter's impulse response is t³ exp(-2π b t) cos(2π f t) with b = 1.019 ERB(f) (Patterson et al. 1992;
    Slaney, "An Efficient Implementation of the Patterson-Holdsworth Auditory Filter Bank", 1993). Its power
    response is (1 + ((ν - f) / b)²)⁻⁴ but for the part at -f, and one at f. The highest filter lies one bandwidth
    below rate / 2.
    """
    top = rate / 2
    centres = erb_centres(filters, low, top - erb(top))
    bins = np.fft.rfftfreq(n_fft, 1 / rate)
    return (1 + ((bins[:, None] - centres) / (1.019 * erb(centres))) ** 2) ** -4.0


FEATURE_SETS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "means162": means162,
    "mfcc_mel_tonnetz_contrast": mfcc_mel_tonnetz_contrast,
    "mfcc_functionals": mfcc_functionals,
    "gtcc_functionals": gtcc_functionals,
}
"""Sets of features by name: sound (S,) of at least `N_FFT` samples and its rate in Hz, to (D,)."""
