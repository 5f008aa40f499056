"""Rules of fusion that are learned: a regression on both branches' log-probabilities, and a small network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from avser.arrays import Array, beside, double, library, log_softmax
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
            even = (np.eye(size) / len(self.branches)).tolist()
            matrices = dict.fromkeys(self.branches, even)
        self.matrices = np.array([matrices[name] for name in self.branches], np.float64)  # (K, C, C)
        self.bias = np.zeros(size) if bias is None else np.array(bias, np.float64)
        if self.matrices.shape != (len(self.branches), size, size) or self.bias.shape != (size,):
            raise ValueError(f"the matrices of stacking must be {size} × {size}, its bias {size} long")

    def combine(self, logs: Array, present: Array, evidence: Evidence) -> Array:
        lib = library(logs)
        scores = lib.einsum("kcd,bkd->bc", beside(self.matrices, logs), logs) + beside(self.bias, logs)
        mean = logs.sum(1) / lib.clip(present.sum(1, keepdims=True), 1, None)
        return lib.where(present.all(1, keepdims=True), scores, mean)

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
        self.centre, self.scale = np.array(centre, np.float64), np.array(scale, np.float64)
        self.layers = [(np.array(weight, np.float64), np.array(bias, np.float64)) for weight, bias in layers]

    def __call__(self, logs: Mapping[str, Array], evidence: Evidence) -> Array:
        """Scores (B, C) as log-probabilities; NaN in rows where an input is not known or not given."""
        first = next(iter(logs.values()))
        values = gather(self.inputs, logs, evidence)
        if values is None:
            return library(first).full((len(first), len(self.layers[-1][1])), math.nan, dtype=first.dtype)
        if values.shape[1] != len(self.centre):
            raise ModelError(
                f"the head was fitted on {len(self.centre)} values of {', '.join(self.inputs)}, "
                f"but {values.shape[1]} are given: give it the same features"
            )
        return log_softmax(run_layers(self.standardise(values), self.layers))

    def standardise(self, values: Array) -> Array:
        return library(values).clip((values - beside(self.centre, values)) / beside(self.scale, values), -4, 4)

    def settings(self) -> dict:
        return {
            "inputs": list(self.inputs),
            "centre": self.centre.tolist(),
            "scale": self.scale.tolist(),
            "layers": [[weight.tolist(), bias.tolist()] for weight, bias in self.layers],
        }


def gather(inputs: Sequence[str], logs: Mapping[str, Array], evidence: Evidence) -> Array | None:
    """The inputs of a network side by side, (B, D); None where one is not given."""
    if any(name not in logs and name not in evidence for name in inputs):
        return None
    columns = [double(logs[name] if name in logs else evidence[name]) for name in inputs]
    return library(columns[0]).concatenate(columns, 1)


def run_layers(values: Array, layers: Sequence[tuple[Array, Array]]) -> Array:
    """Scores (B, C) of standardised inputs (B, D)."""
    for number, (weight, bias) in enumerate(layers):
        values = library(values).tanh(values) if number else values
        values = values @ beside(weight, values).T + beside(bias, values)
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

    def combine(self, logs: Array, present: Array, evidence: Evidence) -> Array:
        without = super().combine(logs, present, evidence)
        if self.network is None:
            return without
        lib = library(logs)
        by_branch = {name: logs[:, column] for column, name in enumerate(self.branches)}
        said = self.network(by_branch, evidence)  # (B, C)
        heard = present.all(1) & lib.isfinite(said).all(1)
        gain = beside([self.gains[name] for name in self.branches], logs)
        scores = (gain[:, None] * logs).sum(1) + self.gains["network"] * said
        return lib.where(heard[:, None], scores, without)

    def settings(self) -> dict:
        learned = {} if self.network is None else {"gains": self.gains, "network": self.network.settings()}
        return {**super().settings(), **learned}
