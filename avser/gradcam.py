"""Heat over a picture or a spectrogram: what a network's answer goes by, by Grad-CAM.

Selvaraju et al. 2017, "Grad-CAM: Visual explanations from deep networks via gradient-based localization": the maps
of a convolutional layer are added up, weighted by the gradient of the class's logit, and what speaks against the
class is cut off. The layer is the deepest one whose maps are at least `SMALLEST` cells high and wide, for the last
one of small faces is too coarse to show a mouth. As more layers follow it, each cell has its own gradient instead
of the map's mean (Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM"; before a mean over cells both are
one).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

SMALLEST = 6


def grad_cam(
    network: torch.nn.Module, run: Callable[[], torch.Tensor], columns: Sequence[int]
) -> torch.Tensor | None:
    """Heat (B, h, w) in [0, 1] for classes; None if the network has no layer with maps.

    Args:
        network: in which the layer is looked for.
        run: computes the logits (B, C) through this network.
        columns: of the classes; those of several are added up as probabilities.
    """
    layer = deepest_map(network, run)
    if layer is None:
        return None
    kept: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda _, given, made: kept.append(made))
    try:
        with torch.enable_grad():
            score = run()[:, list(columns)].logsumexp(1)  # (B,)
            maps = kept[-1]  # (B, K, h, w)
            (slopes,) = torch.autograd.grad(score.sum(), maps)
    finally:
        hook.remove()
    heat = (slopes * maps).sum(1).relu().detach().float()  # (B, h, w)
    return heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-9)


def deepest_map(network: torch.nn.Module, run: Callable[[], torch.Tensor]) -> torch.nn.Module | None:
    """The layer that is the last to give maps of at least `SMALLEST` cells; of nested ones, the outermost."""
    found: list[torch.nn.Module] = []

    def look(module: torch.nn.Module, given: tuple, made: object) -> None:
        if (
            isinstance(made, torch.Tensor)
            and made.ndim == 4
            and made.shape[1] > 1
            and min(made.shape[2:]) >= SMALLEST
        ):
            found.append(module)

    hooks = [module.register_forward_hook(look) for module in network.modules()]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return found[-1] if found else None


def resized(heat: torch.Tensor, size: Sequence[int]) -> np.ndarray:
    """Heat (h, w) in [0, 1] smoothly enlarged, (H, W)."""
    x = torch.nn.functional.interpolate(heat[None, None], size=tuple(size), mode="bicubic", align_corners=False)
    return x[0, 0].clamp(0, 1).numpy()
