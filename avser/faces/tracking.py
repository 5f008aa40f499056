"""Faces followed through a video: one, as training takes it, or all of them, told apart as people."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from avser.faces import Face, FaceDetector, overlap
from avser.faces.appearance import Look, describe, distances
from avser.faces.finding import FaceFinder, FaceLooker
from avser.faces.people import Followed, People, Track
from avser.faces.pyramid import Pyramid
from avser.faces.shots import FLASH, ShotDetector
from avser.faces.sightings import is_apart
from avser.types import FaceTrack, Frame

START_SCORE = 0.75
"""Lowest confidence to start a track; blurred lettering reaches 0.66."""
PATIENCE = 1.0
"""How long a lost face is waited for, in s."""
CHANGED, CHANGED_MUCH = 0.33, 0.42
"""A face is another one if from one frame to the next its texture and colours both differ by more than the first,
or its texture by more than the second. In real clips at 10 frames a second the texture of one face differed by up
to 0.28, at 3 by up to 0.37, and between people in the median by 0.43; light that goes on changes colours alone."""


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
        start_score: lowest confidence to start a track.
        patience: how long a lost face is waited for, in s.
    """

    def __init__(
        self,
        size: int = 48,
        detector: FaceDetector | None = None,
        start_score: float = START_SCORE,
        patience: float = PATIENCE,
    ):
        self.size = size
        self.detector = detector or FaceDetector()
        self.start_score = start_score
        self.patience = patience
        self._looker = FaceLooker(self.detector)
        self._last: FaceSample | None = None
        self._face: Face | None = None  # of the last sample
        self._is_seen = False  # in the last frame

    def __enter__(self) -> FaceFollower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the detector."""
        self.detector.close()

    def update(self, frame: Frame) -> FaceSample | None:
        """The followed face in the next frame, or None if it is not seen there."""
        pictures, last = Pyramid(frame.image), self._last
        if last is not None and frame.time - last.time > self.patience:
            self._face = None
        known = [] if self._face is None else [self._face]
        faces = self._looker.follow(frame.time, pictures, known if self._is_seen else [])
        faces = faces or self._looker.look(frame.time, pictures, known)
        if last is not None and known:
            face, track = _same_face(faces, last.box), last.track
        else:
            face = next((f for f in faces if f.score >= self.start_score), None)  # the largest comes first
            track = 0 if last is None else last.track + 1
        self._is_seen = face is not None
        if face is None:
            return None
        self._face = face
        crop = pictures.crop(face, self.size)
        self._last = FaceSample(frame.time, crop, np.array(face.box, np.float32), face.score, track)
        return self._last


class PeopleFollower:
    """Follows every face through a video, frame by frame, and tells who is who.

    A track keeps to a face by position, size and appearance. A lost face is waited for as long as `PATIENCE`; a
    frame without it has no sample. A change of the shot ends all tracks. Tracks that look alike are one person,
    unless they are seen at the same time; a track that was not steady is of a person who is known, or of nobody.
    Where only one face is ever seen, and neither shot nor light change at once, the samples are those of
    `FaceFollower`, but for faces so small that only `FaceFinder` finds them.

    Args:
        size: side of the crops, in pixels.
        detector: finds the faces; it is not closed here.
        max_faces: most faces followed at the same time; the largest are chosen when they appear.
        min_face: smallest side of a face, in pixels.
    """

    def __init__(self, size: int, detector: FaceDetector, max_faces: int = 8, min_face: float = 24) -> None:
        self.size = size
        self.max_faces = max_faces
        self._finder = FaceFinder(detector, min_face)
        self._shots = ShotDetector()
        self._active: list[Track] = []
        self._cut_off: list[Track] = []  # by a cut that may turn out to be a flash
        self._count = 0
        self._time = -math.inf  # of the last frame
        self._people = People()

    @property
    def cuts(self) -> tuple[float, ...]:
        """Times at which the shot changes, in s."""
        return tuple(self._shots.cuts)

    def update(self, frame: Frame) -> list[FaceSample]:
        """All followed faces in the next frame, in order of their tracks."""
        pictures = Pyramid(frame.image)
        is_cut = self._mind_the_shot(frame, pictures)
        lost = [track for track in self._active if frame.time - track.time > PATIENCE]
        self._active = [track for track in self._active if track not in lost]
        self._people.settle(lost)
        seen = self._follow(frame.time, pictures) or self._find(frame.time, pictures, is_cut)
        self._time = frame.time
        return sorted(seen, key=lambda sample: sample.track)

    def _follow(self, time: float, pictures: Pyramid) -> list[FaceSample]:
        """The followed faces if all were seen in the last frame, and by their pixels are the same; else none."""
        known = [track.face for track in self._active]
        faces = self._finder.follow(
            time, pictures, known if all(t.time == self._time for t in self._active) else []
        )
        samples = []
        for track, face in zip(self._active, faces or (), strict=False):
            crop = pictures.crop(face, self.size)
            track.see(time, pictures, face, crop)
            samples.append(_sample(track, crop))
        return samples

    def _find(self, time: float, pictures: Pyramid, is_cut: bool) -> list[FaceSample]:
        """The faces that the networks find, as tracks that go on or begin."""
        faces = self._finder.find(time, pictures, [track.face for track in self._active], anew=is_cut)
        crops = [pictures.crop(face, self.size) for face in faces]
        looks = [describe(pictures.image, f.box, c) for f, c in zip(faces, crops, strict=True)]
        pairs = sorted(_assign(self._active, faces, looks))[: self.max_faces]  # who was seen first stays
        seen = {j: self._active[i] for i, j in pairs}
        for j, track in seen.items():
            track.see(time, pictures, faces[j], crops[j], looks[j])
        for j in sorted(range(len(faces)), key=lambda j: -faces[j].area):
            apart = is_apart(faces[j].box, (faces[k].box for k in seen if k != j))
            if j not in seen and apart and len(seen) < self.max_faces and faces[j].score >= START_SCORE:
                seen[j] = Track(self._count, time, pictures, faces[j], crops[j], looks[j])
                self._active.append(seen[j])
                self._count += 1
        return [_sample(track, crops[j]) for j, track in seen.items()]

    def people(self) -> list[Followed]:
        """Everybody seen so far, in order of appearance; who is seen now may yet turn out to be somebody else."""
        people = self._people.copy()
        people.settle(self._cut_off + self._active)
        return people.tell()

    def _mind_the_shot(self, frame: Frame, pictures: Pyramid) -> bool:
        """End the tracks where the shot changes, take them up again if it was a flash; whether it changed."""
        is_cut = self._shots.update(frame, pictures)
        if is_cut:
            self._people.settle(self._cut_off)
            self._active, self._cut_off = [], self._active
        elif self._shots.is_flash:
            self._people.settle(self._active)
            self._active, self._cut_off = self._cut_off, []
        elif self._cut_off and frame.time - self._shots.cuts[-1] > FLASH:
            self._people.settle(self._cut_off)
            self._cut_off = []
        return is_cut


def _sample(track: Track, crop: np.ndarray) -> FaceSample:
    face = track.face
    return FaceSample(track.time, crop, np.array(face.box, np.float32), face.score, track.number)


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
    near = [face for face in faces if _is_near(face, box)]
    return max(near, key=lambda face: overlap(face.box, box), default=None)


def _is_near(face: Face, box: Sequence[float] | np.ndarray) -> bool:
    """Whether a face may be the one last seen in `box`, by position and size."""
    x1, y1, x2, y2 = (float(v) for v in box)
    side = math.sqrt((x2 - x1) * (y2 - y1))
    step = math.dist(
        ((x1 + x2) / 2, (y1 + y2) / 2), ((face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2)
    )
    return step < 0.75 * side and 0.5 < math.sqrt(face.area) / side < 2.0


def _assign(tracks: Sequence[Track], faces: Sequence[Face], looks: Sequence[Look]) -> list[tuple[int, int]]:
    """Which track goes on with which face, as pairs of their places: the pairs of least total cost.

    The cost of a pair is how little its boxes overlap and how unlike its looks are (as in Wojke, Bewley, Paulus
    2017, Simple Online and Realtime Tracking with a Deep Association Metric). The assignment is exact, by the
    Hungarian method, where faces compete, and needs no search where they do not.
    """
    costs = np.full((len(tracks), len(faces)), np.inf)
    for (i, track), (j, face) in itertools.product(enumerate(tracks), enumerate(faces)):
        if _is_near(face, track.face.box):
            apart = distances([track.look], [looks[j]])[0, 0]  # of texture and of each region's colours
            if apart[:2].min() <= CHANGED and apart[0] <= CHANGED_MUCH:
                costs[i, j] = 1 - overlap(face.box, track.face.box) + apart[:2].sum()
    possible = np.isfinite(costs)
    if (possible.sum(0) <= 1).all() and (possible.sum(1) <= 1).all():
        return list(zip(*(places.tolist() for places in np.nonzero(possible)), strict=True))
    from scipy.optimize import linear_sum_assignment  # comes with mediapipe; loading it takes a moment

    rows, columns = linear_sum_assignment(np.where(possible, costs, 100.0))
    return [(i, j) for i, j in zip(rows.tolist(), columns.tolist(), strict=True) if possible[i, j]]
