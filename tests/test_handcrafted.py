"""Hand-crafted features: sizes, closed forms, agreement with librosa, and sound that is short, soft or silent."""

from __future__ import annotations

import importlib.util
import warnings

import numpy as np
import pytest

if importlib.util.find_spec("librosa") is None:
    pytest.skip("hand-crafted features need the extra train", allow_module_level=True)

import librosa

from avser import handcrafted, inputs
from avser.config import AudioInput
from avser.handcrafted import CEPSTRA, FEATURE_SETS, FUNCTIONALS
from avser.types import ConfigError

RATE = 16_000
SIZES = {"means162": 162, "mfcc_mel_tonnetz_contrast": 181, "mfcc_functionals": 234, "gtcc_functionals": 234}

every_set = pytest.mark.parametrize("name", FEATURE_SETS)


def extract(samples: np.ndarray, name: str, rate: int = RATE) -> np.ndarray:
    return handcrafted.extract(samples, AudioInput(kind="features", features=name, rate=rate))


def tone(hz: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def noise(seconds: float = 1.0, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(0).standard_normal(int(seconds * RATE))).astype(np.float32)


# Every set


@every_set
@pytest.mark.parametrize(
    "samples",
    [noise(), noise(0.25), noise(0.01), noise(0.5, 1e-5), np.zeros(4000, np.float32), np.zeros(0, np.float32)],
    ids=["plain", "short", "10 ms", "soft", "silent", "empty"],
)
def test_sizes_of_any_sound_without_a_warning(name, samples):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # librosa's own
        features = extract(samples, name)
    assert features.shape == (SIZES[name],)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()


@every_set
@pytest.mark.parametrize("rate", [8_000, 22_050])
def test_other_rates(name, rate):
    assert np.isfinite(extract(noise(), name, rate)).all()


@every_set
def test_the_same_sound_gives_the_same_features_and_another_one_others(name):
    assert np.array_equal(extract(noise(), name), extract(noise(), name))
    assert not np.allclose(extract(noise(), name), extract(tone(300), name))


def test_unknown_set():
    with pytest.raises(ConfigError, match=r"unknown audio.features 'means163': choose from means162, mfcc_mel"):
        extract(noise(), "means163")


def test_inputs_are_features_of_the_prepared_sound():
    params = AudioInput(kind="features", features="means162", trim_db=None, level_db=None)
    given = inputs.prepare(noise(), params)
    assert np.array_equal(given, extract(noise(), "means162"))
    assert inputs.prepare(np.zeros(RATE, np.float32), params) is None


# The means


@pytest.mark.parametrize(("hz", "pitch"), [(440.0, 9), (261.63, 0), (739.99, 6)])
def test_means_of_a_tone(hz, pitch):
    means = extract(tone(hz, seconds=4), "means162")  # long, for frames at the ends are half empty
    zcr, chroma, mel = means[0], means[1:13], means[34:]
    assert zcr == pytest.approx(2 * hz / RATE, rel=0.03)
    assert chroma.argmax() == pitch  # counted from C
    bands = librosa.mel_frequencies(130, fmax=RATE / 2)[1:-1]
    assert bands[mel.argmax()] == pytest.approx(hz, abs=45)


def test_means_of_a_square_wave():
    """100 Hz has 200 changes of sign a second, and an RMS as high as its amplitude."""
    wave = np.where(np.arange(4 * RATE) % 160 < 80, 0.25, -0.25).astype(np.float32)
    means = extract(wave, "means162")
    assert means[0] == pytest.approx(200 / RATE, rel=0.05)
    assert means[33] == pytest.approx(0.25, rel=0.05)


def test_means_are_those_of_librosa():
    sound = noise() + tone(500)
    feature = librosa.feature
    parts = [
        feature.zero_crossing_rate(y=sound),
        feature.chroma_stft(S=np.abs(librosa.stft(sound)), sr=RATE),
        feature.mfcc(y=sound, sr=RATE, n_mfcc=20),
        feature.rms(y=sound),
        feature.melspectrogram(y=sound, sr=RATE, n_mels=128),
    ]
    assert [len(part) for part in parts] == [1, 12, 20, 1, 128]
    expected = np.concatenate([part.mean(1) for part in parts])
    np.testing.assert_allclose(extract(sound, "means162"), expected, rtol=1e-5)


def test_mfcc_mel_tonnetz_contrast_are_those_of_librosa():
    sound = noise() + tone(500)
    feature = librosa.feature
    chroma = feature.chroma_stft(S=np.abs(librosa.stft(sound)), sr=RATE)
    parts = [
        feature.mfcc(y=sound, sr=RATE, n_mfcc=40),
        feature.melspectrogram(y=sound, sr=RATE),
        feature.tonnetz(chroma=chroma, sr=RATE),
        feature.spectral_contrast(y=sound, sr=RATE),
    ]
    assert [len(part) for part in parts] == [40, 128, 6, 7]
    expected = np.concatenate([part.mean(1) for part in parts])
    np.testing.assert_allclose(extract(sound, "mfcc_mel_tonnetz_contrast"), expected, rtol=1e-5, atol=1e-6)


# Functionals of cepstra


def test_mfcc_are_those_of_librosa():
    sound = noise()
    expected = librosa.feature.mfcc(
        y=sound, sr=RATE, n_mfcc=CEPSTRA, n_fft=400, win_length=400, hop_length=160, n_mels=40
    )
    features = extract(sound, "mfcc_functionals").reshape(len(FUNCTIONALS), 3, CEPSTRA)
    np.testing.assert_allclose(features[0, 0], expected.mean(1), rtol=1e-4)
    np.testing.assert_allclose(features[1, 0], expected.std(1), rtol=1e-4)
    np.testing.assert_allclose(features[4:, 0], [expected.min(1), expected.max(1)], rtol=1e-4)


def test_functionals_of_a_ramp_and_of_a_constant():
    """A ramp is symmetric, has a kurtosis of -6/5 and a derivative that is its slope."""
    steps = 201
    found = handcrafted.functionals(np.stack([np.arange(steps) / 2.0, np.full(steps, 7.0)]))
    mean, deviation, skewness, kurtosis, least, most = found.reshape(len(FUNCTIONALS), 3, 2)
    assert mean[0].tolist() == [50.0, 7.0]
    assert deviation[0] == pytest.approx([np.sqrt((steps**2 - 1) / 12) / 2, 0.0])
    assert skewness[0] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert kurtosis[0] == pytest.approx([-1.2, 0.0], abs=1e-3)
    assert (least[0].tolist(), most[0].tolist()) == ([0.0, 7.0], [100.0, 7.0])
    assert mean[1, 0] == pytest.approx(0.5, rel=0.01)
    assert most[1, 0] == pytest.approx(0.5)
    assert (found.reshape(len(FUNCTIONALS), 3, 2)[:, 1:, 1] == 0).all()


def test_a_louder_sound_differs_only_in_the_first_coefficient():
    soft, loud = (extract(noise(level=level), "gtcc_functionals") for level in (0.01, 0.1))
    rows = (loud - soft).reshape(len(FUNCTIONALS), 3, CEPSTRA)
    assert rows[0, 0, 0] == pytest.approx(20 * np.sqrt(40), rel=1e-3)  # 20 dB in each of 40 bands
    rows[[0, 4, 5], 0, 0] = 0
    np.testing.assert_allclose(rows, 0, atol=0.01)


# The gammatone filter bank


def test_bandwidth_at_1_khz():
    assert handcrafted.erb(1000.0) == pytest.approx(132.639)  # Glasberg and Moore 1990
    assert handcrafted.erb(0.0) == pytest.approx(24.7)


def test_centres_are_even_on_the_erb_scale():
    centres = handcrafted.erb_centres(40, 50, 7000)
    assert (centres[0], centres[-1]) == (pytest.approx(50), pytest.approx(7000))
    rate = 21.4 * np.log10(4.37 * centres / 1000 + 1)  # number of bandwidths below, by the same authors
    np.testing.assert_allclose(np.diff(rate), np.diff(rate)[0], rtol=1e-9)


def test_gammatone_filters():
    """One at the centre, and as wide as the ear's: a rectangle of the same area has the width ERB."""
    step = 0.5
    matrix = handcrafted.gammatone_matrix(RATE, int(RATE / step), 20)
    bins = np.fft.rfftfreq(int(RATE / step), 1 / RATE)
    centres = bins[matrix.argmax(0)]
    np.testing.assert_allclose(matrix.max(0), 1, atol=1e-3)
    np.testing.assert_allclose(centres, handcrafted.erb_centres(20, 50, 8000 - handcrafted.erb(8000)), atol=step)
    inner = slice(4, 16)  # whose tails lie between 0 and 8 kHz
    np.testing.assert_allclose((matrix.sum(0) * step)[inner], handcrafted.erb(centres)[inner], rtol=0.01)


def test_a_tone_is_loudest_in_its_gammatone_filter():
    power = np.abs(librosa.stft(tone(1000), n_fft=400, hop_length=160)) ** 2
    bands = (handcrafted.gammatone_matrix(RATE, 400).T @ power).mean(1)
    centres = handcrafted.erb_centres(40, 50, 8000 - handcrafted.erb(8000))
    assert bands.argmax() == np.abs(centres - 1000).argmin()
