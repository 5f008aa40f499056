"""Models as ONNX files: see `avser.onnx.graphs` for what goes in and comes out.

A file's metadata holds under the key `avser` JSON with the model's header (see `checkpoint`) without its metrics:
name, version, licence, labels, the branches in the graph with config, preprocessing and temperature, fusion; and
`part`, what of the model the graph is, `digest` of the model's file, `without`, the evidence that prediction would
mind and the graph does not, and `int8`, what it was calibrated on.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from avser.caching import file_digest
from avser.checkpoint import Branch, Checkpoint
from avser.evidence import NEEDED
from avser.files import replacing
from avser.onnx import KEY, need
from avser.onnx.graphs import Graph, branch_graph, branches_of, graph_of, rule_of
from avser.types import AvserError, ModelError

if TYPE_CHECKING:
    import onnx

OPSET = 18
"""Of ONNX; the first that knows how torch reduces pictures."""


def export(model: Checkpoint, part: str, path: Path) -> None:
    """Write a part of a model, named as in `PARTS`, as an ONNX graph.

    Raises:
        MissingExtraError: a package that this needs is not installed.
        ModelError: the model has no such part, or holds what ONNX does not know.
    """
    write_graph(path, graph_of(model, part), header(model, part), str(model.path))


def export_branch(branch: Branch, path: Path) -> None:
    """Write a branch of a model's file as a graph for `avser.runtime`; errors as for `export`."""
    digest = file_digest(branch.file).hexdigest()
    meta = {"digest": digest, "part": branch.config.branch, "labels": list(branch.labels)}
    write_graph(path, branch_graph(branch), meta, str(branch.path))


def header(model: Checkpoint, part: str) -> dict:
    """What the metadata says of a part of a model."""
    needs = branches_of(model, part)
    branches = {
        name: {**_without(branch.meta, "metrics"), "config": branch.config.model_dump(mode="json")}
        for name, branch in model.branches.items()
        if name in needs
    }
    said = _without(model.meta, "metrics", "config", "fusion")
    said |= {"part": part, "branches": branches, "digest": file_digest(model.path).hexdigest()}
    if len(needs) > 1:
        rule = rule_of(model)
        return {**said, "fusion": rule.settings(), "without": list(NEEDED.get(rule.name, ()))}
    # the logits of a branch are over its own labels, which need not be those of the model
    return {**said, "labels": list(model.branches[needs[0]].labels)}


def _without(values: dict, *keys: str) -> dict:
    return {key: value for key, value in values.items() if key not in keys}


def write_graph(path: Path, graph: Graph, meta: dict, source: str) -> None:
    """Export a graph to a file; `source` is named in errors.

    Raises:
        MissingExtraError: a package that this needs is not installed.
        ModelError: the network holds what ONNX does not know.
    """
    need("onnx", "onnxscript")
    dims = {name: torch.export.Dim(name) for axes in graph.axes.values() for name in axes.values()}
    shapes = tuple({axis: dims[name] for axis, name in graph.axes.get(key, {}).items()} for key in graph.inputs)
    try:
        with quiet(), torch.inference_mode(False), torch.no_grad():
            program: Any = torch.onnx.export(
                graph.module.eval(),
                tuple(graph.inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=shapes,
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                custom_translation_table=_translations(),
                verbose=False,
            )
    except AvserError:
        raise
    except Exception as error:  # the exporter raises what the step in which it fails happens to raise
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise ModelError(f"{source}: its network does not go into ONNX ({reason}); use it by torch") from None
    proto = program.model_proto
    for given in proto.graph.input:
        sizes = given.type.tensor_type.shape.dim
        if fixed := [name for axis, name in graph.axes.get(given.name, {}).items() if sizes[axis].dim_value]:
            raise ModelError(f"{source}: its network takes no other number of {fixed[0]} in ONNX; use it by torch")
    _strip(proto.graph)
    save(proto, path, meta)


def save(proto: onnx.ModelProto, path: Path, meta: dict) -> None:
    """Write a graph with its metadata.

    Raises:
        ModelError: the file cannot be written.
    """
    proto.ClearField("metadata_props")
    proto.metadata_props.add(key=KEY, value=json.dumps(meta))
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(proto.SerializeToString())
    except OSError as error:
        raise ModelError(f"{path}: cannot be written ({error.strerror or error}); choose another folder") from None


def read_header(path: Path) -> dict:
    """The metadata of an exported graph.

    Raises:
        MissingExtraError: a package that this needs is not installed.
        ModelError: the file cannot be read, or is no graph of avser.
    """
    need("onnx")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        found = {entry.key: entry.value for entry in onnx.load(str(path), load_external_data=False).metadata_props}
        return json.loads(found[KEY])
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (DecodeError, KeyError, ValueError):
        raise ModelError(f"{path}: is no graph of avser, or is damaged; make it by 'avser export'") from None


def _strip(graph: onnx.GraphProto) -> None:
    """Take out what the exporter notes on itself, paths of this machine among it.

    The sizes of what lies between inputs and outputs go as well: it does not always get them right.
    """
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        if attribute.HasField("g"):
            _strip(attribute.g)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself what the tools of ONNX remark on themselves."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _translations() -> dict[Callable, Callable]:
    """What the exporter has no translation of: distances (Laplace's kernel of `unit_kernel`)."""
    from onnxscript import opset18

    op: Any = opset18  # its functions take lists for tensors

    def cdist(x1, x2, p: float, compute_mode: int | None = None):
        apart = op.Abs(op.Sub(op.Unsqueeze(x1, [-2]), op.Unsqueeze(x2, [-3])))
        if p == 1:
            return op.ReduceSum(apart, [-1], keepdims=0)
        return op.Sqrt(op.ReduceSum(op.Mul(apart, apart), [-1], keepdims=0))

    return {torch.ops.aten._cdist_forward.default: cdist}
