"""The values that travel through avser: their checks, their cuts, and the JSON schema."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avser import types
from avser.labels import LABEL_SETS
from avser.options import Options
from avser.results import RESULT_SCHEMA_VERSION, Prediction, Result
from avser.types import AudioTrack, Clip, FaceTrack, MediaInfo

LABELS = LABEL_SETS["basic7"]


def face_track(times) -> FaceTrack:
    n = len(times)
    boxes = np.arange(4 * n, dtype=np.float32).reshape(n, 4)
    return FaceTrack(np.zeros((n, 8, 8, 3), np.uint8), np.array(times, float), boxes, np.ones(n, np.float32), 3)


def result() -> Result:
    probs = np.array([0.5, 0.3, 0.2, 0, 0, 0, 0], np.float32)
    said = Prediction(
        *(0.0, 3.00049, 0, probs, "neutral"),
        modalities={"audio": probs, "face": probs[::-1]},
        weights={"audio": np.float32(0.25), "face": np.float32(0.75)},
        face_frames=30,
    )
    silent = Prediction(3.0, 4.0, None, None, None, reason="neither voice nor face")
    info = MediaInfo(Path("talk.mp4"), 4.0, True, True, 640, 480, Fraction(30000, 1001), "h264", "aac", 44100, 2)
    return Result(Path("a/talk.mp4"), info, LABELS, (said, silent), said, "av-base", "1", Options("fused"))


def test_errors_are_one_family():
    errors = [e for e in vars(types).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert len(errors) == 6
    assert all(issubclass(error, types.AvserError) for error in errors)


def test_name_of_a_clip():
    assert Clip(Path("a/b.wav"), "sad", None, "folder").name == "b"
    assert Clip(Path("a/fer.csv"), "sad", None, "fer2013", row=7).name == "fer:7"


def test_a_piece_of_sound_by_hand():
    track = AudioTrack(np.arange(100, dtype=np.float32) / 100, 10, start=2.0)
    piece = track.between(3.0, 4.5)
    np.testing.assert_array_equal(piece.samples, track.samples[10:25])
    assert (piece.start, piece.rate) == (3.0, 10)
    assert track.between(0.0, 2.5).start == 2.0  # nothing lies before the track
    assert len(track.between(20.0, 30.0).samples) == 0


@given(st.floats(0, 12), st.floats(0, 12), st.floats(0, 3))
def test_pieces_of_sound_join_without_gap_or_overlap(a, b, start):
    a, b = sorted((a, b))
    track = AudioTrack(np.arange(160, dtype=np.float32), 16, start)
    pieces = [track.between(x, y) for x, y in ((0, a), (a, b), (b, 100))]
    np.testing.assert_array_equal(np.concatenate([p.samples for p in pieces]), track.samples)


def test_a_face_track_needs_arrays_of_one_length():
    with pytest.raises(ValueError, match="one length"):
        FaceTrack(np.zeros((2, 8, 8, 3), np.uint8), np.zeros(1), np.zeros((2, 4)), np.zeros(2))


def test_frames_between_by_hand():
    track = face_track([0.0, 0.5, 1.0, 1.7])
    piece = track.between(0.5, 1.7)  # the end is left out
    assert piece.times.tolist() == [0.5, 1.0]
    assert piece.track == 3
    np.testing.assert_array_equal(piece.boxes, track.boxes[1:3])
    assert len(track.between(5, 6)) == 0


@given(st.lists(st.floats(0, 10), unique=True), st.floats(0, 10), st.floats(0, 10))
def test_windows_of_a_face_track_share_no_frame(times, a, b):
    a, b = sorted((a, b))
    track = face_track(sorted(times))
    pieces = [track.between(x, y) for x, y in ((-1, a), (a, b), (b, 11))]
    assert np.concatenate([p.times for p in pieces]).tolist() == sorted(times)


def test_short_cuts_of_a_result():
    made = result()
    assert made.label == "neutral"
    assert list(made.probs) == list(LABELS)
    assert made.probs["happy"] == pytest.approx(0.3)
    assert made.overall.confidence == pytest.approx(0.5)
    assert made.predictions[1].confidence is None


def test_result_as_json_follows_the_schema():
    values = json.loads(json.dumps(result().to_dict()))
    assert [*values][:6] == ["schema", "file", "model", "modality", "settings", "labels"]
    assert [*values][6:] == ["media", "overall", "people", "speech", "cuts", "segments", "predictions"]
    assert values["schema"] == RESULT_SCHEMA_VERSION == 2
    assert values["file"] == "a/talk.mp4"
    assert values["model"] == {"name": "av-base", "version": "1"}
    assert values["media"]["fps"] == "30000/1001"
    assert "path" not in values["media"]
    said, silent = values["predictions"]
    assert values["overall"] == said
    assert said["end"] == 3.0
    assert said["probs"]["neutral"] == 0.5
    assert said["modalities"]["face"]["surprised"] == 0.5
    assert said["weights"] == {"audio": 0.25, "face": 0.75}
    assert silent["label"] is silent["probs"] is silent["confidence"] is None
    assert silent["reason"] == "neither voice nor face"
    assert silent["modalities"] == silent["weights"] == {}


def test_every_key_of_the_json_is_in_the_schema():
    schema = Result.to_dict.__doc__
    values = result().to_dict()
    for key in (*values, *values["media"], *values["overall"]):
        assert key in schema
