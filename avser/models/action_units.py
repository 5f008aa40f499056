"""Face backbones on action units: frames (B, N, U) with mask (B, N) to features (B, D).

All of them begin with statistics over a clip's frames. A row of a table of means is a clip of one frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def _mean(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


def _deviation(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return _mean((x - _mean(x, weight)[:, None]).square(), weight).sqrt()


def _highest(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x.masked_fill(weight == 0, float("-inf")).amax(1)


def _rank(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Place of each unit's mean among those of the clip, in [0, 1]: how much a face moves on the whole is lost."""
    mean = _mean(x, weight)
    below = (mean[:, None, :] < mean[:, :, None]).sum(2) + (mean[:, None, :] <= mean[:, :, None]).sum(2) - 1
    return below.to(x.dtype) / (2 * max(1, x.shape[2] - 1))


STATISTICS = {"mean": _mean, "deviation": _deviation, "highest": _highest, "rank": _rank}
"""Statistics over frames: x (B, N, U) with weight (B, N, 1), one for frames that count and zero, to (B, U)."""


class UnitStatistics(nn.Module):
    """Standardised statistics of each action unit, for a linear discriminant; nothing is learned by gradient.

    Args:
        units: number of action units, U.
        statistics: names in `STATISTICS`. Of a table of means only the mean says something.
        powers: the units are measured as they are (1), by their roots (0.5), or both. Units are mostly near zero
            with rare large values; signs are kept, for centred units have them.
    """

    closed_form: str | None = "discriminant"
    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self, units: int, statistics: Sequence[str] = ("mean", "deviation"), powers: Sequence[float] = (1.0, 0.5)
    ) -> None:
        super().__init__()
        if not statistics or not powers or not set(statistics) <= STATISTICS.keys():
            raise ValueError(f"statistics {list(statistics)}: choose from {', '.join(STATISTICS)}")
        self.statistics, self.powers = tuple(statistics), tuple(powers)
        self.features = units * len(self.statistics) * len(self.powers)
        self.register_buffer("centre", torch.zeros(self.features))
        self.register_buffer("scale", torch.ones(self.features))

    def measure(self, units: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The statistics as they are, (B, D)."""
        weight = mask.unsqueeze(-1).to(units.dtype)  # (B, N, 1)
        found = torch.cat([STATISTICS[name](units, weight) for name in self.statistics], 1)
        return torch.cat([found.sign() * found.abs() ** power for power in self.powers], 1)  # (B, D)

    def forward(self, units: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return (self.measure(units, mask) - self.centre) / self.scale  # (B, D)


class UnitKernel(UnitStatistics):
    """How like a clip is to clips of the training part, for kernel ridge regression on the emotions.

    It falls exponentially with a distance of standardised statistics: the mean absolute difference (norm 1,
    Laplace's kernel) or the root mean square (norm 2). Nothing is learned by gradient.

    Args:
        anchors: number of clips that are kept at most, D; of more, as many are drawn.
        norm: 1 minds a rare large difference less, 2 more.
        width: distance at which likeness has fallen to 1/e; two clips drawn by chance are about 1 (norm 1) or 1.4
            (norm 2) apart.
        ridge: how much the regression is shrunk. sharpness: factor from its scores to logits.
    """

    closed_form = "ridge"
    anchors: torch.Tensor
    used: torch.Tensor

    def __init__(
        self,
        units: int,
        statistics: Sequence[str] = ("mean", "deviation"),
        powers: Sequence[float] = (1.0, 0.5),
        anchors: int = 1200,
        norm: int = 1,
        width: float = 1.0,
        ridge: float = 0.4,
        sharpness: float = 8.0,
    ) -> None:
        super().__init__(units, statistics, powers)
        if norm not in (1, 2) or min(anchors, width, ridge, sharpness) <= 0:
            raise ValueError("norm is 1 or 2, and anchors, width, ridge and sharpness are above zero")
        self.norm, self.width, self.ridge, self.sharpness = norm, width, ridge, sharpness
        self.register_buffer("anchors", torch.zeros(anchors, self.features))
        self.register_buffer("used", torch.zeros(anchors))  # 1 for anchors that are clips
        self.features = anchors

    def likeness(self, features: torch.Tensor) -> torch.Tensor:
        """Of standardised statistics (B, S) to each anchor, (B, D); zero to those that are none."""
        exact = "donot_use_mm_for_euclid_dist"
        distance = torch.cdist(features, self.anchors, p=float(self.norm), compute_mode=exact)
        return (-distance / features.shape[1] ** (1 / self.norm) / self.width).exp() * self.used

    def forward(self, units: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.likeness(super().forward(units, mask))  # (B, D)


class UnitMlp(UnitStatistics):
    """Perceptron on the standardised statistics.

    Args:
        hidden: widths of its layers. dropout: between them.
        jitter: in training, each clip is moved as if it were another person's: by a random offset whose deviation
            is `jitter` times that of the means of the training subjects.
    """

    closed_form = None
    spread: torch.Tensor

    def __init__(
        self,
        units: int,
        statistics: Sequence[str] = ("mean", "deviation"),
        powers: Sequence[float] = (0.5,),
        hidden: Sequence[int] = (64,),
        dropout: float = 0.3,
        jitter: float = 0.5,
    ) -> None:
        super().__init__(units, statistics, powers)
        self.register_buffer("spread", torch.zeros(self.features))  # deviation of the subjects' means
        self.jitter = jitter
        layers: list[nn.Module] = []
        inputs = self.features
        for width in hidden:
            layers += [nn.Linear(inputs, width), nn.GELU(), nn.Dropout(dropout)]
            inputs = width
        self.body = nn.Sequential(*layers[:-1])  # the branch drops out before its classifier
        self.features = inputs

    def forward(self, units: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = super().forward(units, mask)
        if self.training and self.jitter:
            x = x + self.jitter * self.spread * torch.randn_like(x)
        return self.body(x)  # (B, D)


UNIT_BACKBONES: dict[str, type[UnitStatistics]] = {
    "unit_statistics": UnitStatistics,
    "unit_kernel": UnitKernel,
    "unit_mlp": UnitMlp,
}
