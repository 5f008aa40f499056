"""Model files: what goes in comes out, and a wrong file is one clear sentence that names it."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch

from avser import checkpoint
from avser.checkpoint import Branch, find_model, known_models, load, read_header, save_branch, save_fused
from avser.config import Config, parse_config
from avser.labels import LABEL_SETS
from avser.models import build_model
from avser.models.fusion import Calibration, Weighted
from avser.types import ModelError

NETWORKS = {
    "audio": {"name": "resnet_attention", "options": {"widths": [4, 4, 4, 4], "features": 8}},
    "face": {"name": "resnet_face", "options": {"widths": [4, 4], "blocks": [1, 1]}},
}
INPUTS = {
    "audio": (torch.randn(2, 1, 64, 50), torch.tensor([50, 30])),
    "face": (torch.rand(2, 3, 3, 48, 48), torch.tensor([[True, True, True], [True, False, False]])),
}
LABELS = {"audio": "ravdess8", "face": "basic7"}


def make_config(branch: str) -> Config:
    values = {"name": branch, "branch": branch, "labels": LABELS[branch], "corpora": [], "protocol": "random"}
    return parse_config({**values, "network": NETWORKS[branch], "seed": 7}, "test")


def make_branch(branch: str) -> Branch:
    config = make_config(branch)
    meta = {"kind": branch, "config": config.model_dump(mode="json"), "labels": list(LABEL_SETS[LABELS[branch]])}
    network = build_model(config).eval()
    return Branch(lambda: network, config, meta)


def save_audio(path: Path, **meta) -> Path:
    branch = make_branch("audio")
    save_branch(path, branch.network, branch.config, {"labels": branch.meta["labels"], **meta})
    return path


@pytest.fixture
def model(tmp_path) -> Path:
    """A good audio model."""
    return save_audio(tmp_path / "good.safetensors", name="good", metrics={"uar": 0.5})


def rewrite_header(path: Path, change) -> None:
    """Write a model again with another description; `change` takes the header and gives its new text."""
    text = change(read_header(path))
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, metadata={"avser": text})


def assert_refused(path: Path, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


# Round trips


@pytest.mark.parametrize("branch", NETWORKS)
def test_a_branch_comes_back_as_it_was(branch, tmp_path):
    made = make_branch(branch)
    meta = {"labels": made.meta["labels"], "licence": "CC BY-NC-SA 4.0", "metrics": {"test": {"uar": 0.61}}}
    path = tmp_path / "new" / "folder" / "m.safetensors"
    save_branch(path, made.network, made.config, {**meta, "temperature": 1.3})
    found = load(path)
    assert (found.kind, found.path, found.fusion, list(found.branches)) == (branch, path, None, [branch])
    assert found.meta["format"] == checkpoint.FORMAT
    assert {key: found.meta[key] for key in meta} == meta
    again = found.branches[branch]
    assert again.config == made.config
    assert again.labels == LABEL_SETS[LABELS[branch]]
    assert again.meta["temperature"] == 1.3
    with torch.inference_mode():
        torch.testing.assert_close(again.network(*INPUTS[branch]), made.network(*INPUTS[branch]), rtol=0, atol=0)


def test_a_fused_model_comes_back_as_it_was(tmp_path):
    branches = {name: make_branch(name) for name in NETWORKS}
    calibrations = {name: Calibration(branch.labels, 1.5) for name, branch in branches.items()}
    rule = Weighted(LABEL_SETS["basic7"], calibrations, {"audio": 0.4, "face": 0.6}, 1.2)
    path = tmp_path / "fused.safetensors"
    save_fused(path, branches, rule, {"name": "av", "version": "2"})
    found = load(path)
    assert (found.kind, found.meta["name"], found.meta["version"]) == ("fused", "av", "2")
    assert found.meta["labels"] == list(LABEL_SETS["basic7"])
    assert found.fusion.settings() == rule.settings()
    assert list(found.branches) == list(branches)
    for name, branch in found.branches.items():
        assert branch.config == branches[name].config
        with torch.inference_mode():
            outcomes = [b.network(*INPUTS[name]) for b in (branch, branches[name])]
        torch.testing.assert_close(*outcomes, rtol=0, atol=0)


def test_weights_in_another_memory_format_are_saved_too(tmp_path):
    made = make_branch("face")
    network = made.network.to(memory_format=torch.channels_last)
    save_branch(tmp_path / "m.safetensors", network, made.config, {"labels": made.meta["labels"]})
    with torch.inference_mode():
        again = load(tmp_path / "m.safetensors").branches["face"].network(*INPUTS["face"])
        torch.testing.assert_close(again, network(*INPUTS["face"]), rtol=1e-4, atol=1e-5)


def test_saving_over_a_model_replaces_it(model):
    save_audio(model, name="newer")
    assert load(model).meta["name"] == "newer"
    assert list(model.parent.iterdir()) == [model]


def test_another_header_leaves_the_weights_as_they_are(model):
    before, header = safetensors.torch.load_file(model), read_header(model)
    checkpoint.save_header(model, {**header, "version": "9.9"})
    assert read_header(model) == {**header, "version": "9.9"}
    after = safetensors.torch.load_file(model)
    assert {k: (v.dtype, v.tolist()) for k, v in before.items()} == {
        k: (v.dtype, v.tolist()) for k, v in after.items()
    }


def test_the_header_alone_can_be_read(model):
    assert read_header(model)["metrics"] == {"uar": 0.5}


# Wrong files


def foreign(path: Path) -> None:
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path, metadata={"made_by": "another program"})


WRONG_FILES = {
    "text": (
        lambda path: path.write_text("not a model, only text\n" * 50),
        "is not a model file, or is cut short",
    ),
    "zero bytes": (lambda path: path.write_bytes(b""), "is not a model file, or is cut short"),
    "few bytes": (lambda path: path.write_bytes(b"\x00\x01"), "is not a model file, or is cut short"),
    "header without end": (lambda path: path.write_bytes(struct.pack("<Q", 2**60)), "is not a model file"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-500]), "is not a model file, or is cut short"),
    "truncated header": (lambda path: path.write_bytes(path.read_bytes()[:300]), "is not a model file, or is cut"),
    "pickle": (lambda path: torch.save({"weight": torch.zeros(3)}, path), "is not a model file, or is cut short"),
    "foreign": (foreign, "holds weights, but not of avser"),
    "no metadata": (lambda path: safetensors.torch.save_file({"w": torch.zeros(1)}, path), "but not of avser"),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_wrong_file_is_refused(model, name):
    spoil, message = WRONG_FILES[name]
    spoil(model)
    assert_refused(model, message)


HEADERS = {
    "cut json": (lambda h: json.dumps(h)[:-20], "its description is damaged"),
    "no mapping": (lambda h: "[1, 2]", "its description is damaged"),
    "no format": (
        lambda h: json.dumps({k: v for k, v in h.items() if k != "format"}),
        "its description is damaged",
    ),
    "format is a word": (lambda h: json.dumps({**h, "format": "first"}), "its description is damaged"),
    "newer format": (
        lambda h: json.dumps({**h, "format": 99}),
        r"written by a newer avser \(format 99\); update avser",
    ),
    "newer kind": (lambda h: json.dumps({**h, "kind": "text"}), "unknown kind of model 'text'; update avser"),
    "no config": (lambda h: json.dumps({k: v for k, v in h.items() if k != "config"}), "do not fit"),
    "config is a word": (lambda h: json.dumps({**h, "config": "small"}), "do not fit"),
    "unknown key": (lambda h: json.dumps({**h, "config": {**h["config"], "colour": 1}}), "do not fit .*'colour'"),
    "unknown backbone": (
        lambda h: json.dumps({**h, "config": {**h["config"], "network": {"name": "vgg"}}}),
        "do not fit .*unknown audio backbone 'vgg'",
    ),
    "no labels": (lambda h: json.dumps({k: v for k, v in h.items() if k != "labels"}), "do not fit .*labels"),
    "other labels": (lambda h: json.dumps({**h, "labels": ["happy"]}), "do not fit .*labels"),
    "larger network": (
        lambda h: json.dumps({**h, "config": {**h["config"], "network": {"name": "resnet_attention"}}}),
        "weights and description do not fit .*size mismatch",
    ),
    "other network": (
        lambda h: json.dumps(
            {**h, "config": {**h["config"], "network": {**NETWORKS["audio"], "name": "cnn_lstm"}}}
        ),
        "weights and description do not fit",
    ),
    "other branch": (lambda h: json.dumps({**h, "kind": "fused"}), "do not fit"),
    "branches are a list": (lambda h: json.dumps({**h, "kind": "fused", "branches": [1]}), "do not fit"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_damaged_description_is_refused(model, name):
    change, message = HEADERS[name]
    rewrite_header(model, change)
    assert_refused(model, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "none"}, "unknown fusion rule 'none'"),
        ({"shares": {"audio": 1}}, "do not fit"),
        ({"x": 1}, "do not fit"),
    ],
)
def test_a_fusion_that_cannot_be_built_names_the_file(tmp_path, change, message):
    branches = {name: make_branch(name) for name in NETWORKS}
    rule = Weighted(LABEL_SETS["basic7"], {name: Calibration(b.labels) for name, b in branches.items()})
    path = tmp_path / "fused.safetensors"
    save_fused(path, branches, rule, {})
    rewrite_header(path, lambda h: json.dumps({**h, "fusion": {**h["fusion"], **change}}))
    assert_refused(path, message)


def test_nothing_is_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path(tmp_path / "sprung").touch, ())

    torch.save(Trap(), tmp_path / "trap.safetensors")
    assert_refused(tmp_path / "trap.safetensors", "is not a model file")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read(model):
    model.chmod(0)
    assert_refused(model, "cannot be opened")


# Names and paths


@pytest.fixture
def shipped(tmp_path, monkeypatch) -> Path:
    """A folder of shipped models with one in it, `av-tiny`."""
    folder = tmp_path / "weights"
    save_audio(folder / "av-tiny.safetensors", name="av-tiny")
    (folder / "av-tiny.md").write_text("its card")
    monkeypatch.setattr(checkpoint, "weight_folders", lambda: [folder])
    return folder


def test_a_model_is_found_by_name_or_path(shipped, model, monkeypatch):
    assert known_models() == {"av-tiny": shipped / "av-tiny.safetensors"}
    assert find_model("av-tiny") == shipped / "av-tiny.safetensors"
    assert find_model(model) == find_model(str(model)) == model
    monkeypatch.chdir(model.parent)
    assert find_model("good.safetensors") == Path("good.safetensors")
    assert load("av-tiny").meta["name"] == "av-tiny"


def test_the_first_folder_counts(shipped, tmp_path, monkeypatch):
    later = save_audio(tmp_path / "later" / "av-tiny.safetensors")
    monkeypatch.setattr(checkpoint, "weight_folders", lambda: [shipped, later.parent])
    assert find_model("av-tiny").parent == shipped


@pytest.mark.parametrize("name", ["av-huge", "no/such/file.safetensors", ".", ""])
def test_an_unknown_model_lists_the_choices(shipped, name):
    with pytest.raises(ModelError, match="no such model file, and no model of this name; shipped models: av-tiny"):
        load(name)


def test_without_any_shipped_model(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "weight_folders", lambda: [])
    with pytest.raises(ModelError, match="shipped models: none installed"):
        find_model("av-base")


def test_shipped_models_load():
    for name, path in known_models().items():
        assert load(name).path == path


# Interrupted writing


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_save_leaves_what_was_there(model, monkeypatch, error):
    before = model.read_bytes()

    def half(tensors, path, metadata):
        Path(path).write_bytes(before[: len(before) // 2])
        raise error

    monkeypatch.setattr(safetensors.torch, "save_file", half)
    for path in (model, model.with_name("new.safetensors")):
        with pytest.raises(type(error)):
            save_audio(path, name="newer")
    assert model.read_bytes() == before
    assert list(model.parent.iterdir()) == [model]  # neither the new name nor a temporary file
