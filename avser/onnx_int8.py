"""ONNX graphs with convolutions in 8-bit integers, their ranges measured on real clips (static quantisation).

After Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(2018): weights with one scale a filter, activations with one a layer, from the lowest to the highest value seen.
Weights keep to 7 bits, so that processors without integer dot products do not overflow. All else stays in floating
point: statistics over time, attention and classifiers lose more than they gain.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from avser import checkpoint, datasets
from avser.checkpoint import Checkpoint
from avser.labels import place
from avser.onnx import export, need
from avser.onnx.graphs import PARTS
from avser.training import data
from avser.types import Clip, ConfigError, DataError, ModelError

if TYPE_CHECKING:
    import onnx

CLIPS = 200
"""Clips to calibrate on at most, evenly spread over the corpus."""
AT_ONCE = 8
"""Sounds or pictures that go through the graph at once while ranges are measured."""

Feed = dict[str, np.ndarray]
"""Inputs of a graph by name."""


def export_file(
    name: str, output: Path, part: str | None, int8: bool, corpus: str | None, root: Path | None
) -> None:
    """Write a model as an ONNX file.

    Args:
        name: of a shipped model, or a path.
        part: what of it, a name in `PARTS`; None for all that it is.
        corpus, root: name and folder of the clips that `int8` is calibrated on. They need no labels. Of a corpus
            that the model knows, those that it held out are left aside, so that figures on them stay honest.

    Raises:
        MissingExtraError: a package that this needs is not installed.
        ModelError: there is no such model or part, or it holds what ONNX does not know.
        ConfigError: int8 without clips, or clips without int8.
        DataError: no clip can be used.
    """
    asked = (int8, corpus is not None, root is not None)
    if any(asked) and not all(asked):
        raise ConfigError(
            "int8 is calibrated on real clips: give --int8, --calibrate CORPUS and --root DIR together"
        )
    model = checkpoint.load(name)
    part = part or ("whole" if model.kind == "fused" else model.kind)
    if corpus is None or root is None:
        export.export(model, part, output)
        return
    if part in ("pool", "fusion"):
        raise ModelError(f"the part {part!r} of a model has no convolutions that int8 would make faster")
    need("onnx", "onnxscript", "onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        export.export(model, part, plain)
        clips = _clips(model, corpus, root)
        quantise(plain, output, _feeds(model, part, clips), {"corpus": corpus, "clips": len(clips)})


def quantise(plain: Path, output: Path, feeds: Iterator[Feed], calibrated: dict) -> None:
    """Write a graph again, with its convolutions in integers.

    Args:
        feeds: what goes in, to measure ranges. calibrated: what the metadata says of it, under `int8`.

    Raises:
        ModelError: the graph has no convolutions that could be.
        DataError: there are no feeds.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> Feed | None:
            return next(feeds, None)

    meta = export.read_header(plain)
    with tempfile.TemporaryDirectory() as folder, export.quiet():
        merged, made = (str(Path(folder) / name) for name in ("merged.onnx", "int8.onnx"))
        quant_pre_process(str(plain), merged, skip_symbolic_shape=True)  # batch norms go into the convolutions
        convolutions = _convolutions(onnx.load(merged).graph)
        if not convolutions:
            raise ModelError(
                f"{meta.get('name')}: this part of it has no convolutions that int8 would make faster"
            )
        first = next(feeds, None)
        if first is None:
            raise DataError("none of the clips to calibrate on could be used; give others")
        feeds = _with_first(first, feeds)
        quantization.quantize_static(
            merged,
            made,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_quantize=convolutions,
        )
        export.save(onnx.load(made), output, {**meta, "int8": calibrated})


def _with_first(first: Feed, feeds: Iterator[Feed]) -> Iterator[Feed]:
    yield first
    yield from feeds


def _convolutions(graph: onnx.GraphProto) -> list[str]:
    """Names of the convolutions over pictures; filters along time are few, and statistics mind their rounding."""
    ranks = {weight.name: len(weight.dims) for weight in graph.initializer}
    return [node.name for node in graph.node if node.op_type == "Conv" and ranks.get(node.input[1]) == 4]


def _clips(model: Checkpoint, corpus: str, root: Path) -> list[Clip]:
    """Clips of a corpus, evenly spread, but for those that the model held out.

    Raises:
        DataError: there are none.
    """
    labels = next(iter(model.branches.values())).labels
    clips = [clip for clip in datasets.scan(corpus, root) if place(clip.label, labels) is not None]
    rules = model.meta.get("held_out", {}).get(corpus)
    if rules:
        held_out = {id(clip) for clip in data.matching(clips, rules)}
        clips = [clip for clip in clips if id(clip) not in held_out]
    if not clips:
        raise DataError(f"{root}: no clip of {corpus!r} is left to calibrate on; give another corpus")
    chosen = np.linspace(0, len(clips) - 1, min(CLIPS, len(clips))).round().astype(int)
    return [clips[index] for index in chosen]


def _feeds(model: Checkpoint, part: str, clips: Sequence[Clip]) -> Iterator[Feed]:
    """What goes into a part of a model for these clips."""
    if part == "whole":
        yield from _both(model, clips)
        return
    config = model.branches[part].config
    examples, _ = data.load_examples(config, clips)
    for _, given in data.batches(config, examples):
        if config.signal == "crops":
            faces, mask = given
            yield from ({"faces": x.numpy()} for x in faces[mask].split(AT_ONCE))
        else:
            names = ("mel", "lengths") if part == "audio" else ("units", "mask")
            parts = zip(*(x.split(AT_ONCE) for x in given), strict=True)
            yield from ({name: x.numpy() for name, x in zip(names, some, strict=True)} for some in parts)


def _both(model: Checkpoint, clips: Sequence[Clip]) -> Iterator[Feed]:
    """Sound and faces of each clip that has both."""
    found: dict[str, dict[int, tuple[torch.Tensor, torch.Tensor]]] = {}
    for name in PARTS["whole"][0]:
        config = model.branches[name].config
        examples, _ = data.load_examples(config, clips)
        dataset = data.ExampleDataset(examples, config, training=False)
        found[name] = {
            id(example.clip): data.network_inputs(data.collate([dataset[index]]), config, training=False)
            for index, example in enumerate(examples)
        }
    seen = "units" if model.branches["face"].config.signal == "action_units" else "faces"
    for clip in clips:
        if all(id(clip) in of for of in found.values()):
            values = (*found["audio"][id(clip)], *found["face"][id(clip)])
            yield {k: x.numpy() for k, x in zip(("mel", "lengths", seen, "mask"), values, strict=True)}
