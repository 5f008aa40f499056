"""Fitting the head: a small network on the branches' log-probabilities and features, with modality dropout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from avser.fusion.examples import Fit
from avser.models.fusion import Head, fit_gains, minimise
from avser.models.fusion_learned import Network, gather, run_layers

DROPPED = 0.3
"""Modality dropout: how much a clip without one branch counts beside the whole clip."""


@dataclass(frozen=True)
class Shape:
    """A network to try: its inputs, how many hidden units (none for a regression), how strong the weight decay."""

    inputs: str
    hidden: int
    decay: float


SHAPES = (
    *(Shape("features", 0, decay) for decay in (0.0015, 0.005, 0.015, 0.05)),
    *(Shape(inputs, 16, decay) for inputs in ("features", "all") for decay in (0.003, 0.01)),
)


def fit_head(fit: Fit) -> Head:
    """The network whose scores, added to the branches', have the least loss on groups it has not learned from."""
    plain = fit.weighted()
    features = [f"{name}_features" for name in fit.calibrations if f"{name}_features" in fit.examples.evidence]
    choices = {"features": features, "all": [*fit.calibrations, *features]}
    logs = dict(zip(fit.calibrations, fit.logs.unbind(1), strict=True))
    tried: list[tuple[float, Shape, torch.Tensor, torch.Tensor]] = []
    for shape in SHAPES:
        values = gather(choices[shape.inputs], logs, fit.examples.evidence) if choices[shape.inputs] else None
        if values is None:
            continue
        known = values.isfinite().all(1)
        if not known.any():
            continue
        said = torch.zeros_like(fit.logs[:, 0])  # (N, C), of the network that has not met the clip
        for mask in map(torch.from_numpy, fit.examples.inner()):
            network = _train(fit, values, known & ~mask, choices[shape.inputs], shape)
            said[mask] = run_layers(network.standardise(values[mask]), network.layers).log_softmax(-1)
        both = torch.cat([fit.logs, said.unsqueeze(1)], 1)[known]  # (N', K + 1, C)
        gains = fit_gains(both, fit.targets[known])
        loss = float(cross_entropy(torch.einsum("k,nkc->nc", gains, both), fit.targets[known]))
        tried.append((loss, shape, values, gains))
    if not tried:
        return Head(fit.examples.labels, fit.calibrations, plain.shares, plain.sharpness)
    _, shape, values, gains = min(tried, key=lambda trial: trial[0])
    network = _train(fit, values, values.isfinite().all(1), choices[shape.inputs], shape)
    names = (*fit.calibrations, "network")
    rounded = {name: round(float(gain), 5) for name, gain in zip(names, gains, strict=True)}
    shown = (fit.examples.labels, fit.calibrations, plain.shares, plain.sharpness)
    return Head(*shown, rounded, network.settings())


def _train(fit: Fit, values: torch.Tensor, chosen: torch.Tensor, inputs: Sequence[str], shape: Shape) -> Network:
    """A network on the chosen clips, each also met without one branch: its inputs then lie at their mean."""
    centre, scale = values[chosen].mean(0), values[chosen].std(0)
    scale = torch.where(scale > 1e-6, scale, torch.ones_like(scale))
    network = Network(inputs, centre.tolist(), scale.tolist(), ())
    given, targets = network.standardise(values[chosen]), fit.targets[chosen]
    owners = _owners(fit, inputs)
    copies = [given * torch.tensor([owner != branch for owner in owners]) for branch in dict.fromkeys(owners)]
    widths = [given.shape[1], *([shape.hidden] if shape.hidden else []), fit.logs.shape[2]]
    rng = torch.Generator().manual_seed(0)
    layers = []
    for width, out in pairwise(widths):
        weight = torch.randn(out, width, generator=rng, dtype=torch.float64) / width**0.5
        layers.append((weight * (len(widths) > 2), torch.zeros(out, dtype=torch.float64)))

    def loss() -> torch.Tensor:
        whole = cross_entropy(run_layers(given, layers), targets)
        if len(copies) > 1:  # with a single branch's inputs there is nothing left to go by
            lacking = sum(cross_entropy(run_layers(copy, layers), targets) for copy in copies) / len(copies)
            whole = (whole + DROPPED * lacking) / (1 + DROPPED)
        return whole + shape.decay * sum((weight**2).sum() for weight, _ in layers)

    minimise([parameter for layer in layers for parameter in layer], loss, steps=60)
    plain = [(np.round(weight.numpy(), 6).tolist(), np.round(bias.numpy(), 6).tolist()) for weight, bias in layers]
    return Network(inputs, centre.tolist(), scale.tolist(), plain)


def _owners(fit: Fit, inputs: Sequence[str]) -> list[str]:
    """The branch of each column of a network's inputs."""
    owners = []
    for name in inputs:
        width = fit.logs.shape[2] if name in fit.calibrations else fit.examples.evidence[name].shape[1]
        owners += [name.removesuffix("_features")] * width
    return owners
