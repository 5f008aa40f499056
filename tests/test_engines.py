"""Whole predictions by either engine: the same figures, and torch is not loaded where it is not needed."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import SAMPLE

from avser import runtime
from avser.caching import file_digest
from avser.checkpoint import describe, known_models
from avser.onnx import KEY
from avser.recognizer import load_model
from avser.results import Result

NAME = "av-base"
CLOSE = 1e-4
"""Largest difference of probabilities between torch and ONNX Runtime."""

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytestmark = pytest.mark.skipif(NAME not in known_models(), reason=f"weights/{NAME}.safetensors is not there")


def probs(result: Result) -> np.ndarray:
    """All that a result is sure of, one after the other."""
    said = [*result.predictions, *(person.overall for person in result.people), result.overall]
    return np.concatenate([x for p in said for x in (p.probs, *p.modalities.values())])


def in_a_process(before: str = "") -> tuple[bool, dict[str, float]]:
    """`avser predict` on the sample: whether torch is loaded in the end, and the probabilities of the file."""
    code = f"""
import json, pathlib, sys, tempfile
{before}
from avser import cli
with tempfile.TemporaryDirectory() as folder:
    out = pathlib.Path(folder) / "out.json"
    sys.argv = ["avser", "predict", {str(SAMPLE)!r}, "-q", "-o", str(out)]
    try:
        cli.main()
    except SystemExit as stop:
        assert not stop.code, stop.code
    print(json.dumps(["torch" in sys.modules, json.loads(out.read_text())["overall"]["probs"]]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    torch, found = json.loads(done.stdout.splitlines()[-1])
    return torch, found


def test_the_shipped_model_needs_no_torch():
    torch, found = in_a_process()
    assert not torch
    torch, expected = in_a_process("sys.modules['onnxruntime'] = None  # as if it were not installed")
    assert torch
    assert found == pytest.approx(expected, abs=CLOSE)


@pytest.mark.parametrize("modality", ["fused", "audio", "face"])
def test_both_engines_say_the_same_of_the_sample(modality):
    by_torch, by_onnx = (load_model(NAME, engine).predict(SAMPLE, modality) for engine in ("torch", "onnx"))
    np.testing.assert_allclose(probs(by_onnx), probs(by_torch), atol=CLOSE)


def test_both_engines_say_the_same_of_real_clips(data_root):
    by_torch, by_onnx = (load_model(NAME, engine) for engine in ("torch", "onnx"))
    clips = sorted((data_root / "av" / "ravdess" / "Actor_01").glob("*.mp4"))[::13]
    assert clips
    for clip in clips:
        np.testing.assert_allclose(probs(by_onnx.predict(clip)), probs(by_torch.predict(clip)), atol=CLOSE)


@pytest.mark.parametrize("name", known_models())
def test_the_graphs_of_a_shipped_model_are_made_of_its_file(name):
    model = describe(name)
    for branch in model.branches.values():
        graph = runtime.beside(branch)
        session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        said = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
        assert said["digest"] == file_digest(model.path).hexdigest(), (
            "tools/release_weights.py --graphs makes it anew"
        )
        assert said["labels"] == list(branch.labels)
        assert said["licence"] == model.meta["licence"]
        assert graph.stat().st_size < 10e6
        assert runtime.branch_runner(branch) != branch.run_by_torch


def test_an_unknown_runtime_is_one_line(avser_command):
    for command in (("predict", SAMPLE), ("live", "--file", SAMPLE)):
        done = avser_command(*command, "--runtime", "tensorrt")
        assert done.code == 2
        assert done.complaint == (
            "avser: unknown runtime 'tensorrt': choose from torch, onnx, auto, or give a graph, FILE.onnx"
        )


def test_several_workers_take_the_engine_that_is_asked_for(avser_command, tmp_path):
    clips = [tmp_path / f"{name}.mp4" for name in "ab"]
    for clip in clips:
        clip.write_bytes(SAMPLE.read_bytes())
    out = tmp_path / "out"
    done = avser_command("predict", *clips, "-o", out, "-q", "--workers", 2, "--runtime", "torch")
    assert done.code == 0, done.err
    found = json.loads((out / "a.json").read_text())["overall"]["probs"]
    expected = load_model(NAME, "onnx").predict(SAMPLE).overall.probs
    np.testing.assert_allclose(list(found.values()), expected, atol=CLOSE)
