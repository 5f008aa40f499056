"""YAMNet, a network for sounds of every kind, and an LSTM over what it says of successive patches of a voice.

YAMNet is MobileNet-v1 (Howard et al., "MobileNets", 2017) on patches of 0.975 s, trained by Google on AudioSet. It
takes magnitude log-mels of 16 kHz sound in 64 bands from 125 to 7500 Hz, frames of 25 ms every 10 ms that begin at
their time, triangles straight over mel, log(mel + 0.001): `configs/papers/yamnet_lstm.yaml` has these settings.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from avser.types import ModelError

PATCH, HOP, BANDS = 96, 48, 64
"""Frames of a patch, frames from one to the next, bands."""
SILENCE = math.log(0.001)
"""What YAMNet's log-mel holds where there is no sound."""
WINDOW_REACH = 2
"""Frames behind the last valid one whose 25 ms still hold a little of the sound."""
CLASSES = 521
WIDTH = 1024
BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1),
    (1024, 2), (1024, 1),
)  # fmt: skip
"""Channels and stride of each depthwise separable block."""


def patches(mel: torch.Tensor, lengths: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-mels as overlapping patches; silence fills the last one, or the only one of a short clip.

    Args:
        mel: (B, 1, M, T). lengths: (B,) valid frames.

    Returns:
        All patches of all clips one after the other, (N, 1, 96, M), and which of the most that a clip of T frames
        could have each clip has, (B, P).
    """
    if lengths is None:
        lengths = torch.full((mel.shape[0],), mel.shape[3], device=mel.device)
    counts = 1 + torch.div((lengths - PATCH).clamp(min=0) + HOP - 1, HOP, rounding_mode="floor")  # (B,)
    most = 1 + (torch.sym_max(mel.shape[3] - PATCH, 0) + HOP - 1) // HOP
    frames = PATCH + HOP * (most - 1)
    mel = nn.functional.pad(mel, (0, frames - mel.shape[3]), value=SILENCE)
    beyond = torch.arange(frames, device=mel.device)[None, :] >= lengths[:, None] + WINDOW_REACH  # (B, T)
    mel = mel.masked_fill(beyond[:, None, None, :], SILENCE)
    cut = mel.unfold(3, PATCH, HOP).permute(0, 3, 1, 4, 2)  # (B, P, 1, 96, M)
    there = torch.arange(most, device=mel.device)[None, :] < counts[:, None]  # (B, P)
    return cut[there].contiguous(), there


class ShiftedNorm(nn.BatchNorm2d):
    """Batch norm that shifts, but does not scale."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-4)
        del self.weight
        self.register_buffer("weight", torch.ones(channels), persistent=False)


class ConvNorm(nn.Module):
    """Convolution padded as TensorFlow's `SAME` has it (the odd one behind), batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm = ShiftedNorm(outputs)

    def convolve(self, x: torch.Tensor) -> torch.Tensor:
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        sizes = x.shape[2:]
        missing = [max((math.ceil(size / stride) - 1) * stride + kernel - size, 0) for size in sizes]
        before, after = [total // 2 for total in missing], [total - total // 2 for total in missing]
        if self.conv.groups > 1 and stride == 2 and missing == [1, 1]:
            # every second value of the dense convolution: on a CPU, its gradient takes an eighth of the time
            dense = nn.functional.conv2d(x, self.conv.weight, padding=kernel // 2, groups=self.conv.groups)
            return dense[:, :, 1::2, 1::2].contiguous(memory_format=torch.channels_last)
        if before == after:
            weight, groups = self.conv.weight, self.conv.groups
            return nn.functional.conv2d(x, weight, stride=stride, padding=tuple(before), groups=groups)
        return self.conv(nn.functional.pad(x, [before[1], after[1], before[0], after[0]]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.convolve(x)))


class YamNetBody(nn.Module):
    """Patches (N, 1, 96, 64), time first, to embeddings (N, 1024)."""

    def __init__(self) -> None:
        super().__init__()
        layers = [ConvNorm(1, 32, 3, 2)]
        inputs = 32
        for outputs, stride in BLOCKS:
            layers += [ConvNorm(inputs, inputs, 3, stride, groups=inputs), ConvNorm(inputs, outputs, 1)]
            inputs = outputs
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x).mean((2, 3))


class YamNet(nn.Module):
    """Patches (N, 1, 96, 64), time first, to embeddings (N, 1024) and scores of AudioSet's classes (N, 521)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = YamNetBody()
        self.classifier = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embeddings = self.body(x)
        return embeddings, self.classifier(embeddings).sigmoid()


def load_yamnet(path: str | Path) -> tuple[YamNet, dict]:
    """YAMNet with the weights that `avser import-yamnet` wrote, and the file's header: `source`, `classes`.

    Raises:
        ModelError: there is no such file, or it is another.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["yamnet"])
        network = YamNet()
        network.load_state_dict(safetensors.torch.load_file(path))
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise ModelError(
            f"{path}: YAMNet's weights cannot be read ({reason}); see 'avser import-yamnet'"
        ) from None
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError):
        raise ModelError(f"{path}: holds no weights of YAMNet; write them with 'avser import-yamnet'") from None
    return network.eval(), header


class PatchLstm(nn.Module):
    """Two LSTM layers over a sequence given as (B, 1, D, P), such as embeddings of patches -> (B, 150)."""

    def __init__(self, n_mels: int = WIDTH, hidden: int = 150, layers: int = 2) -> None:
        """`n_mels` is the sequence's D."""
        super().__init__()
        self.lstm = nn.LSTM(n_mels, hidden, layers, batch_first=True)
        self.features = hidden

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        x = x.squeeze(1).transpose(1, 2)  # (B, P, D)
        along = self.lstm(x)[0]  # (B, P, hidden)
        if lengths is None:
            return along[:, -1]
        last = (lengths - 1).to(x.device).view(-1, 1, 1).expand(-1, 1, along.shape[2])
        return along.gather(1, last).squeeze(1)  # after each clip's last patch, (B, hidden)


class YamnetLstm(nn.Module):
    """YAMNet on each patch, two LSTM layers over the patches: "Emotion Recognition from Speech Signals by
    Mel-Spectrogram and a CNN-RNN" (Sharan et al.).

    From a pretrained file, the statistics of YAMNet's batch norms stay as they came: some files hold them folded
    into the convolutions. Training begins with those weights; a trained model's own file holds all it needs.
    """

    def __init__(
        self,
        n_mels: int = BANDS,
        pretrained_file: str | None = None,
        frozen: bool = False,
        hidden: int = 150,
        layers: int = 2,
    ) -> None:
        super().__init__()
        if frozen and pretrained_file is None:
            raise ValueError("frozen needs a pretrained_file")
        if pretrained_file is not None and n_mels != BANDS:
            raise ValueError(f"a pretrained_file needs {BANDS} bands, not {n_mels}")
        self.pretrained_file = pretrained_file
        self.yamnet = YamNetBody().requires_grad_(not frozen)
        self.lstm = PatchLstm(WIDTH, hidden, layers)
        self.features = hidden
        self.train()

    def load_pretrained(self) -> None:
        """Take YAMNet's weights from the pretrained file, where there is one; training calls this first.

        Raises:
            ModelError: there is no such file, or it is another.
        """
        if self.pretrained_file is not None:
            self.yamnet.load_state_dict(load_yamnet(self.pretrained_file)[0].body.state_dict())

    def train(self, mode: bool = True) -> YamnetLstm:
        super().train(mode)
        if self.pretrained_file is not None:
            self.yamnet.eval()
        return self

    def forward(self, mel: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        cut, there = patches(mel, lengths)
        each = self.yamnet(cut)
        sequences = each.new_zeros(*there.shape, WIDTH)  # (B, P, 1024)
        sequences[there] = each
        return self.lstm(sequences.transpose(1, 2)[:, None], there.sum(1))
