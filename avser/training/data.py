"""From clips to batches: decoded once and cached, augmented on the fly, padded with a mask.

The way up to the network is that of prediction: `media`, `faces` and `features`. Only augmentation is added.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avser import datasets, inputs, units
from avser.config import Config
from avser.labels import distribution, label_set, place
from avser.training import augment
from avser.training.decoding import CROP_SIDE as CROP_SIDE
from avser.training.decoding import Progress, decode
from avser.training.decoding import is_picture as is_picture
from avser.types import Clip, ConfigError, DataError

RUN_BATCH = 64


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
    progress: Progress = iter,
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
    if config.signal == "action_units":
        units.check_tables(clips, config.face)
    found, left_out = decode(config, clips, progress)
    examples = [Example(clip, given, _target(clip, labels, votes)) for clip, given in found]
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
    mask = torch.arange(given.shape[1], device=lengths.device)[None, :] < lengths[:, None]  # (B, N)
    if config.signal == "action_units":
        return given, mask
    pictures = given.permute(0, 1, 4, 2, 3).float() / 255  # (B, N, 3, H, W)
    if training:
        pictures = augment.augment_faces(pictures, settings)
    return pictures, mask


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
