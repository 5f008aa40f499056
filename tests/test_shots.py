"""Cuts are found, and what only looks like one is not, on pictures that scikit-image ships."""

import numpy as np
import pytest

from avser.faces.shots import ShotDetector
from avser.types import Frame

cv2 = pytest.importorskip("cv2")
data = pytest.importorskip("skimage.data")

ASTRONAUT = cv2.resize(data.astronaut(), (640, 640))[:360]
COFFEE = cv2.resize(data.coffee(), (1280, 720))
BLACK, WHITE = np.zeros_like(ASTRONAUT), np.full_like(ASTRONAUT, 255)


def cuts(pictures, fps: float = 10.0) -> list[float]:
    detector = ShotDetector()
    begins = [detector.update(Frame(n / fps, picture)) for n, picture in enumerate(pictures)]
    assert not begins[0]
    return detector.cuts


def view(x: int, y: int = 100) -> np.ndarray:
    return COFFEE[y : y + 360, x : x + 640]


def grey(picture: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def brighter(picture: np.ndarray, by: float) -> np.ndarray:
    return (picture.astype(float) + by).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("made", [lambda x: x, grey, lambda x: np.ascontiguousarray(x.transpose(1, 0, 2))])
def test_a_hard_cut_is_found_in_colour_without_and_upright(made):
    a, b = made(ASTRONAUT), made(view(0))
    assert cuts([a] * 5 + [b] * 5 + [a] * 5) == [0.5, 1.0]


def test_black_between_shots_is_a_shot():
    assert cuts([ASTRONAUT] * 3 + [BLACK] * 8 + [ASTRONAUT] * 3) == [0.3, 1.1]


def test_a_camera_that_moves_does_not_cut():
    assert cuts([view(40 * n) for n in range(16)]) == []
    assert cuts([view(300 + 60 * (n % 2), 100 + 30 * (n % 2)) for n in range(12)]) == []
    sizes = [1.0 + 0.08 * n for n in range(10)]
    assert cuts([cv2.resize(COFFEE, None, fx=s, fy=s)[:360, :640] for s in sizes]) == []


def test_light_that_changes_does_not_cut():
    assert cuts([ASTRONAUT] * 3 + [brighter(ASTRONAUT, 60)] * 5 + [brighter(ASTRONAUT, -50)] * 5) == []


@pytest.mark.parametrize("frames", [1, 2])
def test_a_flash_is_taken_back(frames):
    detector = ShotDetector()
    pictures = [ASTRONAUT] * 4 + [WHITE] * frames + [ASTRONAUT] * 4
    said = [(detector.update(Frame(n / 10, p)), detector.is_flash) for n, p in enumerate(pictures)]
    assert detector.cuts == []
    assert [n for n, (begins, _) in enumerate(said) if begins] == [4]
    assert [n for n, (_, is_flash) in enumerate(said) if is_flash] == [4 + frames]


def test_a_cut_over_blended_frames_counts_once():
    blend = (ASTRONAUT.astype(int) + view(0)).astype(float) / 2
    assert cuts([ASTRONAUT] * 4 + [blend.astype(np.uint8)] + [view(0)] * 5) in ([0.4], [0.5])


def test_blank_pictures_of_one_colour_are_one_shot():
    assert cuts([BLACK] * 4) == []
    assert cuts([WHITE] * 4) == []
