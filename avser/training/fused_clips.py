"""Clips as a fusion meets them: what both branches say of each, out of fold, and what is known besides."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avser import checkpoint, evidence, media
from avser.branches import FACES, LOOK_HEIGHT
from avser.caching import cached
from avser.config import Config
from avser.faces.tracking import track_faces
from avser.folds import Fold
from avser.fusion.examples import Examples
from avser.labels import label_set, place
from avser.logits import read_logits
from avser.media.headers import read_header
from avser.models import AnyBranch, FaceBranch
from avser.subjects import deal_subjects, everyone_in, subject_of
from avser.training import data
from avser.training.fused_config import BRANCHES
from avser.types import AvserError, Clip, DataError

Said = Mapping[str, Mapping[str, np.ndarray]]
"""Logits (C,) by branch and by the clip's name; a clip that a branch says nothing of is not there."""
Known = Mapping[str, Mapping[str, float | np.ndarray]]
"""By the clip's name, what `avser.evidence` gives of it."""


@dataclass(frozen=True)
class Part:
    """Clips as each branch takes them, by branch and by the clip's name."""

    clips: Sequence[Clip]
    inputs: Mapping[str, Mapping[str, data.Example]]


def name_apart(clips: Sequence[Clip]) -> list[Clip]:
    """The clips with names that tell them apart: where some share one, their folders come before it.

    Raises:
        DataError: even with two folders, two clips share a name.
    """
    for folders in (1, 2):
        counts = Counter(clip.name for clip in clips)
        clips = [
            clip
            if counts[clip.name] == 1
            else dataclasses.replace(clip, info={**clip.info, "name": _with_folders(clip, folders)})
            for clip in clips
        ]
    counts = Counter(clip.name for clip in clips)
    if twice := next((clip for clip in clips if counts[clip.name] > 1), None):
        raise DataError(f"{twice.path}: another clip is named {twice.name} too; rename one of them")
    return list(clips)


def _with_folders(clip: Clip, count: int) -> str:
    return "_".join((*clip.path.parts[-count - 1 : -1], clip.path.stem if clip.row is None else f"{clip.row}"))


def inner_folds(fold: Fold, count: int, seed: int) -> list[Fold]:
    """The training part of a fold as folds by itself: each tests a group of its people; validation stays.

    Raises:
        DataError: it is not known who is in a clip, or there are too few people.
    """
    if nobody := next((clip for clip in fold.train if clip.subject is None), None):
        raise DataError(
            f"{nobody.path}: says not of whom it is, and a fusion is fitted on people that the branches have not "
            "learned from; give subjects (of the corpus 'folder' by its option subject)"
        )
    people = sorted(everyone_in(fold.train))
    if len(people) < count:
        raise DataError(
            f"fold {fold.name!r} trains on {len(people)} people, too few for inner={count}; "
            "set inner to 2 or more, or add people"
        )
    groups = deal_subjects(fold.train, people, count, seed)
    return [
        Fold(
            f"{fold.name}, inner {number}",
            tuple(clip for clip in fold.train if subject_of(clip) not in group),
            fold.val,
            tuple(clip for clip in fold.train if subject_of(clip) in group),
        )
        for number, group in enumerate(groups, 1)
    ]


def inner_place(folder: Path, number: int) -> Path:
    """Where the training of an inner fold lies in a branch's folder."""
    return folder / f"inner{number}"


def read_out_of_fold(folder: Path, inner: Sequence[Fold]) -> dict[str, np.ndarray]:
    """What a branch's inner networks say of the people that each was trained without, by clip.

    Raises:
        DataError: a file holds clips that its network may have learned from, or is another fold's.
    """
    said: dict[str, np.ndarray] = {}
    for number, fold in enumerate(inner):
        place = inner_place(folder, number)
        if not (place / "logits.csv").exists():  # no clip of this group could be used
            continue
        table = read_logits(place / "logits.csv")
        held = {clip.name for clip in fold.test}
        learned = next((name for name in table.clips if name not in held), None)
        trained = checkpoint.read_header(place / f"model{checkpoint.SUFFIX}")["protocol"]
        if learned is not None or not trained.endswith(f"fold {fold.name}"):
            what = f"clip {learned!r}" if learned is not None else f"a model of {trained!r}"
            raise DataError(
                f"{place}: holds {what}, which {fold.name!r} does not hold out, and fitting on in-sample logits "
                "is refused; remove this folder and train with --resume"
            )
        said |= dict(zip(table.clips, table.logits, strict=True))
    return said


def load_part(configs: Mapping[str, Config], clips: Sequence[Clip]) -> Part:
    """Clips decoded for both branches; one that a branch cannot use is not among its inputs."""
    inputs = {name: data.load_examples(configs[name], clips)[0] for name in BRANCHES}
    return Part(clips, {name: {x.clip.name: x for x in found} for name, found in inputs.items()})


def without_copies(part: Part, held_out: Sequence[Part]) -> list[str]:
    """Names of the clips with both sound and crops, of which those held out hold no identical copy."""
    names = []
    for name in BRANCHES:
        held = [example for other in held_out for example in other.inputs[name].values()]
        kept, _ = data.without_copies(list(part.inputs[name].values()), held)
        names.append({example.clip.name for example in kept})
    return sorted(set.intersection(*names))


def judge(networks: Mapping[str, torch.nn.Module], configs: Mapping[str, Config], part: Part) -> Said:
    """What both branches say of clips."""
    said = {}
    for name in BRANCHES:
        found = part.inputs[name]
        logits: Iterable[np.ndarray] = ()
        if found:
            logits = data.run_network(networks[name], configs[name], list(found.values()))
        said[name] = dict(zip(found, logits, strict=True))
    return said


def make_examples(labels: str, clips: Sequence[Clip], said: Said, known: Known) -> tuple[Examples, list[Clip]]:
    """What a fusion is fitted on, or speaks of, in groups by person, and the clips in the order of its rows.

    Clips of which no branch says anything are left out.
    """
    shared = label_set(labels)
    clips = [clip for clip in clips if any(clip.name in said[name] for name in BRANCHES)]
    nothing = np.zeros(len(shared))
    examples = Examples(
        labels=shared,
        sources=dict.fromkeys(BRANCHES, shared),
        logits={
            name: np.array([said[name].get(clip.name, nothing) for clip in clips]).reshape(-1, len(shared))
            for name in BRANCHES
        },
        present=np.array([[clip.name in said[name] for name in BRANCHES] for clip in clips]).reshape(-1, 2),
        targets=np.array([place(clip.label, shared) for clip in clips], int),
        groups=np.array(["/".join(subject_of(clip) or ()) if clip.subject else "" for clip in clips]),
        evidence={
            name: torch.from_numpy(values)
            for name, values in evidence.stack([known.get(clip.name, {}) for clip in clips]).items()
        },
    )
    return examples, clips


def find_evidence(
    rule: str,
    configs: Mapping[str, Config],
    clips: Sequence[Clip],
    network: AnyBranch,
    faces: Mapping[str, data.Example] | None = None,
) -> Known:
    """What a rule goes by besides logits.

    Args:
        network: of the face branch; it must not have learned from these clips.
        faces: the clips as it takes them, where they are decoded already.
    """
    needed = evidence.NEEDED.get(rule, ())
    if not needed:
        return {}
    if "face_features" not in needed:
        faces = {}
    elif faces is None:
        faces = {example.clip.name: example for example in data.load_examples(configs["face"], clips)[0]}
    known: dict[str, dict[str, float | np.ndarray]] = {}
    for clip in clips:
        facts = _of_voice(clip, configs["audio"].audio.rate)
        if "face_share" in needed:
            facts |= _of_face(clip, configs["face"].face.fps)
        if clip.name in faces:
            facts |= evidence.face_features(frame_logits(network, faces[clip.name].inputs))
        known[clip.name] = {key: value for key, value in facts.items() if key in needed}
    return known


@torch.inference_mode()
def frame_logits(network: AnyBranch, crops: np.ndarray) -> np.ndarray:
    """Logits (N, C) of each crop (N, H, W, 3)."""
    assert isinstance(network, FaceBranch)  # a fused model looks at pictures
    network.eval()
    rows = [
        network.frames(torch.from_numpy(crops[first : first + FACES]).permute(0, 3, 1, 2).float() / 255)
        for first in range(0, len(crops), FACES)
    ]
    return torch.cat(rows).double().numpy()


def _of_voice(clip: Clip, rate: int) -> dict[str, float | np.ndarray]:
    def make() -> np.ndarray:
        samples = np.zeros(0, np.float32)
        with contextlib.suppress(AvserError):  # no sound, or none that can be read
            samples = media.read_audio(clip.path, rate, clip.start, clip.end).samples
        features = evidence.voice_features(samples, rate)["audio_features"]
        return np.concatenate([list(evidence.voice_cues(samples, rate).values()), features])

    speech, snr, *features = cached(clip, f"evidence of the voice|2|{rate}", make)
    return {"speech": float(speech), "snr": float(snr), "audio_features": np.array(features)}


def _of_face(clip: Clip, fps: float) -> dict[str, float]:
    names = ("face_share", "face_score", "face_size")

    def make() -> np.ndarray:
        looked, scale = 0, 1.0

        def frames():
            nonlocal looked, scale
            with contextlib.suppress(AvserError):  # no picture, or none that can be read
                _, height = read_header(clip.path).size
                for frame in media.iter_frames(clip.path, fps, LOOK_HEIGHT, clip.start, clip.end):
                    looked, scale = looked + 1, height / frame.image.shape[0]
                    yield frame

        longest = max(track_faces(frames()), key=len, default=None)
        boxes = np.zeros((0, 4)) if longest is None else longest.boxes * scale
        cues = evidence.face_cues(looked, boxes, np.zeros(0) if longest is None else longest.scores)
        return np.array([cues[name] for name in names])

    found = cached(clip, f"evidence of the face|2|{fps}|{LOOK_HEIGHT}", make)
    return dict(zip(names, found.tolist(), strict=True))
