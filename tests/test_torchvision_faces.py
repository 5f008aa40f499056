"""Networks of torchvision as face backbones: weights of a file that the user has, and no torchvision at all."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from pathlib import Path

import pytest
import torch
from corpora import make_corpus, mini_settings

from avser import checkpoint
from avser.config import Config, parse_config
from avser.models import build_model
from avser.models.torchvision_faces import CENTRE, SCALE, TORCHVISION_BACKBONES, TorchvisionFace
from avser.torchlibs import import_torchvision
from avser.types import MissingExtraError, ModelError

needs_torchvision = pytest.mark.skipif(
    not importlib.util.find_spec("torchvision"), reason="torchvision is not installed"
)
needs_lightning = pytest.mark.skipif(
    not importlib.util.find_spec("lightning"), reason="lightning is not installed"
)


def settings(name: str, **options: object) -> Config:
    network = {"name": name, "options": {"size": 32, **options}, "dropout": 0.0}
    runs = {"epochs": 1, "batch_size": 8, "lr": 1e-9, "weight_decay": 0.0}
    return parse_config(mini_settings("face", network, name="mini", training=runs), "test")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A file as torchvision publishes them, with the classifier of ImageNet."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.manual_seed(5)
    torch.save(import_torchvision().models.resnet18(weights=None).state_dict(), path)
    return path


def alike(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Cosine of the features of each picture, (N,)."""
    return torch.nn.functional.cosine_similarity(one.double(), other.double(), eps=1e-300)


@needs_torchvision
@pytest.mark.parametrize("name", TORCHVISION_BACKBONES)
def test_weights_of_a_file_make_the_network_of_torchvision(name, tmp_path):
    torch.manual_seed(0)
    original = getattr(import_torchvision().models, name)(weights=None)
    original.eval()
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    backbone = TORCHVISION_BACKBONES[name](weights=str(tmp_path / "weights.pth"), size=64).eval()
    faces = torch.rand(2, 3, 64, 64)
    setattr(original, backbone.classifier, torch.nn.Identity())
    centre, scale = (torch.tensor(values).view(3, 1, 1) for values in (CENTRE, SCALE))
    with torch.inference_mode():
        expected = original((faces - centre) / scale)  # tiny: its batch norms have seen nothing
        assert alike(backbone.encode(faces), expected).max() < 0.9
        backbone.load_pretrained()
        assert alike(backbone.encode(faces), expected).min() > 0.999
        smaller = torch.nn.functional.interpolate(faces, size=(48, 48), mode="bilinear", antialias=True)
        assert backbone.encode(smaller).shape == (2, backbone.features)


class Runs:
    """What would run code where a file is unpickled without care."""

    def __reduce__(self):
        return (pytest.fail, ("the file was executed",))


@needs_torchvision
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_wrong_file_is_one_clear_sentence(weights, tmp_path):
    (tmp_path / "text.pth").write_text("no weights\n" * 20)
    (tmp_path / "code.pth").write_bytes(pickle.dumps({"conv1.weight": Runs()}))
    (tmp_path / "zero.pth").write_bytes(b"")
    (tmp_path / "cut.pth").write_bytes(weights.read_bytes()[:10_000])
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    torch.save({"state_dict": {"conv1.weight": torch.zeros(3)}}, tmp_path / "nested.pth")
    torch.save(import_torchvision().models.mobilenet_v3_small(weights=None).state_dict(), tmp_path / "other.pth")
    said = {
        "none": "no such file of weights",
        "text": "is no file of torchvision's weights",
        "code": "is no file of torchvision's weights",
        "zero": "is no file of torchvision's weights",
        "cut": "is no file of torchvision's weights",
        "list": "holds no table of weights",
        "nested": "holds no table of weights",
        "other": "holds other weights than those of torchvision's resnet18",
    }
    for name, sentence in said.items():
        path = tmp_path / f"{name}.pth"
        with pytest.raises(ModelError) as caught:
            TORCHVISION_BACKBONES["resnet18"](weights=str(path)).load_pretrained()
        assert str(caught.value).startswith(f"{path}: {sentence}")
        assert "\n" not in str(caught.value)


@needs_torchvision
@needs_lightning
def test_training_starts_from_the_file_and_the_model_needs_it_no_more(weights, tmp_path):
    from avser.training import runs

    make_corpus(tmp_path / "pictures", "face", clips=2)
    own = tmp_path / "mine.pth"
    own.write_bytes(weights.read_bytes())
    runs.train(settings("resnet18", weights=str(own)), tmp_path, tmp_path / "runs")
    own.unlink()
    trained = checkpoint.load(tmp_path / "runs" / "mini" / "fold0" / "model.safetensors").branches["face"].network
    first = torch.load(weights, weights_only=True)["conv1.weight"]
    torch.testing.assert_close(trained.backbone.body.conv1.weight, first, atol=1e-6, rtol=0)


@needs_lightning
@needs_torchvision
def test_a_wrong_file_is_found_before_the_corpus_is_read(tmp_path):
    from avser.training import runs

    with pytest.raises(ModelError, match="no such file of weights"):
        runs.train(settings("resnet18", weights="nowhere.pth"), tmp_path / "no corpus", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", TORCHVISION_BACKBONES)
def test_without_torchvision_it_is_one_clear_sentence(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match="needs torchvision, which is not installed"):
        build_model(settings(name))


def test_names_are_those_of_torchvision():
    assert list(TORCHVISION_BACKBONES) == ["resnet18", "mobilenet_v3_small", "efficientnet_b0"]
    assert all(issubclass(backbone, TorchvisionFace) for backbone in TORCHVISION_BACKBONES.values())
