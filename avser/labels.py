"""Emotion names, label sets, and how corpora and label sets map onto one another."""

from __future__ import annotations

import functools
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
    "anxious",
    "disgust",
    "surprised",
    "contempt",
    "bored",
    "excited",
    "frustrated",
    "guilt",
)
"""Every emotion name that avser knows, in the order used by label sets."""

LABEL_SETS: dict[str, tuple[str, ...]] = {
    "basic7": ("neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised"),
    "basic4": ("neutral", "happy", "sad", "angry"),
    "ravdess8": ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"),
    "ferplus8": ("neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised", "contempt"),
    "ckplus7": ("happy", "sad", "angry", "fearful", "disgust", "surprised", "contempt"),
    "emodb7": ("neutral", "happy", "sad", "angry", "fearful", "disgust", "bored"),
    "fser8": ("neutral", "calm", "happy", "sad", "angry", "anxious", "disgust", "surprised"),
}
"""Label sets by name. `basic7` is the shared one in which branches are fused; calm counts as neutral there.

`basic4` is what most papers on RAVDESS, DEMoS and IEMOCAP measure. `fser8` are the classes of "FSER: Deep
Convolutional Neural Networks for Speech Emotion Recognition": its "anxiety" holds every fearful recording and its
"calm" the bored ones of EmoDB too, which gives exactly the counts of its table of RAVDESS, EmoDB, EMOVO and SAVEE.
"""

ALIASES: dict[str, str] = {
    "anger": "angry",
    "anxiety": "anxious",
    "boredom": "bored",
    "disgusted": "disgust",
    "excitement": "excited",
    "fear": "fearful",
    "frustration": "frustrated",
    "guilty": "guilt",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprise": "surprised",
}
"""Other spellings that corpora and folders use."""

FOLDED: dict[str, str | None] = {"anxious": "fearful", "calm": "neutral", "excited": "happy", "fearful": "anxious"}
"""What an emotion counts as in a label set that lacks it; anything else that is lacking has no place there."""

FOLDED_IN: dict[str, dict[str, str | None]] = {
    "basic4": {"calm": None},
    "fser8": {"bored": "calm"},
}
"""Where a label set departs from `FOLDED`; None says that the emotion has no place there.

The papers behind `basic4` leave the calm recordings of RAVDESS out (96 neutral ones to 192 of each other emotion).
"""


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
    >>> place("calm", LABEL_SETS["basic4"]), place("bored", LABEL_SETS["fser8"])
    (None, 1)
    """
    if label is not None and label not in labels:
        label = _folds(frozenset(labels)).get(label)
    return labels.index(label) if label in labels else None


@functools.cache
def _folds(labels: frozenset[str]) -> dict[str, str | None]:
    """What folds into what in a label set. It is known by its emotions, as models and tables lack its name."""
    own = [FOLDED_IN[name] for name, known in LABEL_SETS.items() if name in FOLDED_IN and labels == set(known)]
    return FOLDED | own[0] if own else FOLDED


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

    An emotion that the target lacks folds into its neighbour (see `place`) or is dropped, and the rest is
    renormalised. An emotion that only the target has, and that nothing folds into, gets probability zero.

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


CATEGORIES: dict[str, dict[str, str]] = {
    "basic4": {"happy": "positive", "neutral": "positive", "sad": "negative", "angry": "negative"}
}
"""Coarser categories of the emotions of a label set, where a paper gives them (spectrogram CNN-2D on RAVDESS)."""


def category(label: str, labels: Sequence[str]) -> str | None:
    """The coarser category of an emotion among those of a model; None where its label set has none.

    >>> category("sad", ("neutral", "happy", "sad", "angry")), category("sad", LABEL_SETS["basic7"])
    ('negative', None)
    """
    for name, categories in CATEGORIES.items():
        if set(labels) == set(LABEL_SETS[name]):
            return categories[label]
    return None
