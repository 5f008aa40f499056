"""Logits of the frames of a face to those of a window, for arrays and tensors alike."""

from __future__ import annotations

from collections.abc import Sequence

from avser.arrays import Array, cast, library, log_softmax, logsumexp

RESTING = ("neutral", "calm")
"""Emotions of a face between its expressions."""


def pool_frames(logits: Array, mask: Array, how: str, expressive: Sequence[int]) -> Array:
    """Logits of frames (B, N, C) to logits of windows (B, C); a masked frame has no say.

    They are the frames' log-probabilities averaged: plainly (`mean`), weighted by each frame's highest probability
    (`confidence`), or by the highest one of any expressive emotion (`expression`): a speaking face is neutral in
    between, and those frames should not outvote the rest; or as the logits themselves say (`attention`, see
    `FaceBranch.frames`).

    Args:
        mask: (B, N) bool. how: `network.pool` of the config. expressive: numbers of the emotions not at rest.
    """
    lib, logs = library(logits), log_softmax(logits)
    weight = cast(mask, logs)  # (B, N)
    if how == "attention":
        weight = weight * lib.exp(log_softmax(lib.where(mask, logsumexp(logits), -1e4)))
    elif how == "confidence":
        weight = weight * lib.exp(lib.amax(logs, -1))
    elif how == "expression":
        # the floor keeps a window of nothing but neutral frames
        weight = weight * (lib.exp(lib.amax(logs[..., list(expressive)], -1)) + 1e-3)
    weight = weight / lib.clip(weight.sum(1, keepdims=True), 1e-6, None)
    return (logs * weight[..., None]).sum(1)  # (B, C)


def expressive_of(labels: Sequence[str]) -> list[int]:
    """Numbers of the emotions that are not at rest."""
    return [number for number, label in enumerate(labels) if label not in RESTING]
