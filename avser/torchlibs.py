"""Imports torchvision, torchaudio and Lightning where a plain import may fail.

With a CPU build of torch, the registry's torchvision and torchaudio wheels for x86 Linux do not import: their C++
parts link CUDA ("operator torchvision::nms does not exist", an OSError for `_torchaudio`). What avser uses of them
(transforms, networks, spectrograms) is Python, so the real import is tried first, and else the import goes on
without the C++ parts. Lightning comes by way of torchmetrics, which imports torchvision.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

import torch

from avser.types import MissingExtraError

_operators: torch.library.Library | None = None


def import_torchvision() -> ModuleType:
    """torchvision; where its C++ operators do not load, with the one its import needs (`nms`) in plain torch.

    Transforms and networks work either way, the functions of `torchvision.ops` that are C++ do not.

    Raises:
        MissingExtraError: torchvision is not installed.
    """
    try:
        return _import("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    return _import_torchvision_without_operators()


def import_torchaudio() -> ModuleType:
    """torchaudio, without its C++ extension where that does not load.

    Raises:
        MissingExtraError: torchaudio is not installed.
    """
    try:
        return _import("torchaudio")
    except OSError:
        return _import_torchaudio_without_extension()


def import_lightning() -> ModuleType:
    """Lightning, which imports torchvision if that is installed.

    Raises:
        MissingExtraError: Lightning is not installed.
    """
    if "lightning" not in sys.modules and importlib.util.find_spec("torchvision") is not None:
        import_torchvision()
    return _import("lightning")


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingExtraError(f"this needs {name}, which is not installed: pip install 'avser[train]'") from None


def _import_torchvision_without_operators() -> ModuleType:
    global _operators
    _forget("torchvision")
    if _operators is None:
        _operators = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            _operators.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _operators.impl("nms", nms, "CPU")
    return importlib.import_module("torchvision")


def _import_torchaudio_without_extension() -> ModuleType:
    _forget("torchaudio")

    def refuse(function):
        def refused(*args: object, **kwargs: object):
            raise RuntimeError(f"{function.__name__} needs torchaudio's C++ extension, which does not load here")

        return refused

    extension: Any = ModuleType("torchaudio._extension")
    extension.__path__ = []
    extension._IS_TORCHAUDIO_EXT_AVAILABLE = extension._IS_ALIGN_AVAILABLE = extension._IS_RIR_AVAILABLE = False
    extension.fail_if_no_align = extension.fail_if_no_rir = refuse
    sys.modules["torchaudio._extension"] = extension
    return importlib.import_module("torchaudio")


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy non-maximum suppression: indices of the boxes (N, 4) xyxy that stay, best first."""
    order = scores.argsort(descending=True, stable=True)
    keep = []
    x1, y1, x2, y2 = boxes.unbind(1)
    area = (x2 - x1) * (y2 - y1)
    while len(order):
        best, rest = order[0], order[1:]
        keep.append(best)
        width = (torch.minimum(x2[best], x2[rest]) - torch.maximum(x1[best], x1[rest])).clamp(min=0)
        height = (torch.minimum(y2[best], y2[rest]) - torch.maximum(y1[best], y1[rest])).clamp(min=0)
        shared = width * height
        overlap = shared / (
            area[best] + area[rest] - shared
        )  # not a number between boxes without area, which stay
        order = rest[~(overlap > iou_threshold)]
    return torch.stack(keep) if keep else order


def _forget(name: str) -> None:
    """Drop a half-imported package, so that it can be imported afresh."""
    for key in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
        del sys.modules[key]
