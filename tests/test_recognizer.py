"""From a file to a result: windows, what each modality says in them, and what is said when there is nothing."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FLASH, SAMPLE, need_encoder
from corpora import write_wav
from hypothesis import example, given, settings
from hypothesis import strategies as st

from avser import branches, features, media
from avser.options import Options
from avser.recognizer import Recognizer, load_model, window_grid
from avser.results import Result
from avser.types import AudioTrack, ConfigError, ModelError
from avser.windows import audio_windows


@pytest.fixture(scope="module")
def fused(small_models) -> Recognizer:
    return load_model(small_models.fused)


@pytest.fixture(scope="module")
def sample(fused) -> Result:
    return fused.predict(SAMPLE)


@pytest.fixture(scope="module")
def face_only(make_media) -> Path:
    return make_media("face.mp4", "-i", SAMPLE, "-an", "-c:v", "copy")


@pytest.fixture(scope="module")
def voice_only(make_media) -> Path:
    return make_media("voice.wav", "-i", SAMPLE, "-vn", "-ac", "1", "-ar", "16000")


def spoken(count: int) -> np.ndarray:
    """Speech without pauses at 16 kHz, (count,)."""
    return np.resize(media.read_audio(SAMPLE, start=1.7, end=4.9).samples, count)


# Windows

LENGTHS = st.floats(0.05, 50)
STEPS = st.floats(0.1, 10)


@given(LENGTHS, STEPS, STEPS)
@example(9.0, 3.0, 1.0)
@example(3.0005, 3.0, 1.0)
def test_grid_covers_the_file(duration, window, hop):
    grid = window_grid(duration, window, hop)
    starts, ends = np.array(grid).T
    assert starts[0] == 0
    assert ends[-1] == pytest.approx(duration, abs=1.1e-3)  # less is not worth another window
    assert ends.max() <= duration + 1e-6
    np.testing.assert_allclose(ends - starts, min(window, duration))
    steps = np.diff(starts)
    np.testing.assert_allclose(steps[:-1], hop)
    assert (steps > 0).all()
    assert steps[-1:].sum() <= hop + 1e-6
    if hop <= window:
        assert (starts[1:] <= ends[:-1] + 1e-6).all()


@settings(deadline=None)
@given(
    count=st.integers(1, 12_000),
    block=st.floats(0.05, 15),
    window=st.floats(0.2, 4),
    hop=st.floats(0.1, 4),
    seen=st.one_of(st.just(0.0), st.floats(0, 14)),
)
@example(count=4293, block=30.0, window=3.0, hop=1.0, seen=0.0)
def test_streamed_windows_are_those_of_the_grid(count, block, window, hop, seen):
    """Whatever the blocks, each window has its own stretch of sound, and one reading gives all of them."""
    rate = 1000
    samples = np.arange(1, count + 1, dtype=np.float32)
    step = max(1, round(block * rate))

    def iter_audio(path, rate):
        for first in range(0, count, step):
            yield AudioTrack(samples[first : first + step], rate, first / rate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(media, "iter_audio", iter_audio)
        windows = [(a, b, t.between(a, b)) for a, b, t in audio_windows("x", rate, window, hop, lambda: seen)]
    grid = window_grid(max(count / rate, seen), window, hop)
    np.testing.assert_allclose([w[:2] for w in windows], grid, atol=1e-9)
    for start, stop, track in windows:
        expected = samples[round(start * rate) : round(stop * rate)]
        if len(expected):
            assert abs(len(track.samples) - len(expected)) <= 1  # of a stop that lies between two samples
            assert abs(track.samples[0] - expected[0]) <= 1
        else:
            assert len(track.samples) <= 1


@pytest.mark.parametrize("count", [68_683, 73_308, 80_153])
def test_voice_is_in_every_window(fused, tmp_path, count):
    """Of these lengths the end of the sound, reckoned along two ways, differs in the last bit."""
    result = fused.predict(write_wav(tmp_path / "speech.wav", spoken(count)))
    assert all("audio" in p.modalities for p in result.predictions)
    assert result.predictions[-1].end == pytest.approx(count / 16_000)


@pytest.mark.parametrize("block", [0.3, 1.7, 30.0])
def test_streaming_says_what_the_whole_sound_says(fused, tmp_path, monkeypatch, block):
    path = write_wav(tmp_path / "speech.wav", spoken(16_000 * 9 + 4321))
    whole = media.read_audio(path, 16_000)
    monkeypatch.setattr(media, "iter_audio", functools.partial(media.iter_audio, block=block))
    result = fused.predict(path, window=2.0, hop=0.7)
    branch = fused.checkpoint.branches["audio"]
    assert len(result.predictions) == len(window_grid(whole.end, 2.0, 0.7))
    for p in result.predictions:
        sound = torch.from_numpy(features.prepare(whole.between(p.start, p.end).samples, branch.config.audio))
        mel, lengths = features.log_mel_batch(sound[None], torch.tensor([len(sound)]), branch.config.audio)
        with torch.inference_mode():
            logs = fused.fusion.calibrate({"audio": branch.network(mel, lengths)})["audio"]
        np.testing.assert_allclose(p.modalities["audio"], logs[0].exp(), atol=1e-4)


def test_more_windows_than_a_batch(fused, voice_only):
    many = fused.predict(voice_only, window=1.0, hop=0.1)
    assert len(many.predictions) > branches.WINDOWS
    some = fused.predict(voice_only, window=1.0, hop=1.0)
    for p, q in zip(some.predictions[:4], many.predictions[::10], strict=False):
        assert p.modalities.keys() == q.modalities.keys()
        for name in p.modalities:
            np.testing.assert_allclose(p.modalities[name], q.modalities[name], atol=1e-4)


# Sound and picture on one clock


@pytest.mark.parametrize("fps", ["25", "30000/1001"])
def test_beep_is_heard_in_its_window(fused, flash_beep, fps):
    clip = flash_beep("late.mkv", fps=fps, audio_delay=2.0)
    info, branch = media.probe(clip.path), fused.checkpoint.branches["audio"]
    with torch.inference_mode():
        voice = branches.listen(
            branch, clip.path, info, Options(window=0.5, hop=0.5), lambda: info.duration, lambda second: None
        )
    heard = [start for (start, _), logits in voice.logits.items() if logits is not None]
    assert heard == [pytest.approx(FLASH + 2.0)]
    assert clip.beep == pytest.approx(heard[0])


def test_late_sound_is_absent_before_it_begins(fused, make_media):
    both = ("-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "pcm_s16le")
    path = make_media("late_sound.mkv", "-i", SAMPLE, "-itsoffset", "2.5", "-i", SAMPLE, *both)
    windows = fused.predict(path, window=0.5, hop=0.5).predictions
    assert not any("audio" in p.modalities for p in windows if p.end <= 2.5)
    assert sum("audio" in p.modalities for p in windows if p.start >= 2.5) > 4
    assert all("face" in p.modalities for p in windows if p.end <= 5.5)
    assert windows[-1].end == pytest.approx(8.2, abs=0.15)
    assert "face" not in windows[-1].modalities


def test_late_picture_is_absent_before_it_begins(fused, make_media):
    both = ("-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "pcm_s16le")
    path = make_media("late_picture.mkv", "-itsoffset", "2", "-i", SAMPLE, "-i", SAMPLE, *both)
    windows = fused.predict(path, window=0.5, hop=0.5).predictions
    assert [p.face_frames for p in windows if p.end <= 2.0] == [0] * 4
    assert all(p.face_frames for p in windows if p.start >= 2.0 and p.end <= 7.5)


# What is there, and what is not


def test_both_modalities_are_fused(fused, sample):
    assert [(p.start, p.end) for p in sample.predictions] == window_grid(sample.overall.end, 3.0, 1.0)
    assert sample.overall.end == pytest.approx(5.7, abs=0.1)
    assert sample.overall.person is None
    for p in (*sample.predictions, sample.overall, sample.people[0].overall):
        assert p.label == sample.labels[int(np.argmax(p.probs))]
        assert p.confidence == pytest.approx(max(p.probs))
        assert p.weights == pytest.approx({"audio": 0.6, "face": 0.4})
        assert sum(p.probs) == pytest.approx(1)
        logs = 1.5 * (0.6 * np.log(p.modalities["audio"]) + 0.4 * np.log(p.modalities["face"]))
        np.testing.assert_allclose(p.probs, np.exp(logs) / np.exp(logs).sum(), atol=1e-9)
        assert p.reason is None
        assert p.person == (None if p is sample.overall else 0)
    assert sample.label == sample.overall.label
    assert list(sample.probs) == list(fused.labels)
    assert (sample.model, sample.model_version, sample.modality) == ("small", "1", "fused")


def test_whole_file_weighs_every_window(sample):
    logs = np.mean([np.log(p.modalities["audio"]) for p in sample.predictions], axis=0)
    np.testing.assert_allclose(sample.overall.modalities["audio"], np.exp(logs) / np.exp(logs).sum(), atol=1e-9)
    assert sample.overall.face_frames >= max(p.face_frames for p in sample.predictions)


def test_same_file_same_result(fused, sample):
    assert fused.predict(SAMPLE).to_dict() == sample.to_dict()


@pytest.mark.parametrize("modality", ["audio", "face"])
def test_one_modality_of_a_fused_model(fused, sample, modality):
    result = fused.predict(SAMPLE, modality)
    assert result.modality == modality
    for p, both in zip(result.predictions, sample.predictions, strict=True):
        assert list(p.modalities) == [modality]
        assert p.weights == {modality: 1.0}
        np.testing.assert_allclose(p.probs, p.modalities[modality])
        if (p.start, p.end) == (both.start, both.end):  # the last window ends with what was asked for
            np.testing.assert_allclose(p.probs, both.modalities[modality], atol=1e-9)


def test_video_without_sound(fused, face_only):
    result = fused.predict(face_only)
    assert result.label is not None
    assert not result.media.has_audio
    assert all(list(p.modalities) == ["face"] and p.weights == {"face": 1.0} for p in result.predictions)
    asked = fused.predict(face_only, "audio")
    assert (asked.label, asked.overall.reason) == (None, "no audio track")
    assert asked.overall.end == pytest.approx(result.overall.end, abs=0.1)


def test_sound_alone(fused, voice_only):
    result = fused.predict(voice_only)
    assert result.label is not None
    assert not result.media.has_video
    assert all(set(p.modalities) <= {"audio"} and p.person is None for p in result.predictions)
    asked = fused.predict(voice_only, "face")
    assert (asked.label, asked.overall.reason, asked.probs) == (None, "no video", None)


def test_portrait_video(fused, make_media):
    portrait = ("-vf", "crop=240:360,pad=240:480:0:60,setsar=1", "-c:v", need_encoder("libx264", "mpeg4"))
    result = fused.predict(make_media("portrait.mp4", "-i", SAMPLE, *portrait))
    assert (result.media.width, result.media.height) == (240, 480)
    assert all({"audio", "face"} == set(p.modalities) for p in result.predictions)


SILENCE = ("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-shortest")


@pytest.mark.parametrize(
    ("name", "sound", "reason"),
    [
        ("neither.mp4", (), "no audio track and no face seen"),
        ("silent.mp4", SILENCE, "no sound that could be speech and no face seen"),
    ],
)
def test_nothing_to_go_by(fused, make_media, name, sound, reason):
    path = make_media(name, "-f", "lavfi", "-i", "testsrc=s=160x120:r=25:d=4", *sound, "-c:v", "mpeg4")
    result = fused.predict(path)
    assert (result.label, result.probs, result.overall.confidence) == (None, None, None)
    assert len(result.predictions) in (2, 3)  # an encoder may pad the sound
    for p in (*result.predictions, result.overall):
        assert p.reason == reason
        assert (p.modalities, p.weights, p.face_frames, p.person) == ({}, {}, 0, None)


def test_silent_track_leaves_the_face(fused, make_media):
    path = make_media("mute.mkv", "-i", SAMPLE, *SILENCE, *("-map", "0:v", "-map", "1:a", "-c:v", "copy"))
    result = fused.predict(path)
    assert result.media.has_audio
    assert result.overall.weights == {"face": 1.0}


@pytest.mark.parametrize("name", ["short.mp4", "short.wav"])
def test_a_fifth_of_a_second(fused, make_media, name):
    result = fused.predict(make_media(name, "-ss", "1", "-i", SAMPLE, "-t", "0.2"))
    (only,) = result.predictions
    assert only.start == 0
    assert only.end == pytest.approx(0.2, abs=0.1)
    assert result.label is not None


# Requests that make no sense


def test_modality_that_the_model_lacks(small_models):
    voice = load_model(small_models.audio)
    assert voice.modalities == ("audio",)
    with pytest.raises(ModelError, match="'small-audio' knows the audio only; choose a fused model for 'face'"):
        voice.predict(SAMPLE, "face")
    with pytest.raises(ModelError, match="for 'fused'"):
        voice.predict(SAMPLE, "fused")


@pytest.mark.parametrize("name", ["audio", "face"])
def test_model_of_one_branch(small_models, fused, voice_only, face_only, name):
    model = load_model(getattr(small_models, name))
    path = {"audio": voice_only, "face": face_only}[name]
    result = model.predict(path)
    assert result.modality == name
    assert result.overall.weights == {name: 1.0}
    assert result.label == result.labels[int(np.argmax(result.overall.probs))]


def test_unknown_modality(fused):
    with pytest.raises(ConfigError, match="unknown modality 'smell': choose from fused, audio, face"):
        fused.predict(SAMPLE, "smell")


@pytest.mark.parametrize(("window", "hop"), [(0, 1), (-1, 1), (3, 0), (float("nan"), 1), (3, float("inf"))])
def test_window_and_hop_above_zero(fused, window, hop):
    with pytest.raises(ConfigError, match="must be above zero"):
        fused.predict(SAMPLE, window=window, hop=hop)


def test_progress_goes_on(fused):
    seconds: list[float] = []
    fused.predict(SAMPLE, progress=seconds.append)
    assert max(seconds) == pytest.approx(5.7, abs=0.2)
    assert len(seconds) > 20


def test_without_a_look_for_speech_all_sound_counts(fused, tmp_path):
    path = write_wav(tmp_path / "hum.wav", 0.3 * np.sin(np.arange(64_000) * 0.1).astype(np.float32))
    asked, told = fused.predict(path, "audio"), fused.predict(path, "audio", vad=False)
    assert asked.label is None
    assert asked.overall.reason == "no speech"
    assert asked.speech == ()
    assert all(set(p.modalities) == {"audio"} and p.speech is None for p in told.predictions)
    assert told.label is not None
    assert told.speech is None
