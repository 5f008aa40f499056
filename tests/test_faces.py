"""Faces: found, aligned and followed, on a portrait that scikit-image ships and on real clips."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avser import faces
from avser.faces import LEFT_EYE, RIGHT_EYE, FaceDetector, FaceFollower, align, collect, track_faces
from avser.media import iter_frames
from avser.types import Frame

cv2 = pytest.importorskip("cv2")
astronaut = pytest.importorskip("skimage.data").astronaut

DATA = os.environ.get("AVSER_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="AVSER_DATA does not name the folder with the real recordings")
PORTRAIT = astronaut()  # (512, 512, 3),
EYES = np.array([(203.3, 101.0), (247.0, 103.0)])  # its pupils
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


def test_finds_the_face_and_its_eyes(detector):
    (face,) = detector.detect(PORTRAIT)
    assert face.score > 0.8
    np.testing.assert_allclose([face.left_eye, face.right_eye], EYES, atol=4)
    x1, y1, x2, y2 = face.box
    assert 150 < x1 < 201 < 246 < x2 < 300
    assert 50 < y1 < 105 < y2 < 200


@pytest.mark.parametrize(("width", "height"), [(64, 64), (300, 500), (500, 300), (4000, 4000)])
def test_boxes_and_eyes_are_in_pixels_of_any_picture(detector, width, height):
    side = min(width, height)
    picture = np.full((height, width, 3), 128, np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    picture[top : top + side, left : left + side] = cv2.resize(
        PORTRAIT, (side, side), interpolation=cv2.INTER_AREA
    )
    face = detector.detect(picture)[0]
    expected = EYES * side / 512 + (left, top)
    np.testing.assert_allclose([face.left_eye, face.right_eye], expected, atol=max(0.012 * side, 1.5))


def test_finds_grey_tight_and_distant_faces(detector):
    grey = np.repeat(PORTRAIT.mean(-1, keepdims=True).astype(np.uint8), 3, axis=-1)
    assert len(detector.detect(grey)) == 1

    (tight,) = detector.detect(PORTRAIT[85:175, 178:268])
    np.testing.assert_allclose([tight.left_eye, tight.right_eye], EYES - (178, 85), atol=5)
    assert min(tight.box) >= 0
    assert max(tight.box) <= 90

    far = np.full((1024, 1024, 3), 255, np.uint8)
    far[-512:, -512:] = PORTRAIT
    (distant,) = detector.detect(far)
    np.testing.assert_allclose([distant.left_eye, distant.right_eye], EYES + 512, atol=4)


@pytest.mark.parametrize("shape", [(360, 480, 3), (1, 1, 3), (3, 500, 3), (0, 10, 3)])
def test_finds_nothing_where_no_face_is(detector, shape):
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert detector.detect(noise) == []
    assert detector.detect(np.zeros(shape, np.uint8)) == []


@pytest.mark.parametrize("wrong", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3))])
def test_refuses_what_is_no_rgb_picture(detector, wrong):
    with pytest.raises(ValueError, match="uint8"):
        detector.detect(wrong)


def test_works_again_after_close():
    with FaceDetector() as detector:
        assert detector.detect(PORTRAIT)
    assert detector.detect(PORTRAIT)
    detector.close()


@settings(deadline=None, max_examples=40)
@given(
    angle=st.floats(-180, 180),
    apart=st.floats(6, 150),
    x=st.floats(150, 250),
    y=st.floats(150, 250),
    size=st.sampled_from([32, 48, 64, 112]),
)
def test_align_puts_the_eyes_in_their_places(angle, apart, x, y, size):
    step = apart / 2 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    eyes = np.array([np.subtract((x, y), step), np.add((x, y), step)])
    rows, columns = np.mgrid[:400, :400] + 0.5
    spread = max(apart / 12, 1)
    picture = np.zeros((400, 400, 3))
    for channel, (ex, ey) in enumerate(eyes):  # a soft dot on either eye, red on the left one
        picture[..., channel] = 250 * np.exp(-((columns - ex) ** 2 + (rows - ey) ** 2) / (2 * spread**2))
    crop = align(picture.astype(np.uint8), tuple(eyes[0]), tuple(eyes[1]), size).astype(float)
    assert crop.shape == (size, size, 3)
    rows, columns = np.mgrid[:size, :size] + 0.5
    for channel, place in enumerate((LEFT_EYE, RIGHT_EYE)):
        dot = crop[..., channel]
        found = np.array([(dot * columns).sum(), (dot * rows).sum()]) / dot.sum()
        np.testing.assert_allclose(found, np.array(place) * size, atol=0.5)


@pytest.mark.parametrize(("angle", "scale", "shift"), [(0, 1, 0), (20, 1, 0), (-20, 0.6, 30), (10, 2.5, -40)])
def test_a_moved_face_gives_the_same_crop(detector, angle, scale, shift):
    matrix = cv2.getRotationMatrix2D((223, 107), angle, scale) + np.array([[0, 0, shift + 40], [0, 0, shift + 60]])
    moved = cv2.warpAffine(PORTRAIT, matrix, (640, 560), borderMode=cv2.BORDER_REPLICATE)
    face = detector.detect(moved)[0]
    true_eyes = EYES @ matrix[:, :2].T + matrix[:, 2]
    to_crop = faces.eye_transform(face.left_eye, face.right_eye, 48)
    in_crop = true_eyes @ to_crop[:, :2].T + to_crop[:, 2]
    np.testing.assert_allclose(in_crop, np.array([LEFT_EYE, RIGHT_EYE]) * 48, atol=1.5)


def test_align_averages_when_it_shrinks():
    board = (np.indices((1024, 1024)).sum(0) % 2 * 255).astype(np.uint8)  # a picture that aliases if it can
    crop = align(np.repeat(board[..., None], 3, -1), (400, 500), (640, 520), 48)
    assert np.abs(crop.astype(int) - 127).max() <= 6


def test_align_keeps_the_order_of_the_colours_and_repeats_the_border():
    red = np.zeros((40, 40, 3), np.uint8)
    red[..., 0] = 200
    assert (align(red, (1, 1), (39, 1)) == (200, 0, 0)).all()


def test_align_needs_two_eyes():
    with pytest.raises(ValueError, match="one point"):
        align(PORTRAIT, (5, 5), (5, 5))


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


def test_nothing_is_printed_and_nothing_is_loaded_early():
    code = (
        "import sys; from avser import faces\n"
        "assert 'mediapipe' not in sys.modules and 'cv2' not in sys.modules\n"
        "import numpy as np\n"
        "with faces.FaceDetector() as d: d.detect(np.zeros((90, 90, 3), np.uint8))\n"
        "print('still here', file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "still here\n")


def test_missing_system_libraries_are_named(tmp_path):
    broken = "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
    (tmp_path / "cv2.py").write_text(broken)
    code = (
        "import numpy as np; from avser import faces; from avser.types import AvserError\n"
        "try: faces.FaceDetector().detect(np.zeros((90, 90, 3), np.uint8))\n"
        "except AvserError as error: print(error)"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(faces.__file__).parents[1])])
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=path)
    )
    assert "libGL.so.1" in run.stdout, run.stderr
    assert "libgl1 and libglib2.0-0" in run.stdout
    assert run.stdout.count("\n") == 1


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
