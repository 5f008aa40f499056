"""Rules of fusion that are learned: a regression on both branches' log-probabilities, and a small network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from avser.models.fusion_rules import Calibration, Evidence, FusionRule, Weighted
from avser.types import ModelError


class Stacking(FusionRule):
    """Multinomial logistic regression on the calibrated log-probabilities of all branches (Wolpert, "Stacked
    Generalization", 1992).

    score = bias + Σ_k W_k log p_k. It speaks where every branch is present; where some are lacking, those that are
    there are averaged, so that an absent branch has no part in the ranking.
    """

    name = "stacking"

    def __init__(
        self,
        labels: Sequence[str],
        calibrations: Mapping[str, Calibration],
        matrices: Mapping[str, Sequence[Sequence[float]]] | None = None,
        bias: Sequence[float] | None = None,
    ) -> None:
        """`matrices`: of each branch (C, C), row the score's emotion, column that of the log-probability."""
        super().__init__(labels, calibrations)
        size = len(self.labels)
        if matrices is None:
            even = (torch.eye(size) / len(self.branches)).tolist()
            matrices = dict.fromkeys(self.branches, even)
        self.matrices = torch.tensor([matrices[name] for name in self.branches], dtype=torch.float64)  # (K, C, C)
        self.bias = torch.tensor([0.0] * size if bias is None else bias, dtype=torch.float64)
        if self.matrices.shape != (len(self.branches), size, size) or self.bias.shape != (size,):
            raise ValueError(f"the matrices of stacking must be {size} × {size}, its bias {size} long")

    def combine(self, logs: torch.Tensor, present: torch.Tensor, evidence: Evidence) -> torch.Tensor:
        scores = torch.einsum("kcd,bkd->bc", self.matrices, logs) + self.bias
        mean = logs.sum(1) / present.sum(1, keepdim=True).clamp(min=1)
        return torch.where(present.all(1, keepdim=True), scores, mean)

    def settings(self) -> dict:
        matrices = dict(zip(self.branches, self.matrices.tolist(), strict=True))
        return {**super().settings(), "matrices": matrices, "bias": self.bias.tolist()}


class Network:
    """A small network from log-probabilities and features to scores: layers with tanh between them.

    Attributes:
        inputs: what goes in, in this order: `audio`, `face` for log-probabilities, `audio_features`,
            `face_features` for what came beside them.
        centre, scale: (D,) of the inputs over the clips it learned from; what lies further out than four
            deviations counts as four.
        layers: weight (D', D) and bias (D',) of each layer.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        centre: Sequence[float],
        scale: Sequence[float],
        layers: Sequence[tuple[Sequence[Sequence[float]], Sequence[float]]],
    ) -> None:
        self.inputs = tuple(inputs)
        self.centre = torch.as_tensor(centre, dtype=torch.float64)
        self.scale = torch.as_tensor(scale, dtype=torch.float64)
        self.layers = [tuple(torch.as_tensor(x, dtype=torch.float64) for x in layer) for layer in layers]

    def __call__(self, logs: Mapping[str, torch.Tensor], evidence: Evidence) -> torch.Tensor:
        """Scores (B, C) as log-probabilities; NaN in rows where an input is not known or not given."""
        rows = next(iter(logs.values())).shape[0]
        values = gather(self.inputs, logs, evidence)
        if values is None:
            return torch.full((rows, len(self.layers[-1][1])), torch.nan, dtype=torch.float64)
        if values.shape[1] != len(self.centre):
            raise ModelError(
                f"the head was fitted on {len(self.centre)} values of {', '.join(self.inputs)}, "
                f"but {values.shape[1]} are given: give it the same features"
            )
        return run_layers(self.standardise(values), self.layers).log_softmax(-1)

    def standardise(self, values: torch.Tensor) -> torch.Tensor:
        return ((values - self.centre) / self.scale).clamp(-4, 4)

    def settings(self) -> dict:
        return {
            "inputs": list(self.inputs),
            "centre": self.centre.tolist(),
            "scale": self.scale.tolist(),
            "layers": [[weight.tolist(), bias.tolist()] for weight, bias in self.layers],
        }


def gather(inputs: Sequence[str], logs: Mapping[str, torch.Tensor], evidence: Evidence) -> torch.Tensor | None:
    """The inputs of a network side by side, (B, D); None where one is not given."""
    if any(name not in logs and name not in evidence for name in inputs):
        return None
    return torch.cat([(logs[name] if name in logs else evidence[name]).double() for name in inputs], 1)


def run_layers(values: torch.Tensor, layers: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Scores (B, C) of standardised inputs (B, D)."""
    for number, (weight, bias) in enumerate(layers):
        values = (values.tanh() if number else values) @ weight.T + bias
    return values


class Head(Weighted):
    """A small learned network as a further voice beside the branches.

    log p ∝ s · Σ_k w_k log p_k + g · log q, where q is what the network says from the branches' log-probabilities
    or features or both. It is trained by itself on the labels with modality dropout, and its gain g is fitted on
    clips that it has not learned from: what does not help gets no gain. It has a say where every branch is
    present and all that it needs is known; elsewhere `shares` and `sharpness`, fitted without it, count alone.
    """

    name = "head"

    def __init__(
        self,
        labels: Sequence[str],
        calibrations: Mapping[str, Calibration],
        shares: Mapping[str, float] | None = None,
        sharpness: float = 1.0,
        gains: Mapping[str, float] | None = None,
        network: Mapping | None = None,
    ) -> None:
        """`gains`: of each branch and of the `network` where it has a say. `network`: settings of `Network`."""
        super().__init__(labels, calibrations, shares, sharpness)
        self.network = None if network is None else Network(**network)
        self.gains = {} if gains is None else {name: float(gains[name]) for name in (*self.branches, "network")}
        if (network is None) != (gains is None):
            raise ValueError("a head needs both its network and its gains")
        if any(gain < 0 for gain in self.gains.values()):
            raise ValueError("the gains of a head must not be negative")

    def combine(self, logs: torch.Tensor, present: torch.Tensor, evidence: Evidence) -> torch.Tensor:
        without = super().combine(logs, present, evidence)
        if self.network is None:
            return without
        said = self.network(dict(zip(self.branches, logs.unbind(1), strict=True)), evidence)  # (B, C)
        heard = present.all(1) & said.isfinite().all(1)
        gain = torch.tensor([self.gains[name] for name in self.branches], dtype=torch.float64)
        scores = (gain[:, None] * logs).sum(1) + self.gains["network"] * said
        return torch.where(heard.unsqueeze(1), scores, without)

    def settings(self) -> dict:
        learned = {} if self.network is None else {"gains": self.gains, "network": self.network.settings()}
        return {**super().settings(), **learned}
