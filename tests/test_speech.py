"""Speech in sound that comes in blocks, and how loud it is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import SAMPLE
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from test_layers import loaded

from avser import features, media, silero, speech
from avser.errors import ModelError
from avser.signals import AudioInput
from avser.speech import CHUNK, MIN_SPEECH, RATE, Envelope, EnvelopeFinder, SpeechFinder, seconds_of_speech
from avser.types import AudioTrack
from avser.windows import window_grid


def blocks(track: AudioTrack, size: int):
    """A sound in blocks of so many samples."""
    for first in range(0, len(track.samples), size):
        samples = track.samples[first : first + size]
        yield AudioTrack(samples, track.rate, track.start + first / track.rate)


def found(track: AudioTrack, size: int = 10**9) -> tuple[tuple[float, float], ...]:
    finder = SpeechFinder(track.rate)
    for block in blocks(track, size):
        finder.update(block)
    return finder.finish()


@pytest.fixture(scope="module")
def voice() -> AudioTrack:
    return media.read_audio(SAMPLE)


# Speech


def test_two_sentences_are_found(voice):
    first, second = found(voice)
    assert first == pytest.approx((0.4, 1.3), abs=0.15)
    assert second == pytest.approx((1.6, 5.0), abs=0.15)


@pytest.mark.parametrize("size", [100, CHUNK, 777, 48_000])
def test_blocks_do_not_matter(voice, size):
    assert found(voice, size) == found(voice)


def test_times_begin_where_the_sound_does(voice):
    late = found(AudioTrack(voice.samples, voice.rate, 7.5))
    np.testing.assert_allclose(late, np.array(found(voice)) + 7.5)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100])
def test_other_rates(voice, rate):
    spans = found(media.read_audio(SAMPLE, rate), 5000)
    assert spans[0][0] == pytest.approx(0.4, abs=0.15)
    assert spans[-1][1] == pytest.approx(5.0, abs=0.15)


@pytest.mark.parametrize("kind", ["silence", "noise", "hum", "tone", "claps"])
def test_what_is_no_speech(kind):
    t = np.arange(4 * RATE) / RATE
    noise = np.random.default_rng(0).normal(size=len(t))
    sounds = {
        "silence": 0 * t,
        "noise": 0.1 * noise,
        "hum": 0.1 * sum(np.sin(2 * np.pi * 50 * k * t) / k for k in range(1, 20)),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * t),
        "claps": 0.3 * noise * np.exp(-30 * (t % 0.5)),
    }
    assert found(AudioTrack(sounds[kind].clip(-1, 1).astype(np.float32), RATE)) == ()


def test_nothing_was_heard():
    assert SpeechFinder().finish() == ()
    assert found(AudioTrack(np.zeros(0, np.float32), RATE)) == ()


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), max_size=200))
def test_stretches_are_in_order_and_apart(probs):
    finder = SpeechFinder()
    for prob in probs:
        finder._step(prob)
    finder._heard = len(probs) * CHUNK
    spans = finder.finish()
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(edges)
    assert all(start >= 0 and end - start >= MIN_SPEECH for start, end in spans)
    assert not edges or edges[-1] <= len(probs) * CHUNK / RATE
    if spans:
        assert max(probs) >= speech.ONSET


def test_a_dip_between_the_thresholds_ends_nothing():
    finder = SpeechFinder()
    between = (speech.ONSET + speech.OFFSET) / 2
    for prob in [0.0] * 10 + [0.9] * 10 + [between] * 20 + [0.9] * 10 + [0.0] * 2 + [0.9] * 5 + [0.0] * 20:
        finder._step(prob)
    finder._heard = 77 * CHUNK
    ((start, end),) = finder.finish()
    assert (start, end) == pytest.approx((10 * CHUNK / RATE - speech.PAD, 57 * CHUNK / RATE + speech.PAD))


def test_nothing_of_the_sound_is_kept(voice):
    finder = SpeechFinder()
    for block in blocks(voice, 5000):
        finder.update(block)
        assert len(finder._rest) < CHUNK


def test_the_package_is_not_imported():
    assert not loaded("from avser.speech import SpeechFinder; SpeechFinder()") & {
        "silero_vad",
        "torchaudio",
        "torch",
    }


def by_torch(weights: dict[str, np.ndarray], chunks: np.ndarray) -> np.ndarray:
    """The network once more, by the layers of torch."""
    w = {name: torch.from_numpy(value) for name, value in weights.items()}
    x = torch.nn.functional.pad(torch.from_numpy(chunks)[:, None], (0, 64), mode="reflect")
    x = torch.nn.functional.conv1d(x, w["stft_conv.weight"], stride=128)
    x = (x[:, :129].square() + x[:, 129:].square()).sqrt()
    for number, stride in enumerate((1, 2, 2, 1), 1):
        x = torch.nn.functional.conv1d(x, w[f"conv{number}.weight"], w[f"conv{number}.bias"], stride, 1).relu()
    lstm = torch.nn.LSTM(128, 128)
    lstm.load_state_dict({f"{name.split('.')[1]}_l0": w[name] for name in w if name.startswith("lstm_cell.")})
    told = lstm(x[..., 0])[0].relu()
    return (
        torch.nn.functional.conv1d(told[..., None], w["final_conv.weight"], w["final_conv.bias"])
        .sigmoid()
        .flatten()
    )


def test_the_network_says_what_its_layers_say_in_torch(voice):
    (folder,) = importlib.util.find_spec("silero_vad").submodule_search_locations
    weights = load_file(Path(folder) / "data" / "silero_vad_16k.safetensors")
    samples = np.pad(voice.samples, (silero.CONTEXT, 0))
    chunks = np.lib.stride_tricks.sliding_window_view(samples, silero.CONTEXT + CHUNK)[::CHUNK].copy()
    begin, state = silero.load_network()(chunks[:50])
    rest, _ = silero.load_network()(chunks[50:], state)
    with torch.inference_mode():
        expected = by_torch(weights, chunks).numpy()
    assert expected.max() > 0.9
    assert expected.min() < 0.1
    np.testing.assert_allclose(np.concatenate([begin, rest]), expected, atol=1e-4)


@pytest.fixture
def no_network():
    silero.load_network.cache_clear()
    yield
    silero.load_network.cache_clear()


def test_missing_package(monkeypatch, no_network):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="install silero-vad"):
        SpeechFinder()


@pytest.mark.parametrize("content", [None, b"", b"not weights"])
def test_damaged_package(monkeypatch, no_network, tmp_path: Path, content):
    (tmp_path / "data").mkdir()
    if content is not None:
        (tmp_path / "data" / "silero_vad_16k.safetensors").write_bytes(content)
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(ModelError, match=r"holds no weights that find speech .*: reinstall silero-vad"):
        SpeechFinder()


def test_windows_of_real_clips_hold_speech(data_root):
    """Every window in which the voice branch has something to say."""
    params = AudioInput()
    clips = sorted((data_root / "av" / "ravdess" / "Actor_01").glob("*.mp4"))
    assert clips
    for clip in clips:
        track = media.read_audio(clip)
        spans = found(track)
        for start, end in window_grid(track.end, 3.0, 1.0):
            if features.prepare(track.between(start, end).samples, params) is not None:
                assert seconds_of_speech(spans, start, end) > 0.5, (clip.name, start)


# Loudness


def envelope(samples: np.ndarray, rate: int = RATE, size: int = 10**9) -> Envelope:
    finder = EnvelopeFinder(rate)
    for block in blocks(AudioTrack(samples.astype(np.float32), rate), size):
        finder.update(block)
    return finder.finish()


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050])
def test_a_tone_in_the_band_counts_and_others_do_not(rate):
    t = np.arange(2 * rate) / rate
    inside = envelope(np.sin(2 * np.pi * 1000 * t), rate)
    assert len(inside.values) == pytest.approx(2 * inside.rate, abs=1)
    np.testing.assert_allclose(inside.values[2:-2], np.sqrt(0.5), rtol=0.01)
    assert envelope(np.sin(2 * np.pi * 60 * t), rate).values[2:-2].max() < 0.01


@pytest.mark.parametrize("size", [7, 160, 999])
def test_the_envelope_does_not_depend_on_blocks(voice, size):
    some = voice.samples[:20_000]
    np.testing.assert_allclose(envelope(some, size=size).values, envelope(some).values, atol=1e-6)


def test_a_beep_is_loud_when_it_sounds():
    t = np.arange(3 * RATE) / RATE
    found = envelope(np.sin(2 * np.pi * 1000 * t) * ((t >= 1) & (t < 1.5)))
    loud = np.flatnonzero(found.values > 0.35) / found.rate
    assert (loud[0], loud[-1]) == pytest.approx((1.0, 1.49), abs=0.011)


def test_means_around_times():
    ramp = Envelope(np.arange(1000, dtype=np.float32), 100.0, start=5.0)
    np.testing.assert_allclose(ramp.around(np.array([7.005, 10.005]), 0.2), [200, 500])
    np.testing.assert_allclose(ramp.around(np.array([0.0, 20.0]), 0.2), 0)
    assert len(ramp.around(np.zeros(0), 0.2)) == 0
