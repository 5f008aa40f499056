"""Fusion by weights that follow the evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

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

    def weights(
        self, present: torch.Tensor, logs: torch.Tensor | None = None, evidence: Evidence | None = None
    ) -> torch.Tensor:
        weight = torch.tensor([self.shares[name] for name in self.branches], dtype=torch.float64)
        weight = weight.expand(present.shape)
        if logs is not None:
            weight = weight * (self.certainty * certainty_of(logs)).exp().nan_to_num()
        for cue, values in (evidence or {}).items():
            if cue in CUES and CUES[cue].branch in self.branches:
                column = self.branches.index(CUES[cue].branch)
                factor = torch.ones_like(weight)
                factor[:, column] = quality(cue, values) ** self.exponents[cue]
                weight = weight * factor
        return shares_of(weight, present)

    def combine(self, logs: torch.Tensor, present: torch.Tensor, evidence: Evidence) -> torch.Tensor:
        weight = self.weights(present, logs, evidence)  # (B, K)
        evenness = (1 / (weight**2).sum(1).clamp(min=1e-12) - 1) / (present.sum(1) - 1).clamp(min=1)  # (B,)
        scale = 1 + (self.sharpness - 1) * evenness
        return scale.unsqueeze(1) * (weight.unsqueeze(-1) * logs).sum(1)

    def settings(self) -> dict:
        return {**super().settings(), "certainty": self.certainty, "exponents": self.exponents}


def certainty_of(logs: torch.Tensor) -> torch.Tensor:
    """1 - entropy / log C of log-probabilities (..., C): 0 for all alike, 1 for a single emotion."""
    logs = logs.double()
    entropy = -(logs.exp() * logs).sum(-1)
    return 1 - entropy / math.log(max(logs.shape[-1], 2))


def quality(cue: str, values: torch.Tensor) -> torch.Tensor:
    """A cue (B,) as quality in 0…1; what is not known gives no reason to doubt."""
    low, high = CUES[cue].low, CUES[cue].high
    return ((values.double() - low) / (high - low)).clamp(0, 1).nan_to_num(nan=1.0)


CUES: dict[str, Cue] = {
    "face_share": Cue("face", 0.0, 1.0),
    "face_score": Cue("face", 0.0, 1.0),
    "face_size": Cue("face", 0.0, 64.0),
    "speech": Cue("audio", 0.0, 1.0),
    "snr": Cue("audio", -5.0, 20.0),
}
"""Share of the window's frames with a face, mean score of its detector, width of the face in pixels; share of the
window that is speech, ratio of signal to noise in dB."""
