"""Audio backbone of random filters: as many statistics as a linear classifier can use, and nothing to train."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class RandomFilters(nn.Module):
    """Random filters over bands, then over time, and seven statistics of what each lets through.

    After random features for linear machines (Rahimi and Recht 2008) and random convolutions for time series
    (Dempster et al. 2020, ROCKET): a log-mel frame is weighed by `profiles` random profiles over the bands, broad
    and narrow; each profile's course is kept as it is and filtered by one random filter of `taps` frames at each
    of the `dilations`. Of each course: mean, deviation, mean of the positive part, share of frames above 0.5 and
    below -0.5, highest and lowest value. The classifier is ridge regression, computed from all training clips.

    Args:
        seed: of the filters, which are part of the model.
        penalty: of the regression, as a share of the mean square of a clip's features.
        sharpness: factor from the regression's scores to logits.
    """

    closed_form = "linear_ridge"
    STATISTICS = 7

    def __init__(
        self,
        n_mels: int = 64,
        profiles: int = 480,
        taps: int = 11,
        dilations: Sequence[int] = (1, 2, 4, 8),
        seed: int = 0,
        penalty: float = 0.4,
        sharpness: float = 8.0,
    ) -> None:
        super().__init__()
        if min(profiles, taps, penalty, sharpness, *dilations) <= 0 or taps % 2 == 0:
            raise ValueError("profiles, dilations, penalty and sharpness are above zero, taps is odd")
        self.dilations, self.penalty, self.sharpness = tuple(dilations), penalty, sharpness
        self.features = profiles * (1 + len(self.dilations)) * self.STATISTICS
        chance = torch.Generator().manual_seed(seed)
        self.register_buffer("profiles", _profiles(profiles, n_mels, chance))  # (P, M)
        taps_of = torch.randn(len(self.dilations), profiles, 1, taps, generator=chance)
        taps_of = taps_of - taps_of.mean(3, keepdim=True)
        self.register_buffer("taps", taps_of / taps_of.norm(dim=3, keepdim=True))  # (K, P, 1, L)
        self.register_buffer("centre", torch.zeros(self.features))
        self.register_buffer("scale", torch.ones(self.features))

    def courses(self, mel: torch.Tensor) -> torch.Tensor:
        """Log-mel of one clip (M, T) to what each filter lets through, (P (1 + K), T)."""
        x = self.profiles @ mel  # (P, T)
        rows = [x]
        for taps, dilation in zip(self.taps, self.dilations, strict=True):
            aside = (taps.shape[2] - 1) * dilation // 2
            wide = nn.functional.pad(x[None], (aside, aside), mode="replicate")
            rows.append(nn.functional.conv1d(wide, taps, dilation=dilation, groups=len(x))[0])
        return torch.cat(rows)

    def statistics(self, mel: torch.Tensor) -> torch.Tensor:
        """The statistics of one clip (M, T), one kind after the other, (D,)."""
        x = self.courses(mel)
        mean = x.mean(1)
        return torch.cat(
            [
                mean,
                (x - mean[:, None]).square().mean(1).sqrt(),  # three times as fast as torch's own deviation
                x.relu().mean(1),
                (x > 0.5).to(x.dtype).mean(1),
                (x < -0.5).to(x.dtype).mean(1),
                x.amax(1),
                x.amin(1),
            ]
        )

    def measure(self, mel: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """The statistics as they are, (B, D)."""
        mel = mel.float().squeeze(1)  # (B, M, T)
        ends = [mel.shape[2]] * len(mel) if lengths is None else lengths.tolist()
        return torch.stack([self.statistics(x[:, :end]) for x, end in zip(mel, ends, strict=True)])

    def limit(self, features: torch.Tensor) -> torch.Tensor:
        """Standardised features, none far beyond those in training: a linear classifier follows them anywhere."""
        return features.clamp(-3, 3)

    def forward(self, mel: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        return self.limit((self.measure(mel, lengths) - self.centre) / self.scale)  # (B, D)


def _profiles(count: int, bands: int, chance: torch.Generator) -> torch.Tensor:
    """Random weights over the bands, of length one, (P, M).

    They are smoothed 0 to 8 times, two of three fade out around a random band, and of every other one the mean is
    taken away: shapes of the spectrum beside levels.
    """
    smooth = torch.tensor([[[0.25, 0.5, 0.25]]])
    rows = []
    for number in range(count):
        row = torch.randn(1, 1, bands, generator=chance)
        for _ in range((0, 1, 2, 4, 8)[number % 5]):
            row = nn.functional.conv1d(nn.functional.pad(row, (1, 1), mode="replicate"), smooth)
        row = row.flatten()
        if number % 3:
            middle, width = bands * torch.rand(2, generator=chance) * torch.tensor([1.0, 0.3]) + torch.tensor(
                [0, 4.0]
            )
            row = row * torch.exp(-0.5 * ((torch.arange(bands) - middle) / width).square())
        if number % 2:
            row = row - row.mean()
        rows.append(row / row.norm())
    return torch.stack(rows)
