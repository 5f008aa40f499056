"""Faces found and aligned, on a portrait that scikit-image ships."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avser import faces
from avser.faces import LEFT_EYE, RIGHT_EYE, FaceDetector, align

cv2 = pytest.importorskip("cv2")
astronaut = pytest.importorskip("skimage.data").astronaut

PORTRAIT = astronaut()  # (512, 512, 3)
EYES = np.array([(203.3, 101.0), (247.0, 103.0)])  # its pupils


@pytest.fixture(scope="module")
def detector():
    with FaceDetector() as detector:
        yield detector


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
    path = os.pathsep.join([str(tmp_path), str(Path(faces.__file__).parents[2])])
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=path)
    )
    assert "libGL.so.1" in run.stdout, run.stderr
    assert "libgl1 and libglib2.0-0" in run.stdout
    assert run.stdout.count("\n") == 1
