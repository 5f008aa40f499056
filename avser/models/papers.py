"""Published networks as audio backbones; their last layer, the one with the softmax, is the branch's classifier.

Pictures are (B, 3, H, W) in [0, 1], vectors of hand-crafted features (B, 1, D, 1), log-mels (B, 1, M, T). Each
docstring says what the paper gives and what was chosen where it is silent. Every audio backbone is told `n_mels`;
those on pictures and vectors have no use for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from avser.features import add_deltas
from avser.models.yamnet import PatchLstm, YamnetLstm
from avser.types import ModelError


class SpectrogramCnn2d(nn.Module):
    """CNN-2D on grey pictures of spectrograms: five pairs of convolution and maximum, one dense layer.

    Source: "Emotion recognition by spectrograms and CNN-2D" (RAVDESS; angry, sad, neutral, happy). Given there:
    pictures of 150×150, grey; five convolutions with ReLU, each with a max-pooling and none with dropout; a dense
    layer with dropout 0.8, which is the probability to keep in the library whose terms the paper uses; softmax.

    Chosen: 32, 64, 128, 64, 32 filters of 5×5 with zeros around, pooling by 5 and 1024 units, as in the example of
    that library whose steps the paper's listing repeats: 150×150 → 30×30×32 → 6×6×64 → 2×2×128 → 1×1×64 → 1×1×32 →
    32 → 1024. With `pool: 2` the pairs see 75, 38, 19, 10 and 5 points a side, for ten times the work. Weights
    start uniform with a variance of one by the number of inputs, as that library has them.

    Args:
        picture: side of the pictures, px.
    """

    def __init__(
        self,
        n_mels: int | None = None,
        picture: int = 150,
        widths: tuple[int, ...] = (32, 64, 128, 64, 32),
        kernel: int = 5,
        pool: int = 5,
        dense: int = 1024,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs, side = 1, picture
        for width in widths:
            layers += [nn.Conv2d(inputs, width, kernel, padding="same"), nn.ReLU()]
            layers += [nn.MaxPool2d(pool, ceil_mode=True)]
            inputs, side = width, math.ceil(side / pool)
        self.picture = picture
        self.body = nn.Sequential(*layers)
        self.dense = nn.Sequential(nn.Linear(inputs * side * side, dense), nn.ReLU())
        self.features = dense
        _start(self, partial(nn.init.kaiming_uniform_, nonlinearity="linear"))

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        _refuse_other_pictures(x, self.picture)
        return self.dense(self.body(x[:, :1]).flatten(1))  # (B, D); the three channels of grey are one


class Cnn1dFeatures(nn.Module):
    """CNN-1D along a vector of features (MFCC, mel, tonnetz, contrast): four convolutions, two of them pooled.

    Source: the rival of "Emotion recognition by spectrograms and CNN-2D". Given there: four convolutions with
    ReLU, the first two with max-pooling, then one dense layer with softmax; dropout 0.1 (the branch's).

    Chosen: 128 filters of 5 values, pooling by 4: 181 → 45×128 → 11×128 → 11×128 → 11×128 → 1408. Features are
    standardised by `centre` and `scale`, for RMSprop at 5e-5 gets nowhere with decibels beside shares. Weights
    start as Glorot and Bengio (2010) have it, the start of Keras.

    Args:
        inputs: length D of the vectors.
    """

    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self, n_mels: int | None = None, inputs: int = 181, width: int = 128, kernel: int = 5, pool: int = 4
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(4):
            layers += [nn.Conv1d(width if number else 1, width, kernel, padding="same"), nn.ReLU()]
            layers += [nn.MaxPool1d(pool)] if number < 2 else []
        self.body = nn.Sequential(*layers)
        self.features = width * (inputs // pool // pool)
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        _start(self, nn.init.xavier_uniform_)

    def measure(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """The vectors as they are, (B, 1, D, 1) to (B, D)."""
        if x.shape[1:] != (1, len(self.centre), 1):
            raise ModelError(
                f"this network takes vectors of {len(self.centre)} features, not {tuple(x.shape[1:])}: "
                "set network.options.inputs to their number"
            )
        return x[:, 0, :, 0].float()

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        x = (self.measure(x) - self.centre) / self.scale
        return self.body(x[:, None]).flatten(1)  # (B, D)


class Fser(nn.Module):
    """FSER: four blocks of convolution, max-pooling and dropout on coloured pictures, three dense layers.

    Source: "FSER: Deep Convolutional Neural Networks for Speech Emotion Recognition" (Dossou and Gbenou). Given
    there: RGB pictures of 64×64; four blocks of convolution with ReLU, max-pooling and dropout; three dense
    layers, the last with softmax.

    Chosen: 32, 64, 128, 256 filters of 3×3 with zeros around, pooling by 2, a quarter dropped after each block,
    dense layers of 512 and 256: 64×64×3 → 32×32×32 → 16×16×64 → 8×8×128 → 4×4×256 → 4096 → 512 → 256. Weights
    start as Glorot and Bengio (2010) have it, the start of Keras.

    Args:
        picture: side of the pictures, px.
    """

    def __init__(
        self,
        n_mels: int | None = None,
        picture: int = 64,
        widths: tuple[int, ...] = (32, 64, 128, 256),
        dense: tuple[int, int] = (512, 256),
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width in widths:
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(dropout)]
            inputs = width
        self.picture = picture
        self.body = nn.Sequential(*layers)
        flat = inputs * (picture >> len(widths)) ** 2
        self.dense = nn.Sequential(nn.Linear(flat, dense[0]), nn.ReLU(), nn.Linear(*dense), nn.ReLU())
        self.features = dense[1]
        _start(self, nn.init.xavier_uniform_)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        _refuse_other_pictures(x, self.picture)
        return self.dense(self.body(x).flatten(1))  # (B, D)


class ResponseNorm(nn.Module):
    """Local response normalisation over five channels, with the constants of Krizhevsky et al. (2012).

    Gives what `torch.nn.LocalResponseNorm(5, k=2)` gives, whose steps take three quarters of AlexNet's time on a
    CPU: the sum over neighbouring channels is one matrix product here, and the power two square roots.

    Args:
        channels: how many; input and output are (B, channels, H, W), the output in single precision.
    """

    band: torch.Tensor
    START, SHARE, NEIGHBOURS = 2.0, 1e-4, 2

    def __init__(self, channels: int) -> None:
        super().__init__()
        band = torch.ones(channels, channels).triu(-self.NEIGHBOURS).tril(self.NEIGHBOURS)
        self.register_buffer("band", band[:, :, None, None], persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):  # beside 2, the squares would vanish in bfloat16
            x = x.float()
            sums = nn.functional.conv2d(x * x, self.band)
            scale = sums * (self.SHARE / (2 * self.NEIGHBOURS + 1)) + self.START
            return x * (scale * scale.sqrt()).rsqrt()  # divided by scale to the power of 0.75


class AlexNet3d(nn.Module):
    """AlexNet on 3-D log-mels (static, delta, delta-delta) of any length, without the last dense layer but one.

    Source: "Alex Net-Based Speech Emotion Recognition Using 3D Mel-Spectrograms" (Ali et al. 2024), after
    Krizhevsky et al. (2012). Given there: five convolutions with ReLU, local response normalisation after the
    first, max-pooling, dense layers FC6 and FC8 but no FC7, an output of 256 values, input of any length.

    Chosen: the original filters, not split over two processors (96 of 11×11 every 4, 256 of 5×5, 384, 384 and 256
    of 3×3, maxima of 3×3 every 2 after the first, second and fifth), which make of 64 bands a sequence of 256
    values, one step in 32 frames; its mean over time goes to FC6, 256 → 256, with the original's dropout of a half
    before it. Weights start as He et al. (2015) have it; the paper speaks of fine-tuning but names none to start
    from.

    Frames behind the end of a clip are zeros in every layer, as the padding of a convolution is: what a clip gives
    does not depend on the batch it is in.
    """

    SHORTEST = 63
    """Bands and frames that the layers need; less is filled up with zeros."""

    def __init__(
        self,
        n_mels: int = 64,
        widths: tuple[int, ...] = (96, 256, 384, 384, 256),
        features: int = 256,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        one, two, three, four, five = widths
        self.layers = nn.ModuleList(
            [
                *(nn.Conv2d(3, one, 11, 4, 2), nn.ReLU(), ResponseNorm(one), nn.MaxPool2d(3, 2)),
                *(nn.Conv2d(one, two, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
                *(nn.Conv2d(two, three, 3, padding=1), nn.ReLU()),
                *(nn.Conv2d(three, four, 3, padding=1), nn.ReLU()),
                *(nn.Conv2d(four, five, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
            ]
        )
        self.fc6 = nn.Sequential(nn.Dropout(dropout), nn.Linear(five, features), nn.ReLU())
        self.features = features
        _start(self, partial(nn.init.kaiming_normal_, nonlinearity="relu"))

    def forward(self, mel: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        x = add_deltas(mel)  # (B, 3, M, T)
        if lengths is None:
            lengths = torch.full((x.shape[0],), x.shape[3], device=x.device)
        lengths = lengths.to(x.device)
        x = _silence(x, lengths)
        missing = [torch.sym_max(0, self.SHORTEST - size) for size in x.shape[2:]]
        x = nn.functional.pad(x, (0, missing[1], 0, missing[0]))
        lengths = lengths.clamp(min=self.SHORTEST)
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
                sizes: tuple[Any, ...] = (layer.kernel_size, layer.stride, layer.padding)
                kernel, stride, padding = (size if isinstance(size, int) else size[1] for size in sizes)
                lengths = torch.div(lengths + 2 * padding - kernel, stride, rounding_mode="floor") + 1
                x = _silence(x, lengths)
        x = x.float().mean(2).sum(2) / lengths[:, None]  # (B, 256, M', T') -> (B, 256)
        return self.fc6(x)


def _start(network: nn.Module, fill: Callable[[torch.Tensor], object]) -> None:
    """Fill the weights of all layers, and set their biases to zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            fill(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _silence(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """(B, W, M, T) with zeros behind the end of each clip."""
    valid = torch.arange(x.shape[3], device=x.device)[None, :] < lengths[:, None]  # (B, T)
    return x * valid[:, None, None, :]


def _refuse_other_pictures(x: torch.Tensor, side: int) -> None:
    if x.shape[1:] != (3, side, side):
        raise ModelError(
            f"this network takes pictures of {side}×{side} px, not input of shape {tuple(x.shape[1:])}: set "
            "audio.kind to picture, and audio.picture and network.options.picture to one size"
        )


PAPER_BACKBONES: dict[str, type[nn.Module]] = {
    "spectrogram_cnn2d": SpectrogramCnn2d,
    "cnn1d_features": Cnn1dFeatures,
    "fser": Fser,
    "alexnet3d": AlexNet3d,
    "yamnet_lstm": YamnetLstm,
    "patch_lstm": PatchLstm,
}
"""Published audio networks by name."""
