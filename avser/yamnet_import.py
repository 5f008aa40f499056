"""YAMNet's published weights as a file for the backbone `yamnet_lstm`, without TensorFlow.

Three sources: Google's `yamnet.h5` (Keras; needs h5py), a SavedModel folder as TensorFlow Hub gives it, and an
archive of the layers of its TensorFlow Lite file, dequantised (`NN_kind_q` int8 with scales `_s` along the axis
`_ax`, or float `_w`; bias `_b`; batch norms folded into them).
"""

from __future__ import annotations

import csv
import json
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from avser.bundles import read_bundle
from avser.files import replacing
from avser.models.yamnet import BLOCKS, CLASSES, YamNet
from avser.types import ConfigError, ModelError

CONVOLUTIONS = 1 + 2 * len(BLOCKS)
CLASSIFIER = CONVOLUTIONS
"""Place of the classifier behind the convolutions, which count from 0."""
CLASS_MAP = "yamnet_class_map.csv"
ATTRIBUTES = "depthwise_kernel|kernel|beta|moving_mean|moving_variance|bias"
NORM_EPSILON = 1e-4

Weights = dict[tuple[int, str], np.ndarray]
"""By place and Keras's name of the attribute, in the layout of `YamNet`."""


def import_yamnet(source: str | Path, output: str | Path = "yamnet.safetensors") -> Path:
    """Write YAMNet's weights as a file that `yamnet_lstm` takes as `pretrained_file`.

    The names of the classes go into its header where `yamnet_class_map.csv` lies beside the source, or among the
    assets of a SavedModel.

    Raises:
        ModelError: the source cannot be read, or holds another network.
        ConfigError: h5py is not installed, and the source needs it; the output cannot be written.
    """
    source, output = Path(source), Path(output)
    if not source.exists():
        raise ModelError(f"{source}: no such file; give yamnet.h5, a SavedModel folder, or an archive .npz")
    read: Callable[[Path], Weights]
    if source.is_dir() or source.suffix == ".index":
        read = _saved_model
    elif source.suffix in READERS:
        read = READERS[source.suffix]
    else:
        raise ModelError(f"{source}: is neither yamnet.h5, a SavedModel folder, nor an archive .npz of its layers")
    try:
        network = _network(read(source))
    except (OSError, EOFError, ValueError, KeyError, IndexError, zipfile.BadZipFile, struct.error) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{source}: holds no weights of YAMNet that can be read ({reason})") from None
    header = {"format": 1, "source": source.name, "licence": "Apache-2.0", "classes": _classes(source)}
    try:
        with replacing(output) as temporary:
            safetensors.torch.save_file(network.state_dict(), temporary, metadata={"yamnet": json.dumps(header)})
    except (OSError, safetensors.SafetensorError) as error:
        raise ConfigError(f"{output}: cannot be written ({error}); choose another -o") from None
    return output


def _network(weights: Weights) -> YamNet:
    """YAMNet with these weights; a convolution has batch norm's attributes, or they are folded into its bias."""
    network = YamNet().eval()
    state = network.state_dict()
    for place in range(CONVOLUTIONS):
        layer = f"body.layers.{place}"
        state[f"{layer}.conv.weight"] = _array(weights, place, "kernel")
        if (place, "bias") in weights:  # a norm that has nothing left to do but to shift
            state[f"{layer}.norm.bias"] = _array(weights, place, "bias")
            state[f"{layer}.norm.running_var"].fill_(1 - NORM_EPSILON)
        else:
            for ours, theirs in (
                ("bias", "beta"),
                ("running_mean", "moving_mean"),
                ("running_var", "moving_variance"),
            ):
                state[f"{layer}.norm.{ours}"] = _array(weights, place, theirs)
    state["classifier.weight"] = _array(weights, CLASSIFIER, "kernel")
    state["classifier.bias"] = _array(weights, CLASSIFIER, "bias")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"its layers have other shapes: {str(error).splitlines()[1].strip()}") from None
    return network


def _array(weights: Weights, place: int, attribute: str) -> torch.Tensor:
    if (place, attribute) not in weights:
        which = "classifier" if place == CLASSIFIER else f"convolution {place + 1}"
        raise ValueError(f"its {which} has no {attribute}")
    array = np.array(weights[place, attribute], np.float32, order="C")
    if not np.isfinite(array).all():
        raise ValueError(f"{attribute} {place + 1} is not all numbers")
    return torch.from_numpy(array)


def _classes(source: Path) -> list[str]:
    """Names of the classes from the map beside the source; none where there is none."""
    folder = source if source.is_dir() else source.parent
    path = next((path for path in (folder / CLASS_MAP, folder / "assets" / CLASS_MAP) if path.is_file()), None)
    if path is None:
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            names = [row["display_name"] for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError):
        names = []
    if len(names) != CLASSES:
        raise ModelError(f"{path}: is not YAMNet's map of {CLASSES} classes; get it again or take it away")
    return names


# Keras


def keras_place(name: str) -> tuple[int, str] | None:
    """Place and attribute of one of `yamnet.h5`'s arrays by its name; None for what is no weight.

    >>> keras_place("layer1/conv/layer1/conv/kernel:0"), keras_place("layer3/pointwise_conv/bn/beta:0")
    ((0, 'kernel'), (4, 'beta'))
    """
    attribute = re.search(rf"(?:^|/)({ATTRIBUTES})(?::0)?$", name)
    if attribute is None:
        return None
    layer = re.search(r"layer(\d+)/(conv|depthwise_conv|pointwise_conv)", name)
    if layer is None:
        return CLASSIFIER, attribute[1]
    number, kind = int(layer[1]), layer[2]
    return (0 if kind == "conv" else 2 * number - (3 if kind == "depthwise_conv" else 2)), attribute[1]


def _from_keras(arrays: dict[tuple[int, str], np.ndarray]) -> Weights:
    """Keras's layouts as torch has them."""
    weights: Weights = {}
    for (place, attribute), array in arrays.items():
        if attribute == "depthwise_kernel":
            weights[place, "kernel"] = array.transpose(2, 3, 0, 1)  # (H, W, C, 1) -> (C, 1, H, W)
        elif attribute == "kernel":  # (H, W, I, O) -> (O, I, H, W), or the classifier's (I, O) -> (O, I)
            weights[place, attribute] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        else:
            weights[place, attribute] = array
    return weights


def _keras_file(path: Path) -> Weights:
    try:
        import h5py
    except ImportError as error:
        raise ConfigError(
            f"{path}: reading it needs h5py, which does not load ({error}): pip install h5py"
        ) from None
    arrays: dict[tuple[int, str], np.ndarray] = {}

    def visit(name: str, item: Any) -> None:
        place = keras_place(name) if isinstance(item, h5py.Dataset) else None
        if place is not None:
            arrays[place] = item[()]

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return _from_keras(arrays)


# SavedModel


def _saved_model(path: Path) -> Weights:
    """Keras numbers the layers that have weights: convolution, batch norm, convolution… and the classifier."""
    index = path if path.suffix == ".index" else path / "variables" / "variables.index"
    if not index.is_file():
        raise ModelError(f"{path}: holds no SavedModel: there is no {index.name} in its folder 'variables'")
    pattern = re.compile(rf"layer_with_weights-(\d+)/({ATTRIBUTES})/\.ATTRIBUTES/VARIABLE_VALUE$")
    bundle = read_bundle(index)
    named = {key: pattern.search(key) for key in bundle}
    found = {(int(match[1]) // 2, match[2]): bundle[key]() for key, match in named.items() if match}
    return _from_keras(found)


# Archive of TensorFlow Lite's layers


def _archive(path: Path) -> Weights:
    weights: Weights = {}
    with np.load(path, allow_pickle=False) as archive:
        for place in range(CONVOLUTIONS + 1):
            kind = "fc" if place == CLASSIFIER else "dw" if place % 2 else "conv"
            name = f"{place + 1:02d}_{kind}"
            if f"{name}_w" in archive:
                kernel = archive[f"{name}_w"]
            else:
                axis = int(archive[f"{name}_ax"])
                kernel = archive[f"{name}_q"].astype(np.float32)
                kernel *= archive[f"{name}_s"].reshape([-1 if i == axis else 1 for i in range(kernel.ndim)])
            # (O, H, W, I) -> (O, I, H, W), (1, H, W, C) -> (C, 1, H, W)
            axes = {"conv": (0, 3, 1, 2), "dw": (3, 0, 1, 2), "fc": (0, 1)}[kind]
            weights[place, "kernel"] = kernel.transpose(axes)
            weights[place, "bias"] = archive[f"{name}_b"]
    return weights


READERS: dict[str, Callable[[Path], Weights]] = {".h5": _keras_file, ".hdf5": _keras_file, ".npz": _archive}
"""Readers by the ending of the file; a folder is a SavedModel."""
