"""Fusion by weights that follow the evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from avser.arrays import Array, beside, double, library
from avser.models.fusion_rules import Calibration, Evidence, Weighted, shares_of


@dataclass(frozen=True)
class Cue:
    """A sign of how far a branch can be trusted: whose it is, and the values that count as nothing and as full."""

    branch: str
    low: float
    high: float


class Reliability(Weighted):
    """Weights that follow the evidence: how sure each branch is, and how well its input could be seen or heard.

    w_k ∝ share_k · exp(β · c_k) · Π_q quality_q ^ γ_q over the present branches, and log p ∝ s' · Σ_k w_k log p_k.
    c_k = 1 - entropy(p_k) / log C is the certainty of the calibrated branch, β `certainty`. quality_q in 0…1 is a
    cue of branch k (see `CUES`) scaled between its low and high value, 1 where it is not known, and γ_q its
    exponent in `exponents`. s' = 1 + (s - 1) · (1 / Σ w_k² - 1) / (n - 1) for n present branches: the whole
    sharpness s where all weigh the same, none where one alone decides.
    """

    name = "reliability"

    def __init__(
        self,
        labels: Sequence[str],
        calibrations: Mapping[str, Calibration],
        shares: Mapping[str, float] | None = None,
        sharpness: float = 1.0,
        certainty: float = 1.0,
        exponents: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(labels, calibrations, shares, sharpness)
        self.certainty = float(certainty)
        self.exponents = dict.fromkeys(CUES, 1.0) | {cue: float(x) for cue, x in (exponents or {}).items()}
        if odd := self.exponents.keys() - CUES.keys():
            raise ValueError(f"unknown cue {min(odd)!r}: choose from {', '.join(CUES)}")
        if min(self.exponents.values()) < 0:
            raise ValueError("the exponents of cues must not be negative")

    def weights(self, present: Array, logs: Array | None = None, evidence: Evidence | None = None) -> Array:
        lib = library(present)
        weight = beside([self.shares[name] for name in self.branches], present)
        weight = lib.broadcast_to(weight, present.shape)
        if logs is not None:
            weight = weight * lib.nan_to_num(lib.exp(self.certainty * certainty_of(logs)))
        for cue, values in (evidence or {}).items():
            if cue in CUES and CUES[cue].branch in self.branches:
                column = self.branches.index(CUES[cue].branch)
                factor = lib.ones_like(weight)
                factor[:, column] = quality(cue, values) ** self.exponents[cue]
                weight = weight * factor
        return shares_of(weight, present)

    def combine(self, logs: Array, present: Array, evidence: Evidence) -> Array:
        clip = library(logs).clip
        weight = self.weights(present, logs, evidence)  # (B, K)
        evenness = (1 / clip((weight**2).sum(1), 1e-12, None) - 1) / clip(present.sum(1) - 1, 1, None)  # (B,)
        scale = 1 + (self.sharpness - 1) * evenness
        return scale[:, None] * (weight[..., None] * logs).sum(1)

    def settings(self) -> dict:
        return {**super().settings(), "certainty": self.certainty, "exponents": self.exponents}


def certainty_of(logs: Array) -> Array:
    """1 - entropy / log C of log-probabilities (..., C): 0 for all alike, 1 for a single emotion."""
    logs = double(logs)
    entropy = -(library(logs).exp(logs) * logs).sum(-1)
    return 1 - entropy / math.log(max(logs.shape[-1], 2))


def quality(cue: str, values: Array) -> Array:
    """A cue (B,) as quality in 0…1; what is not known gives no reason to doubt."""
    lib, low, high = library(values), CUES[cue].low, CUES[cue].high
    return lib.nan_to_num(lib.clip((double(values) - low) / (high - low), 0, 1), nan=1.0)


CUES: dict[str, Cue] = {
    "face_share": Cue("face", 0.0, 1.0),
    "face_score": Cue("face", 0.0, 1.0),
    "face_size": Cue("face", 0.0, 64.0),
    "speech": Cue("audio", 0.0, 1.0),
    "snr": Cue("audio", -5.0, 20.0),
}
"""Share of the window's frames with a face, mean score of its detector, width of the face in pixels; share of the
window that is speech, ratio of signal to noise in dB."""
