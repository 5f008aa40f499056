"""Going on from a trained branch: its weights are taken, and clips it has met are not measured on."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from corpora import make_corpus, mini_settings

if importlib.util.find_spec("lightning") is None:
    pytest.skip("training needs the extra train", allow_module_level=True)

from avser import checkpoint, training
from avser.config import Config, parse_config
from avser.types import DataError, ModelError


def settings(name: str, widths: list[int], **changes: object) -> Config:
    network = {"name": "resnet_face", "options": {"widths": widths, "blocks": [1, 1]}, "dropout": 0.0}
    values = mini_settings("face", network, name=name, training={"epochs": 1, "batch_size": 8, "lr": 1e-8})
    return parse_config({**values, **changes}, "test")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_corpus(root / "pictures", "face")
    return root


@pytest.fixture(scope="module")
def first(data, tmp_path_factory) -> Path:
    """A model of fold 0."""
    runs = tmp_path_factory.mktemp("runs")
    training.train(settings("first", [4, 8], training={"epochs": 1, "batch_size": 8}), data, runs)
    return runs / "first" / "fold0" / "model.safetensors"


def weight(path: Path, name: str) -> torch.Tensor:
    return checkpoint.load(path).branches["face"].network.state_dict()[name]


def test_the_weights_are_taken(data, first, tmp_path):
    training.train(settings("second", [4, 8], init_from=str(first)), data, tmp_path)
    second = tmp_path / "second" / "fold0" / "model.safetensors"
    for name in ("backbone.body.0.weight", "head.1.weight"):
        torch.testing.assert_close(weight(second, name), weight(first, name), atol=1e-5, rtol=0)


def test_a_classifier_over_other_labels_begins_afresh(data, first, tmp_path):
    training.train(settings("other", [4, 8], init_from=str(first), labels="ferplus8"), data, tmp_path)
    other = tmp_path / "other" / "fold0" / "model.safetensors"
    name = "backbone.body.0.weight"
    torch.testing.assert_close(weight(other, name), weight(first, name), atol=1e-5, rtol=0)
    assert weight(other, "head.1.weight").shape[0] == 8


def test_a_fold_that_the_model_has_trained_on_is_refused(data, first, tmp_path):
    with pytest.raises(DataError, match="not new to it"):
        training.train(settings("leak", [4, 8], init_from=str(first), folds=[1]), data, tmp_path)


def test_another_backbone_is_refused(data, first, tmp_path):
    with pytest.raises(ModelError, match=r"first.*(fit|backbone)"):
        training.train(settings("wide", [8, 8], init_from=str(first)), data, tmp_path)


def test_a_pooling_by_attention_begins_afresh_on_known_weights(data, first, tmp_path):
    network = {"name": "resnet_face", "options": {"widths": [4, 8], "blocks": [1, 1]}, "pool": "attention"}
    training.train(settings("attentive", [4, 8], init_from=str(first), network=network), data, tmp_path)
    path = tmp_path / "attentive" / "fold0" / "model.safetensors"
    for name in ("backbone.body.0.weight", "head.1.weight"):
        torch.testing.assert_close(weight(path, name), weight(first, name), atol=1e-5, rtol=0)
    assert weight(path, "attend.weight").shape == (1, 8)
    # and from there on, it is part of the weights that are taken
    again = settings("again", [4, 8], init_from=str(path), network=network)
    training.train(again, data, tmp_path)
    there = tmp_path / "again" / "fold0" / "model.safetensors"
    torch.testing.assert_close(weight(there, "attend.bias"), weight(path, "attend.bias"), atol=1e-5, rtol=0)
