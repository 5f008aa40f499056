"""The face networks run from files: the same faces as by the mediapipe that carries them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from avser import branches, media
from avser.errors import ModelError
from avser.faces import FULL_RANGE, SHORT_RANGE, FaceDetector, networks, overlap, tasks
from avser.faces.finding import FaceFinder
from avser.faces.model_files import FULL_RANGE_FILE, MESH_FILE, SHORT_RANGE_FILE
from avser.faces.mouths import MouthMeter
from avser.faces.pyramid import Pyramid
from avser.faces.sightings import FINE, INPUT_SIDES

cv2 = pytest.importorskip("cv2")
PORTRAIT = pytest.importorskip("skimage.data").astronaut()
BUNDLED = networks.brings_networks()
BOTH = pytest.mark.skipif(not BUNDLED, reason="this mediapipe carries no face networks to compare with")


FOLDERS = [Path(os.environ["AVSER_DATA"], "weights", "mediapipe")] if "AVSER_DATA" in os.environ else []
FOLDERS += [Path(os.environ["AVSER_FACE_MODELS"])] if os.environ.get("AVSER_FACE_MODELS") else []


def given(name: str) -> Path | None:
    """A file of the networks, where the machine has it."""
    return next((folder / name for folder in FOLDERS if (folder / name).is_file()), None)


@pytest.fixture
def from_files(monkeypatch, tmp_path):
    """Networks from files, without the one for small faces; gives their folder."""
    for file in (SHORT_RANGE_FILE, MESH_FILE):
        path = given(file.name)
        if path is None:
            pytest.skip(f"{file.name} is neither in AVSER_FACE_MODELS nor in AVSER_DATA/weights/mediapipe")
        shutil.copy(path, tmp_path)
    monkeypatch.setenv("AVSER_FACE_MODELS", str(tmp_path))
    monkeypatch.setattr(networks, "brings_networks", lambda: False)
    return tmp_path


def crowd(side: int, columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Heads side by side in a picture of 1280 x 720, and the middles between their eyes (N, 2)."""
    picture = np.full((720, 1280, 3), 255, np.uint8)
    head = cv2.resize(PORTRAIT[10:260, 100:350], (side, side), interpolation=cv2.INTER_AREA)
    middles = []
    for x in np.linspace(10, 1270 - side, columns).astype(int):
        for y in np.linspace(10, 710 - side, rows).astype(int):
            picture[y : y + side, x : x + side] = head
            middles.append((x + 125.1 / 250 * side, y + 92 / 250 * side))
    return picture, np.array(middles)


def middles_of(faces) -> np.ndarray:
    return np.array([np.mean([face.left_eye, face.right_eye], axis=0) for face in faces]).reshape(-1, 2)


def test_the_portrait(from_files):
    with FaceDetector() as detector, MouthMeter() as meter:
        (face,) = detector.detect(PORTRAIT)
        np.testing.assert_allclose([face.left_eye, face.right_eye], [(203.3, 101.0), (247.0, 103.0)], atol=4)
        assert face.score > 0.8
        smiling = meter.opening(PORTRAIT, np.array(face.box))
        assert 0.1 < smiling < 0.5
        assert np.isnan(meter.opening(np.zeros_like(PORTRAIT), np.array(face.box)))
        assert detector.detect(np.zeros((90, 160, 3), np.uint8)) == []


@BOTH
@pytest.mark.parametrize("crop", [np.s_[:, :], np.s_[:, :471], np.s_[20:301], np.s_[85:175, 178:268]])
def test_one_look_is_the_same_look(from_files, crop):
    from avser.faces import solutions

    view = np.ascontiguousarray(PORTRAIT[crop])
    height, width = view.shape[:2]
    two = [solutions.Detector(SHORT_RANGE, 0.5), tasks.detector(SHORT_RANGE, 0.5)]
    old, new = (detector.find(view) for detector in two)
    for detector in two:
        detector.close()
    for before, after in zip(old, new, strict=True):
        np.testing.assert_allclose(after.eyes, before.eyes, atol=1e-5)
        assert after.score == pytest.approx(before.score, abs=1e-5)
        apart = np.subtract(after.box, before.box) * (width, height, width, height)
        step = max(width, height) / (INPUT_SIDES[SHORT_RANGE] * FINE)  # on whose edge a box may lie
        inside = min(before.box) >= 0  # else mediapipe pushes it inside
        assert np.abs(apart).max() <= (1.01 * step if inside else 0.12 * max(width, height))


def test_small_faces_without_the_network_for_them(from_files):
    picture, middles = crowd(200, 5, 3)
    with FaceDetector() as detector:
        assert detector.look(SHORT_RANGE, picture, (0, 0, 1280, 720)) == []
        found = middles_of(FaceFinder(detector).find(0.0, Pyramid(picture)))
    assert len(found) == len(middles)
    apart = np.linalg.norm(found[:, None] - middles, axis=-1).min(axis=0)
    assert apart.max() < 8


def test_a_face_of_several_parts_is_one(from_files):
    picture, _ = crowd(300, 1, 1)
    picture = np.roll(picture, (210, 490), (0, 1))  # in the middle, so that all parts show some of it
    far = tasks.detector(FULL_RANGE, 0.5)
    assert isinstance(far, tasks.PartsDetector)
    boxes = [face.box for face in far.find(picture)]
    far.close()
    assert boxes
    assert all(overlap(a, b) <= 0.3 for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.skipif(BUNDLED, reason="the Tasks API of this mediapipe does not read the network for small faces")
def test_the_network_for_small_faces_is_taken_if_it_is_there(from_files):
    path = given(FULL_RANGE_FILE.name)
    if path is None:
        pytest.skip(f"{FULL_RANGE_FILE.name} is not in AVSER_FACE_MODELS")
    shutil.copy(path, from_files)
    far = tasks.detector(FULL_RANGE, 0.5)
    assert isinstance(far, tasks.Detector)
    picture, middles = crowd(300, 3, 2)
    found = far.find(picture)
    far.close()
    assert len(found) == len(middles)


def test_a_damaged_file_is_one_sentence(from_files):
    (from_files / SHORT_RANGE_FILE.name).write_bytes(b"no network")
    with pytest.raises(ModelError, match="avser models fetch face") as error, FaceDetector() as detector:
        detector.detect(PORTRAIT)
    assert str(from_files / SHORT_RANGE_FILE.name) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_one_sentence(from_files, avser_command):
    (from_files / SHORT_RANGE_FILE.name).unlink()
    branches.free_networks()  # those of earlier tests
    done = avser_command("predict", Path(__file__).parent / "data" / "sample.mp4", "--modality", "face")
    assert done.code != 0
    assert SHORT_RANGE_FILE.name in done.err
    assert "avser models fetch face" in done.err


QUIET = """
import numpy as np, sys
from avser import faces
from avser.faces import networks
from avser.faces.mouths import MouthMeter
from avser.faces.pyramid import Pyramid
from skimage.data import astronaut
networks.brings_networks = lambda: False
with faces.FaceDetector() as detector, MouthMeter() as meter:
    for face in detector.detect(astronaut()):
        meter.opening(astronaut(), np.array(face.box))
left_open = faces.FaceDetector()
left_open.detect(astronaut())
print(sorted({m.split('.')[0] for m in sys.modules} & {'matplotlib', 'sounddevice'}))
"""


def test_nothing_is_printed_and_nothing_is_loaded_in_vain(from_files):
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n")
    # one warning, once a process, comes when memory happens to lie so, whenever that is
    said = [line for line in done.stderr.splitlines() if not re.search("InitGoogle|memory is not aligned", line)]
    assert said == []


SET_BACK = """
import contextlib, signal
import numpy as np
from avser.faces import SHORT_RANGE, tasks
tasks.detector(SHORT_RANGE, 0.5)
for number in signal.valid_signals():  # as Lightning does after a training
    with contextlib.suppress(OSError, TypeError, ValueError):
        signal.signal(number, signal.getsignal(number))
for _ in range(4):
    detector = tasks.detector(SHORT_RANGE, 0.5)
    for _ in range(60):
        detector.find(np.zeros((720, 1280, 3), np.uint8))
    detector.close()
"""


def test_handlers_of_signals_that_are_set_back_do_not_end_the_process(from_files):
    done = subprocess.run([sys.executable, "-c", SET_BACK], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_no_report_of_use_leaves_the_machine(from_files, monkeypatch):
    """mediapipe's report goes to the proxy that avser names, here a listener; older versions make none."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:2")
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        monkeypatch.setattr(tasks, "NOWHERE", f"http://127.0.0.1:{server.getsockname()[1]}")
        detector = FaceDetector()
        detector.detect(PORTRAIT)
        if not BUNDLED:
            closing = threading.Thread(target=detector.close)
            closing.start()
            with server.accept()[0] as caller:
                assert caller.recv(200).startswith(b"CONNECT ")
            closing.join()
        detector.close()
    assert os.environ["https_proxy"] == "http://127.0.0.1:2"
    assert os.environ["no_proxy"] == "*"


@BOTH
def test_real_clips_have_the_same_faces(from_files, monkeypatch):
    root = Path(os.environ.get("AVSER_DATA", "missing"), "av")
    clips = sorted(root.glob("ravdess/original_*.mp4")) + sorted(root.glob("ravdess/Actor_01/*.mp4"))[::10]
    if not clips:
        pytest.skip("real clips need AVSER_DATA")
    frames = [frame.image for clip in clips for frame in media.iter_frames(clip, fps=2, height=360)]
    with FaceDetector() as new:
        seen = [new.detect(frame) for frame in frames]
    monkeypatch.setattr(networks, "brings_networks", lambda: True)
    with FaceDetector() as old:
        expected = [old.detect(frame) for frame in frames]
    assert [len(faces) for faces in seen] == [len(faces) for faces in expected]
    boxes, true = (np.array([face.box for faces in many for face in faces]) for many in (seen, expected))
    apart = np.abs(boxes - true).max(axis=1)
    assert np.quantile(apart, 0.95) <= 2
    assert (apart / (true[:, 2] - true[:, 0])).max() < 0.03
