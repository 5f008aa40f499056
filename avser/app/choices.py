"""What a user changes of a result afterwards: the weight of the voice, or one modality left out."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np

from avser import timeline
from avser.errors import ConfigError
from avser.labels import category
from avser.models.fusion_rules import Calibration, Weighted
from avser.palette import BRANCHES
from avser.results import Prediction, Result

LEAST = 1e-300
"""A probability below this counts as this much, so that it has a logarithm."""


@dataclass(frozen=True)
class Choice:
    """What is to be different from what the model said.

    Attributes:
        voice: share of the voice in the fusion, 0 to 1; None for the model's own rule.
        without: the modality that is left out, `audio` or `face`; None for neither.

    Raises:
        ConfigError: a value is out of range.
    """

    voice: float | None = None
    without: str | None = None

    def __post_init__(self) -> None:
        if self.voice is not None and not 0 <= self.voice <= 1:
            raise ConfigError(f"the voice's share ({self.voice:g}) must be from 0 to 1")
        if self.without not in (None, "audio", "face"):
            raise ConfigError(f"unknown modality {self.without!r} to leave out: choose from audio, face")


def revised(result: Result, choice: Choice, sharpness: float = 1.0) -> Result:
    """A result as it would be with another weight, or without a modality; the branches are not asked again.

    Where both modalities are present, log p ∝ s · (v · log p_voice + (1 - v) · log p_face), as the rule `weighted`
    has it (see `avser.models.fusion_rules`); one alone is taken as it is. The result is smoothed as it was before.

    Args:
        sharpness: s, of the model's rule.
    """
    if choice == Choice() or result.modality != "fused":
        return result
    again = functools.partial(_revised, labels=result.labels, choice=choice, rule=_rule(result, choice, sharpness))
    raw = [again(p) for p in result.predictions]
    predictions = timeline.smooth(raw, result.labels, result.options.smooth)
    left = {"audio": "face", "face": "audio", None: result.modality}[choice.without]
    people = (dataclasses.replace(person, overall=again(person.overall)) for person in result.people)
    return dataclasses.replace(
        result,
        predictions=predictions,
        overall=again(result.overall),
        people=tuple(people),
        segments=tuple(timeline.segments(predictions)),
        options=dataclasses.replace(result.options, modality=left),
    )


def _rule(result: Result, choice: Choice, sharpness: float) -> Weighted | None:
    """The rule `weighted` with the chosen share of the voice; None where none was chosen."""
    if choice.voice is None:
        return None
    calibrations = dict.fromkeys(("audio", "face"), Calibration(result.labels))
    return Weighted(result.labels, calibrations, {"audio": choice.voice, "face": 1 - choice.voice}, sharpness)


def _revised(p: Prediction, labels: tuple[str, ...], choice: Choice, rule: Weighted | None) -> Prediction:
    """One prediction anew, before it is smoothed."""
    said = {name: probs for name, probs in p.modalities.items() if name != choice.without}
    if not said:
        gone = choice.without if p.modalities else None
        reason = p.reason if gone is None else f"the {BRANCHES[gone][0]} is left out"
        return dataclasses.replace(
            p, probs=None, label=None, modalities={}, weights={}, reason=reason, category=None
        )
    weights = p.weights if len(said) > 1 else dict.fromkeys(said, 1.0)
    if len(said) > 1 and rule is not None:
        weights = dict(rule.shares)
        logs = np.stack([log_probs(said[name]) for name in rule.branches])[None]  # (1, 2, C)
        probs = np.exp(rule(logs, np.ones((1, 2), bool))[0])
    else:  # one is left: it is taken as it is
        (probs,) = said.values()
    label = labels[int(probs.argmax())]
    return dataclasses.replace(
        p, probs=probs, label=label, modalities=said, weights=weights, category=category(label, labels)
    )


def log_probs(probs: np.ndarray) -> np.ndarray:
    """Logarithms of probabilities, none of them infinite."""
    return np.log(np.maximum(probs, LEAST))
