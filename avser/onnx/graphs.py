"""The parts of a model that can be exported as graphs: each branch, the pooling of frames, the fusion, the whole.

Inputs and outputs, float32 where nothing else is said, C emotions:

```
audio   mel (batch, 1, M, frames), lengths (batch) int64            -> logits (batch, C)
face    faces (batch, 3, H, W) in [0, 1], single pictures           -> logits (batch, C)
        or units (batch, faces, U), mask (batch, faces) bool        -> logits (batch, C)
pool    logits (batch, faces, C), mask (batch, faces) bool          -> pooled (batch, C), logits too
fusion  audio (batch, C), face (batch, C), present (batch, 2) bool  -> log_probs (batch, C),
        branch_log_probs (batch, 2, C), weights (batch, 2)
whole   mel, lengths, faces (batch, faces, 3, H, W) or units, mask  -> probs (batch, C), weights (batch, 2)
```

`batch`, `frames` and `faces` may be any from one on. `mel` and `lengths` are what `inputs.batch` makes of sound; a
picture or vector of features in place of a log-mel has a fixed shape. `fusion` takes the logits of the branches,
each over its own emotions; `present`, `branch_log_probs` and `weights` go by the order in its calibrations.
In the whole, a sound of length 0 and faces that the mask leaves out are absent; where all is absent, probabilities
are NaN. Fusion goes by the logits alone: a rule that minds cues or features as well (`evidence.NEEDED`) decides as
where nothing is known of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from avser import inputs
from avser.checkpoint import Branch, Checkpoint
from avser.models import AnyBranch, FaceBranch
from avser.models.fusion import FusionRule
from avser.types import ModelError
from avser.units import unit_names


@dataclass(frozen=True)
class Graph:
    """A part of a model, with what an export needs to know.

    Attributes:
        module: takes the inputs in their order.
        inputs: an example of each by its name. axes: names of the axes whose size is free, by input and number.
        outputs: names.
    """

    module: nn.Module
    inputs: dict[str, torch.Tensor]
    axes: dict[str, dict[int, str]]
    outputs: tuple[str, ...]


def graph_of(model: Checkpoint, part: str) -> Graph:
    """A part of a model, by its name in `PARTS`.

    Raises:
        ModelError: there is no such part, or the model has none.
    """
    branches_of(model, part)
    return PARTS[part][1](model)


def branches_of(model: Checkpoint, part: str) -> tuple[str, ...]:
    """The branches that a part of a model holds.

    Raises:
        ModelError: there is no such part, or the model has none.
    """
    if part not in PARTS:
        raise ModelError(f"unknown part {part!r} of a model: choose from {', '.join(PARTS)}")
    needs, _ = PARTS[part]
    if missing := [name for name in needs if name not in model.branches]:
        raise ModelError(f"{model.path}: has no {missing[0]} branch, so {part!r} is no part of it; choose another")
    return needs


def rule_of(model: Checkpoint) -> FusionRule:
    """The rule that fuses the branches of a model of two."""
    assert model.fusion is not None  # it has one, see `Checkpoint`
    return model.fusion


class _OfFaces(nn.Module):
    """A part of a network that looks at pictures."""

    def __init__(self, network: AnyBranch) -> None:
        super().__init__()
        assert isinstance(network, FaceBranch)  # as the branch takes crops
        self.network = network


class _Frames(_OfFaces):
    """Pictures to logits of each."""

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return self.network.frames(faces)


class _Pool(_OfFaces):
    """Logits of frames to those of windows."""

    def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.network.pool(logits, mask)


class _Fusion(nn.Module):
    """Logits of the branches and flags to fused log-probabilities, those of each branch, and its weight."""

    def __init__(self, rule: FusionRule) -> None:
        super().__init__()
        self.rule = rule

    def forward(
        self, audio: torch.Tensor, face: torch.Tensor, present: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        said = self.rule.calibrate({"audio": audio, "face": face})
        logs = torch.stack([said[name] for name in self.rule.branches], 1)  # (B, K, C)
        weights = self.rule.weights(present, logs)
        return self.rule(logs, present).float(), logs.float(), weights.float()


class _Whole(nn.Module):
    """Sound and faces to probabilities, and the weight of each branch."""

    def __init__(self, model: Checkpoint) -> None:
        super().__init__()
        self.audio, self.face = (model.branches[name].network for name in ("audio", "face"))
        self.fusion = _Fusion(rule_of(model))

    def forward(
        self, mel: torch.Tensor, lengths: torch.Tensor, seen: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        said = {"audio": self.audio(mel, lengths.clamp(min=1)), "face": self._face(seen, mask)}
        there = {"audio": lengths > 0, "face": mask.any(1)}
        present = torch.stack([there[name] for name in self.fusion.rule.branches], 1)
        logs, _, weights = self.fusion(said["audio"], said["face"], present)
        return logs.exp(), weights

    def _face(self, seen: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if not isinstance(self.face, FaceBranch):
            return self.face(seen, mask)
        # every frame goes through the network, for a graph cannot do without those that the mask leaves out
        seen = torch.where(mask[:, :, None, None, None], seen, 0.0)
        logits = self.face.frames(seen.flatten(0, 1))  # (B N, C)
        return self.face.pool(logits.view(*mask.shape, -1), mask)


def branch_graph(branch: Branch) -> Graph:
    """A branch, as prediction calls it: sound, single pictures, or action units."""
    if branch.config.branch == "audio":
        given, axes = _sounds(branch)
        return Graph(branch.network, given, axes, ("logits",))
    given, axes = _faces(branch)
    if branch.config.signal == "action_units":
        return Graph(branch.network, given, axes, ("logits",))
    faces = given["faces"].flatten(0, 1)
    return Graph(_Frames(branch.network), {"faces": faces}, {"faces": {0: "batch"}}, ("logits",))


def _sounds(branch: Branch) -> tuple[dict[str, torch.Tensor], dict[str, dict[int, str]]]:
    """Two sounds of noise as the network takes them, and what of their shape is free."""
    params = branch.config.audio
    chance = np.random.default_rng(0)
    lengths = [int(seconds * params.rate) for seconds in (params.min_speech + 0.3, params.min_speech + 0.2)]
    noises = [(0.1 * chance.standard_normal(length)).astype(np.float32) for length in lengths]
    sounds = [sound for noise in noises if (sound := inputs.prepare(noise, params)) is not None]
    padded = nn.utils.rnn.pad_sequence([torch.from_numpy(sound) for sound in sounds], batch_first=True)
    mel, valid = inputs.batch(padded, torch.tensor([len(sound) for sound in sounds]), params)
    along = {3: "frames"} if params.kind in ("log_mel", "embeddings") else {}
    return {"mel": mel, "lengths": valid}, {"mel": {0: "batch", **along}, "lengths": {0: "batch"}}


def _faces(branch: Branch) -> tuple[dict[str, torch.Tensor], dict[str, dict[int, str]]]:
    """Two clips of faces or action units as the network takes them, and what of their shape is free."""
    params, free = branch.config.face, {0: "batch", 1: "faces"}
    mask = torch.tensor([[True] * 3, [True, True, False]])
    if branch.config.signal == "action_units":
        units = torch.rand(2, 3, len(unit_names(params)))
        return {"units": units, "mask": mask}, {"units": free, "mask": free}
    faces = torch.rand(2, 3, 3, params.size, params.size)
    return {"faces": faces, "mask": mask}, {"faces": free, "mask": free}


def _pool_graph(model: Checkpoint) -> Graph:
    branch = model.branches["face"]
    if branch.config.signal == "action_units":
        raise ModelError(f"{model.path}: takes action units, which need no pooling; choose the part 'face'")
    given = {"logits": torch.randn(2, 3, len(branch.labels)), "mask": torch.tensor([[True] * 3, [True] * 3])}
    free = {0: "batch", 1: "faces"}
    return Graph(_Pool(branch.network), given, {"logits": free, "mask": free}, ("pooled",))


def fusion_graph(rule: FusionRule) -> Graph:
    """A rule of voice and face."""
    given = {name: torch.randn(2, len(rule.calibrations[name].labels)) for name in ("audio", "face")}
    given["present"] = torch.tensor([[True, True], [True, False]])
    outputs = ("log_probs", "branch_log_probs", "weights")
    return Graph(_Fusion(rule), given, {name: {0: "batch"} for name in given}, outputs)


def _whole_graph(model: Checkpoint) -> Graph:
    sounds, sound_axes = _sounds(model.branches["audio"])
    faces, face_axes = _faces(model.branches["face"])
    return Graph(_Whole(model), {**sounds, **faces}, {**sound_axes, **face_axes}, ("probs", "weights"))


PARTS: dict[str, tuple[tuple[str, ...], Callable[[Checkpoint], Graph]]] = {
    "audio": (("audio",), lambda model: branch_graph(model.branches["audio"])),
    "face": (("face",), lambda model: branch_graph(model.branches["face"])),
    "pool": (("face",), _pool_graph),
    "fusion": (("audio", "face"), lambda model: fusion_graph(rule_of(model))),
    "whole": (("audio", "face"), _whole_graph),
}
"""The parts of a model that can be exported, by name: the branches they hold, and what makes the graph."""
