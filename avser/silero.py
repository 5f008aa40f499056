"""The network that finds speech, on numpy: torch would take longer to load than a short file takes to hear.

It is that of Silero VAD (Silero Team, "Silero VAD: pre-trained enterprise-grade Voice Activity Detector"), with
the weights in its package.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from avser.types import ModelError

RATE = 16_000
"""Hz that the network takes."""
CHUNK, CONTEXT = 512, 64
"""Samples that get one probability, and those before them that the network sees too."""

State = tuple[np.ndarray, np.ndarray]
"""Output and cell of the network's LSTM, (128,) each."""


class Silero:
    """Silero VAD at 16 kHz: magnitudes of a Fourier transform, four convolutions, one LSTM.

    Args:
        weights: by name, as the package has them.
    """

    STRIDES = (1, 2, 2, 1)

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self._fourier = weights["stft_conv.weight"][:, 0].T  # (256, 258)
        self._convolutions = []  # (3 inputs, outputs) and (outputs,) of each
        for name in (f"conv{number}" for number in range(1, 5)):
            weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
            self._convolutions.append((weight.transpose(2, 1, 0).reshape(-1, len(bias)), bias))
        # sigmoids are taken by way of tanh, of the half: all gates but what goes into the cell
        half = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], np.float32), 128)
        self._given = weights["lstm_cell.weight_ih"].T * half  # (128, 512)
        self._around = weights["lstm_cell.weight_hh"] * half[:, None]  # (512, 128)
        self._bias = (weights["lstm_cell.bias_ih"] + weights["lstm_cell.bias_hh"]) * half
        self._last, self._last_bias = weights["final_conv.weight"][0, :, 0], weights["final_conv.bias"][0]

    def __call__(self, chunks: np.ndarray, state: State | None = None) -> tuple[np.ndarray, State]:
        """Probability of speech (N,) in consecutive chunks (N, CONTEXT + CHUNK), and the state after them."""
        x = np.concatenate([chunks, chunks[:, -2:-66:-1]], axis=1)  # mirrored at its end, (N, 640)
        frames = np.lib.stride_tricks.sliding_window_view(x, 256, axis=1)[:, ::128]  # (N, 4, 256)
        x = (frames.reshape(-1, 256) @ self._fourier).reshape(len(x), 4, 258)
        x = np.sqrt(x[..., :129] ** 2 + x[..., 129:] ** 2)  # (N, T, bands)
        for (weight, bias), stride in zip(self._convolutions, self.STRIDES, strict=True):
            x = np.pad(x, ((0, 0), (1, 1), (0, 0)))
            three = [x[:, first : x.shape[1] - 2 + first : stride] for first in range(3)]
            taken = np.concatenate(three, axis=2)  # (N, T', 3 bands)
            x = np.maximum(taken.reshape(-1, len(weight)) @ weight + bias, 0).reshape(*taken.shape[:2], -1)
        hidden, cell = state or (np.zeros(128, np.float32), np.zeros(128, np.float32))
        told = np.empty((len(x), 128), np.float32)
        for number, row in enumerate(x[:, 0] @ self._given + self._bias):
            gates = np.tanh(row + self._around @ hidden).reshape(4, 128)
            let_in, keep, _, let_out = 0.5 + 0.5 * gates
            cell = keep * cell + let_in * gates[2]
            told[number] = hidden = let_out * np.tanh(cell)
        score = np.maximum(told, 0) @ self._last + self._last_bias
        return 0.5 + 0.5 * np.tanh(0.5 * score), (hidden, cell)


@functools.cache
def load_network() -> Silero:
    """The network with the weights of the package, which itself is not imported: it would load torch.

    Raises:
        ModelError: there is no such package, or it does not hold these weights.
    """
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("the package that finds speech is missing: install silero-vad (pip install silero-vad)")
    path = Path(spec.submodule_search_locations[0]) / "data" / "silero_vad_16k.safetensors"
    try:
        return Silero(load_file(path))
    except (OSError, SafetensorError, KeyError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path} holds no weights that find speech ({reason}): reinstall silero-vad") from None
