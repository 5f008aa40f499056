"""Face backbones: crops (B, N, 3, H, W) in [0, 1] with mask (B, N) to features (B, D).

Every backbone is a network on one picture (`encode`); over time its features are averaged under the mask.
"""

from __future__ import annotations

import abc

import torch
from torch import nn

from avser.models.audio import ResidualBlock


class FaceBackbone(nn.Module, abc.ABC):
    """Base: a subclass sets `features` and defines `encode` for single pictures."""

    features: int

    @abc.abstractmethod
    def encode(self, faces: torch.Tensor) -> torch.Tensor:
        """Pictures (N, 3, H, W) to features (N, D)."""

    def forward(self, faces: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen = self.encode(faces[mask])  # a masked frame stays out of the statistics of batch norm, too
        x = seen.new_zeros(*mask.shape, seen.shape[-1])  # (B, N, D)
        x[mask] = seen
        return x.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)  # (B, D)


def standardise(faces: torch.Tensor, centre: bool = False) -> torch.Tensor:
    """Luma with zero mean and unit deviation per picture, (N, 3, H, W) -> (N, 1, H, W).

    Colour says nothing here (FER2013 and CK+ are grey), and light should not matter. With `centre`, mean and
    deviation are those of the face in the middle, so that a white wall behind it does not change its contrast.
    """
    luma = (faces * faces.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    if not centre:
        mean = luma.mean((2, 3), keepdim=True)
        return (luma - mean) / (luma.std((2, 3), keepdim=True) + 0.02)
    y = torch.linspace(-1, 1, luma.shape[2], device=luma.device)[:, None]
    x = torch.linspace(-1, 1, luma.shape[3], device=luma.device)[None, :]
    weight = torch.exp(-((x / 0.7) ** 2) - (y / 0.8) ** 2)  # (H, W)
    weight = weight / weight.sum()
    mean = (luma * weight).sum((2, 3), keepdim=True)
    deviation = ((luma - mean).square() * weight).sum((2, 3), keepdim=True).sqrt()
    return ((luma - mean) / (deviation + 0.02)).clamp(-4, 4)


class ResNetFace(FaceBackbone):
    """Compact residual CNN for small grey faces (He et al. 2016)."""

    def __init__(
        self,
        widths: tuple[int, ...] = (32, 64, 128, 256),
        blocks: tuple[int, ...] = (2, 2, 2, 1),
        squeeze: int = 0,
        centre: bool = False,
    ) -> None:
        super().__init__()
        self.centre = centre
        layers: list[nn.Module] = [
            nn.Conv2d(1, widths[0], 5, 2, 2, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        inputs = widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append(ResidualBlock(inputs, width, stride, squeeze))
                inputs = width
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.features = inputs

    def encode(self, faces: torch.Tensor) -> torch.Tensor:
        return self.body(standardise(faces, self.centre).contiguous(memory_format=torch.channels_last))  # (N, D)


class CkDcnn(FaceBackbone):
    """The CK+ DCNN: convolutions 32-64-128 with max-pooling, dense 512 and 256 with dropout, on 48×48 grey.

    Source: the layer list of "Deep learning for emotion recognition from images (CK+) and audio (CREMA-D, SAVEE)";
    its parameter counts (320, 18496, 73856, 1049088, 131328) are those of this network. Weights begin as in Keras,
    whose table of layers the paper prints: uniform by Glorot and Bengio (2010), biases at zero.
    """

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(64, 128, 3), nn.ReLU(), nn.MaxPool2d(2)),
            nn.Flatten(),
            *(nn.Linear(2048, 512), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(512, 256), nn.ReLU()),
        )
        for layer in self.body:
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        self.features = 256

    def encode(self, faces: torch.Tensor) -> torch.Tensor:
        if faces.shape[-1] != 48:
            faces = nn.functional.interpolate(faces, size=(48, 48), mode="bilinear", antialias=True)
        return self.body(faces.mean(1, keepdim=True))  # (N, D)


FACE_BACKBONES: dict[str, type[FaceBackbone]] = {"resnet_face": ResNetFace, "ck_dcnn": CkDcnn}
