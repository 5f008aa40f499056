"""From clips to batches: decoded once and cached, augmented on the fly, padded with a mask.

The way up to the network is that of prediction: `media`, `faces` and `features`. Only augmentation is added.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from avser import datasets, embeddings, faces, inputs, media, units
from avser.caching import cached
from avser.config import Config
from avser.faces import tracking
from avser.labels import distribution, label_set, place
from avser.training import augment, copies
from avser.types import AvserError, Clip, ConfigError, DataError

RUN_BATCH = 64
MAX_FRAMES = 32
"""Frames of a video clip that one training example holds at most, evenly spread."""


@dataclass(frozen=True)
class Example:
    """One clip ready for a branch; `target` (C,).

    `inputs` is as `inputs.prepare` makes it of a sound; of a face crops (N, H, W, 3) or action units (N, U).
    """

    clip: Clip
    inputs: np.ndarray
    target: np.ndarray


def scan(config: Config, data_root: Path | None) -> list[Clip]:
    """All clips of a config's corpora that have a place in its labels.

    Raises:
        ConfigError: no data folder is given, neither as argument nor by the variable AVSER_DATA.
        DataError: a corpus is not where the config says, or none of its clips can be used.
    """
    root = data_root or (Path(os.environ["AVSER_DATA"]) if os.environ.get("AVSER_DATA") else None)
    if root is None:
        raise ConfigError("no data folder: give --data-root DIR or set the variable AVSER_DATA")
    labels = label_set(config.labels)
    clips: list[Clip] = []
    for corpus in config.corpora:
        found = datasets.scan(corpus.name, root / corpus.root, **corpus.options)
        kept = [clip for clip in matching(found, corpus.only) if place(clip.label, labels) is not None]
        if not kept:
            raise DataError(f"{root / corpus.root}: none of its {len(found)} clips has a label of {config.labels}")
        clips += kept
    return clips


def matching(clips: Iterable[Clip], only: Mapping[str, Sequence[str]]) -> list[Clip]:
    """The clips whose subject, or entry of `Clip.info`, is among the values that `only` gives for it."""

    def fact(clip: Clip, key: str) -> str | None:
        return clip.subject if key == "subject" else clip.info.get(key)

    return [clip for clip in clips if all(fact(clip, key) in values for key, values in only.items())]


def load_examples(
    config: Config,
    clips: Sequence[Clip],
    *,
    votes: float = 0.0,
    progress: Callable[[Iterable[Clip]], Iterable[Clip]] = iter,
) -> tuple[list[Example], list[str]]:
    """Decode clips for a branch.

    Args:
        votes: share of the annotators' votes in the target; the rest is the corpus label.
        progress: wraps the clips to show how far it is.

    Returns:
        The examples, and a sentence for each clip that had to be left out (unreadable, silent, no face).

    Raises:
        DataError: a table of action units is not as it must be.
    """
    labels = label_set(config.labels)
    examples, left_out = [], []
    make = _SOURCES[config.signal]
    if config.signal == "action_units":
        units.check_tables(clips, config.face)
    for clip in progress(clips):
        try:
            made = make(clip, config)
        except AvserError as error:
            left_out.append(str(error))
            continue
        if made is None:
            left_out.append(f"{clip.path}: no {'sound' if config.branch == 'audio' else 'face'} found")
            continue
        examples.append(Example(clip, made, _target(clip, labels, votes)))
    if config.transductive:
        centred = units.subtract_means([x.inputs for x in examples], [x.clip for x in examples])
        examples = [dataclasses.replace(x, inputs=given) for x, given in zip(examples, centred, strict=True)]
    return examples, left_out


def _target(clip: Clip, labels: Sequence[str], votes: float) -> np.ndarray:
    target = np.zeros(len(labels), np.float32)
    target[place(clip.label, labels)] = 1.0
    voted = distribution(clip.votes, labels) if votes and clip.votes else None
    return target if voted is None else (1 - votes) * target + votes * voted


def without_copies(examples: Sequence[Example], held_out: Sequence[Example]) -> tuple[list[Example], int]:
    """The examples whose sound or picture is not, sample for sample, also among those held out; how many are."""

    def content(example: Example) -> bytes:
        return hashlib.blake2b(example.inputs.tobytes(), digest_size=16).digest()

    known = {content(example) for example in held_out}
    kept = [example for example in examples if content(example) not in known]
    return kept, len(examples) - len(kept)


# Inputs, decoded once


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

    crops = cached(clip, f"faces|{params.size}|{params.fps}|{faces.LEFT_EYE}|{faces.RIGHT_EYE}", follow)
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


# Batches


class ExampleDataset(torch.utils.data.Dataset):
    """Examples as torch wants them; sound is cut and its speed changed here, where lengths still differ."""

    def __init__(self, examples: Sequence[Example], config: Config, training: bool) -> None:
        self.examples, self.config, self.training = examples, config, training

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor, torch.Tensor]:
        example = self.examples[index]
        given = torch.from_numpy(example.inputs)
        if self.config.branch == "audio" and self.config.audio.kind == "log_mel" and self.training:
            given = augment.change_speed(given, self.config.augment.speed)
            given = augment.cut(given, int(self.config.audio.max_seconds * self.config.audio.rate))
        return index, given, torch.from_numpy(example.target)


def collate(items: Sequence[tuple[int, torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """A batch: `inputs` padded with zeros along the first axis, `lengths` (B,), `targets` (B, C), `index` (B,)."""
    index, given, targets = zip(*items, strict=True)
    lengths = torch.tensor([len(x) for x in given])
    padded = torch.nn.utils.rnn.pad_sequence(list(given), batch_first=True)
    return {"inputs": padded, "lengths": lengths, "targets": torch.stack(targets), "index": torch.tensor(index)}


def network_inputs(
    batch: dict[str, torch.Tensor], config: Config, training: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the branch takes from a batch: (mel, lengths) or (faces or units, mask), augmented when training."""
    given, lengths, settings = batch["inputs"], batch["lengths"], config.augment
    if config.branch == "audio":
        spectral = training and config.audio.kind == "log_mel"
        if spectral:
            given = augment.add_noise(given, lengths, settings.noise)
            given = augment.low_pass(given, settings.band, config.audio.rate)
        mel, lengths = inputs.batch(given, lengths, config.audio)  # (B, 1, M, T), (B,)
        if spectral:
            seconds = config.audio.hop / config.audio.rate
            mel = augment.mask_spectrogram(mel, lengths, settings, int(settings.time_width / seconds))
        return mel, lengths
    mask = torch.arange(given.shape[1])[None, :] < lengths.cpu()[:, None]  # (B, N)
    if config.signal == "action_units":
        return given, mask.to(given.device)
    pictures = given.permute(0, 1, 4, 2, 3).float() / 255  # (B, N, 3, H, W)
    if training:
        pictures = augment.augment_faces(pictures, settings)
    return pictures, mask.to(given.device)


def batches(
    config: Config, examples: Sequence[Example]
) -> Iterator[tuple[np.ndarray, tuple[torch.Tensor, torch.Tensor]]]:
    """All examples as a network takes them, with the place of each; those of like length share a batch."""
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].inputs))
    dataset = ExampleDataset(examples, config, training=False)
    for start in range(0, len(order), RUN_BATCH):
        batch = collate([dataset[i] for i in order[start : start + RUN_BATCH]])
        yield batch["index"].numpy(), network_inputs(batch, config, training=False)


@torch.inference_mode()
def run_network(network: torch.nn.Module, config: Config, examples: Sequence[Example]) -> np.ndarray:
    """Logits (N, C) of a branch for examples, in their order."""
    network.eval()
    logits = np.zeros((len(examples), len(label_set(config.labels))))
    for index, given in batches(config, examples):
        logits[index] = network(*given).float().numpy()
    return logits
