"""Audio backbones: log-mel (B, 1, M, T) to features (B, D).

`lengths` (B,) gives the valid frames of each clip where clips of different lengths share a batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from avser.features import add_deltas
from avser.models.statistics import Functionals, RandomFilters


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with a shortcut (He et al. 2016) and squeeze-and-excitation (Hu et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int] | int = 1, squeeze: int = 0) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.gate = None
        if squeeze:
            self.gate = nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(outputs, outputs // squeeze, 1),
                nn.ReLU(),
                nn.Conv2d(outputs // squeeze, outputs, 1),
                nn.Sigmoid(),
            )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride not in (1, (1, 1)):
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        if self.gate is not None:
            y = y * self.gate(y)
        return torch.relu(y + self.shortcut(x))


class Front(nn.Module):
    """Residual CNN from log-mel to a sequence: (B, 1, M, T) -> (B, T', D), T' = T / 4.

    With `deltas`, the first convolution sees the time derivatives of the log-mel as two more channels.
    """

    STRIDES = ((2, 2), (2, 2), (2, 1), (2, 1))
    TIME_STRIDE = 4

    def __init__(
        self, n_mels: int, widths: tuple[int, ...], blocks: tuple[int, ...], features: int, deltas: bool
    ) -> None:
        super().__init__()
        self.deltas = deltas
        layers: list[nn.Module] = [
            nn.Conv2d(3 if deltas else 1, widths[0], 5, self.STRIDES[0], 2, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        inputs, bands = widths[0], (n_mels + 1) // 2
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for index in range(count):
                first = stage > 0 and index == 0
                layers.append(ResidualBlock(inputs, width, self.STRIDES[stage] if first else 1))
                inputs = width
            bands = bands if stage == 0 else (bands + 1) // 2
        self.body = nn.Sequential(*layers)
        self.project = nn.Sequential(nn.Linear(inputs * bands, features), nn.LayerNorm(features), nn.ReLU())

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        x = self.body(add_deltas(mel) if self.deltas else mel)  # (B, W, M', T')
        return self.project(x.permute(0, 3, 1, 2).flatten(2))  # (B, T', D)


class AttentiveStatistics(nn.Module):
    """Attention-weighted mean and deviation over time (Okabe et al. 2018): (B, T, D) -> (B, 2 D)."""

    def __init__(self, features: int, hidden: int = 64) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        score = self.score(x).float().squeeze(-1)  # (B, T)
        if mask is not None:
            score = score.masked_fill(~mask, float("-inf"))
        weight = score.softmax(1).unsqueeze(-1)  # (B, T, 1)
        x = x.float()
        mean = (weight * x).sum(1)
        variance = (weight * (x - mean.unsqueeze(1)).square()).sum(1)
        return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1)  # (B, 2 D)


def _mask(lengths: torch.Tensor | None, stride: int, steps: int) -> torch.Tensor | None:
    if lengths is None:
        return None
    valid = torch.div(lengths + stride - 1, stride, rounding_mode="floor").clamp(1, steps)
    return torch.arange(steps, device=lengths.device)[None, :] < valid[:, None]  # (B, T')


class ResNetAttention(nn.Module):
    """Residual CNN with attentive statistics pooling."""

    def __init__(
        self,
        n_mels: int = 64,
        widths: tuple[int, ...] = (24, 48, 96, 128),
        blocks: tuple[int, ...] = (1, 1, 1, 1),
        features: int = 192,
        deltas: bool = False,
    ) -> None:
        super().__init__()
        self.front = Front(n_mels, tuple(widths), tuple(blocks), features, deltas)
        self.pool = AttentiveStatistics(features)
        self.features = 2 * features

    def forward(self, mel: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        x = self.front(mel)  # (B, T', D)
        return self.pool(x, _mask(lengths, Front.TIME_STRIDE, x.shape[1]))


class CnnLstm(nn.Module):
    """Residual CNN, bidirectional LSTM, attentive statistics pooling."""

    def __init__(
        self,
        n_mels: int = 64,
        widths: tuple[int, ...] = (24, 48, 96, 128),
        blocks: tuple[int, ...] = (1, 1, 1, 1),
        features: int = 192,
        hidden: int = 96,
        layers: int = 1,
        deltas: bool = False,
    ) -> None:
        super().__init__()
        self.front = Front(n_mels, tuple(widths), tuple(blocks), features, deltas)
        self.lstm = nn.LSTM(features, hidden, layers, batch_first=True, bidirectional=True)
        self.pool = AttentiveStatistics(2 * hidden)
        self.features = 4 * hidden

    def forward(self, mel: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        x = self.front(mel)  # (B, T', D)
        mask = _mask(lengths, Front.TIME_STRIDE, x.shape[1])
        x = self.lstm(x)[0] if mask is None else _both_ways(self.lstm, x, mask)
        return self.pool(x, mask)


def _both_ways(lstm: nn.LSTM, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A bidirectional LSTM along clips (B, T, D), (B, T, 2 H), whose way back begins at the end of each clip.

    Packed sequences would do the same, but have no place in an exported graph.

    Args:
        mask: (B, T), true up to the end of a clip.
    """
    step = torch.arange(x.shape[1], device=x.device)[None]  # (1, T)
    place = mask.sum(1, keepdim=True) - 1 - step
    place = torch.where(place >= 0, place, step).unsqueeze(2)  # (B, T, 1), of each step of the way back

    def turned(y: torch.Tensor) -> torch.Tensor:
        return y.gather(1, place.expand(-1, -1, y.shape[2]))

    def run(y: torch.Tensor, weights: list[Any]) -> torch.Tensor:
        state = y.new_zeros(1, y.shape[0], lstm.hidden_size)
        return torch.lstm(y, (state, state), weights, True, 1, 0.0, lstm.training, False, True)[0]

    for layer in range(lstm.num_layers):
        forth, back = lstm.all_weights[2 * layer : 2 * layer + 2]
        x = torch.cat([run(x, forth), turned(run(turned(x), back))], 2)  # (B, T, 2 H)
    return x


AUDIO_BACKBONES: dict[str, type[nn.Module]] = {
    "resnet_attention": ResNetAttention,
    "cnn_lstm": CnnLstm,
    "functionals": Functionals,
    "random_filters": RandomFilters,
}
