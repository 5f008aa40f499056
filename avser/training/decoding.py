"""What a branch takes of a clip, decoded once: trimmed sound, crops of faces, action units.

The way is that of prediction, by `media`, `faces` and `features`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import numpy as np
import torch

from avser import datasets, embeddings, faces, inputs, media, units
from avser.caching import Shelf, cached
from avser.config import Config
from avser.faces import tracking
from avser.training import copies
from avser.types import AvserError, Clip

MAX_FRAMES = 32
"""Frames of a video clip that one training example holds at most, evenly spread."""

MANY = 64
"""From so many clips on, what is made of them is kept in one file and memory-mapped."""

Progress = Callable[[Iterable[Clip]], Iterable[Clip]]
"""Hands clips on one by one, and shows how far it is."""


def decode(
    config: Config, clips: Sequence[Clip], progress: Progress
) -> tuple[list[tuple[Clip, np.ndarray]], list[str]]:
    """Clips with what the branch takes of each, and a sentence for each that had to be left out.

    Of a sound that is what `inputs.prepare` makes of it; of a face crops (N, H, W, 3) or action units (N, U).
    """
    shelved = len(clips) >= MANY and config.signal != "action_units"  # which are a table already
    made = (_from_shelf if shelved else _one_by_one)(config, progress(clips))
    nothing = f"no {'sound' if config.branch == 'audio' else 'face'} found"
    found, left_out = [], []
    for clip, given in made:
        if isinstance(given, AvserError):
            left_out.append(str(given))
        elif given is None:
            left_out.append(f"{clip.path}: {nothing}")
        else:
            found.append((clip, given))
    return found, left_out


Made = list[tuple[Clip, np.ndarray | AvserError | None]]
"""Clips with what was made of each, why it could not be, or None where there was nothing to take."""


def _one_by_one(config: Config, clips: Iterable[Clip]) -> Made:
    made: Made = []
    for clip in clips:
        try:
            made.append((clip, _SOURCES[config.signal](clip, config)))
        except AvserError as error:
            made.append((clip, error))
    return made


def _from_shelf(config: Config, clips: Iterable[Clip]) -> Made:
    """From memory-mapped files; what is not in them is made and put there first."""

    def make(clip: Clip) -> np.ndarray:
        made = _SOURCES[config.signal](clip, config)
        return np.zeros(0, np.uint8) if made is None else made

    kept: list[tuple[Clip, str | AvserError]] = []
    with Shelf(_settings(config)) as shelf:
        for clip in clips:
            # a copy varies by its clip's name and its number
            varied = f"{clip.name}|{config.augment.copy_kinds}" if copies.which(clip) else ""
            try:
                kept.append((clip, shelf.keep(clip, varied, functools.partial(make, clip))))
            except AvserError as error:
                kept.append((clip, error))
    found = [(clip, shelf[key] if isinstance(key, str) else key) for clip, key in kept]
    return [(clip, made if isinstance(made, AvserError) or made.size else None) for clip, made in found]


def _settings(config: Config) -> str:
    """All that decides about what is made of a clip."""
    if config.branch == "face":
        params = config.face
        return f"crops|{params.size}|{params.fps}|{CROP_SIDE}|{MAX_FRAMES}|{faces.LEFT_EYE}|{faces.RIGHT_EYE}"
    # a log-mel is made in each batch anew, of the trimmed and levelled sound
    kept = _PREPARING if config.audio.kind == "log_mel" else None
    return f"{config.audio.model_dump_json(include=kept)}|{embeddings.fingerprint(config.audio)}"


_PREPARING = {"kind", "rate", "hop", "trim_db", "level_db", "min_speech", "floor_db"}
"""What `features.prepare` goes by."""


def _sound(clip: Clip, config: Config) -> np.ndarray | None:
    params = config.audio

    def decode() -> np.ndarray:
        track = media.read_audio(clip.path, params.rate, clip.start, clip.end)
        return np.round(track.samples.clip(-1, 1) * 32767).astype(np.int16)

    def samples() -> np.ndarray:
        sound = cached(clip, f"sound|{params.rate}", decode).astype(np.float32) / 32767
        return copies.vary_sound(sound, clip, config)

    if params.kind == "log_mel":
        return inputs.prepare(samples(), params)

    def make() -> np.ndarray:
        made = inputs.prepare(samples(), params)
        return np.zeros(0, np.float32) if made is None else made

    # pictures, features and embeddings take longer to make than to read
    parts = (embeddings.fingerprint(params), str(copies.which(clip)), ",".join(config.augment.copy_kinds))
    settings = "|".join((params.model_dump_json(), *parts))
    made = cached(clip, settings, make)
    if not made.size:
        return None
    return copies.vary_picture(made, clip, config) if params.kind == "picture" else made


CROP_SIDE = 128
"""Pictures up to this side (px) are taken for face crops already; larger ones are searched for a face."""


def is_picture(clip: Clip) -> bool:
    """Whether a clip is a single picture, as a file or as a row of a table."""
    return clip.row is not None or clip.path.suffix.lower() in datasets.IMAGE_SUFFIXES


def _crops(clip: Clip, config: Config) -> np.ndarray | None:
    params = config.face
    if is_picture(clip):
        return _picture(datasets.load_image(clip), params.size)

    def follow() -> np.ndarray:
        frames = media.iter_frames(clip.path, fps=params.fps, start=clip.start, end=clip.end)
        longest = max(tracking.track_faces(frames, params.size), key=len, default=None)
        return np.zeros((0, params.size, params.size, 3), np.uint8) if longest is None else longest.crops

    crops = cached(clip, f"faces|2|{params.size}|{params.fps}|{faces.LEFT_EYE}|{faces.RIGHT_EYE}", follow)
    if len(crops) > MAX_FRAMES:
        crops = crops[np.linspace(0, len(crops) - 1, MAX_FRAMES).round().astype(int)]
    return crops if len(crops) else None


def _picture(image: np.ndarray, size: int) -> np.ndarray | None:
    """A picture (H, W, 3) as one crop (1, size, size, 3); None if it is large and shows no face."""
    if max(image.shape[:2]) <= CROP_SIDE:
        if image.shape[:2] == (size, size):
            return image[None]
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        x = torch.nn.functional.interpolate(x, size=(size, size), mode="bilinear", antialias=True)
        return x.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    found = max(_detector().detect(image), key=lambda face: face.score, default=None)
    return None if found is None else faces.align(image, found.left_eye, found.right_eye, size)[None]


@lru_cache(maxsize=1)
def _detector() -> faces.FaceDetector:
    return faces.FaceDetector()


def _action_units(clip: Clip, config: Config) -> np.ndarray:
    return units.read_clip(clip, config.face)


_SOURCES = {"sound": _sound, "crops": _crops, "action_units": _action_units}
"""What a branch takes of a clip, by `Config.signal`; None where there is nothing to take."""
