"""Measuring trained models on labelled clips that they have not learned from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avser import datasets, metrics
from avser.checkpoint import Branch
from avser.labels import place
from avser.logits import LogitTable
from avser.recognizer import Recognizer
from avser.training import data
from avser.types import AvserError, Clip, DataError

Bar = Callable[[Iterable[Clip]], Iterable[Clip]]


@dataclass(frozen=True)
class Evaluation:
    """Logits of a model on clips by one modality, who they are of, and a sentence for each clip that gave none."""

    clips: list[Clip]
    modality: str
    table: LogitTable
    genders: list[str] | None
    left_out: list[str]
    restricted: str | None

    def report(self) -> metrics.Report:
        """All figures, with intervals over subjects where they are known."""
        return self.table.report(self.genders)


def evaluate(
    model: Recognizer,
    corpus: str,
    root: Path,
    only: Mapping[str, Sequence[str]] | None = None,
    modality: str | None = None,
    progress: Bar = iter,
) -> Evaluation:
    """Measure a model on a corpus, whole clip by whole clip.

    Clips go through `Recognizer.predict`, the way of `avser predict`; pictures go through the face branch. Of a
    corpus that the model was trained on, only the held-out part is measured. Action units go through the face
    branch.

    Args:
        only: keep clips whose subject or `Clip.info` has one of these values, by key.
        modality: fused, audio or face; by default all that the model has.

    Raises:
        DataError: no clip is left to measure.
    """
    clips = [clip for clip in datasets.scan(corpus, root) if place(clip.label, model.labels) is not None]
    clips, restricted = held_out(model, corpus, clips)
    clips = data.matching(clips, only or {})
    if not clips:
        raise DataError(f"{root}: no clip of {corpus!r} is left to measure; check the filters and the labels")
    face = model.checkpoint.branches.get("face")
    if all(data.is_picture(clip) for clip in clips) or (face and face.config.signal == "action_units"):
        modality = "face"
        table, left_out = _pictures(model, clips, progress)
    else:
        modality = modality or model.modalities[0]
        table, left_out = _media(model, clips, modality, progress)
    return Evaluation(clips, modality, table, table.genders(clips), left_out, restricted)


def activations(branch: Branch, clips: Sequence[Clip]) -> tuple[np.ndarray, list[str]]:
    """What a classifier sees of each clip, (N, D), and the clips' emotions; of an ensemble, its first member.

    Raises:
        DataError: the clips are videos for a face branch, which sees their frames one by one.
    """
    examples, _ = data.load_examples(branch.config, clips)
    if branch.config.branch == "face" and any(len(example.inputs) != 1 for example in examples):
        raise DataError("a map of activations needs pictures or sounds, these clips are videos")
    network = getattr(branch.network, "members", [branch.network])[0]
    seen: list[np.ndarray] = []
    hook = network.head.register_forward_pre_hook(lambda _, given: seen.append(given[0].float().numpy()))
    features = np.zeros((0, 0), np.float32)
    try:
        with torch.inference_mode():
            for index, given in data.batches(branch.config, examples):
                network(*given)
                rows = seen.pop()  # (B, D), or (2 B, D): those of the mirror images come after
                if not features.size:
                    features = np.zeros((len(examples), rows.shape[1]), np.float32)
                features[index] = rows.reshape(-1, *features[index].shape).mean(0)
                seen.clear()
    finally:
        hook.remove()
    return features, [example.clip.label or "" for example in examples]


def held_out(model: Recognizer, corpus: str, clips: list[Clip]) -> tuple[list[Clip], str | None]:
    """The clips that the model has not learned from, and a sentence that says so where it knows their corpus.

    Raises:
        DataError: the model has learned from all of the corpus.
    """
    header = model.checkpoint.meta
    metas = [*header.get("branches", {}).values(), header]
    if not any(corpus in meta.get("corpora", ()) for meta in metas):
        return clips, None
    rules = header.get("held_out", {}).get(corpus)
    if not rules:
        raise DataError(
            f"model {model.name!r} was trained on {corpus!r} and held nothing out; measure on another corpus"
        )
    what = "; ".join(f"{key} {', '.join(values)}" for key, values in rules.items())
    restricted = f"{model.name} was trained on {corpus}: only what was held out is measured ({what})"
    return data.matching(clips, rules), restricted


def _media(
    model: Recognizer, clips: list[Clip], modality: str | None, progress: Bar
) -> tuple[LogitTable, list[str]]:
    measured, rows, left_out = [], [], []
    for clip in progress(clips):
        try:
            # a clip that is labelled by its voice is one, be it a scream
            result = model.predict(clip.path, modality, vad=False)
        except AvserError as error:
            left_out.append(str(error))
            continue
        if result.overall.probs is None:
            left_out.append(f"{clip.path}: {result.overall.reason}")
            continue
        measured.append(clip)
        rows.append(np.log(np.maximum(result.overall.probs, 1e-12)))
    return _table(model, measured, rows, left_out), left_out


def _pictures(model: Recognizer, clips: list[Clip], progress: Bar) -> tuple[LogitTable, list[str]]:
    branch = model.checkpoint.branches.get("face")
    if branch is None:
        raise DataError(f"model {model.name!r} has no face branch, and these clips are pictures")
    examples, left_out = data.load_examples(branch.config, clips, progress=progress)
    rows = []
    if examples:  # calibrated as in a video: a fused model may take the prior out
        rows = list(model.decider.calibrated("face", _logits(branch, examples)))
    return _table(model, [example.clip for example in examples], rows, left_out), left_out


def _logits(branch: Branch, examples: Sequence[data.Example]) -> np.ndarray:
    """Logits (N, C) of pictures, or of action units, by the engine that the model was loaded with."""
    logits = np.zeros((len(examples), len(branch.labels)))
    for index, given in data.batches(branch.config, examples):
        seen, mask = (x.numpy() for x in given)
        logits[index] = branch.run(seen[:, 0]) if branch.config.signal == "crops" else branch.run(seen, mask)
    return logits


def _table(
    model: Recognizer,
    clips: list[Clip],
    rows: list[np.ndarray],
    left_out: list[str],
) -> LogitTable:
    if not rows:
        raise DataError(f"none of the clips could be measured, the first: {left_out[0]}")
    return LogitTable.of_clips(clips, model.labels, np.stack(rows), fold="0")
