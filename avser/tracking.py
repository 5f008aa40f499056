"""One face followed through a video, and what was seen of it as a `FaceTrack`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from avser.faces import Face, FaceDetector, align, overlap
from avser.types import FaceTrack, Frame


@dataclass(frozen=True)
class FaceSample:
    """The followed face in one frame.

    Attributes:
        time: when the frame is shown, in s.
        crop: (size, size, 3) uint8 RGB, aligned.
        box: (4,) float32, xyxy, pixels of the frame.
        score: the detector's confidence.
        track: id of the track, counted from 0.
    """

    time: float
    crop: np.ndarray
    box: np.ndarray
    score: float
    track: int


class FaceFollower:
    """Follows the largest steady face through a video, frame by frame.

    A track starts with the largest face of at least `start_score` and keeps to the same face by position and
    size, even while another one is larger. In a frame without that face there is no sample. Once the face has
    been lost for longer than `patience`, the next face starts a new track.

    Args:
        size: side of the crops, in pixels.
        detector: finds the faces; a new `FaceDetector` by default.
        start_score: lowest confidence to start a track; blurred lettering reaches 0.66.
        patience: how long a lost face is waited for, in s.
    """

    def __init__(
        self,
        size: int = 48,
        detector: FaceDetector | None = None,
        start_score: float = 0.75,
        patience: float = 1.0,
    ):
        self.size = size
        self.detector = detector or FaceDetector()
        self.start_score = start_score
        self.patience = patience
        self._last: FaceSample | None = None

    def __enter__(self) -> FaceFollower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the detector."""
        self.detector.close()

    def update(self, frame: Frame) -> FaceSample | None:
        """The followed face in the next frame, or None if it is not seen there."""
        faces = self.detector.detect(frame.image)
        last = self._last
        if last is not None and frame.time - last.time <= self.patience:
            face, track = _same_face(faces, last.box), last.track
        else:
            face = next((f for f in faces if f.score >= self.start_score), None)  # the largest comes first
            track = 0 if last is None else last.track + 1
        if face is None:
            return None
        crop = align(frame.image, face.left_eye, face.right_eye, self.size)
        self._last = FaceSample(frame.time, crop, np.array(face.box, np.float32), face.score, track)
        return self._last


def collect(samples: Iterable[FaceSample | None]) -> list[FaceTrack]:
    """Samples in order of time as tracks, in order of their first sample; None stands for a frame without one."""
    tracks: dict[int, list[FaceSample]] = {}
    for sample in samples:
        if sample is not None:
            tracks.setdefault(sample.track, []).append(sample)
    return [
        FaceTrack(
            crops=np.stack([s.crop for s in track]),  # (N, size, size, 3)
            times=np.array([s.time for s in track], np.float64),
            boxes=np.stack([s.box for s in track]),  # (N, 4)
            scores=np.array([s.score for s in track], np.float32),
            track=number,
        )
        for number, track in tracks.items()
    ]


def track_faces(frames: Iterable[Frame], size: int = 48) -> list[FaceTrack]:
    """The tracks of the largest steady face in a video; empty if no face is seen.

    Args:
        frames: in order of time.
        size: side of the crops, in pixels.
    """
    with FaceFollower(size) as follower:
        return collect(follower.update(frame) for frame in frames)


def _same_face(faces: list[Face], box: np.ndarray) -> Face | None:
    """The face that is most probably the one last seen in `box`, or None."""
    centre, side = (box[:2] + box[2:]) / 2, math.sqrt((box[2] - box[0]) * (box[3] - box[1]))

    def is_near(face: Face) -> bool:
        x1, y1, x2, y2 = face.box
        step = math.dist(centre, ((x1 + x2) / 2, (y1 + y2) / 2))
        return step < 0.75 * side and 0.5 < math.sqrt(face.area) / side < 2.0

    near = [face for face in faces if is_near(face)]
    return max(near, key=lambda face: overlap(face.box, box), default=None)
