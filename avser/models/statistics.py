"""Audio backbones of statistics over time: nothing to train, and a linear classifier computed from all clips."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence

import torch
from torch import nn


class Statistics(nn.Module, abc.ABC):
    """Base: a subclass says what is measured of one clip; `centre` and `scale` standardise it.

    Those two, and the classifier, are computed from all training clips at once (see `avser.training.solving`), as
    the subclass's `closed_form` says.
    """

    closed_form: str
    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    @abc.abstractmethod
    def statistics(self, mel: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        """The statistics of clips (B, M, T), of which the first `ends` (B, 1) frames count, (B, D)."""

    def limit(self, features: torch.Tensor) -> torch.Tensor:
        """Standardised features as the classifier takes them."""
        return features

    def measure(self, mel: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """The statistics as they are, (B, D)."""
        mel = mel.float().squeeze(1)  # (B, M, T)
        if lengths is None:
            lengths = torch.full((mel.shape[0],), mel.shape[2], device=mel.device)
        ends = lengths.clamp(1, mel.shape[2])[:, None]  # (B, 1)
        if torch.compiler.is_compiling():  # an exported graph takes the batch as it is
            return self.statistics(mel, ends)
        # clip by clip three times as fast: what is made of one stays in the processor's cache
        clips = zip(mel.split(1), ends.split(1), ends.flatten().tolist(), strict=True)
        return torch.cat([self.statistics(x[..., :count], end) for x, end, count in clips])

    def forward(self, mel: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        return self.limit((self.measure(mel, lengths) - self.centre) / self.scale)  # (B, D)


class Functionals(Statistics):
    """Statistics over time of the log-mel and its cepstra, for a linear classifier (cf. Eyben et al. 2010).

    Ten of each band and of each cepstral coefficient: mean, deviation, five percentiles, slope, mean size and
    deviation of the steps from frame to frame. Nothing is learned by gradient: `centre` and `scale` standardise,
    and the classifier is a linear discriminant, both computed from all training clips at once.
    """

    closed_form = "discriminant"
    cosine: torch.Tensor
    PERCENTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

    def __init__(self, n_mels: int = 64, cepstra: int = 24) -> None:
        super().__init__((n_mels + cepstra) * (5 + len(self.PERCENTILES)))
        order, band = torch.arange(cepstra)[:, None], torch.arange(n_mels)[None, :]
        cosine = torch.cos(math.pi / n_mels * (band + 0.5) * order) * math.sqrt(2 / n_mels)
        self.register_buffer("cosine", torch.where(order == 0, cosine / math.sqrt(2), cosine), persistent=False)

    def statistics(self, mel: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        """Those of the bands (B, M, T), then those of their cepstra, (B, D)."""
        mel, ends = _prolonged(mel, ends, 0, 2), ends.clamp(min=3)  # so many it takes for two steps
        return torch.cat([self._of(mel, ends), self._of(self.cosine @ mel, ends)], 1)

    def _of(self, x: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        """Ten statistics of each row of (B, F, T), one kind after the other, (B, 10 F)."""
        frame = torch.arange(x.shape[2], device=x.device)[None]  # (1, T)
        share = ((frame < ends).to(x.dtype) / ends).unsqueeze(2)  # (B, T, 1)
        share_of_steps = ((frame[:, 1:] < ends).to(x.dtype) / (ends - 1)).unsqueeze(2)
        steps = x.diff(dim=2)
        time = (2 * frame / (ends - 1) - 1).to(x.dtype).unsqueeze(1)  # (B, 1, T)
        mean, mean_step = x @ share, steps @ share_of_steps  # (B, F, 1)
        found = [
            mean,
            ((x - mean).square() @ share).sqrt(),
            _percentiles(x, ends, self.PERCENTILES),  # (B, F, 5)
            (x * time) @ share / (time.square() @ share),
            steps.abs() @ share_of_steps,
            ((steps - mean_step).square() @ share_of_steps).sqrt(),
        ]
        return torch.cat(found, 2).transpose(1, 2).flatten(1)


def _percentiles(x: torch.Tensor, ends: torch.Tensor, shares: Sequence[float]) -> torch.Tensor:
    """Percentiles (B, F, Q) over the first `ends` (B, 1) frames of (B, F, T), between two frames on a line."""
    frame = torch.arange(x.shape[2], device=x.device)[None, None]  # (1, 1, T)
    rising = x.masked_fill(frame >= ends.unsqueeze(2), float("inf")).sort(2).values
    rank = x.new_tensor(shares) * (ends - 1)  # (B, Q)
    below, above = (
        rising.gather(2, place.long().unsqueeze(1).expand(-1, x.shape[1], -1))
        for place in (rank.floor(), rank.ceil())
    )
    return below + (rank - rank.floor()).unsqueeze(1) * (above - below)


def _prolonged(mel: torch.Tensor, ends: torch.Tensor, before: int, behind: int) -> torch.Tensor:
    """Clips (B, M, T) with their first frame repeated before and their last one from `ends` (B, 1) on."""
    place = torch.arange(-before, mel.shape[2] + behind, device=mel.device).clamp(min=0)
    place = torch.minimum(place[None], ends - 1)  # (B, T')
    return mel.gather(2, place.unsqueeze(1).expand(-1, mel.shape[1], -1))


class RandomFilters(Statistics):
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
    profiles: torch.Tensor
    taps: torch.Tensor
    KINDS = 7
    EDGE = 3e-6

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
        super().__init__(profiles * (1 + len(dilations)) * self.KINDS)
        if min(profiles, taps, penalty, sharpness, *dilations) <= 0 or taps % 2 == 0:
            raise ValueError("profiles, dilations, penalty and sharpness are above zero, taps is odd")
        self.dilations, self.penalty, self.sharpness = tuple(dilations), penalty, sharpness
        chance = torch.Generator().manual_seed(seed)
        self.register_buffer("profiles", _profiles(profiles, n_mels, chance))  # (P, M)
        taps_of = torch.randn(len(self.dilations), profiles, 1, taps, generator=chance)
        taps_of = taps_of - taps_of.mean(3, keepdim=True)
        self.register_buffer("taps", taps_of / taps_of.norm(dim=3, keepdim=True))  # (K, P, 1, L)

    def courses(self, mel: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        """Log-mels of clips (B, M, T) to what each filter lets through, (B, P (1 + K), T)."""
        reach = [(self.taps.shape[3] - 1) * dilation // 2 for dilation in self.dilations]
        aside, count = max(reach), mel.shape[2]
        x = self.profiles @ _prolonged(mel, ends, aside, aside)  # (B, P, T + 2 aside)
        rows = [x.narrow(2, aside, count)]
        for taps, dilation, near in zip(self.taps, self.dilations, reach, strict=True):
            wide = x.narrow(2, aside - near, count + 2 * near)
            rows.append(nn.functional.conv1d(wide, taps, dilation=dilation, groups=x.shape[1]))
        return torch.cat(rows, 1)

    def statistics(self, mel: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        """The statistics of clips (B, M, T), one kind after the other, (B, D)."""
        x = self.courses(mel, ends)
        valid = torch.arange(x.shape[2], device=x.device)[None] < ends  # (B, T)
        share = (valid.to(x.dtype) / ends).unsqueeze(2)  # (B, T, 1)
        beyond = torch.where(valid, 0.0, float("-inf")).unsqueeze(1)  # (B, 1, T)
        mean = x @ share  # (B, P (1 + K), 1)
        means = [
            mean,
            ((x - mean).square() @ share).sqrt(),
            x.relu() @ share,
            self._above(x, 0.5) @ share,
            self._above(-x, 0.5) @ share,
        ]
        return torch.cat([*(m.squeeze(2) for m in means), (x + beyond).amax(2), (x - beyond).amin(2)], 1)

    def _above(self, x: torch.Tensor, level: float) -> torch.Tensor:
        """1 where x lies above a level, 0 below; straight between over `EDGE`.

        A count that jumps would make a difference in the answer of what engines round differently.
        """
        return ((x - level) / self.EDGE + 0.5).clamp(0, 1)

    def limit(self, features: torch.Tensor) -> torch.Tensor:
        """Standardised features, none far beyond those in training: a linear classifier follows them anywhere."""
        return features.clamp(-3, 3)


def _profiles(count: int, bands: int, chance: torch.Generator) -> torch.Tensor:
    """Random weights over the bands, of length one, (P, M).

    They are smoothed 0 to 8 times, two of three fade out around a random band, and of every other one the mean is
    taken away: shapes of the spectrum beside levels.
    """
    drawn = []
    for number in range(count):
        row = torch.randn(bands, generator=chance)
        # two of three fade out: around which band, and how fast
        drawn.append((row, *(torch.rand(2, generator=chance) if number % 3 else torch.zeros(2))))
    rows, middle, width = (torch.stack(part) for part in zip(*drawn, strict=True))
    rows, numbers = rows[:, None], torch.arange(count)  # (P, 1, M)
    smooth = torch.tensor([[[0.25, 0.5, 0.25]]])
    rounds = torch.tensor((0, 1, 2, 4, 8))[numbers % 5]
    for done in range(8):
        smoother = nn.functional.conv1d(nn.functional.pad(rows, (1, 1), mode="replicate"), smooth)
        rows = torch.where((done < rounds)[:, None, None], smoother, rows)
    rows = rows[:, 0]
    distance = (torch.arange(bands) - bands * middle[:, None]) / (4 + 0.3 * bands * width[:, None])
    rows = torch.where((numbers % 3 > 0)[:, None], rows * torch.exp(-0.5 * distance.square()), rows)
    rows = torch.where((numbers % 2 > 0)[:, None], rows - rows.mean(1, keepdim=True), rows)
    return rows / rows.norm(dim=1, keepdim=True)
