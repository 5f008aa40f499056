"""Whose the voice is: fused with the one who speaks, with nobody where that is unclear, silent without speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import SAMPLE, need_encoder
from test_speaking import mouth, talk

from avser.branches import Faces, Voice
from avser.options import Options
from avser.recognizer import Recognizer, load_model
from avser.results import Sightings
from avser.story import NO_SPEECH, SPOKEN, UNCLEAR, Story
from avser.types import MediaInfo

WINDOW = (10.0, 13.0)
VOICE = talk()
BOTH = MediaInfo(Path("x.mp4"), 30.0, has_audio=True, has_video=True)


@pytest.fixture(scope="module")
def model(small_models) -> Recognizer:
    return load_model(small_models.fused)


def seen(people: dict[int, tuple[float, float]], mouths: dict[int, np.ndarray] | None = None, classes: int = 7):
    """Faces of people who are seen ten times a second from one time to another."""
    rows = sorted((t, who) for who, (a, b) in people.items() for t in np.arange(a, b, 0.1).tolist())
    times, who = np.array([t for t, _ in rows]), np.array([w for _, w in rows], int)
    openings = np.full(len(rows), np.nan)
    for person, values in (mouths or {}).items():
        openings[who == person] = values
    rng = np.random.default_rng(0)
    return Faces(
        Sightings(times, who, np.zeros((len(rows), 4), np.float32), np.ones(len(rows), np.float32)),
        rng.normal(size=(len(rows), classes)),
        30.0,
        {person: (span,) for person, span in people.items()},
        {},
        (),
        openings,
    )


def heard(speech=((0.0, 30.0),), windows=(WINDOW,), classes: int = 7) -> Voice:
    rng = np.random.default_rng(1)
    return Voice({window: rng.normal(size=classes) for window in windows}, 30.0, speech, VOICE)


def story(model: Recognizer, faces: Faces | None, voice: Voice | None, modality: str = "fused") -> Story:
    return Story(model.decider, BOTH, Options(modality), faces, voice)


def told(model: Recognizer, faces: Faces | None, voice: Voice | None):
    return {p.person: p for p in story(model, faces, voice).window(*WINDOW)}


TIMES = np.arange(0, 30, 0.1)
SPEAKS, STILL = mouth(VOICE, TIMES), np.full(len(TIMES), 0.05)
ALL = (0.0, 30.0)


def test_the_only_person_has_the_voice(model):
    (only,) = told(model, seen({3: ALL}), heard()).values()
    assert (only.person, set(only.modalities)) == (3, {"audio", "face"})
    assert (only.speech, only.speaking, only.note) == (1.0, None, None)


def test_the_one_who_speaks_has_the_voice(model):
    found = told(model, seen({0: ALL, 1: ALL}, {0: STILL, 1: SPEAKS}), heard())
    assert set(found) == {0, 1}
    assert set(found[1].modalities) == {"audio", "face"}
    assert set(found[0].modalities) == {"face"}
    assert found[1].speaking > 0.7 > 0.3 > found[0].speaking
    assert found[0].note is found[1].note is None


@pytest.mark.parametrize("mouths", [{}, {0: SPEAKS, 1: SPEAKS}, {0: STILL, 1: STILL}])
def test_a_voice_of_nobody_stands_alone(model, mouths):
    found = told(model, seen({0: ALL, 1: ALL}, mouths), heard())
    assert list(found) == [0, 1, None]
    assert [set(p.modalities) for p in found.values()] == [{"face"}, {"face"}, {"audio"}]
    assert {p.note for p in found.values()} == {UNCLEAR}
    assert found[None].label is not None
    assert found[None].face_frames == 0


def test_numbers_of_people_do_not_matter(model):
    one = told(model, seen({0: ALL, 1: ALL}, {0: STILL, 1: SPEAKS}), heard())
    other = told(model, seen({5: ALL, 2: ALL}, {5: STILL, 2: SPEAKS}), heard())
    assert other[2].speaking == one[1].speaking
    assert other[5].speaking == one[0].speaking
    assert "audio" in other[2].modalities


def test_somebody_seen_by_the_way_does_not_take_the_voice(model):
    found = told(model, seen({0: ALL, 1: (10.0, 10.4)}), heard())
    assert set(found[0].modalities) == {"audio", "face"}
    assert set(found[1].modalities) == {"face"}
    assert None not in found


def test_nobody_is_seen(model):
    (only,) = told(model, seen({}), heard()).values()
    assert (only.person, set(only.modalities), only.note) == (None, {"audio"}, None)


@pytest.mark.parametrize("people", [1, 2])
def test_without_speech_there_is_no_voice(model, people):
    voice = heard(((0.0, 9.0), (14.0, 20.0)))
    found = told(model, seen(dict.fromkeys(range(people), ALL), {0: SPEAKS}), voice)
    assert all(set(p.modalities) == {"face"} for p in found.values())
    assert len(found) == people
    assert {(p.speech, p.speaking, p.note) for p in found.values()} == {(0.0, None, NO_SPEECH)}
    (nobody,) = told(model, seen({}), voice).values()
    assert (nobody.label, nobody.reason, nobody.note) == (None, "no speech and no face seen", None)


@pytest.mark.parametrize(("seconds", "counts"), [(SPOKEN * 0.9, False), (SPOKEN * 1.1, True)])
def test_a_little_speech_is_enough(model, seconds, counts):
    (only,) = told(model, None, heard(((11.0, 11.0 + seconds),))).values()
    assert ("audio" in only.modalities) == counts
    assert only.speech == pytest.approx(seconds / 3)


def test_speech_was_not_looked_for(model):
    voice = heard(None)
    (only,) = told(model, seen({0: ALL}), voice).values()
    assert (only.speech, set(only.modalities)) == (None, {"audio", "face"})
    assert told(model, seen({0: ALL, 1: ALL}, {0: STILL, 1: SPEAKS}), voice)[None].note == UNCLEAR


def test_people_have_the_voice_of_their_own_windows(model):
    """One speaks first and the other then: each has the voice of that time, and both are in the whole."""
    windows = ((3.0, 6.0), (18.0, 21.0))
    late = TIMES >= 15
    faces = seen({0: ALL, 1: ALL}, {0: np.where(late, 0.05, SPEAKS), 1: np.where(late, SPEAKS, 0.05)})
    voice = heard(windows=windows)
    made = story(model, faces, voice)
    raw = [p for window in windows for p in made.window(*window)]
    assert [(p.person, "audio" in p.modalities) for p in raw] == [(0, True), (1, False), (0, False), (1, True)]
    first, second = made.people(raw)
    np.testing.assert_allclose(first.overall.modalities["audio"], raw[0].modalities["audio"])
    np.testing.assert_allclose(second.overall.modalities["audio"], raw[3].modalities["audio"])
    logs = np.log([raw[0].modalities["audio"], raw[3].modalities["audio"]]).mean(axis=0)
    whole = made.overall(30.0).modalities["audio"]
    np.testing.assert_allclose(whole, np.exp(logs) / np.exp(logs).sum())


def test_the_whole_leaves_out_windows_without_speech(model):
    windows = ((0.0, 3.0), (5.0, 8.0))
    some, no = heard(((0.0, 4.0),), windows), heard((), windows)
    (first,) = story(model, None, some).window(0.0, 3.0)
    whole = story(model, None, some).overall(30.0)
    np.testing.assert_allclose(whole.modalities["audio"], first.modalities["audio"])
    assert whole.speech == pytest.approx(4 / 30)
    assert story(model, None, no).overall(30.0).reason == "no speech and no face seen"
    assert story(model, None, no, "audio").overall(30.0).reason == "no speech"


@pytest.fixture(scope="module")
def side_by_side(make_media) -> Path:
    """The sample clip, and beside it its mirrored first picture as a still."""
    still = "[b]trim=end_frame=1,loop=-1:size=1,setpts=N/25/TB,hflip[still]"
    graph = f"[0:v]fps=25,split[a][b];{still};[a][still]hstack=shortest=1[v]"
    encoded = ("-c:v", need_encoder("libx264", "mpeg4"), "-q:v", "2", "-c:a", "copy")
    return make_media("two.mp4", "-i", SAMPLE, "-filter_complex", graph, "-map", "[v]", "-map", "0:a", *encoded)


def test_a_video_of_two_of_whom_one_speaks(model, side_by_side):
    result = model.predict(side_by_side, window=6.0)
    assert result.speech[0][0] == pytest.approx(0.4, abs=0.15)
    boxes = result.sightings.boxes
    (speaker,) = set(result.sightings.people[boxes[:, 2] < 480].tolist())
    assert [("audio" in p.modalities) for p in result.predictions] == [
        p.person == speaker for p in result.predictions
    ]
    assert len(result.predictions) == 2
    assert all(0 <= p.speaking <= 1 for p in result.predictions)
    for p in model.predict(side_by_side, window=2.0).predictions:  # too short to be sure everywhere
        assert p.person in (speaker, None) or "audio" not in p.modalities
    voices = ["audio" in person.overall.modalities for person in result.people]
    assert voices == [person.person == speaker for person in result.people]
