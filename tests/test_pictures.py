"""Spectrograms as pictures: where time and pitch lie, what is black, which colours."""

from __future__ import annotations

import numpy as np
import pytest

from avser.config import AudioInput
from avser.pictures import RANGE_DB, VIRIDIS, spectrogram_picture

RATE = 16_000
CNN2D = AudioInput(
    kind="picture", picture=150, bands="linear", n_fft=1024, hop=256, offset=1e-10, trim_db=None, level_db=None
)
FSER = AudioInput(
    kind="picture", picture=64, colours="viridis", n_fft=512, hop=512, n_mels=128, fmin=0.0, offset=1e-10
)


def tone(hertz: float, seconds: float = 2.0, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(RATE * seconds)) / RATE)).astype(np.float32)


@pytest.mark.parametrize("params", [CNN2D, FSER], ids=["grey", "viridis"])
@pytest.mark.parametrize("seconds", [0.3, 2.0, 5.0])
def test_any_sound_gives_a_picture_of_fixed_size(params, seconds):
    picture = spectrogram_picture(tone(500, seconds), params)
    assert picture.shape == (params.picture, params.picture, 3)
    assert picture.dtype == np.uint8


@pytest.mark.parametrize("hertz", [1000, 4000, 7000])
def test_low_is_at_the_bottom_and_linear(hertz):
    grey = spectrogram_picture(tone(hertz), CNN2D)[..., 0]
    assert abs(grey.mean(1).argmax() - (1 - hertz / 8000) * 149) <= 1


def test_mel_rises_to_the_top():
    rows = [
        spectrogram_picture(tone(f), FSER.model_copy(update={"colours": "grey"}))[..., 0].mean(1).argmax()
        for f in (200, 1000, 4000)
    ]
    assert rows[0] > rows[1] > rows[2]


def noise(seconds: float = 1.0, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(0).standard_normal(int(RATE * seconds))).astype(np.float32)


def test_time_runs_to_the_right():
    grey = spectrogram_picture(np.concatenate([noise(), 0 * noise()]), CNN2D)[..., 0]
    assert grey[:, :70].mean(0).min() > 180
    assert grey[:, 80:].max() == 0


def test_grey_levels_are_decibels():
    grey = spectrogram_picture(np.concatenate([noise(), noise(level=1e-3)]), CNN2D)[..., 0].astype(float)
    assert grey.max() > 230
    assert abs(grey[:, 5:70].mean() - grey[:, 80:145].mean() - 255 * 40 / RANGE_DB) < 2


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_level_of_the_sound_makes_no_difference(power):
    params = CNN2D.model_copy(update={"power": power, "offset": 1e-12})
    loud, soft = (spectrogram_picture(noise(level=level), params).astype(int) for level in (0.1, 0.01))
    assert np.abs(loud - soft).max() <= 1


def test_grey_is_the_same_in_all_channels_and_viridis_its_colour():
    sound = tone(700)
    grey = spectrogram_picture(sound, FSER.model_copy(update={"colours": "grey"}))
    assert (grey == grey[..., :1]).all()
    np.testing.assert_array_equal(spectrogram_picture(sound, FSER), VIRIDIS[grey[..., 0]])


def test_viridis_is_that_of_matplotlib():
    matplotlib = pytest.importorskip("matplotlib")
    wanted = np.round(matplotlib.colormaps["viridis"](np.arange(256))[:, :3] * 255)
    assert np.abs(VIRIDIS - wanted).max() <= 5
    assert len(np.unique(VIRIDIS, axis=0)) > 250  # hardly two levels look the same
