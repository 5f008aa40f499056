"""Published networks on vectors of hand-crafted features: (B, 1, D, 1) to features (B, 32).

The CNN-1D and the LSTM of "Deep Learning for Emotion Recognition: Exploring Image and Audio Modalities" (Chater)
on 162 features, for CREMA-D with SAVEE. Both take the vector as a sequence of 162 steps with one value each. Their
last layer is the classifier of the branch, and the dropout before it that of the branch.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn


class _OnFeatures(nn.Module):
    """What the networks share: a vector, standardised by `centre` and `scale`, as (B, 1, D)."""

    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    def measure(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """The vectors as they are, (B, 1, D, 1) to (B, D)."""
        return x.float()[:, 0, :, 0]

    def standardised(self, x: torch.Tensor) -> torch.Tensor:
        return ((self.measure(x) - self.centre) / self.scale)[:, None]  # (B, 1, D)


class HalvingPool(nn.Module):
    """Maximum of five values every two, (B, W, D) to (B, W, ceil(D / 2)); padded where Keras pads for `same`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[-1]
        missing = 2 * ((size + 1) // 2 - 1) + 5 - size
        x = nn.functional.pad(x, (missing // 2, missing - missing // 2), value=float("-inf"))
        return nn.functional.max_pool1d(x, 5, 2)


class Cnn1d162(_OnFeatures):
    """CNN-1D: 162 → 81×256 → 41×256 → 21×128 → dropout → 11×64 → 704 → 32.

    Four convolutions, each with ReLU and a pooling that halves, then a dense layer. The paper gives the sizes of
    the layers; five values a convolution and a pooling, and the dropout, are what this network usually has.

    Args:
        inputs: length D of the vectors.
        dropout: after the third pooling.
        n_mels: is of no use to it; every audio backbone is told.
    """

    def __init__(self, inputs: int = 162, dropout: float = 0.2, n_mels: int | None = None) -> None:
        super().__init__(inputs)
        layers: list[nn.Module] = []
        width, size = 1, inputs
        for number, channels in enumerate((256, 256, 128, 64)):
            layers += [nn.Conv1d(width, channels, 5, padding=2), nn.ReLU(), HalvingPool()]
            if number == 2:
                layers.append(nn.Dropout(dropout))
            width, size = channels, (size + 1) // 2
        self.body = nn.Sequential(*layers)
        self.dense = nn.Linear(width * size, 32)
        self.features = 32
        _start_like_keras(self)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        x = self.body(self.standardised(x))  # (B, 64, 11)
        return torch.relu(self.dense(x.flatten(1)))  # (B, 32)


class Lstm162(_OnFeatures):
    """LSTM: 162×256 → 162×256 → 162×128 → 162×64, each with dropout, → 10368 → 32.

    Args:
        inputs: length D of the vectors.
        hidden: widths of the four layers.
        dropout: after each of them; the paper does not say how much.
        n_mels: is of no use to it; every audio backbone is told.
    """

    def __init__(
        self,
        inputs: int = 162,
        hidden: tuple[int, ...] = (256, 256, 128, 64),
        dropout: float = 0.2,
        n_mels: int | None = None,
    ) -> None:
        super().__init__(inputs)
        widths = (1, *hidden)
        self.layers = nn.ModuleList(nn.LSTM(width, size, batch_first=True) for width, size in pairwise(widths))
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(inputs * widths[-1], 32)
        self.features = 32
        _start_like_keras(self)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        x = self.standardised(x).transpose(1, 2)  # (B, 162, 1)
        for layer in self.layers:
            x = self.dropout(layer(x)[0])  # (B, 162, hidden)
        return torch.relu(self.dense(x.flatten(1)))  # (B, 32)


def _start_like_keras(network: nn.Module) -> None:
    """Weights by Glorot and Bengio (2010), recurrent ones orthogonal, an open forget gate, all else zero.

    The layer lists are printed by Keras, whose start this is; four LSTM layers learn slowly from torch's own.
    """
    for name, parameter in network.named_parameters():
        if "weight_hh" in name:
            nn.init.orthogonal_(parameter)
        elif "weight" in name:
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
            if "bias_ih" in name:  # gates are input, forget, cell, output
                size = len(parameter) // 4
                nn.init.ones_(parameter.data[size : 2 * size])


FEATURE_BACKBONES: dict[str, type[nn.Module]] = {"cnn1d_162": Cnn1d162, "lstm_162": Lstm162}
"""Networks on hand-crafted features by name."""
