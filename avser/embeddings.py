"""What YAMNet makes of each patch of a sound, computed once: for frozen weights and for classical estimators."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np
import torch

from avser import features
from avser.config import AudioInput
from avser.models.yamnet import BANDS, YamNetBody, load_yamnet, patches
from avser.types import ConfigError


def sequence(samples: np.ndarray, params: AudioInput) -> np.ndarray:
    """Embeddings of successive patches of a sound (S,), (P, 1024) float32.

    Raises:
        ConfigError: `params` names no weights, or has another number of bands than YAMNet.
        ModelError: the weights cannot be read.
    """
    if params.weights is None:
        raise ConfigError("embeddings need audio.weights=FILE; write it with 'avser import-yamnet'")
    if params.n_mels != BANDS:
        raise ConfigError(f"embeddings need audio.n_mels={BANDS}, as YAMNet has them, not {params.n_mels}")
    sound = torch.from_numpy(samples.astype(np.float32))[None]
    network = _network(params.weights, fingerprint(params))
    with torch.inference_mode():
        mel, lengths = features.log_mel_batch(sound, torch.tensor([len(samples)]), params)
        return network(patches(mel, lengths)[0]).numpy()


def functionals(samples: np.ndarray, params: AudioInput) -> np.ndarray:
    """Mean and deviation over patches of the embeddings of a sound (S,), (2048,) float32."""
    each = sequence(samples, params)
    return np.concatenate([each.mean(0), each.std(0)])


def fingerprint(params: AudioInput) -> str:
    """What tells the weights from others, whatever their file is called; empty where there are none."""
    if params.weights is None:
        return ""
    try:
        return _digest(params.weights, Path(params.weights).stat().st_mtime_ns)
    except OSError:
        return ""  # `sequence` says what is wrong


@functools.lru_cache(maxsize=4)
def _digest(path: str, changed: int) -> str:
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()


@functools.lru_cache(maxsize=1)
def _network(path: str, fingerprint: str) -> YamNetBody:
    return load_yamnet(path)[0].body
