"""What the networks of the audio branch take: a log-mel, a picture of it, hand-crafted features, embeddings."""

from __future__ import annotations

import numpy as np
import torch

from avser import embeddings, features, handcrafted, pictures
from avser.config import AudioInput


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
        return embeddings.sequence(sound, params)
    return np.concatenate([_feature_set(sound, name, params) for name in params.features.split("+")])


def _feature_set(sound: np.ndarray, name: str, params: AudioInput) -> np.ndarray:
    if name == "yamnet":
        return embeddings.functionals(sound, params)
    return handcrafted.extract(sound, params.model_copy(update={"features": name}))


def batch(inputs: torch.Tensor, lengths: torch.Tensor, params: AudioInput) -> tuple[torch.Tensor, torch.Tensor]:
    """Prepared sounds, padded along their first axis to one tensor, as a network takes them.

    Args:
        inputs: (B, S), (B, H, W, 3), (B, D) or (B, P, D). lengths: (B,) of the first axis.

    Returns:
        Log-mel (B, 1, M, T), picture (B, 3, H, W) in [0, 1], features (B, 1, D, 1) or embeddings (B, 1, D, P), and
        the valid frames (B,).
    """
    if params.kind == "log_mel":
        return features.log_mel_batch(inputs, lengths, params)
    if params.kind == "picture":
        return inputs.permute(0, 3, 1, 2).float() / 255, torch.full_like(lengths, inputs.shape[2])
    if params.kind == "embeddings":
        return inputs.transpose(1, 2)[:, None], lengths
    return inputs.float()[:, None, :, None], torch.ones_like(lengths)
