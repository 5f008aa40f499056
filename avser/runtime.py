"""Engines that run the networks: ONNX Runtime on graphs that the networks were exported to once, or torch.

A graph lies beside the model's file as `NAME.BRANCH.onnx`, or in the cache under the digest of that file; it
counts only if it was made from that very file. On one core ONNX Runtime takes about two thirds of torch's time for
a voice, half of it for a few faces, and loading torch takes as long as all else on a short clip. But an export
takes as long as minutes of video do: so `auto` takes ONNX Runtime where it is installed and the graph is there,
and `onnx` makes the graph where it is not. A graph of a branch that `avser export` wrote, in 8-bit integers maybe,
is an engine as well.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from avser.caching import cache_folder, file_digest
from avser.checkpoint import Branch, Checkpoint, Runner
from avser.onnx import KEY, need
from avser.types import ConfigError, MissingExtraError, ModelError

if TYPE_CHECKING:
    import onnxruntime
    from threadpoolctl import ThreadpoolController

THREADS = 0
"""Threads of a network in this process; 0 for as many as there are cores. It holds for what is loaded later."""
VERSION = 2
"""Of the graphs in the cache: another one where they are made in another way."""
AT_ONCE = {"audio": 2, "face": 8}
"""Sounds or pictures that a graph takes at once: what lies between its layers stays in the processor's cache."""
NAMES = {"sound": ("mel", "lengths"), "crops": ("faces",), "action_units": ("units", "mask")}
"""Inputs of a branch's graph, by `Config.signal`."""


def ready(model: Checkpoint, runtime: str = "auto") -> Checkpoint:
    """A model whose branches run by an engine.

    Args:
        runtime: name in `RUNTIMES`, or the path of an exported graph of a branch, `FILE.onnx`; other branches
            then run as by `auto`.

    Raises:
        ConfigError: the runtime is unknown.
        MissingExtraError: a package that the runtime needs is not installed.
        ModelError: the network does not go into ONNX, or the model was not loaded from a file; the graph is none,
            or of another model, or not of one of its branches.
    """
    runners = {}
    if runtime.endswith(".onnx"):
        part, session = _exported(model, Path(runtime))
        runners[part] = _on_session(model.branches[part], session)
        runtime = "auto"
    branches = {
        name: dataclasses.replace(branch, runner=runners.get(name) or branch_runner(branch, runtime))
        for name, branch in model.branches.items()
    }
    return dataclasses.replace(model, branches=branches)


def branch_runner(branch: Branch, runtime: str = "auto") -> Runner:
    """What runs one branch by an engine in `RUNTIMES`; errors as for `ready`."""
    if runtime not in RUNTIMES:
        choices = ", ".join(RUNTIMES)
        raise ConfigError(f"unknown runtime {runtime!r}: choose from {choices}, or give a graph, FILE.onnx")
    return RUNTIMES[runtime](branch)


def _torch(branch: Branch) -> Runner:
    import torch

    if THREADS:
        torch.set_num_threads(THREADS)
    branch.build()  # what is wrong with the file is said now
    return branch.run_by_torch


def _onnx(branch: Branch) -> Runner:
    _library()
    return _on_session(branch, _find(branch) or _make(branch))


def _auto(branch: Branch) -> Runner:
    session = None
    with contextlib.suppress(MissingExtraError):
        session = _find(branch) if branch.path is not None else None
    return _torch(branch) if session is None else _on_session(branch, session)


def _on_session(branch: Branch, session: onnxruntime.InferenceSession) -> Runner:
    wanted = {given.name for given in session.get_inputs()}  # an input that a network does not look at may be gone
    names, most = NAMES[branch.config.signal], AT_ONCE[branch.config.branch]

    def run(*given: np.ndarray) -> np.ndarray:
        feed = {name: x for name, x in zip(names, given, strict=True) if name in wanted}
        rows = [
            session.run(None, {name: x[first : first + most] for name, x in feed.items()})[0]
            for first in range(0, len(given[0]), most)
        ]
        return np.concatenate(rows)

    return run


def _find(branch: Branch) -> onnxruntime.InferenceSession | None:
    """ONNX Runtime on the graph of a branch, if there is one that was made from the same file."""
    digest = file_digest(branch.file).hexdigest()
    for path in (beside(branch), _kept(branch, digest)):
        session = _open(path)
        if session is not None and _is_of(session, branch, digest):
            return session
    return None


def beside(branch: Branch) -> Path:
    """Where the graph of a branch lies beside the file of its model."""
    return branch.file.with_name(f"{branch.file.stem}.{branch.config.branch}.onnx")


def _make(branch: Branch) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the graph of a branch, which is exported to the cache."""
    from avser.onnx import export

    path = _kept(branch, file_digest(branch.file).hexdigest())
    export.export_branch(branch, path)
    return _open(path)


def _kept(branch: Branch, digest: str) -> Path:
    return cache_folder() / "onnx" / f"{digest}-{branch.config.branch}-{VERSION}.onnx"


def _open(path: Path) -> onnxruntime.InferenceSession | None:
    """A session on a graph; None where there is none, or a damaged one."""
    if not path.is_file():
        return None
    onnxruntime = _library()
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS or _threads()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it takes time from ffmpeg
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (errors.InvalidProtobuf, errors.InvalidGraph, errors.Fail, errors.NoSuchFile):
        return None


class _PlainProducts(contextlib.ContextDecorator):
    """A block in which NumPy multiplies matrices on one thread: others would spin while they wait for small ones.

    The limit is one of the process: blocks in several threads share it, and the last to end lifts it.
    """

    def __init__(self) -> None:
        self._lock, self._blocks = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._blocks:
                self._limit = _products().limit(limits=1)
            self._blocks += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                self._limit.restore_original_limits()


plain_products = _PlainProducts()


@functools.cache
def _products() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def cores() -> int:
    """Processors that this process may use."""
    with contextlib.suppress(AttributeError):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads() -> int:
    """Threads of a network where nobody has set them, as torch counts them."""
    with contextlib.suppress(KeyError, ValueError):
        return max(1, int(os.environ["OMP_NUM_THREADS"]))
    return cores()


def _exported(model: Checkpoint, path: Path) -> tuple[str, onnxruntime.InferenceSession]:
    """The branch of a model that `avser export` made a graph of, and the graph.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        ModelError: the file is no such graph, or one of another model.
    """
    _library()
    if not path.is_file():
        raise ModelError(f"{path}: there is no such graph; make it by 'avser export'")
    session = _open(path)
    if session is None or (said := _said(session)) is None:
        raise ModelError(f"{path}: is no graph of avser, or is damaged; make it by 'avser export'")
    if (part := said.get("part")) not in model.branches:
        raise ModelError(f"{path}: holds the part {part!r} of a model; export one of {', '.join(model.branches)}")
    if said.get("digest") != file_digest(model.branches[part].file).hexdigest():
        raise ModelError(f"{path}: was not made from {model.path.name}, or from another version; export it again")
    return part, session


def _is_of(session: onnxruntime.InferenceSession, branch: Branch, digest: str) -> bool:
    """Whether a graph was made of a branch, in full precision, and of the file with this digest."""
    said = _said(session) or {}
    return (said.get("digest"), said.get("part")) == (digest, branch.config.branch) and "int8" not in said


def _said(session: onnxruntime.InferenceSession) -> dict | None:
    """What the metadata says of a graph; None where it is not one of avser's."""
    try:
        said = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    except (KeyError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def _library() -> ModuleType:
    """ONNX Runtime.

    Raises:
        MissingExtraError: it is not installed, or does not load.
    """
    need("onnxruntime")
    try:
        import onnxruntime
    except ImportError as error:
        reason = " ".join(str(error).split())[:200]
        raise MissingExtraError(f"onnxruntime does not load ({reason}): reinstall it, or choose torch") from None
    return onnxruntime


RUNTIMES: dict[str, Callable[[Branch], Runner]] = {"torch": _torch, "onnx": _onnx, "auto": _auto}
"""Engines by name; `auto` is the faster of those that are ready."""
