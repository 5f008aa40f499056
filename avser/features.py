"""From sound to what a network sees: trimming, level, log-mel. One way for training and prediction."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from avser.arrays import Array, library, prolonged
from avser.signals import AudioInput

if TYPE_CHECKING:
    import torch


def prepare(samples: np.ndarray, params: AudioInput) -> np.ndarray | None:
    """Cut silence at both ends and bring the sound to a common level.

    Args:
        samples: (S,) float32 in [-1, 1] at `params.rate`.

    Returns:
        (S',) float32, or None where there is no sound to speak of (absent, not silent input to a network).
    """
    part = spoken(samples, params)
    if part is None:
        return None
    samples = samples[part]
    if params.level_db is None:
        return samples.astype(np.float32)
    rms = math.sqrt(float(np.mean(np.square(samples, dtype=np.float64))))
    return (samples * (10 ** (params.level_db / 20) / rms)).astype(np.float32)


def spoken(samples: np.ndarray, params: AudioInput) -> slice | None:
    """The samples (S,) without silence at both ends; None where there is no sound to speak of."""
    level = _frame_level_db(samples, params.hop)
    if not len(level) or level.max() < params.floor_db:
        return None
    part = slice(0, len(samples))
    if params.trim_db is not None:
        loud = np.flatnonzero(level > level.max() - params.trim_db)
        part = slice(int(loud[0]) * params.hop, (int(loud[-1]) + 1) * params.hop)
    return part if part.stop - part.start >= params.min_speech * params.rate else None


def _frame_level_db(samples: np.ndarray, hop: int) -> np.ndarray:
    """RMS level of consecutive frames of `hop` samples, dB of full scale, (S // hop,)."""
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    return 10 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-12)


@lru_cache(maxsize=8)
def mel_matrix(rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float, slopes: str = "hz") -> np.ndarray:
    """Triangular mel filters on the HTK scale, not normalised by area, (n_fft // 2 + 1, n_mels) float32.

    Their sides are straight over Hz, as in librosa and torchaudio, or over mel, as in TensorFlow.
    """

    def to_mel(hz: np.ndarray) -> np.ndarray:
        return 2595.0 * np.log10(1.0 + hz / 700.0)

    low, high = to_mel(np.array([fmin, fmax]))
    corners = np.linspace(low, high, n_mels + 2)
    bins = np.linspace(0, rate / 2, n_fft // 2 + 1)
    if slopes == "mel":
        bins = to_mel(bins)
    else:
        corners = 700.0 * (10.0 ** (corners / 2595.0) - 1.0)
    distances = corners[None, :] - bins[:, None]  # (F, M + 2)
    widths = np.diff(corners)
    rising = -distances[:, :-2] / widths[:-1]
    falling = distances[:, 2:] / widths[1:]
    return np.minimum(rising, falling).clip(0).astype(np.float32)  # (F, M)


def log_mel(samples: Array, params: AudioInput) -> Array:
    """Normalised log-mel spectrogram.

    Agrees with librosa (`htk=True, norm=None`) and torchaudio (`mel_scale="htk", norm=None`) before `mean` and
    `std` are applied.

    Args:
        samples: (B, S) float32, of numpy in prediction, or of torch on any device in training.

    Returns:
        (B, 1, M, T) float32 with T = S // hop + 1, or (S - window) // hop + 1 and at least 1 where the frames are
        not centred; M is n_fft // 2 + 1 where the bands are linear.
    """
    lib, length = library(samples), params.window or params.n_fft
    if params.centred:
        samples = prolonged(samples, params.n_fft // 2, params.n_fft // 2)
    else:
        # what the Fourier transform leaves free on both sides of the window lies outside the sound, so that it
        # begins with the sound
        aside = (params.n_fft - length) // 2
        samples = prolonged(samples, aside, params.n_fft - length - aside + max(0, length - samples.shape[1]))
    mel = (_power if lib is np else _power_by_torch)(samples, params.n_fft, params.hop, length)  # (B, F, T)
    if params.power != 2:
        mel = mel ** (params.power / 2)
    if params.bands == "mel":
        matrix = mel_matrix(params.rate, params.n_fft, params.n_mels, params.fmin, params.fmax, params.slopes).T
        mel = (matrix if lib is np else lib.tensor(matrix, device=samples.device)) @ mel
    mel = lib.log(mel + params.offset)  # (B, M, T)
    return ((mel - params.mean) / params.std)[:, None]  # (B, 1, M, T)


def _power(samples: np.ndarray, n_fft: int, hop: int, length: int) -> np.ndarray:
    """Power spectra (B, F, T) float32 of sounds (B, S), every `hop` samples, in a Hann window of this length."""
    aside = (n_fft - length) // 2
    window = np.pad(np.hanning(length + 1)[:-1], (aside, n_fft - length - aside)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, n_fft, axis=1)[:, ::hop]  # (B, T, n_fft)
    power = np.empty((len(frames), n_fft // 2 + 1, frames.shape[1]), np.float32)
    for row, sound in zip(power, frames, strict=True):  # one by one: spectra take far more memory than sound
        spectrum = np.fft.rfft(sound * window)
        row[:] = (spectrum.real**2 + spectrum.imag**2).T
    return power


def _power_by_torch(samples: torch.Tensor, n_fft: int, hop: int, length: int) -> torch.Tensor:
    """As `_power`, on tensors: several times as fast on a GPU."""
    import torch

    window = torch.hann_window(length, device=samples.device)
    spectrum = torch.stft(samples, n_fft, hop, length, window, center=False, return_complex=True)
    return spectrum.real.square() + spectrum.imag.square()


def add_deltas(mel: torch.Tensor) -> torch.Tensor:
    """First and second time derivatives beside a spectrogram, (B, 1, M, T) -> (B, 3, M, T).

    By regression over five frames (Young et al., The HTK Book), the edges repeated.
    """

    import torch

    def delta(x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.pad(x, (2, 2, 0, 0), mode="replicate")
        return (2 * (x[..., 4:] - x[..., :-4]) + x[..., 3:-1] - x[..., 1:-3]) / 10

    first = delta(mel)
    return torch.cat([mel, first, delta(first)], dim=1)


TAIL = 0.3
"""Silence behind the longest sound of a batch, s, so that convolutions see the same end in any batch."""


def log_mel_batch(samples: Array, lengths: Array, params: AudioInput) -> tuple[Array, Array]:
    """Prepared sounds of different lengths as one batch for a network.

    Args:
        samples: (B, S), zeros behind each sound's end.
        lengths: (B,) valid samples.

    Returns:
        Log-mel (B, 1, M, T), and the valid frames of each, (B,).
    """
    return log_mel(prolonged(samples, 0, int(TAIL * params.rate)), params), frames_of(lengths, params)


def frames_of(lengths: Array, params: AudioInput) -> Array:
    """Valid frames of sounds of these lengths in samples: as many as hold every sample."""
    if params.centred:
        return lengths // params.hop + 1
    beyond = library(lengths).clip(lengths - (params.window or params.n_fft), 0, None)  # not in the first frame
    return (beyond + params.hop - 1) // params.hop + 1
