"""Faces followed through pictures with a portrait that scikit-image ships, and through real clips."""

import os
from pathlib import Path

import numpy as np
import pytest

from avser.faces import FaceDetector
from avser.faces.people import Followed
from avser.faces.tracking import FaceFollower, FaceSample, PeopleFollower, collect, track_faces
from avser.media import iter_frames
from avser.types import Frame

cv2 = pytest.importorskip("cv2")
astronaut = pytest.importorskip("skimage.data").astronaut

DATA = os.environ.get("AVSER_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="AVSER_DATA does not name the folder with the real recordings")
PORTRAIT = astronaut()  # (512, 512, 3)
EMPTY = np.full((360, 640, 3), 90, np.uint8)
WHITE, BLUE, DARK = (1, 1, 1), (0.5, 0.7, 1.0), (0.45, 0.3, 0.25)
LEFT, RIGHT = (20, 60, 1.0, WHITE), (380, 60, 1.0, BLUE)


@pytest.fixture(scope="module")
def detector():
    with FaceDetector() as detector:
        yield detector


def placed(*people: tuple, canvas: np.ndarray = EMPTY) -> np.ndarray:
    """A grey picture, (360, 640, 3), with portraits at x, y and in the scale given, and in a colour (r, g, b)."""
    canvas = canvas.copy()
    for x, y, scale, *colour in people:
        head = (PORTRAIT[:220, 110:340] * (colour or [WHITE])[0]).astype(np.uint8)
        head = cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        head = head[: canvas.shape[0] - y, : canvas.shape[1] - x]
        canvas[y : y + len(head), x : x + head.shape[1]] = head
    return canvas


def follow(detector: FaceDetector, pictures: list[np.ndarray], fps: float = 10.0, **settings):
    follower = FaceFollower(detector=detector, **settings)
    return [follower.update(Frame(n / fps, picture)) for n, picture in enumerate(pictures)]


def centre(box) -> float:
    return (box[0] + box[2]) / 2


def test_missed_frames_are_absent(detector):
    seen, gone = placed((200, 60, 1.0)), EMPTY
    samples = follow(detector, [seen, seen, gone, gone, seen])
    assert [s is not None for s in samples] == [True, True, False, False, True]
    (track,) = collect(samples)
    assert track.times.tolist() == [0.0, 0.1, 0.4]
    assert track.crops.shape == (3, 48, 48, 3)
    assert track.boxes.shape == (3, 4)
    assert track.track == 0
    red, _, blue = track.crops[0].reshape(-1, 3).mean(0)
    assert red > blue + 20  # skin in RGB


def test_keeps_the_first_person_while_a_larger_one_flashes_up(detector):
    first = (30, 100, 0.8)
    pictures = [placed(first)] * 3 + [placed(first, (300, 20, 1.4))] * 3 + [placed(first)] * 2
    assert len(detector.detect(pictures[3])) == 2
    assert centre(detector.detect(pictures[3])[0].box) > 300  # the other one is the largest
    samples = follow(detector, pictures)
    assert all(s is not None and s.track == 0 and centre(s.box) < 200 for s in samples)


def test_starts_with_the_largest_and_does_not_jump_to_another(detector):
    both, small_alone = placed((30, 100, 0.8), (300, 20, 1.4)), placed((30, 100, 0.8))
    samples = follow(detector, [both] * 2 + [small_alone] * 8)
    assert all(centre(s.box) > 300 for s in samples[:2])
    assert samples[2:] == [None] * 8


def test_a_long_loss_starts_a_new_track(detector):
    seen = placed((200, 60, 1.0))
    short, long = [EMPTY] * 7, [EMPTY] * 12
    tracks = collect(follow(detector, [seen, *short, seen, *long, seen]))
    assert [(t.track, len(t)) for t in tracks] == [(0, 2), (1, 1)]
    moved = collect(follow(detector, [seen] + [placed((30, 100, 0.8))] * 14))
    assert [(t.track, len(t)) for t in moved] == [(0, 1), (1, 4)]


def test_follows_a_face_that_moves(detector):
    pictures = [placed((20 + 25 * n, 60, 1.0)) for n in range(12)]
    (track,) = track_faces(Frame(n / 25, picture) for n, picture in enumerate(pictures))
    assert len(track) == 12
    np.testing.assert_allclose(np.diff((track.boxes[:, 0] + track.boxes[:, 2]) / 2), 25, atol=5)


def test_no_frames_and_no_faces_give_no_tracks():
    assert track_faces([]) == []
    assert track_faces([Frame(0.0, EMPTY)]) == []
    assert collect([None, None]) == []


def test_sample_clip_shows_one_face_all_along():
    frames = list(iter_frames(Path(__file__).parent / "data" / "sample.mp4", fps=5))
    (track,) = track_faces(frames)
    assert len(track) == len(frames) > 20


# Everybody


def people_in(detector: FaceDetector, pictures: list[np.ndarray], fps: float = 10.0, **settings):
    """Samples by frame, everybody, and the follower."""
    follower = PeopleFollower(48, detector, **settings)
    samples = [follower.update(Frame(n / fps, picture)) for n, picture in enumerate(pictures)]
    return samples, follower.people(), follower


def persons(samples: list[FaceSample], people: list[Followed]) -> list[int]:
    """Who is seen in a frame, from left to right."""
    numbers = {track: number for number, person in enumerate(people) for track in person.tracks}
    return [numbers[s.track] for s in sorted(samples, key=lambda s: centre(s.box)) if s.track in numbers]


def assert_same(samples: list[list[FaceSample]], one: list[FaceSample | None]) -> None:
    for many, sample in zip(samples, one, strict=True):
        assert len(many) == (sample is not None)
        for found in many:
            assert (found.time, found.score, found.track) == (sample.time, sample.score, sample.track)
            np.testing.assert_array_equal(found.crop, sample.crop)
            np.testing.assert_array_equal(found.box, sample.box)


@pytest.mark.parametrize("fps", [5, 10])
def test_of_one_person_the_samples_are_those_of_training(detector, fps):
    frames = list(iter_frames(Path(__file__).parent / "data" / "sample.mp4", fps=fps))
    many, one = PeopleFollower(48, detector), FaceFollower(48, detector)
    assert_same([many.update(frame) for frame in frames], [one.update(frame) for frame in frames])
    (person,) = many.people()
    assert person.spans == ((frames[0].time, frames[-1].time),)
    assert person.thumbnail.shape == (96, 96, 3)
    assert many.cuts == ()


def test_two_are_followed_side_by_side(detector):
    samples, people, _ = people_in(detector, [placed(LEFT, RIGHT)] * 6)
    assert len(people) == 2
    assert all(persons(frame, people) == persons(samples[0], people) for frame in samples)
    assert sorted(persons(samples[0], people)) == [0, 1]


def test_small_faces_of_many_are_found_from_the_first_frame(detector):
    """Twelve tiles in a picture of 1280 x 720: the network for near faces sees none of them."""
    canvas = np.full((720, 1280, 3), 90, np.uint8)
    tiles = [(40 + 310 * x, 20 + 235 * y, 0.9, WHITE) for x in range(4) for y in range(3)]
    samples, people, _ = people_in(detector, [placed(*tiles, canvas=canvas)] * 5, max_faces=12)
    assert [len(frame) for frame in samples] == [12] * 5
    assert len(people) == 12  # all alike, but seen at one time
    follower = PeopleFollower(48, detector, max_faces=4)
    assert len(follower.update(Frame(0.0, placed(*tiles, canvas=canvas)))) == 4


def test_the_largest_are_chosen_and_the_smallest_left_out(detector):
    picture = placed((20, 60, 0.7, WHITE), (340, 20, 1.2, BLUE))
    ((first,), *_), _, _ = people_in(detector, [picture], max_faces=1)
    assert centre(first.box) > 320
    ((first,), *_), _, _ = people_in(detector, [picture], min_face=100)
    assert centre(first.box) > 320


def test_who_is_followed_stays_while_a_larger_face_comes(detector):
    both = placed((20, 60, 0.7, WHITE), (340, 20, 1.2, BLUE))
    small, large = placed((20, 60, 0.7, WHITE)), placed((340, 20, 1.2, BLUE))
    samples, _, _ = people_in(detector, [small] * 3 + [both] * 3 + [large] * 2 + [both] * 3, max_faces=1)
    assert [[s.track for s in frame] for frame in samples] == [[0]] * 6 + [[1]] * 2 + [[0]] * 3


def test_who_leaves_and_comes_back_elsewhere_is_the_same_person(detector):
    both, one = placed(LEFT, RIGHT), placed(LEFT)
    back = placed((20, 120, 0.8, BLUE), (380, 60, 1.0, WHITE))
    pictures = [both] * 6 + [one] * 14 + [both] * 5 + [EMPTY] * 13 + [back] * 6
    samples, people, _ = people_in(detector, pictures)
    assert len(people) == 2
    white, blue = persons(samples[0], people)
    assert all(persons(frame, people) == [white] for frame in samples[6:20])
    assert persons(samples[21], people) == [white, blue]
    assert persons(samples[-1], people) == [blue, white]
    assert [len(p.spans) for p in people] == [len(p.tracks) for p in people]
    starts = {round(start, 1) for person in people for start, _ in person.spans}
    assert {0.0, 2.0} <= starts


def test_somebody_else_at_the_same_place_is_somebody_else(detector):
    other = placed((20, 60, 1.0, DARK))
    samples, people, _ = people_in(detector, [placed(LEFT)] * 6 + [EMPTY] * 3 + [other] * 6)
    assert len(people) == 2
    assert persons(samples[0], people) == [0]
    assert persons(samples[-1], people) == [1]


def test_two_cross_and_stay_who_they_are(detector):
    def picture(n: int) -> np.ndarray:
        return placed((20 + 20 * n, 100, 0.8, WHITE), (420 - 20 * n, 30, 1.0, BLUE))

    samples, people, _ = people_in(detector, [picture(n) for n in range(21)])
    assert len(people) == 2
    assert persons(samples[0], people) == persons(samples[-1], people)[::-1]


def test_a_face_that_grows_is_followed(detector):
    pictures = [placed((150, 20, 0.4 * 1.07**n)) for n in range(20)]
    samples, people, _ = people_in(detector, pictures)
    assert [len(frame) for frame in samples] == [1] * 20
    assert [person.tracks for person in people] == [(0,)]


def test_a_blink_of_a_face_is_nobody(detector):
    pictures = [placed(LEFT)] * 5 + [placed(LEFT, RIGHT)] + [placed(LEFT)] * 5
    samples, people, _ = people_in(detector, pictures)
    assert len(samples[5]) == 2
    assert [person.tracks for person in people] == [(0,)]
    _, people, _ = people_in(detector, [EMPTY, placed(LEFT), EMPTY])  # but for where nobody was seen for longer
    assert [person.spans for person in people] == [((0.1, 0.1),)]


def test_missed_frames_are_absent_in_a_crowd_too(detector):
    both, one = placed(LEFT, RIGHT), placed(LEFT)
    samples, people, _ = people_in(detector, [both] * 4 + [one] * 4 + [both] * 4)
    assert [len(frame) for frame in samples] == [2] * 4 + [1] * 4 + [2] * 4
    assert [person.tracks for person in people] == [(0,), (1,)]  # the gap is bridged


def test_a_cut_ends_tracks_and_people_outlast_it(detector):
    other_shot = np.repeat(np.linspace(0, 255, 640).astype(np.uint8)[None, :, None], 360, axis=0).repeat(3, axis=2)
    other_shot[::40] = (30, 160, 60)
    near = placed((200, 20, 1.3, WHITE), canvas=other_shot)
    samples, people, follower = people_in(detector, [placed(LEFT)] * 6 + [near] * 6)
    assert follower.cuts == (0.6,)
    assert [person.tracks for person in people] == [(0, 1)]
    assert people[0].spans == ((0.0, 0.5), (0.6, 1.1))
    assert all(len(frame) == 1 for frame in samples)


def test_a_flash_ends_nothing(detector):
    pictures = [placed(LEFT)] * 5 + [np.full_like(EMPTY, 255)] + [placed(LEFT)] * 5
    samples, people, follower = people_in(detector, pictures)
    assert follower.cuts == ()
    assert [len(frame) for frame in samples] == [1] * 5 + [0] + [1] * 5
    assert [person.tracks for person in people] == [(0,)]


def test_an_upright_picture(detector):
    canvas = np.full((640, 360, 3), 90, np.uint8)
    picture = placed((60, 20, 1.0, WHITE), (40, 340, 1.2, BLUE), canvas=canvas)
    samples, people, _ = people_in(detector, [picture] * 5)
    assert [len(frame) for frame in samples] == [2] * 5
    assert len(people) == 2


def test_patterns_are_nobody(detector):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (360, 640, 3), dtype=np.uint8)
    checks = np.kron(np.indices((9, 16)).sum(0) % 2, np.ones((40, 40)))[..., None].repeat(3, 2)
    for picture in (EMPTY, noise, (checks * 255).astype(np.uint8), cv2.GaussianBlur(noise, (0, 0), 12)):
        samples, people, _ = people_in(detector, [picture] * 6)
        assert not any(samples)
        assert people == []


@needs_data
@pytest.mark.parametrize("name", ["ravdess/original_01-01-08-02-02-02-01.mp4", "edge/inferno_test.mp4"])
def test_of_one_real_person_the_samples_are_those_of_training(detector, name):
    frames = list(iter_frames(Path(DATA) / "av" / name, fps=10, height=720))
    many, one = PeopleFollower(48, detector), FaceFollower(48, detector)
    assert_same([many.update(frame) for frame in frames], [one.update(frame) for frame in frames])


@needs_data
@pytest.mark.parametrize("name", ["01-01-01-01-01-01-01", "01-01-05-02-02-02-01", "01-01-08-01-01-02-01"])
def test_real_actor_is_followed(name):
    frames = list(iter_frames(Path(DATA) / "av" / "ravdess" / "Actor_01" / f"{name}.mp4"))
    (track,) = track_faces(frames)
    assert len(track) >= 0.9 * len(frames)


@needs_data
def test_real_clip_without_a_face():
    assert track_faces(iter_frames(Path(DATA) / "av" / "edge" / "pyfeat_no_face.mp4")) == []


@needs_data
@pytest.mark.parametrize(("name", "is_first"), [("pyfeat_face_noface", True), ("pyfeat_noface_face", False)])
def test_real_face_that_leaves_or_comes(name, is_first):
    frames = list(iter_frames(Path(DATA) / "av" / "edge" / f"{name}.mov", fps=15))
    (track,) = track_faces(frames)
    times = np.array([frame.time for frame in frames])
    assert 2.0 < track.times[-1] - track.times[0] < 3.0
    assert len(track) == np.count_nonzero((track.times[0] <= times) & (times <= track.times[-1]))  # no gap
    assert track.times[0] == 0 if is_first else track.times[-1] > times[-1] - 0.3
