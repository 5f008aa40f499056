"""What an answer goes by: heat over a face and over a spectrogram for one emotion, and what each branch said."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from avser import datasets, faces, features, inputs, media
from avser.branches import FACES, LOOK_HEIGHT
from avser.checkpoint import Branch
from avser.faces.tracking import FaceFollower
from avser.gradcam import grad_cam, resized
from avser.labels import ALIASES, place
from avser.models import FaceBranch
from avser.options import Options
from avser.recognizer import Recognizer
from avser.results import Prediction
from avser.signals import AudioInput
from avser.training import data
from avser.types import Clip, ConfigError, DataError

SHOWN = 192
"""Side of the crops that are shown, px; the network sees smaller ones."""
COUNT, APART = 4, 0.4
"""Frames of a video that are shown, and the least time between two of them in s."""


@dataclass(frozen=True)
class FaceHeat:
    """A face (S, S, 3) uint8, where the network looks (S, S) in [0, 1], and how likely the emotion is by it alone.

    `time` is in s, None for a picture.
    """

    time: float | None
    picture: np.ndarray
    heat: np.ndarray
    prob: float


@dataclass(frozen=True)
class SoundHeat:
    """A log-mel (M, T) from `start` to `end` (s of the file), heat (M, T) in [0, 1], middles of bands in Hz."""

    start: float
    end: float
    hertz: np.ndarray
    mel: np.ndarray
    heat: np.ndarray


@dataclass(frozen=True)
class Explanation:
    """What is shown of one file: for `emotion`, what each branch said (`said`, (C,) by name), and where they look.

    `notes` are sentences on what is not shown, and why.
    """

    path: Path
    emotion: str
    labels: tuple[str, ...]
    said: dict[str, np.ndarray]
    faces: list[FaceHeat] = field(default_factory=list)
    sound: SoundHeat | None = None
    notes: list[str] = field(default_factory=list)


def explain(
    model: Recognizer, path: str | Path, modality: str | None = None, emotion: str | None = None
) -> Explanation:
    """Where a model looks and listens in a video, a sound or a picture.

    The voice is shown in the window in which it expresses the emotion most, the face in up to `COUNT` frames. Of
    an ensemble, the heat of its convolutional members is averaged by their shares; a member without convolutions
    (as that on functionals, with a linear classifier) has no map and no part in it, which a note says.

    Args:
        modality: fused, audio or face; by default all the model has.
        emotion: one of the model's; by default the one it finds.

    Raises:
        ConfigError: the emotion or the modality is unknown. MediaError: the file cannot be read.
        DataError: there is neither a voice nor a face to explain.
    """
    path, modality = Path(path), model.check(Options(modality)).modality
    if emotion is not None and (emotion := ALIASES.get(emotion.lower(), emotion.lower())) not in model.labels:
        raise ConfigError(f"model {model.name!r} knows no {emotion!r}: choose from {', '.join(model.labels)}")
    if path.suffix.lower() in datasets.IMAGE_SUFFIXES:
        return _explain_picture(model, path, modality, emotion)
    result = model.predict(path, modality)
    overall = result.overall
    if overall.probs is None or overall.label is None:
        raise DataError(f"{path}: there is nothing to explain: {overall.reason}")
    shown = Explanation(path, emotion or overall.label, model.labels, dict(overall.modalities))
    if len(overall.modalities) > 1:
        shown.said["fused"] = overall.probs
    asked = ("audio", "face") if modality == "fused" else (modality,)
    if "face" in asked:
        _add_video(model, shown, result.media.has_video)
    if "audio" in asked:
        shown = _with_voice(model, shown, result.predictions, result.media.has_audio)
    return shown


def _add_video(model: Recognizer, shown: Explanation, has_video: bool) -> None:
    branch = model.checkpoint.branches["face"]
    if "face" not in shown.said:
        shown.notes.append(f"Of the face nothing is shown: {'no face is seen' if has_video else 'no video'}.")
    elif not isinstance(branch.network, FaceBranch):
        shown.notes.append("Of the face nothing is shown: this model does not look at pictures.")
    else:
        frames = _telling_frames(model, branch, branch.network, shown)
        shown.faces.extend(_faces(branch.network, frames, _columns(branch, model, shown)))


def _with_voice(
    model: Recognizer, shown: Explanation, windows: Sequence[Prediction], has_audio: bool
) -> Explanation:
    branch, target = model.checkpoint.branches["audio"], model.labels.index(shown.emotion)
    if "audio" not in shown.said:
        why = "no sound that could be speech" if has_audio else "no audio track"
        shown.notes.append(f"Of the voice nothing is shown: {why}.")
        return shown
    if branch.config.audio.kind != "log_mel":
        shown.notes.append("Of the voice nothing is shown: this model does not listen to a spectrogram.")
        return shown
    best = max((p for p in windows if "audio" in p.modalities), key=lambda p: p.modalities["audio"][target])
    track = media.read_audio(shown.path, branch.config.audio.rate, best.start, best.end)
    return dataclasses.replace(
        shown, sound=_listen(branch, track.samples, track.start, _columns(branch, model, shown), shown.notes)
    )


def _explain_picture(model: Recognizer, path: Path, modality: str | None, emotion: str | None) -> Explanation:
    branch = model.checkpoint.branches.get("face")
    if branch is None or modality == "audio":
        raise DataError(f"{path}: is a picture, which has no voice; choose a model and a modality with a face")
    network = branch.network
    if not isinstance(network, FaceBranch):
        raise DataError(f"{path}: model {model.name!r} does not look at pictures; choose another model")
    clip = Clip(path, branch.labels[0], None, "")  # the label plays no part
    examples, left_out = data.load_examples(branch.config, [clip])
    if not examples:
        raise DataError(left_out[0])
    crop, picture = examples[0].inputs[0], datasets.load_image(clip)
    if max(picture.shape[:2]) > data.CROP_SIDE:
        with faces.FaceDetector() as detector:
            found = max(detector.detect(picture), key=lambda face: face.score)
        picture = faces.align(picture, found.left_eye, found.right_eye, SHOWN)
    with torch.inference_mode():
        logits = network.frames(_tensor([crop]))
        said = model.fusion.calibrate({"face": logits})["face"][0].exp().numpy()
    emotion = emotion or model.labels[int(said.argmax())]
    shown = Explanation(path, emotion, model.labels, {"face": said})
    frame = _Frame(0.0, crop, picture, float(said[model.labels.index(emotion)]))
    (heat,) = _faces(network, [frame], _columns(branch, model, shown))
    shown.faces.append(dataclasses.replace(heat, time=None))
    return shown


def _columns(branch: Branch, model: Recognizer, shown: Explanation) -> list[int]:
    """The branch's logits that make up the emotion: calm counts as neutral where there is no calm."""
    target = model.labels.index(shown.emotion)
    return [index for index, label in enumerate(branch.labels) if place(label, model.labels) == target]


# Faces


@dataclass(frozen=True)
class _Frame:
    """What is kept of a frame: the crop that the network sees, a larger one to show, and p(emotion)."""

    time: float
    crop: np.ndarray
    picture: np.ndarray
    prob: float


class _Remembering(faces.FaceDetector):
    """Looks only once at the same picture, for two followers that crop it in different sizes."""

    image: np.ndarray | None = None
    found: Sequence[faces.Face] = ()

    def detect(self, image: np.ndarray) -> list[faces.Face]:
        if image is not self.image:
            self.image, self.found = image, super().detect(image)
        return list(self.found)


def _telling_frames(model: Recognizer, branch: Branch, network: FaceBranch, shown: Explanation) -> list[_Frame]:
    """The frames in which the emotion is likeliest, in order of time; a long video is not kept in memory."""
    params, target = branch.config.face, model.labels.index(shown.emotion)
    best: list[_Frame] = []
    waiting: list[tuple[float, np.ndarray, np.ndarray]] = []

    def flush() -> None:
        if not waiting:
            return
        with torch.inference_mode():
            logits = network.frames(_tensor([crop for _, crop, _ in waiting]))
            probs = model.fusion.calibrate({"face": logits})["face"][:, target].exp().tolist()
        found = [_Frame(*seen, prob) for seen, prob in zip(waiting, probs, strict=True)]
        best[:] = _spread([*best, *found], 8 * COUNT)
        waiting.clear()

    with _Remembering() as detector:
        seen, large = FaceFollower(params.size, detector), FaceFollower(SHOWN, detector)
        for frame in media.iter_frames(shown.path, params.fps, LOOK_HEIGHT, skip=True):
            crop, picture = seen.update(frame), large.update(frame)
            if crop is not None and picture is not None:
                waiting.append((crop.time, crop.crop, picture.crop))
            if len(waiting) >= FACES:
                flush()
    flush()
    return sorted(_spread(best, COUNT), key=lambda frame: frame.time)


def _spread(frames: Sequence[_Frame], count: int) -> list[_Frame]:
    """The likeliest frames, `APART` from one another; those below a third of the likeliest one tell nothing."""
    chosen: list[_Frame] = []
    for frame in sorted(frames, key=lambda frame: -frame.prob):
        apart = all(abs(frame.time - other.time) >= APART for other in chosen)
        if len(chosen) < count and apart and (not chosen or frame.prob >= chosen[0].prob / 3):
            chosen.append(frame)
    return chosen


def _faces(network: FaceBranch, frames: Sequence[_Frame], columns: Sequence[int]) -> list[FaceHeat]:
    crops = _tensor([frame.crop for frame in frames])

    def heat_of(pictures: torch.Tensor) -> torch.Tensor:
        heat = grad_cam(network.backbone, lambda: network.head(network.backbone.encode(pictures).float()), columns)
        return torch.zeros(len(pictures), 1, 1) if heat is None else heat

    heat = heat_of(crops)
    if network.mirror:
        heat = heat + heat_of(crops.flip(-1)).flip(-1)
    heat = heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-9)
    return [
        FaceHeat(frame.time, frame.picture, resized(one, frame.picture.shape[:2]), frame.prob)
        for frame, one in zip(frames, heat, strict=True)
    ]


def _tensor(crops: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255  # (N, 3, H, W)


# Sound


def _listen(
    branch: Branch, samples: np.ndarray, start: float, columns: Sequence[int], notes: list[str]
) -> SoundHeat | None:
    """The heat of a window's sound, (S,) from `start` s on; None where no part of the branch has a map."""
    params = branch.config.audio
    part, sound = features.spoken(samples, params), inputs.prepare(samples, params)
    if part is None or sound is None:
        return None
    mel, lengths = inputs.batch(torch.from_numpy(sound)[None], torch.tensor([len(sound)]), params)
    size, valid = mel.shape[2:], int(lengths[0])
    members = list(getattr(branch.network, "members", [branch.network]))
    shares = getattr(branch.network, "shares", torch.ones(1)).tolist()
    heats = [grad_cam(member.backbone, partial(member, mel, lengths), columns) for member in members]
    mapped = [(heat, share) for heat, share in zip(heats, shares, strict=True) if heat is not None]
    if not mapped:
        notes.append("Of the voice nothing is shown: this model has no convolution over the spectrogram.")
        return None
    if len(mapped) < len(members):
        notes.append(f"Voice: {len(mapped)} of its {len(members)} members are convolutions and are shown.")
    total = sum(share for _, share in mapped) or 1.0
    heat = sum(resized(heat[0], size) * (share / total) for heat, share in mapped)[:, :valid]
    begin = start + part.start / params.rate
    return SoundHeat(
        start=begin,
        end=begin + valid * params.hop / params.rate,
        hertz=_band_middles(size[0], params),
        mel=mel[0, 0, :, :valid].numpy(),
        heat=heat / max(float(heat.max()), 1e-9),
    )


def _band_middles(bands: int, params: AudioInput) -> np.ndarray:
    """Frequency of each band in Hz, (M,): evenly spaced on the mel scale (HTK), or linear."""
    if params.bands == "linear":
        return np.linspace(0, params.rate / 2, bands)
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (params.fmin, params.fmax))
    return 700 * (10 ** (np.linspace(low, high, bands + 2)[1:-1] / 2595) - 1)
