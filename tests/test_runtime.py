"""The door for engines: torch and ONNX Runtime say the same, and graphs are kept, found and remade."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
import torch
from conftest import SAMPLE

from avser import checkpoint, runtime
from avser.caching import cache_folder
from avser.checkpoint import Branch
from avser.metrics import softmax
from avser.onnx import export
from avser.recognizer import load_model
from avser.types import ConfigError, MissingExtraError, ModelError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

CLOSE = 1e-4
"""Largest difference of probabilities between torch and ONNX Runtime."""


@pytest.fixture(scope="module")
def branches(small_models) -> dict[str, Branch]:
    return checkpoint.load(small_models.fused).branches


def given(branch: Branch, batch: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    if branch.config.branch == "audio":
        return rng.standard_normal((batch, 1, 64, 150), np.float32), rng.integers(30, 150, batch)
    return (rng.random((batch, 3, 48, 48), np.float32),)


def said(branch: Branch, engine: str, batch: int) -> np.ndarray:
    """Probabilities of made-up inputs."""
    ready = dataclasses.replace(branch, runner=runtime.branch_runner(branch, engine))
    return softmax(ready.run(*given(branch, batch)))


def graphs() -> list[Path]:
    return sorted((cache_folder() / "onnx").glob("*.onnx"))


@pytest.mark.parametrize("name", ["audio", "face"])
@pytest.mark.parametrize("batch", [1, 9])
def test_both_engines_say_the_same(branches, name, batch):
    by_torch, by_onnx = (said(branches[name], engine, batch) for engine in ("torch", "onnx"))
    assert by_onnx.shape == by_torch.shape == (batch, 7)
    assert np.abs(by_onnx - by_torch).max() <= CLOSE


def by_torch(branch: Branch, engine: str = "auto") -> bool:
    return runtime.branch_runner(branch, engine) == branch.run_by_torch


@pytest.fixture
def own(branches, monkeypatch, tmp_path, small_models) -> Branch:
    """A face branch in a file of its own, with an empty cache."""
    monkeypatch.setenv("AVSER_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "own.safetensors"
    path.write_bytes(small_models.face.read_bytes())
    return checkpoint.load(path).branches["face"]


def test_auto_takes_onnx_once_the_graph_is_there_and_remakes_no_graph(own):
    assert by_torch(own)
    assert not graphs()
    runtime.branch_runner(own, "onnx")
    (kept,) = graphs()
    written = kept.stat().st_mtime_ns
    for engine in ("auto", "onnx"):
        assert not by_torch(own, engine)
    assert kept.stat().st_mtime_ns == written
    # damaged, it counts as not there, and is made anew where it is asked for
    kept.write_bytes(kept.read_bytes()[:1000])
    assert by_torch(own)
    runtime.branch_runner(own, "onnx")
    assert kept.stat().st_size > 1000
    # beside the model's file it is found, too, but only while that is the file it was made from
    beside = own.path.with_name("own.face.onnx")
    kept.rename(beside)
    assert not by_torch(own)
    meta = {**own.meta, "labels": list(own.labels), "name": "other"}
    checkpoint.save_branch(own.path, own.network, own.config, meta)
    assert by_torch(own)


def test_an_unknown_runtime_lists_the_choices(branches):
    with pytest.raises(ConfigError, match="unknown runtime 'tensorrt': choose from torch, onnx, auto"):
        runtime.branch_runner(branches["face"], "tensorrt")


def test_without_onnxruntime_auto_is_torch_and_onnx_names_the_extra(own, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert by_torch(own)
    with pytest.raises(MissingExtraError, match=r"needs onnxruntime, .*pip install 'avser\[onnx\]'"):
        runtime.branch_runner(own, "onnx")


def test_a_network_without_a_file_runs_by_torch_only(branches):
    branch = dataclasses.replace(branches["face"], path=None)
    assert by_torch(branch)
    with pytest.raises(ModelError, match="runs by torch only"):
        runtime.branch_runner(branch, "onnx")


def test_a_cache_that_cannot_be_written_is_one_clear_error(own, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AVSER_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="cannot be written"):
        runtime.branch_runner(own, "onnx")


def test_large_batches_keep_their_order(branches):
    run = runtime.branch_runner(branches["face"], "onnx")
    (faces,) = given(branches["face"], 2 * runtime.AT_ONCE["face"] + 1)
    alone = np.concatenate([run(face[None]) for face in faces])
    np.testing.assert_allclose(run(faces), alone, atol=1e-5)


def test_a_model_of_ones_own_runs_by_torch_or_by_a_graph_in_the_cache(own):
    by_torch, by_onnx = (load_model(own.path, engine) for engine in ("auto", "onnx"))
    assert by_torch.checkpoint.branches["face"].runner.__func__ is Branch.run_by_torch
    assert len(graphs()) == 1
    found, expected = (model.predict(SAMPLE).overall.probs for model in (by_onnx, by_torch))
    np.testing.assert_allclose(found, expected, atol=CLOSE)


def test_torch_takes_as_many_threads_as_its_process_may(branches, monkeypatch):
    monkeypatch.setattr(runtime, "THREADS", 1)
    before = torch.get_num_threads()
    try:
        runtime.branch_runner(branches["face"], "torch")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_products_are_plain_until_the_last_block_ends():
    def threads() -> list[int]:
        return [
            library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"
        ]

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        free = threads()
        with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
            first.enter_context(runtime.plain_products)
            second.enter_context(runtime.plain_products)
            first.close()
            assert set(threads()) == {1}
        assert threads() == free


def test_a_graph_of_something_else_does_not_count(own):
    export.export_branch(own, runtime.beside(own))
    assert not by_torch(own)
    graph = onnx.load(str(runtime.beside(own)))
    (entry,) = graph.metadata_props
    said = json.loads(entry.value)
    for change in ({"part": "audio"}, {"int8": {"corpus": "fer2013", "clips": 9}}, {"digest": "another"}):
        export.save(graph, runtime.beside(own), {**said, **change})
        assert by_torch(own)
    export.save(graph, runtime.beside(own), said)
    assert not by_torch(own)


def test_an_exported_graph_runs_its_branch(small_models, monkeypatch, tmp_path):
    monkeypatch.setenv("AVSER_CACHE", str(tmp_path / "cache"))  # so that no other branch has a graph
    model = checkpoint.load(small_models.fused)
    export.export(model, "face", tmp_path / "face.onnx")
    ready = runtime.ready(model, str(tmp_path / "face.onnx")).branches
    assert ready["audio"].runner == model.branches["audio"].run_by_torch
    assert ready["face"].runner != model.branches["face"].run_by_torch
    faces = given(ready["face"], 3)
    np.testing.assert_allclose(
        softmax(ready["face"].run(*faces)), softmax(model.branches["face"].run(*faces)), atol=CLOSE
    )


def test_a_graph_that_does_not_fit_is_one_clear_error(small_models, tmp_path):
    model = checkpoint.load(small_models.fused)
    path = tmp_path / "graph.onnx"

    def refused(complaint: str) -> None:
        with pytest.raises(ModelError, match=complaint):
            runtime.ready(model, str(path))

    refused("graph.onnx: there is no such graph; make it by 'avser export'")
    path.write_bytes(b"no graph")
    refused("is no graph of avser, or is damaged")
    export.export(model, "fusion", path)
    refused("holds the part 'fusion' of a model; export one of audio, face")
    export.export(checkpoint.load(small_models.face), "face", path)
    refused("was not made from .*, or from another version; export it again")
    graph = onnx.load(str(path))
    graph.ClearField("metadata_props")
    path.write_bytes(graph.SerializeToString())
    refused("is no graph of avser, or is damaged")


def test_where_onnxruntime_does_not_load_auto_is_torch(own, monkeypatch, tmp_path):
    runtime.branch_runner(own, "onnx")
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('DLL load failed')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime")
    assert by_torch(own)
    with pytest.raises(MissingExtraError, match=r"onnxruntime does not load \(DLL load failed\)"):
        runtime.branch_runner(own, "onnx")


def test_onnx_runtime_reports_nothing_to_its_makers(tmp_path):
    code = (
        "import avser, glob, os, sys, tempfile\n"
        "avser.load_model('av-base', runtime='onnx')\n"
        "assert 'onnxruntime' in sys.modules and os.environ['ORT_DISABLE_TELEMETRY'] == '1'\n"
        "print(os.listdir(tempfile.gettempdir()))"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
