"""What numpy's arrays and torch's tensors have in common, so that a formula is written once for both.

Prediction and measuring work on arrays and load no torch; fitting works on tensors, for their gradients. Both know
the same operators and most functions by the same names (`library(x).where`, …); the rest is here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any
"""numpy's array or torch's tensor: a function gives back what it was given.

No one type says it: the two share operators and names of functions, but neither their signatures nor a base.
"""


def library(x: Array) -> ModuleType:
    """numpy or torch, whichever an array is of."""
    # whoever has a tensor has torch already: it is never loaded here
    return np if isinstance(x, np.ndarray | np.generic) else sys.modules["torch"]


def double(x: Array) -> Array:
    """In 64-bit floats."""
    return x.astype(np.float64) if library(x) is np else x.double()


def single(x: Array) -> Array:
    """In 32-bit floats."""
    return x.astype(np.float32) if library(x) is np else x.float()


def cast(x: Array, like: Array) -> Array:
    """As numbers of the kind of another array."""
    return x.astype(like.dtype) if library(x) is np else x.to(like.dtype)


def beside(values: Array | Sequence, x: Array) -> Array:
    """Values as 64-bit floats of the library of `x`, to be computed with it."""
    if library(x) is np:
        return np.asarray(values, np.float64)
    if isinstance(values, library(x).Tensor):
        return values
    return library(x).as_tensor(values, dtype=library(x).float64, device=x.device)


def prolonged(x: Array, before: int, behind: int) -> Array:
    """Zeros before and behind along the last axis."""
    if library(x) is np:
        return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(before, behind)])
    return library(x).nn.functional.pad(x, (before, behind))


def logsumexp(x: Array) -> Array:
    """Logarithm of the sum of exponentials along the last axis, which goes."""
    if library(x) is not np:
        return x.logsumexp(-1)
    most = x.max(-1, keepdims=True)
    most = np.where(np.isfinite(most), most, 0.0)  # where all is -inf, or one is inf, there is nothing to shift by
    with np.errstate(divide="ignore"):
        return np.log(np.exp(x - most).sum(-1)) + most[..., 0]


def log_softmax(x: Array) -> Array:
    """Log-probabilities along the last axis."""
    if library(x) is not np:
        return x.log_softmax(-1)
    with np.errstate(invalid="ignore"):  # of nothing but -inf there are none
        shifted = x - x.max(-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
