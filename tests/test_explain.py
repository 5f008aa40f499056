"""Explaining videos, sounds and pictures: what is shown, what is said of the rest, and the picture itself."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import SAMPLE

from avser import checkpoint, explain
from avser.config import parse_config
from avser.models import build_model
from avser.recognizer import Recognizer, load_model
from avser.types import ConfigError, DataError, MediaError, ModelError

needs_matplotlib = pytest.mark.skipif(
    not importlib.util.find_spec("matplotlib"), reason="matplotlib is not installed"
)


@pytest.fixture(scope="module")
def fused(small_models) -> Recognizer:
    return load_model(small_models.fused)


@pytest.fixture(scope="module")
def portrait(tmp_path_factory, fused):
    """A frame of the sample clip as a picture of its own, and a face cut out of it, 48 px."""
    folder = tmp_path_factory.mktemp("portrait")
    reader = cv2.VideoCapture(str(SAMPLE))
    picture = reader.read()[1]
    reader.release()
    cv2.imwrite(str(folder / "large.png"), picture)
    cv2.imwrite(str(folder / "small.jpg"), cv2.resize(picture, (48, 48)))
    return folder


@pytest.fixture(scope="module")
def voice_only(make_media) -> Path:
    """A second of speech."""
    return make_media("voice.wav", "-ss", "1.8", "-i", SAMPLE, "-t", "1", "-vn", "-ar", "16000")


def test_a_video_shows_frames_and_spectrogram(fused):
    shown = explain.explain(fused, SAMPLE)
    result = fused.predict(SAMPLE)
    assert shown.emotion == result.label
    assert list(shown.said) == ["audio", "face", "fused"]
    np.testing.assert_array_equal(shown.said["fused"], result.overall.probs)
    times = [face.time for face in shown.faces]
    assert 1 <= len(times) <= explain.COUNT
    assert times == sorted(times)
    assert all(later - earlier >= explain.APART for earlier, later in itertools.pairwise(times))
    for face in shown.faces:
        assert face.picture.shape == (explain.SHOWN, explain.SHOWN, 3)
        assert face.heat.shape == (explain.SHOWN, explain.SHOWN)
        assert 0 <= face.prob <= 1
    sound = shown.sound
    assert sound.mel.shape == sound.heat.shape == (len(sound.hertz), sound.mel.shape[1])
    assert sound.heat.max() == pytest.approx(1)
    assert 0 <= sound.start < sound.end <= result.media.duration + 0.1
    assert (np.diff(sound.hertz) > 0).all()
    assert shown.notes == []


def test_frames_are_those_in_which_the_emotion_is_likeliest(fused):
    for emotion in ("happy", "sad"):
        shown = explain.explain(fused, SAMPLE, "face", emotion)
        assert shown.emotion == emotion
        assert list(shown.said) == ["face"]
        assert shown.sound is None
        best = max(face.prob for face in shown.faces)
        assert all(face.prob >= best / 3 for face in shown.faces)


def test_the_crops_are_those_of_prediction(fused):
    branch = fused.checkpoint.branches["face"]
    shown = explain.Explanation(SAMPLE, "happy", fused.labels, {})
    frames = explain._telling_frames(fused, branch, branch.network, shown)
    from avser.branches import look
    from avser.media import probe
    from avser.options import Options

    with torch.inference_mode():
        face = look(branch, SAMPLE, probe(SAMPLE), Options(), lambda second: None)
        logits = branch.network.frames(explain._tensor([frame.crop for frame in frames]))
    for frame, row in zip(frames, logits, strict=True):
        index = int(np.argmin(abs(face.sightings.times - frame.time)))
        np.testing.assert_allclose(row.numpy(), face.logits[index], atol=1e-4)


def test_times_and_frequencies_are_those_of_the_sound(fused, make_media):
    """A tone of 1 kHz with a quieter voice, which begin at 1 s, after silence."""
    tone = ("-f", "lavfi", "-i", "aevalsrc='0.3*sin(2*PI*1000*t)*gte(t,1)':s=16000:d=2.5")
    both = "[0:a]atrim=1.8:3.3,asetpts=PTS-STARTPTS,adelay=1000:all=1[a];[a][1:a]amix=weights=1 1"
    path = make_media("late.wav", "-i", SAMPLE, *tone, "-filter_complex", both, "-ac", "1", "-ar", "16000")
    sound = explain.explain(fused, path).sound
    assert sound.start == pytest.approx(1.0, abs=0.03)
    assert sound.end == pytest.approx(2.5, abs=0.05)
    assert sound.hertz[sound.mel.mean(1).argmax()] == pytest.approx(1000, rel=0.06)


def test_what_is_not_there_is_said(fused, voice_only, make_media):
    shown = explain.explain(fused, voice_only)
    assert (shown.faces, list(shown.said)) == ([], ["audio"])
    assert shown.notes == ["Of the face nothing is shown: no video."]
    silent = make_media("silent.mp4", "-i", SAMPLE, "-an", "-t", "1", "-c:v", "copy")
    shown = explain.explain(fused, silent)
    assert shown.sound is None
    assert shown.faces
    assert shown.notes == ["Of the voice nothing is shown: no audio track."]


def test_nothing_to_explain(fused, video_only):
    with pytest.raises(DataError, match=r"nothing to explain: no audio track and no face seen"):
        explain.explain(fused, video_only)


@pytest.mark.parametrize("name", ["large.png", "small.jpg"])
def test_a_picture_explains_the_face_alone(fused, portrait, name):
    shown = explain.explain(fused, portrait / name, emotion="Anger")
    assert shown.emotion == "angry"
    assert (shown.sound, list(shown.said)) == (None, ["face"])
    (face,) = shown.faces
    assert face.time is None
    assert face.prob == pytest.approx(shown.said["face"][shown.labels.index("angry")])
    assert face.picture.shape[0] == (48 if name == "small.jpg" else explain.SHOWN)
    assert face.heat.shape == face.picture.shape[:2]


def test_requests_that_make_no_sense(fused, small_models, portrait, tmp_path):
    (tmp_path / "text.txt").write_text("This is no video.\n" * 50)
    with pytest.raises(MediaError, match=r"text\.txt"):
        explain.explain(fused, tmp_path / "text.txt")
    with pytest.raises(ConfigError, match="knows no 'bored': choose from neutral, happy"):
        explain.explain(fused, SAMPLE, emotion="bored")
    audio = load_model(small_models.audio)
    with pytest.raises(DataError, match="is a picture, which has no voice"):
        explain.explain(audio, portrait / "large.png")
    with pytest.raises(ModelError, match="knows the audio only"):
        explain.explain(audio, SAMPLE, "face")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.png"):
        explain.explain(fused, tmp_path / "broken.png")
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((400, 400, 3), 200, np.uint8))
    with pytest.raises(DataError, match=r"wall\.png: no face found"):
        explain.explain(fused, tmp_path / "wall.png")


def voices(fused: Recognizer, *networks: dict) -> Recognizer:
    """The model with another voice: an ensemble of these networks, or the one."""
    old = fused.checkpoint.branches["audio"]
    values = {
        **old.config.model_dump(),
        "network": networks[0],
        "ensemble": [{"network": n} for n in networks[1:]],
    }
    config = parse_config(values, "test")
    torch.manual_seed(0)
    network = build_model(config).eval()
    branch = checkpoint.Branch(lambda: network, config, old.meta)
    branches = {**fused.checkpoint.branches, "audio": branch}
    return Recognizer(dataclasses.replace(fused.checkpoint, branches=branches))


SMALL = {"name": "resnet_attention", "options": {"widths": [4, 4, 4, 4], "features": 8}}


def test_of_an_ensemble_the_convolutions_are_averaged_by_their_shares(fused, voice_only):
    model = voices(fused, SMALL, SMALL, {"name": "functionals"})
    members = model.checkpoint.branches["audio"].network
    members.shares.copy_(torch.tensor([0.0, 0.7, 0.3]))
    shown = explain.explain(model, voice_only, "audio", "happy")
    assert shown.notes == ["Voice: 2 of its 3 members are convolutions and are shown."]
    members.shares.copy_(torch.tensor([0.0, 1.0, 0.0]))
    alone = explain.explain(model, voice_only, "audio", "happy")
    np.testing.assert_allclose(shown.sound.heat, alone.sound.heat, atol=1e-5)
    members.shares.copy_(torch.tensor([1.0, 0.0, 0.0]))
    other = explain.explain(model, voice_only, "audio", "happy")
    assert abs(other.sound.heat - alone.sound.heat).max() > 0.05


def test_a_voice_without_convolutions_shows_nothing_and_says_so(fused, voice_only):
    shown = explain.explain(voices(fused, {"name": "functionals"}), voice_only, "audio")
    assert shown.sound is None
    assert shown.notes == ["Of the voice nothing is shown: this model has no convolution over the spectrogram."]


@needs_matplotlib
@pytest.mark.parametrize("what", ["video", "sound", "large.png", "small.jpg"])
def test_the_command_writes_a_picture(avser_command, small_models, portrait, voice_only, tmp_path, what):
    path = {"video": SAMPLE, "sound": voice_only}.get(what, portrait / what)
    done = avser_command("explain", path, "-o", tmp_path / "new" / "x.png", "--model", small_models.fused)
    assert done.code == 0
    assert done.out == f"written: {tmp_path / 'new' / 'x.png'}\n"
    assert ("Of the face nothing is shown: no video." in done.err) == (what == "sound")
    picture = cv2.imread(str(tmp_path / "new" / "x.png"))
    assert min(picture.shape[:2]) > 300
    assert picture.std() > 20


@needs_matplotlib
def test_the_picture_has_a_name_of_its_own(avser_command, small_models, portrait, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = avser_command("explain", portrait / "small.jpg", "--model", small_models.face, "--emotion", "sad")
    assert done.code == 0
    assert (tmp_path / "small_explained.png").stat().st_size > 1000


def test_errors_of_the_command_are_one_line(avser_command, small_models, tmp_path):
    (tmp_path / "text.txt").write_text("This is no video.\n" * 50)
    done = avser_command("explain", tmp_path / "text.txt", "--model", small_models.fused)
    assert (done.code, done.out) == (2, "")
    assert "text.txt" in done.complaint
