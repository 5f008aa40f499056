"""Looks of people on a portrait that scikit-image ships, and on CK+ where the real recordings are."""

import itertools
import os
import re
from pathlib import Path

import numpy as np
import pytest

from avser.faces.appearance import (
    LIMITS,
    MAX_LOOKS,
    MAX_PEOPLE,
    Appearance,
    Gallery,
    Look,
    describe,
    difference,
    distances,
    remember,
)

cv2 = pytest.importorskip("cv2")
astronaut = pytest.importorskip("skimage.data").astronaut

DATA = os.environ.get("AVSER_DATA")
PORTRAIT = astronaut()
BOX = (175.0, 65.0, 275.0, 165.0)
CROP = cv2.resize(PORTRAIT[60:175, 165:285], (48, 48), interpolation=cv2.INTER_AREA)


def look(change=lambda picture: picture, scale: float = 1.0) -> Look:
    picture = cv2.resize(change(PORTRAIT), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    x1, y1, x2, y2 = (round(v * scale) for v in (165, 60, 285, 175))
    crop = cv2.resize(picture[y1:y2, x1:x2], (48, 48), interpolation=cv2.INTER_AREA)
    return describe(picture, [v * scale for v in BOX], crop)


def bluish(picture: np.ndarray) -> np.ndarray:
    return (picture * (0.5, 0.7, 1.0)).astype(np.uint8)


def shifted(picture: np.ndarray) -> np.ndarray:
    """About the same colours, other features."""
    return np.roll(picture, 17, axis=0)


def made_up(seed: int) -> Look:
    rng = np.random.default_rng(seed)
    texture, colours = rng.random(2124) ** 8, rng.random((3, 1152)) ** 8
    texture /= np.linalg.norm(texture)
    colours /= np.linalg.norm(colours, axis=1, keepdims=True)
    return Look(texture.astype(np.float16), colours.astype(np.float16))


def seen(number: int, start: float, end: float) -> Appearance:
    return Appearance([made_up(number)], [(start, end)])


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.5])
def test_size_does_not_change_a_look(scale):
    assert difference([look()], [look(scale=scale)]) <= 1


def test_colours_and_features_each_tell_people_apart():
    for change, place in ((bluish, 1), (shifted, 0)):
        assert difference([look()], [look(change)]) > 1
        assert distances([look()], [look(change)])[0, 0, place] > LIMITS[place]


def test_a_region_out_of_sight_does_not_count():
    low = describe(PORTRAIT[:180], BOX, CROP)
    assert not low.colours[2].any()
    assert low.colours[0].any()
    assert distances([low], [look()])[0, 0, 3] == 0


def test_the_most_alike_pair_decides():
    assert difference([made_up(1), made_up(2)], [made_up(3), made_up(2)]) == pytest.approx(0, abs=0.02)
    assert difference([made_up(1)], []) == float("inf")


def test_looks_are_remembered_if_new_and_only_so_many():
    looks: list[Look] = []
    for seed in itertools.chain(range(3), range(3)):
        remember(looks, made_up(seed))
    assert len(looks) == 3
    for seed in range(50):
        remember(looks, made_up(seed))
    assert len(looks) == MAX_LOOKS


def test_two_who_are_seen_at_one_time_are_never_one():
    gallery = Gallery()
    gallery.add(0, seen(1, 0.0, 5.0))
    assert gallery.find(seen(1, 6.0, 7.0)) == 0
    assert gallery.find(seen(1, 4.0, 7.0)) is None
    assert gallery.find(seen(2, 6.0, 7.0)) is None


def test_a_copy_goes_its_own_way():
    gallery = Gallery()
    gallery.add(0, seen(1, 0.0, 5.0))
    twin = gallery.copy()
    twin.add(0, seen(1, 6.0, 7.0))
    assert twin.find(seen(1, 6.5, 8.0)) is None
    assert gallery.find(seen(1, 6.5, 8.0)) == 0


def test_of_a_crowd_those_seen_last_are_remembered():
    gallery = Gallery()
    for number in range(MAX_PEOPLE):
        gallery.add(number, seen(number, number, number + 0.5))
    gallery.add(0, seen(0, 500.0, 501.0))  # comes back
    gallery.add(MAX_PEOPLE, seen(MAX_PEOPLE, 502.0, 503.0))
    assert gallery.find(seen(0, 600.0, 601.0)) == 0
    assert gallery.find(seen(1, 600.0, 601.0)) is None


@pytest.mark.skipif(not DATA, reason="AVSER_DATA does not name the folder with the real recordings")
def test_features_of_real_people_in_one_light():
    """The figures in the module: pairs of one person in two expressions, and of two people."""
    files = sorted((Path(DATA) / "face" / "ck48").rglob("*.png"))
    names = [re.match(r"(S\d+)_(\d+)_", file.name).groups() for file in files]
    pictures = [cv2.cvtColor(cv2.imread(str(file), 0), cv2.COLOR_GRAY2RGB) for file in files]
    textures = np.stack([describe(p, (0, 0, 48, 48), p).texture for p in pictures]).astype(np.float32)
    people, takes = (np.array(column) for column in zip(*names, strict=True))
    near = 1 - textures @ textures.T <= LIMITS[0]
    same = people[:, None] == people
    assert near[~same].mean() < 5e-4
    assert near[same & (takes[:, None] != takes)].mean() > 0.5
