"""The published networks on hand-crafted features, against the layer lists of the paper, and their configs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avser import models
from avser.config import load_config, parse_config
from avser.models.papers_features import FEATURE_BACKBONES, Cnn1d162, HalvingPool, Lstm162

CONFIGS = sorted((Path(__file__).parents[1] / "configs" / "papers").glob("*_162_*.yaml"))
TINY = {"cnn1d_162": {"dropout": 0.0}, "lstm_162": {"dropout": 0.0, "hidden": [16, 16, 8, 8]}}

every_backbone = pytest.mark.parametrize("name", FEATURE_BACKBONES)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make(name: str, **options: object) -> torch.nn.Module:
    values = {"name": "test", "branch": "audio", "labels": "basic7", "corpora": [], "protocol": "random"}
    network = {"name": name, "options": options or TINY[name], "dropout": 0.0}
    return models.build_model(parse_config({**values, "network": network}, "test"))


def shapes(backbone: torch.nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    """Kind and shape of what each layer gives for one clip, without the first axis."""
    seen: list[tuple[str, tuple[int, ...]]] = []

    def note(layer, _, given):
        given = given[0] if isinstance(given, tuple) else given
        seen.append((type(layer).__name__, tuple(given.shape[1:])))

    kinds = (torch.nn.Conv1d, torch.nn.LSTM, HalvingPool, torch.nn.Dropout, torch.nn.Linear)
    handles = [m.register_forward_hook(note) for m in backbone.modules() if isinstance(m, kinds)]
    with torch.inference_mode():
        backbone(torch.randn(2, 1, 162, 1))
    for handle in handles:
        handle.remove()
    return seen


def count(layer: torch.nn.Module) -> int:
    """Parameters; of torch's two biases of an LSTM only one, which is what Keras has."""
    return sum(p.numel() for name, p in layer.named_parameters() if "bias_hh" not in name)


def test_layers_of_the_cnn():
    expected = [
        *(("Conv1d", (256, 162)), ("HalvingPool", (256, 81)), ("Conv1d", (256, 81)), ("HalvingPool", (256, 41))),
        *(("Conv1d", (128, 41)), ("HalvingPool", (128, 21)), ("Dropout", (128, 21))),
        *(("Conv1d", (64, 21)), ("HalvingPool", (64, 11)), ("Linear", (32,))),
    ]
    backbone = Cnn1d162().eval()
    assert shapes(backbone) == expected
    assert backbone.dense.in_features == 704


def test_layers_of_the_lstm():
    sizes = (256, 256, 128, 64)
    backbone = Lstm162().eval()
    found = shapes(backbone)
    assert found == [
        *(pair for size in sizes for pair in (("LSTM", (162, size)), ("Dropout", (162, size)))),
        ("Linear", (32,)),
    ]
    assert [count(layer) for layer in backbone.layers] == [264192, 525312, 197120, 49408]
    assert count(backbone.dense) == 331808


def test_the_pool_pads_where_keras_pads():
    """Of 162 values one is missing in front and two behind; of 81 two at either side."""
    rising = torch.arange(162.0)[None, None]
    assert HalvingPool()(rising)[0, 0].tolist() == [min(161.0, 2 * step + 3.0) for step in range(81)]
    rising = torch.arange(81.0)[None, None]
    assert HalvingPool()(rising)[0, 0].tolist() == [min(80.0, 2 * step + 2.0) for step in range(41)]


@every_backbone
def test_features_are_standardised(name):
    backbone = make(name).backbone.eval()
    x = 5 + 3 * torch.randn(4, 1, 162, 1)
    assert torch.equal(backbone.measure(x), x[:, 0, :, 0])
    with torch.inference_mode():
        raw = backbone((x - 5) / 3)
        backbone.centre.fill_(5.0)
        backbone.scale.fill_(3.0)
        torch.testing.assert_close(backbone(x, torch.ones(4)), raw)
    assert {"centre", "scale"} <= set(backbone.state_dict())


@every_backbone
def test_a_small_batch_is_learned(name):
    network = make(name).train()
    x, targets = torch.randn(8, 1, 162, 1), torch.arange(8) % 4
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(150):
        loss = torch.nn.functional.cross_entropy(network(x), targets)
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
        optimizer.step()
        if loss < 0.1:
            break
    assert loss < 0.1


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs(path):
    config = load_config(path)
    network = models.build_model(config)
    classes = {"savee": 7, "ravdess": 8}[path.stem.split("_")[-1]]
    assert network.head[1].out_features == classes
    assert config.training.epochs == {"cnn1d_162": 100, "lstm_162": 10}[config.network.name]
    assert config.training.batch_size == 32
