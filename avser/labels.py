"""Emotion names, label sets, and how corpora and label sets map onto one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from avser.types import ConfigError, DataError

EMOTIONS = (
    "neutral",
    "calm",
    "happy",
    "sad",
    "angry",
    "fearful",
    "disgust",
    "surprised",
    "contempt",
    "bored",
)
"""Every emotion name that avser knows, in the order used by label sets."""

LABEL_SETS: dict[str, tuple[str, ...]] = {
    "basic7": ("neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised"),
    "ravdess8": ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"),
    "ferplus8": ("neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised", "contempt"),
    "ckplus7": ("happy", "sad", "angry", "fearful", "disgust", "surprised", "contempt"),
    "emodb7": ("neutral", "happy", "sad", "angry", "fearful", "disgust", "bored"),
}
"""Label sets by name. `basic7` is the shared one in which branches are fused; calm counts as neutral there."""

ALIASES: dict[str, str] = {
    "anger": "angry",
    "boredom": "bored",
    "disgusted": "disgust",
    "fear": "fearful",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprise": "surprised",
}
"""Other spellings that corpora and folders use."""

FOLDED: dict[str, str] = {"calm": "neutral"}
"""What an emotion counts as in a label set that lacks it; anything else that is lacking has no place there."""


def canonical(name: str) -> str:
    """The canonical name of an emotion.

    >>> canonical("Fear")
    'fearful'

    Raises:
        DataError: the name is no emotion that avser knows.
    """
    key = name.strip().lower()
    key = ALIASES.get(key, key)
    if key not in EMOTIONS:
        raise DataError(f"unknown emotion {name!r}: choose from {', '.join(EMOTIONS)}")
    return key


def label_set(name: str) -> tuple[str, ...]:
    """The emotions of a label set.

    Raises:
        ConfigError: no label set has this name.
    """
    if name not in LABEL_SETS:
        raise ConfigError(f"unknown label set {name!r}: choose from {', '.join(LABEL_SETS)}")
    return LABEL_SETS[name]


def place(label: str | None, labels: Sequence[str]) -> int | None:
    """Index of an emotion in a label set, folding where the set lacks it; None if it has no place there.

    >>> place("calm", LABEL_SETS["basic7"]), place("bored", LABEL_SETS["basic7"])
    (0, None)
    """
    if label not in labels:
        label = FOLDED.get(label)
    return labels.index(label) if label in labels else None


def distribution(votes: Mapping[str, float], labels: Sequence[str]) -> np.ndarray | None:
    """Votes per emotion as a distribution over a label set, (C,); None if no vote has a place in it."""
    probs = np.zeros(len(labels), np.float32)
    for name, share in votes.items():
        index = place(name, labels)
        if index is not None:
            probs[index] += share
    return probs / probs.sum() if probs.sum() > 0 else None


def project(probs: np.ndarray, source: Sequence[str], target: Sequence[str]) -> np.ndarray:
    """Distributions over one label set as distributions over another.

    An emotion that the target lacks folds into its neighbour (calm into neutral) or is dropped, and the rest
    is renormalised. An emotion that only the target has gets probability zero.

    Args:
        probs: (..., C) over `source`.

    Returns:
        (..., C') over `target`, rows sum to one.
    """
    matrix = np.zeros((len(source), len(target)))
    for row, name in enumerate(source):
        column = place(name, target)
        if column is not None:
            matrix[row, column] = 1.0
    out = np.asarray(probs, np.float64) @ matrix  # (..., C')
    return out / np.maximum(out.sum(-1, keepdims=True), 1e-12)
