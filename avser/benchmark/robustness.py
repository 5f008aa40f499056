"""What a model says of real clips as they are, and with their sound and pictures degraded by degrees."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from avser.benchmark.degradation import FRAMES, OFFSETS, PICTURES, SOUND, Level, thin
from avser.benchmark.kept_parts import kept
from avser.benchmark.takes import Judge, Take
from avser.caching import file_digest
from avser.recognizer import Recognizer
from avser.types import DataError
from avser.windows import window_grid

VERSION = 1
"""To be raised where the same settings would no longer give the same answers."""

AFFECTS = {
    **dict.fromkeys(SOUND, "audio"),
    **dict.fromkeys((*PICTURES, *FRAMES), "face"),
    **dict.fromkeys(OFFSETS, "both"),
}
"""Which branch a degradation is done to."""


@dataclass
class Group:
    """Takes that one model judges, and what it needs more than once of them.

    Attributes:
        weights: digest of the model's file when it was read: the file may change while this runs.
        others: takes that babble is mixed of.
    """

    model: Recognizer
    weights: str
    takes: list[Take]
    others: Sequence[Take] = ()
    judge: Judge = field(init=False)
    contents: list[list[str]] = field(init=False)
    _clean: dict[str, list[np.ndarray]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.judge = Judge(self.model)
        self.contents = [
            [file_digest(take.clip.path).hexdigest(), str(take.clip.start), str(take.clip.end), take.clip.name]
            for take in self.takes
        ]

    @property
    def branches(self) -> tuple[str, ...]:
        """Branches of the model, voice first."""
        return tuple(name for name in ("audio", "face") if name in self.judge.branches)

    def clean_frames(self) -> list[np.ndarray]:
        """The face branch's logits of all frames with a face, of the pictures as they are."""
        if "frames" not in self._clean:
            self._clean["frames"] = self.judge.look([take.crops for take in self.takes])
        return self._clean["frames"]


def answers(group: Group, name: str | None, level: Level | None, seed: int) -> dict[str, np.ndarray]:
    """Log-probabilities (N, C) of each branch and fused, NaN where nothing is said; kept in the cache.

    Args:
        name: of `degradation.DEGRADATIONS` but the offset, or None for the clips as they are.
    """
    babble = [file_digest(take.clip.path).hexdigest() for take in group.others] if name == "babble" else []
    settings = {
        "answers": VERSION,
        "model": group.weights,
        "clips": group.contents,
        "babble": babble,
        "degradation": name,
        "level": level,
        "seed": seed,
    }

    def make() -> dict:
        said = {branch: _branch(group, branch, name, level, seed) for branch in group.branches}
        if len(said) > 1:
            said["fused"] = group.judge.fuse(said)
        return {system: np.round(logs, 5).tolist() for system, logs in said.items()}

    return {system: np.array(logs, float) for system, logs in kept(settings, make).items()}


def _branch(group: Group, branch: str, name: str | None, level: Level | None, seed: int) -> np.ndarray:
    if name is not None and AFFECTS[name] != branch:
        return answers(group, None, None, seed)[branch]
    judge, takes = group.judge, group.takes
    if branch == "audio":
        sounds = [take.samples for take in takes]
        if name is not None and level is not None:
            sounds = [_changed_sound(group, take, name, level, seed) for take in takes]
        return judge.voice(takes, sounds)
    looked_at = [judge.looked_at(take) for take in takes]
    if name in PICTURES:
        crops = [
            PICTURES[name].change(take.crops[chosen], level, chance(seed, name, take))
            if chosen.any()
            else take.crops[:0]
            for take, chosen in zip(takes, looked_at, strict=True)
        ]
        return judge.face(judge.look(crops))
    if name in FRAMES and level is not None:
        looked_at = [_frames_left(judge, take, name, level, seed) for take in takes]
    return judge.face([logits[chosen] for logits, chosen in zip(group.clean_frames(), looked_at, strict=True)])


def _changed_sound(group: Group, take: Take, name: str, level: Level, seed: int) -> np.ndarray:
    if not len(take.samples):
        return take.samples
    others = [other.samples for other in group.others if is_other(other, take) and len(other.samples)]
    if name == "babble" and not others:
        raise DataError(
            f"there is nobody but the speaker of {take.clip.path} to mix babble of: name other people's clips "
            "under 'babble', or leave babble out of 'degradations'"
        )
    return SOUND[name].change(take.samples, level, chance(seed, name, take), take.rate, others)


def is_other(other: Take, take: Take) -> bool:
    """Whether a clip is known to be of somebody else."""
    mine, theirs = ((x.clip.corpus, x.clip.subject) for x in (take, other))
    return mine != theirs and (mine[0] != theirs[0] or None not in (mine[1], theirs[1]))


def _frames_left(judge: Judge, take: Take, name: str, level: Level, seed: int) -> np.ndarray:
    """Which frames with a face the model still gets, (M,) bool."""
    if name == "frame_rate":  # the camera's rate comes first, then the model thins what is left of it
        left = np.flatnonzero(FRAMES[name].change(take.times, level, None))
        left = left[thin(take.times[left], judge.branches["face"].config.face.fps)]
        kept_frames = np.zeros(len(take.times), bool)
        kept_frames[left] = True
        return kept_frames[take.seen]
    chosen = judge.looked_at(take)
    rows = np.flatnonzero(chosen)
    chosen[rows] = FRAMES[name].change(take.times[take.seen][rows], level, chance(seed, name, take))
    return chosen


def chance(seed: int, name: str, take: Take) -> np.random.Generator:
    """Chance that is the same at every level, so that levels differ in nothing else."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), zlib.crc32(take.clip.name.encode())])


def shifted(group: Group, window: float) -> Iterator[tuple[float, dict[str, np.ndarray], np.ndarray]]:
    """A timeline of short windows, with the picture shown later than the sound by each offset.

    A clip that is judged whole knows nothing of such an offset; a window gets faces of another time than sound.

    Yields:
        Offset in s; log-probabilities (W, C) of each branch and fused, of all windows; whose each is, (W,).
    """
    grids = [window_grid(take.end, window, window / 2) for take in group.takes]
    whose = np.repeat(np.arange(len(grids)), [len(grid) for grid in grids])
    for offset in map(float, OFFSETS["offset"].levels):
        settings = {
            "shifted": VERSION,
            "model": group.weights,
            "clips": group.contents,
            "offset": offset,
            "window": window,
        }

        def make(offset: float = offset) -> dict:
            if "heard" not in group._clean:
                group._clean["heard"] = group.judge.hear([take.samples for take in group.takes], grids)
            said = {"audio": np.concatenate(group._clean["heard"]), "face": _windows(group, grids, offset)}
            said["fused"] = group.judge.fuse(said)
            return {system: np.round(logs, 5).tolist() for system, logs in said.items()}

        yield offset, {name: np.array(logs, float) for name, logs in kept(settings, make).items()}, whose


def _windows(group: Group, grids: Sequence[Sequence[tuple[float, float]]], offset: float) -> np.ndarray:
    frames = []
    for take, logits, grid in zip(group.takes, group.clean_frames(), grids, strict=True):
        chosen = group.judge.looked_at(take)
        times = OFFSETS["offset"].change(take.times[take.seen][chosen], offset, None)
        for start, end in grid:
            frames.append(logits[chosen][slice(*np.searchsorted(times, (start, end)))])
    return group.judge.face(frames)
