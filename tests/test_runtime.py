"""The door for engines: torch and ONNX Runtime say the same, and graphs are kept, found and remade."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from avser import checkpoint, runtime
from avser.caching import cache_folder
from avser.checkpoint import Branch
from avser.types import ConfigError, MissingExtraError, ModelError

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

SHIPPED = "av-base"


@pytest.fixture(scope="module")
def branches(small_models) -> dict[str, Branch]:
    return checkpoint.load(small_models.fused).branches


def given(branch: Branch, batch: int) -> tuple[torch.Tensor, ...]:
    if branch.config.branch == "audio":
        return torch.randn(batch, 1, 64, 150), torch.randint(30, 150, (batch,))
    return (torch.rand(batch, 3, 48, 48),)


def graphs() -> list[Path]:
    return sorted((cache_folder() / "onnx").glob("*.onnx"))


@pytest.mark.parametrize("name", ["audio", "face"])
@pytest.mark.parametrize("batch", [1, 9])
def test_both_engines_say_the_same(branches, name, batch):
    x = given(branches[name], batch)
    with torch.inference_mode():
        by_torch, by_onnx = (runtime.branch_runner(branches[name], engine)(*x) for engine in ("torch", "onnx"))
    assert by_onnx.shape == by_torch.shape == (batch, 7)
    assert (by_onnx.softmax(1) - by_torch.softmax(1)).abs().max() <= 1e-4


@pytest.mark.parametrize("name", ["audio", "face"])
def test_the_shipped_model_says_the_same(name):
    if SHIPPED not in checkpoint.known_models():
        pytest.skip(f"weights/{SHIPPED}.safetensors is not there")
    branch = checkpoint.load(SHIPPED).branches[name]
    x = given(branch, 5)
    with torch.inference_mode():
        by_torch, by_onnx = (runtime.branch_runner(branch, engine)(*x) for engine in ("torch", "onnx"))
    assert (by_onnx.softmax(1) - by_torch.softmax(1)).abs().max() <= 1e-4


@pytest.fixture
def own(branches, monkeypatch, tmp_path, small_models) -> Branch:
    """A face branch in a file of its own, with an empty cache."""
    monkeypatch.setenv("AVSER_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "own.safetensors"
    path.write_bytes(small_models.face.read_bytes())
    return checkpoint.load(path).branches["face"]


def test_auto_takes_onnx_once_the_graph_is_there_and_remakes_no_graph(own):
    assert runtime.branch_runner(own) == own.network.frames
    assert not graphs()
    runtime.branch_runner(own, "onnx")
    (kept,) = graphs()
    written = kept.stat().st_mtime_ns
    for engine in ("auto", "onnx"):
        assert runtime.branch_runner(own, engine) != own.network.frames
    assert kept.stat().st_mtime_ns == written
    # damaged, it counts as not there, and is made anew where it is asked for
    kept.write_bytes(kept.read_bytes()[:1000])
    assert runtime.branch_runner(own) == own.network.frames
    runtime.branch_runner(own, "onnx")
    assert kept.stat().st_size > 1000
    # beside the model's file it is found, too, but only while that is the file it was made from
    beside = own.path.with_name("own.face.onnx")
    kept.rename(beside)
    assert runtime.branch_runner(own) != own.network.frames
    meta = {**own.meta, "labels": list(own.labels), "name": "other"}
    checkpoint.save_branch(own.path, own.network, own.config, meta)
    assert runtime.branch_runner(own) == own.network.frames


def test_an_unknown_runtime_lists_the_choices(branches):
    with pytest.raises(ConfigError, match="unknown runtime 'tensorrt': choose from torch, onnx, auto"):
        runtime.branch_runner(branches["face"], "tensorrt")


def test_without_onnxruntime_auto_is_torch_and_onnx_names_the_extra(own, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert runtime.branch_runner(own, "auto") == own.network.frames
    with pytest.raises(MissingExtraError, match=r"needs onnxruntime, .*pip install 'avser\[onnx\]'"):
        runtime.branch_runner(own, "onnx")


def test_a_network_without_a_file_runs_by_torch_only(branches):
    branch = dataclasses.replace(branches["face"], path=None)
    assert runtime.branch_runner(branch) == branch.network.frames
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
    alone = torch.cat([run(face[None]) for face in faces])
    np.testing.assert_allclose(run(faces), alone, atol=1e-5)
