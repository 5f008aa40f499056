"""Faces in pictures that come one after the other: how little has to be looked at, and that nothing is missed."""

import numpy as np
import pytest

from avser.faces import Face, FaceDetector, align, finding
from avser.faces.finding import FaceFinder, FaceLooker, _moved
from avser.faces.pyramid import SMALLEST, Pyramid

cv2 = pytest.importorskip("cv2")
astronaut = pytest.importorskip("skimage.data").astronaut

HEAD = astronaut()[:220, 110:340]
SHARE = np.outer(np.hanning(220), np.hanning(230))[..., None] ** 0.5
"""How much of the head is seen where, so that it has no frame that moves with it."""
EMPTY = np.full((720, 1280, 3), 90, np.uint8)


class Counting(FaceDetector):
    """Counts what the networks are asked."""

    looks = 0

    def look(self, network, view, region):
        self.looks += 1
        return super().look(network, view, region)


@pytest.fixture(scope="module")
def detector():
    with Counting() as detector:
        yield detector


def placed(*places: tuple[int, int]) -> np.ndarray:
    picture = EMPTY.copy()
    for x, y in places:
        place = picture[y : y + HEAD.shape[0], x : x + HEAD.shape[1]]
        place[:] = SHARE * HEAD + (1 - SHARE) * place
    return picture


def looks_for(detector: Counting, work) -> tuple[int, object]:
    before = detector.looks
    found = work()
    return detector.looks - before, found


def test_a_known_face_costs_one_look_and_none_where_pixels_tell(detector):
    looker, picture = FaceLooker(detector), placed((500, 200))
    count, (first,) = looks_for(detector, lambda: looker.look(0.0, Pyramid(picture)))
    assert count > 1
    count, (again,) = looks_for(detector, lambda: looker.look(0.1, Pyramid(picture), [first]))
    assert count == 1
    np.testing.assert_allclose(again.box, first.box, atol=8)
    moved = Pyramid(placed((506, 197)))
    count, (followed,) = looks_for(detector, lambda: looker.follow(0.2, moved, [again]))
    assert count == 0
    np.testing.assert_allclose(np.subtract(followed.box, again.box), [6, -3, 6, -3], atol=1.5)
    np.testing.assert_allclose(np.subtract(followed.left_eye, again.left_eye), [6, -3], atol=1.5)
    assert looker.follow(0.11 + finding.NETWORK_EVERY, moved, [followed]) is None  # a look is due


def test_who_comes_is_seen_at_once_and_who_goes_is_gone(detector):
    looker, one, two = FaceLooker(detector), placed((200, 200)), placed((200, 200), (900, 200))
    (known,) = looker.look(0.0, Pyramid(one))
    assert looker.follow(0.1, Pyramid(two), [known]) is None
    assert len(looker.look(0.1, Pyramid(two), [known])) == 2
    assert looker.follow(0.2, Pyramid(EMPTY), [known]) is None
    assert looker.look(0.2, Pyramid(EMPTY), [known]) == []


def test_nothing_is_looked_for_where_nothing_was_and_nothing_changes(detector):
    looker = FaceLooker(detector)
    assert looker.look(0.0, Pyramid(EMPTY)) == []
    assert looks_for(detector, lambda: looker.look(0.1, Pyramid(EMPTY))) == (0, [])
    assert looks_for(detector, lambda: looker.look(finding.LOOK_AFTER, Pyramid(EMPTY)))[0] > 0
    assert len(looker.look(finding.LOOK_AFTER + 0.1, Pyramid(placed((200, 200))))) == 1


def test_searches_come_again_where_something_has_changed(detector):
    finder, picture = FaceFinder(detector), placed((500, 200))
    (face,) = finder.find(0.0, Pyramid(picture))
    count, _ = looks_for(detector, lambda: finder.find(1.9, Pyramid(picture), [face]))
    assert count <= 4  # those of one picture, and none in parts of it
    small = picture.copy()
    small[600:720, 1100:1220] = cv2.resize(HEAD, (120, 120))
    count, faces = looks_for(detector, lambda: finder.find(2.0, Pyramid(small), [face]))
    assert count > 4
    assert len(faces) == 2
    assert len(finder.find(4.3, Pyramid(EMPTY), anew=True)) == 0


def test_faces_are_not_followed_out_of_the_picture_nor_into_something_else():
    face = Face((510.0, 230.0, 640.0, 360.0), 0.9, (550.0, 270.0), (600.0, 270.0))
    here = Pyramid(placed((500, 200)))
    assert _moved(face, here, here).box == pytest.approx(face.box, abs=1)
    assert _moved(face, here, Pyramid(EMPTY)) is None
    assert _moved(face, here, Pyramid(placed((560, 200)))) is None  # too far for one step
    edge = Face((0.0, 0.0, 130.0, 130.0), 0.9, (40.0, 40.0), (90.0, 40.0))
    assert _moved(edge, here, here) is None


@pytest.mark.parametrize("size", [(720, 1280), (361, 643), (1, 1), (1280, 8)])
def test_copies_are_halves_and_one_is_of_a_fixed_size(size):
    pictures = Pyramid(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    assert pictures.level(1.9)[0] is pictures.image
    for shrink in (2, 5, 1000):
        copy, scale = pictures.level(shrink)
        assert scale <= shrink
        assert copy.shape[:2] == tuple(side // scale for side in size) or min(copy.shape[:2]) == 1
        assert copy is pictures.level(shrink)[0]
    assert pictures.small.shape == (*SMALLEST[::-1], 3)
    blank = Pyramid(np.full((*size, 3), 77, np.uint8))
    assert (blank.small == 77).all()


@pytest.mark.parametrize("apart", [20.0, 150.0, 400.0])
def test_a_crop_from_a_copy_is_the_crop_of_the_picture(apart):
    picture = cv2.GaussianBlur(cv2.resize(astronaut(), (1280, 1280)), (0, 0), 8)
    face = Face((0.0, 0.0, 1.0, 1.0), 0.9, (500.0, 300.0), (500.0 + apart, 310.0))
    ours, theirs = Pyramid(picture).crop(face, 48), align(picture, face.left_eye, face.right_eye, 48)
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= (6 if cv2.__version__ < "5" else 7)
