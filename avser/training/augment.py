"""Augmentation on tensors: sound, spectrograms, faces. Applied to training batches only."""

from __future__ import annotations

import numpy as np
import torch

from avser.config import Augment
from avser.faces import opencv


def mix(
    inputs: torch.Tensor, other: torch.Tensor, targets: torch.Tensor, alpha: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mixup (Zhang et al. 2018) of a batch with its own reverse; lengths or masks become the longer of the two."""
    share = float(np.random.beta(alpha, alpha))
    inputs = share * inputs + (1 - share) * inputs.flip(0)
    return inputs, torch.maximum(other, other.flip(0)), share * targets + (1 - share) * targets.flip(0)


def cut_mix(
    faces: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor, alpha: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """CutMix (Yun et al. 2019): a patch of each clip's faces comes from the batch's reverse.

    The same patch in every frame that both clips have; the targets (B, C) are shared by what is pasted.
    """
    height, width = faces.shape[-2:]
    side = (1 - float(np.random.beta(alpha, alpha))) ** 0.5  # of the patch, as a share of the picture's
    ends = []
    for size in (height, width):
        middle, reach = np.random.uniform(0, size), side * size / 2
        ends += [max(0, round(middle - reach)), min(size, round(middle + reach))]
    top, bottom, left, right = ends
    both = mask & mask.flip(0)  # (B, N)
    faces, other = faces.clone(), faces.flip(0)
    patch = (..., slice(top, bottom), slice(left, right))
    faces[patch] = torch.where(both[:, :, None, None, None], other[patch], faces[patch])
    area = (bottom - top) * (right - left) / (height * width)
    share = area * both.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)  # (B, 1)
    return faces, mask, (1 - share) * targets + share * targets.flip(0)


def blend(
    inputs: torch.Tensor, other: torch.Tensor, targets: torch.Tensor, augment: Augment
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mixup or CutMix of a batch as the settings have it; with both, each batch gets one of them by chance."""
    kinds = [(mix, augment.mixup), (cut_mix, augment.cutmix)]
    chosen = [(kind, alpha) for kind, alpha in kinds if alpha]
    if not chosen:
        return inputs, other, targets
    kind, alpha = chosen[np.random.randint(2) if len(chosen) == 2 else 0]
    return kind(inputs, other, targets, alpha)


def change_speed(samples: torch.Tensor, extent: float) -> torch.Tensor:
    """Play faster or slower by up to `extent`, tempo and pitch together, (S,) -> (S',)."""
    return at_speed(samples, 1 + (2 * torch.rand(()).item() - 1) * extent) if extent else samples


def at_speed(samples: torch.Tensor, factor: float) -> torch.Tensor:
    """Play `factor` times as fast, (S,) -> (S',)."""
    size = max(1, int(len(samples) / factor))
    return torch.nn.functional.interpolate(samples.view(1, 1, -1), size=size, mode="linear").view(-1)


def cut(samples: torch.Tensor, size: int) -> torch.Tensor:
    """A random piece of `size` samples where there are more."""
    start = int(torch.randint(0, max(1, len(samples) - size + 1), ()))
    return samples[start : start + size]


def add_noise(samples: torch.Tensor, lengths: torch.Tensor, share: float) -> torch.Tensor:
    """Noise of a random colour (white to brown) at 5 to 30 dB below the sound, on a share of the batch (B, S)."""
    if not share:
        return samples
    (batch, size), device = samples.shape, samples.device
    white = torch.randn(batch, size, device=device)
    colour = torch.rand(batch, 1, device=device)  # 0 white, 1 brown
    ratio = 10 ** (-(5 + 25 * torch.rand(batch, 1, device=device)) / 20)
    # which ones is known to the processor, wherever the batch lies: the others are not computed
    rows = torch.nonzero(torch.rand(batch, 1)[:, 0] < share)[:, 0].tolist()
    if not rows:
        return samples
    part, length = samples[rows], lengths[rows, None]
    spectrum = torch.fft.rfft(white[rows])
    bins = torch.arange(spectrum.shape[1], device=device).clamp(min=1).float()[None, :]
    noise = torch.fft.irfft(spectrum * bins ** (-colour[rows]), n=size)
    noise = noise / noise.square().mean(1, keepdim=True).sqrt().clamp(min=1e-9)
    level = (part.square().sum(1, keepdim=True) / length).sqrt()
    inside = (torch.arange(size, device=device)[None, :] < length).float()
    samples = samples.clone()
    samples[rows] = part + inside * level * ratio[rows] * noise
    return samples


def low_pass(samples: torch.Tensor, share: float, rate: int) -> torch.Tensor:
    """Cut off what lies above 3 to 8 kHz, as codecs and telephones do, on a share of the batch (B, S)."""
    if not share:
        return samples
    (batch, size), device = samples.shape, samples.device
    spectrum = torch.fft.rfft(samples)
    chosen, corner = torch.rand(batch, 1, device=device) < share, torch.rand(batch, 1, device=device)
    corner = torch.where(chosen, 3000 + 5000 * corner, rate * 1.0)
    bins = torch.linspace(0, rate / 2, spectrum.shape[1], device=device)[None, :]
    return torch.fft.irfft(spectrum * torch.sigmoid((corner - bins) / 100), n=size)


def mask_spectrogram(mel: torch.Tensor, lengths: torch.Tensor, augment: Augment, width: int) -> torch.Tensor:
    """SpecAugment (Park et al. 2019): bands and stretches of (B, 1, M, T) set to the mean of all T frames."""
    (batch, _, bands, steps), device = mel.shape, mel.device

    def draw() -> torch.Tensor:
        return torch.rand(batch, 1, 1, device=device)

    masked = torch.zeros(batch, bands, steps, dtype=torch.bool, device=device)
    band = torch.arange(bands, device=device)[None, :, None]
    step = torch.arange(steps, device=device)[None, None, :]
    for _ in range(augment.freq_masks):
        size = (draw() * (augment.freq_width + 1)).long()
        start = (draw() * (bands - size)).long()
        masked |= (band >= start) & (band < start + size)
    for _ in range(augment.time_masks):
        size = (draw() * torch.clamp(lengths.view(-1, 1, 1) // 3, max=width)).long()
        start = (draw() * (lengths.view(-1, 1, 1) - size)).long()
        masked |= (step >= start) & (step < start + size)
    return torch.where(masked.unsqueeze(1), mel.mean((2, 3), keepdim=True), mel)


def augment_faces(faces: torch.Tensor, augment: Augment) -> torch.Tensor:
    """Geometry, light, blur and erasing on (B, N, 3, H, W) in [0, 1]; the frames of a clip change alike."""
    batch, frames = faces.shape[:2]
    x = faces.flatten(0, 1)  # (B N, 3, H, W)

    def draw(extent: float) -> torch.Tensor:
        """A number per clip in ±extent, repeated for its frames, (B N,)."""
        return ((2 * torch.rand(batch, device=x.device) - 1) * extent).repeat_interleave(frames)

    angle, zoom = torch.deg2rad(draw(augment.rotate)), 1 + draw(augment.scale)
    mirror = torch.where(draw(1.0) < 0, -1.0, 1.0) if augment.flip else torch.ones_like(zoom)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    rows = [cos * mirror, -sin, 2 * draw(augment.shift), sin * mirror, cos, 2 * draw(augment.shift)]
    theta = torch.stack(rows, 1).view(-1, 2, 3)
    grid = torch.nn.functional.affine_grid(theta, list(x.shape), align_corners=False)
    x = torch.nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    x = _blur(x, draw(1.0), augment.blur)
    contrast, brightness = 1 + draw(augment.light), draw(augment.light) / 2
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * contrast.view(-1, 1, 1, 1) + mean + brightness.view(-1, 1, 1, 1)
    x = _surround(x.clamp(0, 1), augment.background)
    x = _compress(_grain(x, augment.grain), augment.jpeg)
    return _erase(x, augment.erase).view_as(faces)


def _blur(x: torch.Tensor, chance: torch.Tensor, share: float) -> torch.Tensor:
    """Reduce a share of the pictures to 30 to 80 % and enlarge them again, as small or distant faces are."""
    chosen = (chance + 1) / 2 < share
    if not share or not chosen.any():
        return x
    size = int(x.shape[-1] * (0.3 + 0.5 * torch.rand(()).item()))
    small = torch.nn.functional.interpolate(x[chosen], size=(size, size), mode="bilinear", antialias=True)
    x = x.clone()
    x[chosen] = torch.nn.functional.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False)
    return x


def _grain(x: torch.Tensor, share: float) -> torch.Tensor:
    """Grey noise of a deviation of up to 0.08 on a share of the pictures, as of small sensors and old scans."""
    if not share:
        return x
    chosen = (torch.rand(len(x), 1, 1, 1, device=x.device) < share).float()
    noise = torch.randn_like(x[:, :1]) * 0.08 * torch.rand(len(x), 1, 1, 1, device=x.device)
    return (x + chosen * noise).clamp(0, 1)


def _compress(x: torch.Tensor, share: float) -> torch.Tensor:
    """A share of the pictures through JPEG at quality 10 to 60."""
    if not share:
        return x
    cv2, x = opencv(), x.clone()
    for index in torch.nonzero(torch.rand(len(x)) < share).flatten().tolist():
        picture = (x[index].permute(1, 2, 0) * 255).round().byte().cpu().numpy()
        quality = int(torch.randint(10, 61, ()))
        coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        decoded = torch.from_numpy(cv2.imdecode(coded, cv2.IMREAD_COLOR)).to(x.device)
        x[index] = decoded.permute(2, 0, 1).float() / 255
    return x


def _surround(x: torch.Tensor, share: float) -> torch.Tensor:
    """Paint what lies outside a random, tilted frame in one grey, often white or black."""
    if not share:
        return x
    (count, _, height, width), device = x.shape, x.device
    rows = torch.linspace(-1, 1, height, device=device).view(1, -1, 1)
    columns = torch.linspace(-1, 1, width, device=device).view(1, 1, -1)
    tilt = (torch.rand(count, 1, 1, device=device) - 0.5) * 0.5
    across = columns * torch.cos(tilt) + rows * torch.sin(tilt)
    down = rows * torch.cos(tilt) - columns * torch.sin(tilt)
    # from the middle; beyond 1 the side is not cut
    sides = 0.65 + 0.45 * torch.rand(count, 4, 1, 1, device=device)
    outside = (across > sides[:, 0]) | (across < -sides[:, 1]) | (down > sides[:, 2]) | (down < -sides[:, 3])
    outside &= torch.rand(count, 1, 1, device=device) < share
    grey = (2 * torch.rand(count, 1, 1, 1, device=device) - 0.5).clamp(0, 1)
    return torch.where(outside.unsqueeze(1), grey, x)


def _erase(x: torch.Tensor, share: float) -> torch.Tensor:
    """Random erasing (Zhong et al. 2020): 10 to 40 % of each side become one random grey."""
    if not share:
        return x
    (count, _, height, width), device = x.shape, x.device
    rows = torch.arange(height, device=device)[None, :, None]
    columns = torch.arange(width, device=device)[None, None, :]
    high = (height * (0.1 + 0.3 * torch.rand(count, 1, 1, device=device))).long()
    wide = (width * (0.1 + 0.3 * torch.rand(count, 1, 1, device=device))).long()
    top = (torch.rand(count, 1, 1, device=device) * (height - high)).long()
    left = (torch.rand(count, 1, 1, device=device) * (width - wide)).long()
    patch = (rows >= top) & (rows < top + high) & (columns >= left) & (columns < left + wide)
    patch &= torch.rand(count, 1, 1, device=device) < share
    return torch.where(patch.unsqueeze(1), torch.rand(count, 1, 1, 1, device=device), x)
