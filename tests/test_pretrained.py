"""Starting and learning from trained branches; clips that they have met are not measured on."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from corpora import make_corpus, mini_settings

if importlib.util.find_spec("lightning") is None:
    pytest.skip("training needs the extra train", allow_module_level=True)

from avser import checkpoint
from avser.config import Config, parse_config
from avser.metrics import softmax
from avser.training import runs as training
from avser.training.data import load_examples, run_network, scan
from avser.training.pretrained import taught
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


def taught_by(teachers: list[Path], share: float, **changes: object) -> Config:
    values = {"epochs": 1, "batch_size": 8, "teachers": [str(path) for path in teachers], "teacher_share": share}
    return settings("pupil", [4, 8], training=values, **changes)


def test_targets_are_in_part_what_the_teachers_say(data, first, tmp_path):
    training.train(settings("second", [4, 8], seed=5), data, tmp_path)
    second = tmp_path / "second" / "fold0" / "model.safetensors"
    config = taught_by([first, second], 0.25)
    examples, _ = load_examples(config, scan(config, data))
    protocol = checkpoint.load(first).branches["face"].meta["protocol"]
    soft = []
    for path in (first, second):
        teacher = checkpoint.load(path).branches["face"]
        soft.append(np.log(softmax(run_network(teacher.network, teacher.config, examples))))
    mean = np.exp(np.mean(soft, axis=0))
    expected = 0.75 * np.stack([x.target for x in examples]) + 0.25 * mean / mean.sum(1, keepdims=True)
    found = np.stack([x.target for x in taught(config, protocol, examples)])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_a_pupil_is_trained(data, first, tmp_path):
    training.train(taught_by([first], 0.5), data, tmp_path)
    assert (tmp_path / "pupil" / "fold0" / "model.safetensors").exists()


def test_a_teacher_of_another_fold_or_of_other_emotions_is_refused(data, first, tmp_path):
    with pytest.raises(DataError, match="not new to it"):
        training.train(taught_by([first], 0.5, folds=[1]), data, tmp_path)
    with pytest.raises(ModelError, match="other emotions than ferplus8"):
        training.train(taught_by([first], 0.5, labels="ferplus8"), data, tmp_path / "other")
