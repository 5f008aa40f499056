"""Colours that everybody can tell apart, and that can be read."""

from __future__ import annotations

import re

import numpy as np
import pytest
from rich.style import Style

from avser.labels import EMOTIONS, LABEL_SETS
from avser.palette import EMOTION_COLOURS, colour, ink, luminance

SIGHT = {
    "full colour": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
"""Linear RGB as it is seen, by "A Physiologically-based Model for Simulation of Color Vision Deficiency"."""

TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(hexes: list[str]) -> np.ndarray:
    """Linear RGB, (N, 3)."""
    rgb = np.array([[int(name[i : i + 2], 16) for i in (1, 3, 5)] for name in hexes]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of linear RGB, (N, 3)."""
    x, y, z = (rgb @ TO_XYZ.T / np.array([0.95047, 1.0, 1.08883])).T
    fx, fy, fz = (np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116) for t in (x, y, z))
    return np.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], 1)


def closest(hexes: list[str], sight: str) -> float:
    """The smallest distance (CIE 1976) of any two colours as they are seen."""
    seen = lab(np.clip(linear(hexes) @ SIGHT[sight].T, 0, 1))
    distances = np.linalg.norm(seen[:, None] - seen[None], axis=2)
    return distances[np.triu_indices(len(seen), 1)].min()


def test_white_and_black_are_a_hundred_apart():
    assert closest(["#ffffff", "#000000"], "full colour") == pytest.approx(100, abs=0.01)


def test_red_and_green_are_alike_to_the_simulation():
    for sight in ("protanopia", "deuteranopia"):
        assert closest(["#c00000", "#606000"], sight) < closest(["#c00000", "#606000"], "full colour") / 3


@pytest.mark.parametrize("sight", SIGHT)
def test_any_two_emotions_can_be_told_apart(sight):
    assert closest([c.hex for c in EMOTION_COLOURS.values()], sight) > 20


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("name", LABEL_SETS)
def test_emotions_of_one_label_set_are_further_apart(name, sight):
    assert closest([colour(label).hex for label in LABEL_SETS[name]], sight) > 22


def test_every_emotion_has_a_colour():
    assert set(EMOTIONS) == set(EMOTION_COLOURS)
    names = [c.terminal for c in EMOTION_COLOURS.values()]
    assert len(set(names)) == len(names)
    for shade in EMOTION_COLOURS.values():
        assert re.fullmatch("#[0-9a-f]{6}", shade.hex)
        assert Style.parse(shade.terminal).color


@pytest.mark.parametrize("emotion", [*EMOTIONS, "bewildered"])
def test_text_on_a_colour_can_be_read(emotion):
    back, text = (luminance(name) + 0.05 for name in (colour(emotion).hex, ink(colour(emotion).hex)))
    assert max(back, text) / min(back, text) >= 4.5
