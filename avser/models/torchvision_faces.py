"""Networks of torchvision as face backbones, on colour; without outside weights unless the user has a file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from avser.models.face import FaceBackbone
from avser.torchlibs import import_torchvision
from avser.types import ModelError

CENTRE, SCALE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet's red, green and blue, by which torchvision's weights were trained."""


class TorchvisionFace(FaceBackbone):
    """Base: a subclass names the function of `torchvision.models` and the layer that is its classifier.

    torchvision is imported when such a backbone is built.

    Args:
        weights: file with torchvision's weights of this network (a state_dict, `.pth`), from which training
            starts; a trained model does not need it any more.
        size: side to which faces are brought, px: these networks see 32 times less at their end.

    Raises:
        MissingExtraError: torchvision is not installed.
    """

    name: str
    classifier: str
    centre_colour: torch.Tensor
    scale_colour: torch.Tensor

    def __init__(self, weights: str | None = None, size: int = 96, **options: object) -> None:
        super().__init__()
        self.weights_file, self.size = weights, size
        body = getattr(import_torchvision().models, self.name)(weights=None, **options)
        last = getattr(body, self.classifier)
        first = last if isinstance(last, nn.Linear) else next(m for m in last if isinstance(m, nn.Linear))
        self.features = first.in_features
        setattr(body, self.classifier, nn.Identity())
        self.body = body
        self.register_buffer("centre_colour", torch.tensor(CENTRE).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale_colour", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)

    def encode(self, faces: torch.Tensor) -> torch.Tensor:
        if faces.shape[-2:] != (self.size, self.size):
            side = (self.size, self.size)
            faces = nn.functional.interpolate(faces, size=side, mode="bilinear", antialias=True)
        x = (faces - self.centre_colour) / self.scale_colour
        return self.body(x.contiguous(memory_format=torch.channels_last))  # (N, D)

    def load_pretrained(self) -> None:
        """Take the weights of the file, where one is given, all but its classifier; training calls this first.

        Raises:
            ModelError: there is no such file, or it holds no weights of this network.
        """
        if self.weights_file is None:
            return
        weights = _read_weights(Path(self.weights_file))
        kept = {key: value for key, value in weights.items() if not key.startswith(f"{self.classifier}.")}
        try:
            self.body.load_state_dict(kept)
        except RuntimeError:
            raise ModelError(
                f"{self.weights_file}: holds other weights than those of torchvision's {self.name}; "
                "name its file in network.options.weights"
            ) from None


def _read_weights(path: Path) -> Mapping[str, torch.Tensor]:
    if not path.is_file():
        raise ModelError(f"{path}: no such file of weights; give a .pth of torchvision in network.options.weights")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0].partition(". ")[0]
        raise ModelError(
            f"{path}: is no file of torchvision's weights, or is damaged ({reason}); get it again"
        ) from None
    if not isinstance(weights, Mapping) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ModelError(
            f"{path}: holds no table of weights (a state_dict); save the network's state_dict() instead"
        )
    return weights


class ResNet18Face(TorchvisionFace):
    """ResNet-18 (He et al. 2016)."""

    name, classifier = "resnet18", "fc"

    def __init__(self, weights: str | None = None, size: int = 96) -> None:
        super().__init__(weights, size)


class MobileNetFace(TorchvisionFace):
    """MobileNetV3-Small (Howard et al. 2019)."""

    name, classifier = "mobilenet_v3_small", "classifier"

    def __init__(self, weights: str | None = None, size: int = 96) -> None:
        super().__init__(weights, size)


class EfficientNetFace(TorchvisionFace):
    """EfficientNet-B0 (Tan and Le 2019); `drop_path` is the share of its blocks skipped in training at the end."""

    name, classifier = "efficientnet_b0", "classifier"

    def __init__(self, weights: str | None = None, size: int = 96, drop_path: float = 0.2) -> None:
        super().__init__(weights, size, stochastic_depth_prob=drop_path)


TORCHVISION_BACKBONES: dict[str, type[TorchvisionFace]] = {
    backbone.name: backbone for backbone in (ResNet18Face, MobileNetFace, EfficientNetFace)
}
