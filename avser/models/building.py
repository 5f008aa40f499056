"""Branches by config: a backbone, its classifier, and pooling of face frames over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import nn

from avser.config import Config
from avser.labels import label_set
from avser.members import members
from avser.models.action_units import UNIT_BACKBONES, UnitStatistics
from avser.models.audio import AUDIO_BACKBONES
from avser.models.face import FACE_BACKBONES, FaceBackbone
from avser.models.papers import PAPER_BACKBONES
from avser.models.papers_features import FEATURE_BACKBONES
from avser.models.pooling import RESTING, pool_frames
from avser.models.torchvision_faces import TORCHVISION_BACKBONES
from avser.types import ConfigError
from avser.units import unit_names


class AudioBranch(nn.Module):
    """Log-mel (B, 1, M, T), valid frames (B,) -> logits (B, C).

    Args:
        backbone: a network with `features`; some have more, which their training asks for.
    """

    def __init__(self, backbone: Any, classes: int, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(backbone.features, classes))

    def forward(self, mel: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        return self.head(self.backbone(mel, lengths).float())


class UnitBranch(nn.Module):
    """Action units of frames (B, N, U), mask (B, N) -> logits (B, C)."""

    def __init__(self, backbone: UnitStatistics, classes: int, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(backbone.features, classes))

    def forward(self, units: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(units, mask).float())


class Ensemble(nn.Module):
    """Several branches on the same input: log-probabilities (B, C), averaged with weights that are kept.

    The weights need not sum to one: branches that err independently are together surer than any of them.
    """

    shares: torch.Tensor

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("shares", torch.full((len(members),), 1 / len(members)))

    def forward(self, inputs: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        logs = torch.stack([member(inputs, other).log_softmax(-1) for member in self.members])  # (K, B, C)
        return (self.shares.view(-1, 1, 1) * logs).sum(0).log_softmax(-1)


class FaceBranch(nn.Module):
    """Crops (B, N, 3, H, W) in [0, 1], mask (B, N) -> logits (B, C).

    Each frame is classified, and the window's logits are those of its frames averaged, as `pool_frames` says.
    With `attention` a layer learns how much a frame counts by its features (cf. Meng et al. 2019, Frame attention
    networks), from clips of many frames; at first all count alike.
    With `mirror`, a frame's logits are those of the picture and of its mirror image averaged, in prediction.

    Args:
        resting: indices of the classes that `expression` leaves aside.
    """

    def __init__(
        self,
        backbone: FaceBackbone,
        classes: int,
        dropout: float,
        pool: str = "confidence",
        mirror: bool = False,
        resting: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.expressive = [index for index in range(classes) if index not in resting]
        self.mirror = mirror
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(backbone.features, classes))
        self.pool_name = pool
        self.attend = None
        if pool == "attention":
            self.attend = nn.Linear(backbone.features, 1)
            nn.init.zeros_(self.attend.weight)
            nn.init.zeros_(self.attend.bias)

    def frames(self, faces: torch.Tensor) -> torch.Tensor:
        """Pictures (N, 3, H, W) to logits of each, (N, C).

        A frame's attention is what its logits have in common, which no softmax sees: so the logits of frames are
        all that is kept of them to pool them later.
        """
        count, mirrored = faces.shape[0], self.mirror and not self.training
        features = self.backbone.encode(torch.cat([faces, faces.flip(-1)]) if mirrored else faces).float()

        def both(x: torch.Tensor) -> torch.Tensor:
            return (x[:count] + x[count:]) / 2 if mirrored else x

        logits = both(self.head(features))
        return logits if self.attend is None else logits.log_softmax(-1) + both(self.attend(features))

    def pool(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Logits of frames (B, N, C) to logits of windows (B, C); a masked frame has no say."""
        return pool_frames(logits, mask, self.pool_name, self.expressive)

    def forward(self, faces: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if mask.shape[1] == 1:  # one picture needs no pooling: raw logits keep the loss's gradient as it is
            return self.frames(faces[:, 0])
        seen = self.frames(faces[mask])  # a masked frame stays out of the statistics of batch norm, too
        logits = seen.new_zeros(*mask.shape, seen.shape[-1])  # (B, N, C)
        logits[mask] = seen
        return self.pool(logits, mask)


SingleBranch: TypeAlias = AudioBranch | UnitBranch | FaceBranch
AnyBranch: TypeAlias = SingleBranch | Ensemble


def build_model(config: Config) -> AnyBranch:
    """The untrained branch that a config describes; errors as for `build_branch`."""
    return build_ensemble(config) if config.ensemble else build_branch(config)


def build_ensemble(config: Config) -> Ensemble:
    """The untrained members of an ensemble; errors as for `build_branch`."""
    return Ensemble([build_branch(member) for member in members(config)])


def build_branch(config: Config) -> SingleBranch:
    """The untrained branch that a config describes, or the first member of its ensemble.

    Raises:
        ConfigError: the backbone or one of its options is unknown.
    """
    network, registry = config.network, BACKBONES[config.signal]
    if network.name not in registry:
        what = "action unit" if config.signal == "action_units" else config.branch
        raise ConfigError(
            f"{config.name}: unknown {what} backbone {network.name!r}: choose from {', '.join(registry)}"
        )
    options = dict(network.options)
    if config.branch == "audio":
        options.setdefault("n_mels", config.audio.n_mels)
    elif config.signal == "action_units":
        options["units"] = len(unit_names(config.face))
    try:
        backbone: Any = registry[network.name](**options)
    except (TypeError, ValueError, RuntimeError) as error:  # torch refuses sizes by a RuntimeError
        raise ConfigError(f"{config.name}: options of backbone {network.name!r} do not fit ({error})") from None
    labels = label_set(config.labels)
    if config.branch == "audio":
        return AudioBranch(backbone, len(labels), network.dropout)
    if config.signal == "action_units":
        return UnitBranch(backbone, len(labels), network.dropout)
    resting = [number for number, label in enumerate(labels) if label in RESTING]
    return FaceBranch(backbone, len(labels), network.dropout, network.pool, network.mirror, resting)


BACKBONES: dict[str, Mapping[str, type[nn.Module]]] = {
    "sound": {**AUDIO_BACKBONES, **PAPER_BACKBONES, **FEATURE_BACKBONES},
    "crops": {**FACE_BACKBONES, **TORCHVISION_BACKBONES},
    "action_units": UNIT_BACKBONES,
}
"""Backbones by name, by what they take (`Config.signal`)."""
