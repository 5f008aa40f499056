"""Heat of a network: by hand, where it can be told, and for every kind of network with maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from avser import gradcam
from avser.models.audio import ResNetAttention
from avser.models.face import CkDcnn, ResNetFace


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


class OneLayer(nn.Module):
    """Maps by one convolution, their means, and a classifier: where Grad-CAM is the class activation map."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


def test_before_a_mean_it_is_the_class_activation_map():
    network, x = OneLayer(), torch.randn(2, 1, 8, 8)
    heat = gradcam.grad_cam(network.body, lambda: network(x), [2])
    with torch.no_grad():
        expected = (network.body(x) * network.head.weight[2].view(1, 4, 1, 1)).sum(1).relu()
    expected = expected / expected.amax((1, 2), keepdim=True)
    torch.testing.assert_close(heat, expected)


def test_several_classes_count_as_one():
    network, x = OneLayer(), torch.randn(1, 1, 8, 8)
    network.head.weight.data[1] = network.head.weight.data[0]
    network.head.bias.data[:2] = 0.0
    one = gradcam.grad_cam(network.body, lambda: network(x), [0])
    torch.testing.assert_close(gradcam.grad_cam(network.body, lambda: network(x), [0, 1]), one)


def test_it_finds_the_patch_that_makes_the_class():
    """A network that has learned to tell where a bright patch is."""
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(512, 2)
    )
    places = [(slice(2, 6), slice(2, 6)), (slice(10, 14), slice(9, 13))]
    x, targets = 0.3 * torch.rand(16, 1, 16, 16), torch.arange(16) % 2
    for picture, target in zip(x, targets.tolist(), strict=True):
        picture[(0, *places[target])] += 0.7
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), targets).backward()
        optimizer.step()
    for target, place in enumerate(places):
        heat = gradcam.grad_cam(network, lambda t=target: network(x[t : t + 1]), [target])
        heat = gradcam.resized(heat[0], (16, 16))
        inside = np.zeros((16, 16), bool)
        inside[place] = True
        assert heat[inside].mean() > 3 * heat[~inside].mean()


@pytest.mark.parametrize(
    ("network", "x", "least"),
    [
        (ResNetFace((8, 16, 16, 16), (1, 1, 1, 1)), torch.rand(2, 1, 3, 48, 48), (6, 6)),
        (CkDcnn(), torch.rand(2, 1, 3, 48, 48), (8, 8)),
        (ResNetAttention(64, (4, 8, 8, 8), features=8), torch.rand(2, 1, 64, 80), (8, 20)),
    ],
    ids=["resnet_face", "ck_dcnn", "resnet_attention"],
)
def test_the_layer_is_the_deepest_that_is_fine_enough(network, x, least):
    network = network.eval()
    run = (lambda: network(x, torch.ones(2, 1, dtype=torch.bool))) if x.ndim == 5 else (lambda: network(x))
    before = [parameter.clone() for parameter in network.parameters()]
    heat = gradcam.grad_cam(network, run, [0])
    assert tuple(heat.shape) == (2, *least)
    assert heat.amin() >= 0
    assert heat.amax() <= 1
    assert not any(module._forward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(one, other) for one, other in zip(before, network.parameters(), strict=True))


def test_a_network_without_maps_has_no_heat():
    network, x = nn.Linear(5, 3), torch.randn(2, 5)
    assert gradcam.grad_cam(network, lambda: network(x), [0]) is None


def test_resizing_keeps_its_range():
    heat = gradcam.resized(torch.eye(6), (48, 30))
    assert heat.shape == (48, 30)
    assert heat.min() >= 0
    assert heat.max() <= 1
