"""What the networks take: of a voice a log-mel, a picture of it, hand-crafted features, embeddings; faces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avser import features, pictures
from avser.arrays import Array, library, single
from avser.signals import AudioInput


def prepare(samples: np.ndarray, params: AudioInput) -> np.ndarray | None:
    """One sound as batches are made of it.

    Args:
        samples: (S,) float32 in [-1, 1] at `params.rate`.

    Returns:
        By `params.kind`: the trimmed and levelled sound (S',) float32; a picture (H, W, 3) uint8; features (D,)
        float32; embeddings of patches (P, D) float32. None where there is no sound to speak of.
    """
    sound = features.prepare(samples, params)
    if sound is None or params.kind == "log_mel":
        return sound
    if params.kind == "picture":
        return pictures.spectrogram_picture(sound, params)
    if params.kind == "embeddings":
        from avser import embeddings

        return embeddings.sequence(sound, params)
    return np.concatenate([_feature_set(sound, name, params) for name in params.features.split("+")])


def _feature_set(sound: np.ndarray, name: str, params: AudioInput) -> np.ndarray:
    from avser import embeddings, handcrafted  # which need torch

    if name == "yamnet":
        return embeddings.functionals(sound, params)
    return handcrafted.extract(sound, params.model_copy(update={"features": name}))


def padded(sounds: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Prepared sounds with zeros behind them along their first axis, (B, …), and its lengths, (B,)."""
    lengths = np.array([len(sound) for sound in sounds], np.int64)
    together = np.zeros((len(sounds), lengths.max(), *sounds[0].shape[1:]), sounds[0].dtype)
    for row, sound in zip(together, sounds, strict=True):
        row[: len(sound)] = sound
    return together, lengths


def batch(inputs: Array, lengths: Array, params: AudioInput) -> tuple[Array, Array]:
    """Prepared sounds, padded along their first axis, as a network takes them.

    Args:
        inputs: (B, S), (B, H, W, 3), (B, D) or (B, P, D). lengths: (B,) of the first axis.

    Returns:
        Log-mel (B, 1, M, T), picture (B, 3, H, W) in [0, 1], features (B, 1, D, 1) or embeddings (B, 1, D, P), and
        the valid frames (B,).
    """
    lib = library(inputs)
    if params.kind == "log_mel":
        return features.log_mel_batch(inputs, lengths, params)
    if params.kind == "picture":
        return single(lib.moveaxis(inputs, 3, 1)) / 255, lib.full_like(lengths, inputs.shape[2])
    if params.kind == "embeddings":
        return lib.swapaxes(inputs, 1, 2)[:, None], lengths
    return single(inputs)[:, None, :, None], lib.ones_like(lengths)


def pictures_of(crops: np.ndarray) -> np.ndarray:
    """Crops of faces (N, H, W, 3) uint8 as a network takes them, (N, 3, H, W) float32 in [0, 1]."""
    return np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32) / 255
