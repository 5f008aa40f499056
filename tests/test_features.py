"""Sound to log-mel: the same as librosa and torchaudio give, and the same at any level of recording."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avser import torchlibs
from avser.config import AudioInput
from avser.features import add_deltas, log_mel, log_mel_batch, mel_matrix, prepare
from avser.types import MissingExtraError

RATE = 16_000
DEFAULT = AudioInput()
OTHER = AudioInput(n_fft=1024, hop=160, n_mels=40, fmin=0.0, fmax=7_600.0)
every_setting = pytest.mark.parametrize("params", [DEFAULT, OTHER], ids=["default", "other"])


def tone(seconds: float, level_db: float, hz: float = 440.0) -> np.ndarray:
    """A sine of this RMS level in dB of full scale."""
    samples = np.sqrt(2) * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)
    return (10 ** (level_db / 20) * samples).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def speech_like(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    """Coloured noise that comes and goes."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    samples = np.convolve(rng.normal(size=n), np.ones(8) / 8, "same")
    return (0.1 * samples * (1.1 + np.sin(np.arange(n) / RATE * 20))).astype(np.float32)


def level_db(samples: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


def raw_log_mel(samples: np.ndarray, params: AudioInput) -> np.ndarray:
    """Log-mel before mean and deviation are applied, (M, T)."""
    return log_mel(samples[None], params)[0, 0] * params.std + params.mean


# Agreement with other libraries


@every_setting
def test_mel_filters_agree_with_librosa(params):
    librosa = pytest.importorskip("librosa")
    theirs = librosa.filters.mel(
        sr=params.rate,
        n_fft=params.n_fft,
        n_mels=params.n_mels,
        fmin=params.fmin,
        fmax=params.fmax,
        htk=True,
        norm=None,
    )
    ours = mel_matrix(params.rate, params.n_fft, params.n_mels, params.fmin, params.fmax)
    np.testing.assert_allclose(ours.T, theirs, atol=1e-5)


@every_setting
def test_log_mel_agrees_with_librosa(params):
    librosa = pytest.importorskip("librosa")
    samples = speech_like()
    power = librosa.feature.melspectrogram(
        y=samples, sr=params.rate, n_fft=params.n_fft, hop_length=params.hop, window="hann", center=True,
        pad_mode="constant", power=2.0, n_mels=params.n_mels, fmin=params.fmin, fmax=params.fmax, htk=True,
        norm=None,
    )  # fmt: skip
    np.testing.assert_allclose(raw_log_mel(samples, params), np.log(power + 1e-6), atol=1e-3)


@every_setting
def test_log_mel_agrees_with_torchaudio(params):
    try:
        torchaudio = torchlibs.import_torchaudio()
    except MissingExtraError:
        pytest.skip("torchaudio is not installed")
    samples = speech_like()
    theirs = torchaudio.transforms.MelSpectrogram(
        sample_rate=params.rate, n_fft=params.n_fft, hop_length=params.hop, f_min=params.fmin, f_max=params.fmax,
        n_mels=params.n_mels, power=2.0, center=True, pad_mode="constant", mel_scale="htk", norm=None,
    )  # fmt: skip
    expected = torch.log(theirs(torch.from_numpy(samples)) + 1e-6)
    np.testing.assert_allclose(raw_log_mel(samples, params), expected, atol=1e-3)


# Frames and triangles as TensorFlow has them

TENSORFLOW = AudioInput(window=400, hop=160, centred=False, slopes="mel", fmin=125.0, fmax=7_500.0, power=1.0)


def test_frames_begin_at_their_time():
    """By NumPy: the window of a frame stands at t hop, and is filled up with zeros for the Fourier transform."""
    samples = speech_like()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.lib.stride_tricks.sliding_window_view(samples, 400)[::160] * window
    magnitudes = np.abs(np.fft.rfft(frames, 512))  # (T, F)
    matrix = mel_matrix(RATE, 512, 64, 125.0, 7_500.0, "mel")
    np.testing.assert_allclose(raw_log_mel(samples, TENSORFLOW), np.log(magnitudes @ matrix + 1e-6).T, atol=1e-3)


@given(st.integers(1, 4000))
def test_frames_that_begin_at_their_time_hold_every_sample_once_there_is_silence_behind(size):
    mel, lengths = log_mel_batch(torch.ones(1, size), torch.tensor([size]), TENSORFLOW)
    held = (int(lengths) - 1) * 160 + 400
    assert held - 160 < max(size, 400) <= held
    assert mel.shape[-1] >= lengths
    assert log_mel(torch.ones(1, size), TENSORFLOW).shape[-1] == max(0, size - 400) // 160 + 1


def test_triangles_straight_over_mel():
    """By hand at each frequency: the share of the way, in mel, from one corner to the next."""
    matrix = mel_matrix(RATE, 512, 64, 125.0, 7_500.0, "mel")
    corners = np.linspace(*(2595 * np.log10(1 + np.array([125, 7_500]) / 700)), 66)
    for row in (10, 100, 200):
        mel = 2595 * np.log10(1 + row * RATE / 512 / 700)
        expected = np.interp(mel, corners, np.arange(66))  # on triangle `expected` - 1, from 0 to 1
        below = int(expected)
        found = np.flatnonzero(matrix[row]).tolist()
        assert found == [below - 1, below]
        assert float(matrix[row, below]) == pytest.approx(expected - below, abs=1e-5)
        assert float(matrix[row].sum()) == pytest.approx(1, abs=1e-5)
    assert np.abs(matrix - mel_matrix(RATE, 512, 64, 125.0, 7_500.0)).max() > 1e-3


# Log-mel by itself


@pytest.mark.parametrize(
    "params",
    [
        DEFAULT,
        OTHER,
        TENSORFLOW,
        AudioInput(bands="linear", power=1.0, n_fft=400, offset=1e-3),
        AudioInput(window=300, n_fft=511),
    ],
    ids=["default", "other", "tensorflow", "linear", "odd"],
)
def test_arrays_and_tensors_give_the_same(params):
    """numpy predicts, torch trains."""
    sounds = [speech_like(0.7), silence(0.7), speech_like(0.7, 1)]
    lengths = np.array([11_200, 11_200, 900])
    mel, frames = log_mel_batch(np.stack(sounds), lengths, params)
    theirs, their_frames = log_mel_batch(torch.from_numpy(np.stack(sounds)), torch.from_numpy(lengths), params)
    assert mel.dtype == np.float32
    assert frames.tolist() == their_frames.tolist()
    np.testing.assert_allclose(mel, theirs.numpy(), atol=1e-4)


@every_setting
def test_filters_are_triangles_of_height_one_in_rising_order(params):
    matrix = mel_matrix(params.rate, params.n_fft, params.n_mels, params.fmin, params.fmax)
    assert matrix.shape == (params.n_fft // 2 + 1, params.n_mels)
    assert ((matrix >= 0) & (matrix <= 1)).all()
    assert (np.diff(matrix.argmax(0)) >= 0).all()
    hz = np.linspace(0, params.rate / 2, len(matrix))
    assert (matrix[(hz < params.fmin) | (hz > params.fmax)] == 0).all()


@pytest.mark.parametrize("hz", [200, 1000, 4000])
def test_a_tone_is_loudest_in_the_band_of_its_frequency(hz):
    matrix = mel_matrix(RATE, DEFAULT.n_fft, DEFAULT.n_mels, DEFAULT.fmin, DEFAULT.fmax)
    band = matrix[round(hz * DEFAULT.n_fft / RATE)].argmax()
    assert abs(int(raw_log_mel(tone(0.5, -20, hz), DEFAULT)[:, 20].argmax()) - int(band)) <= 1


@given(st.integers(1, 4000))
def test_number_of_frames(size):
    assert log_mel(torch.zeros(1, size), DEFAULT).shape == (1, 1, DEFAULT.n_mels, size // DEFAULT.hop + 1)


def test_silence_has_a_floor():
    mel = log_mel(torch.zeros(1, 1000), DEFAULT)
    torch.testing.assert_close(mel, torch.full_like(mel, (np.log(1e-6) - DEFAULT.mean) / DEFAULT.std))


def test_a_batch_of_different_lengths_holds_what_each_gives_alone():
    sounds = [speech_like(seconds, seed) for seed, seconds in enumerate((0.5, 1.01, 0.3))]
    sizes = torch.tensor([len(sound) for sound in sounds])
    samples = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(sound) for sound in sounds], batch_first=True)
    mel, lengths = log_mel_batch(samples, sizes, DEFAULT)
    silent = (np.log(1e-6) - DEFAULT.mean) / DEFAULT.std
    for i, sound in enumerate(sounds):
        alone, length = log_mel_batch(torch.from_numpy(sound)[None], sizes[i : i + 1], DEFAULT)
        assert length == lengths[i] == log_mel(torch.from_numpy(sound)[None], DEFAULT).shape[-1]
        torch.testing.assert_close(mel[i, ..., : alone.shape[-1]], alone[0], rtol=0, atol=1e-4)
        behind = mel[i, ..., lengths[i] + DEFAULT.n_fft // DEFAULT.hop :]  # windows without a sample of the sound
        assert behind.shape[-1] > 20  # even behind the longest
        torch.testing.assert_close(behind, torch.full_like(behind, silent))


# What comes before


def test_silence_at_both_ends_is_cut():
    sound = tone(0.5, -20)
    out = prepare(np.concatenate([silence(0.8), sound, silence(0.4)]), DEFAULT)
    assert abs(len(out) - len(sound)) <= 2 * DEFAULT.hop


def test_a_pause_inside_is_kept():
    pause = np.concatenate([tone(0.3, -20), silence(0.5), tone(0.3, -20)])
    assert abs(len(prepare(pause, DEFAULT)) - len(pause)) <= 2 * DEFAULT.hop


@pytest.mark.parametrize(("below", "kept"), [(25, 1.0), (45, 0.5)])
def test_how_far_below_the_loudest_counts_as_silence(below, kept):
    sound = np.concatenate([tone(0.5, -15), tone(0.5, -15 - below)])
    assert len(prepare(sound, DEFAULT)) / RATE == pytest.approx(kept, abs=0.03)
    assert len(prepare(sound, DEFAULT.model_copy(update={"trim_db": None}))) == len(sound)


@given(st.floats(-55, -3))
def test_every_sound_gets_the_level_asked_for(level):
    out = prepare(tone(0.4, level), DEFAULT)
    assert out.dtype == np.float32
    assert level_db(out) == pytest.approx(DEFAULT.level_db, abs=0.01)


@given(st.floats(0.05, 4.0))
def test_gain_makes_no_difference(gain):
    sound = speech_like()
    mels = [raw_log_mel(prepare((g * sound).astype(np.float32), DEFAULT), DEFAULT) for g in (1.0, gain)]
    np.testing.assert_allclose(*mels, atol=1e-2)


@pytest.mark.parametrize(
    "sound",
    [
        silence(1.0),
        np.zeros(0, np.float32),
        tone(0.01, -20),  # shorter than a frame
        tone(0.2, -20),  # shorter than min_speech
        np.concatenate([silence(1.0), tone(0.1, -20), silence(1.0)]),
        tone(1.0, -70),  # below the floor
    ],
    ids=["silence", "nothing", "click", "short", "short after trimming", "faint"],
)
def test_no_sound_to_speak_of_is_absent(sound):
    assert prepare(sound, DEFAULT) is None


def test_the_input_is_not_changed():
    sound = speech_like()
    before = sound.copy()
    prepare(sound, DEFAULT)
    np.testing.assert_array_equal(sound, before)


# Time derivatives


def test_a_ramp_has_a_constant_derivative():
    slopes = torch.tensor([0.5, -2.0, 0.0])
    out = add_deltas((slopes[:, None] * torch.arange(20.0))[None, None])  # (1, 3, M, T)
    assert out.shape == (1, 3, 3, 20)
    torch.testing.assert_close(out[0, 1, :, 2:-2], slopes[:, None].expand(-1, 16))
    torch.testing.assert_close(out[0, 2, :, 4:-4], torch.zeros(3, 12), rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", [5, 31])
def test_derivatives_agree_with_librosa(steps):
    librosa = pytest.importorskip("librosa")
    mel = torch.randn(2, 1, 6, steps, generator=torch.Generator().manual_seed(0))
    out = add_deltas(mel)
    first = librosa.feature.delta(mel[:, 0].numpy(), width=5, mode="nearest")
    second = librosa.feature.delta(first, width=5, mode="nearest")
    torch.testing.assert_close(out[:, :1], mel, rtol=0, atol=0)
    np.testing.assert_allclose(out[:, 1], first, atol=1e-5)
    np.testing.assert_allclose(out[:, 2], second, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_derivatives_of_hardly_anything(steps):
    out = add_deltas(torch.randn(1, 1, 4, steps))
    assert out.shape == (1, 3, 4, steps)
    assert out.isfinite().all()
    if steps == 1:
        assert (out[:, 1:] == 0).all()
