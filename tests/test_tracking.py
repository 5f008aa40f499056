"""A face followed through pictures with a portrait that scikit-image ships, and through real clips."""

import os
from pathlib import Path

import numpy as np
import pytest

from avser.faces import FaceDetector
from avser.media import iter_frames
from avser.tracking import FaceFollower, collect, track_faces
from avser.types import Frame

cv2 = pytest.importorskip("cv2")
astronaut = pytest.importorskip("skimage.data").astronaut

DATA = os.environ.get("AVSER_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="AVSER_DATA does not name the folder with the real recordings")
PORTRAIT = astronaut()  # (512, 512, 3)
EMPTY = np.full((360, 640, 3), 90, np.uint8)


@pytest.fixture(scope="module")
def detector():
    with FaceDetector() as detector:
        yield detector


def placed(*people: tuple[int, int, float]) -> np.ndarray:
    """A grey picture, (360, 640, 3), with portraits at x, y and in the scale given."""
    canvas = EMPTY.copy()
    for x, y, scale in people:
        head = cv2.resize(PORTRAIT[:220, 110:340], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
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
