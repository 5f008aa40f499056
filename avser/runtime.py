"""Engines that run the networks: torch, or ONNX Runtime on graphs that the networks were exported to once.

A graph lies in the cache under the digest of the model's file, or beside that file as `NAME.BRANCH.onnx` if it was
made from that very one. On one core ONNX Runtime takes about two thirds of the time of torch for a voice, and half
of it for a few faces, but an export takes as long as minutes of video do. So `auto` takes ONNX Runtime where it is
installed and the graph is there, and `onnx` makes the graph where it is not.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from avser.caching import cache_folder, file_digest
from avser.checkpoint import Branch
from avser.onnx import export
from avser.onnx.graphs import branch_graph
from avser.types import ConfigError, ModelError

if TYPE_CHECKING:
    import onnxruntime

VERSION = 1
"""Of the graphs in the cache: another one where they are made in another way."""
AT_ONCE = {"audio": 2, "face": 8}
"""Sounds or pictures that a graph takes at once: what lies between its layers stays in the processor's cache."""
NAMES = {"sound": ("mel", "lengths"), "crops": ("faces",), "action_units": ("units", "mask")}
"""Inputs of a branch's graph, by `Config.signal`."""

Runner = Callable[..., torch.Tensor]
"""Inputs of a branch to logits (B, C): (mel, lengths), (faces,) of single pictures, or (units, mask)."""


def branch_runner(branch: Branch, runtime: str = "auto") -> Runner:
    """What runs a branch in prediction.

    Args:
        runtime: name in `RUNTIMES`.

    Raises:
        ConfigError: the runtime is unknown.
        MissingExtraError: a package that the runtime needs is not installed.
        ModelError: the network does not go into ONNX, or was not loaded from a file.
    """
    if runtime not in RUNTIMES:
        raise ConfigError(f"unknown runtime {runtime!r}: choose from {', '.join(RUNTIMES)}")
    return RUNTIMES[runtime](branch)


def _torch(branch: Branch) -> Runner:
    return branch.network.frames if branch.config.signal == "crops" else branch.network


def _onnx(branch: Branch) -> Runner:
    export.need("onnxruntime")
    if branch.path is None:
        raise ModelError("a network that was not loaded from a file runs by torch only; save it first")
    return _on_session(branch, _find(branch) or _make(branch))


def _auto(branch: Branch) -> Runner:
    if branch.path is None or importlib.util.find_spec("onnxruntime") is None:
        return _torch(branch)
    session = _find(branch)
    return _torch(branch) if session is None else _on_session(branch, session)


def _on_session(branch: Branch, session: onnxruntime.InferenceSession) -> Runner:
    wanted = {given.name for given in session.get_inputs()}  # an input that a network does not look at may be gone
    names, most = NAMES[branch.config.signal], AT_ONCE[branch.config.branch]

    def run(*given: torch.Tensor) -> torch.Tensor:
        rows = []
        for some in zip(*(x.split(most) for x in given), strict=True):
            feed = {name: x.numpy() for name, x in zip(names, some, strict=True) if name in wanted}
            rows.append(torch.from_numpy(session.run(None, feed)[0]))
        return torch.cat(rows)

    return run


def _find(branch: Branch) -> onnxruntime.InferenceSession | None:
    """ONNX Runtime on the graph of a branch, if there is one that was made from the same file."""
    digest = file_digest(branch.path).hexdigest()
    beside = branch.path.with_name(f"{branch.path.stem}.{branch.config.branch}.onnx")
    sessions = (_open(path) for path in (beside, _kept(branch, digest)))
    return next((session for session in sessions if session is not None and _digest_of(session) == digest), None)


def _make(branch: Branch) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the graph of a branch, which is exported to the cache."""
    digest = file_digest(branch.path).hexdigest()
    meta = {"digest": digest, "part": branch.config.branch, "labels": list(branch.labels)}
    export.write_graph(_kept(branch, digest), branch_graph(branch), meta, str(branch.path))
    return _open(_kept(branch, digest))


def _kept(branch: Branch, digest: str) -> Path:
    return cache_folder() / "onnx" / f"{digest}-{branch.config.branch}-{VERSION}.onnx"


def _open(path: Path) -> onnxruntime.InferenceSession | None:
    """A session on a graph, with as many threads as torch has; None where there is none, or a damaged one."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    if not path.is_file():
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (errors.InvalidProtobuf, errors.InvalidGraph, errors.Fail, errors.NoSuchFile):
        return None


def _digest_of(session: onnxruntime.InferenceSession) -> str | None:
    """Digest of the model's file that a graph was made from."""
    try:
        return json.loads(session.get_modelmeta().custom_metadata_map[export.KEY])["digest"]
    except (KeyError, ValueError, TypeError):
        return None


RUNTIMES: dict[str, Callable[[Branch], Runner]] = {"torch": _torch, "onnx": _onnx, "auto": _auto}
"""Engines by name; `auto` is the faster of those that are ready."""
