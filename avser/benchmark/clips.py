"""The clips of a benchmark, decoded, and the model that judges each of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from avser import datasets
from avser.benchmark import evaluation
from avser.benchmark.plan import Clips, Plan
from avser.benchmark.robustness import Group, is_other
from avser.benchmark.takes import Take, load_takes
from avser.caching import file_digest
from avser.labels import place
from avser.logits import LogitTable, read_logits
from avser.recognizer import Recognizer, load_model
from avser.training import data
from avser.types import Clip, DataError

Tell = Callable[[str], None]
"""Called with what is done next."""

SPEAKER_CLIPS, MOST_CLIPS = 5, 200
"""Clips of a speaker, and in all, that babble is mixed of at most."""


def load_groups(model: str, wanted: Clips, data_root: Path | None, tell: Tell) -> tuple[list[Group], list[str]]:
    """A plan's clips by the model that judges them, and what was left out, in words.

    Raises:
        DataError: no clip is left to measure.
    """
    groups: list[Group] = []
    notes: list[str] = []
    clips = scan(wanted, data_root)
    if any(data.is_picture(clip) for clip in clips):
        raise DataError(
            f"{wanted.root} holds pictures, but a benchmark takes sounds and videos: use 'avser evaluate'"
        )
    for judge, part, restricted in models_of(model, wanted, clips):
        weights = file_digest(judge.checkpoint.path).hexdigest()
        notes += [restricted] if restricted else []
        part = [clip for clip in part if place(clip.label, judge.labels) is not None]
        if part:
            tell(f"decoding {len(part)} clips")
            takes, left_out = load_takes(judge, part)
            notes += [f"left out: {why}" for why in left_out]
            groups += [Group(judge, weights, takes)] if takes else []
    if not groups:
        why = f"; {notes[-1]}" if notes else ": check the filters and the labels"
        raise DataError(f"{wanted.root}: no clip of {wanted.corpus!r} is left to measure{why}")
    return groups, notes


def scan(wanted: Clips, data_root: Path | None) -> list[Clip]:
    """The clips of a plan; their folder lies under the data root or is named by itself."""
    root = data_root or (Path(os.environ["AVSER_DATA"]) if os.environ.get("AVSER_DATA") else None)
    under = wanted.root if root is None else root / wanted.root
    clips = datasets.scan(wanted.corpus, under if under.exists() else wanted.root, **wanted.options)
    return data.matching(clips, wanted.only)


def models_of(
    name: str, wanted: Clips, clips: Sequence[Clip]
) -> Iterable[tuple[Recognizer, list[Clip], str | None]]:
    """The model of each clip: one that has not learned from it; and a sentence where clips had to go.

    Args:
        name: of a shipped model, a model file, or the folder of a run, whose folds judge what they held out.

    Raises:
        ModelError, DataError: there is no such model, or it has learned from all clips.
    """
    folds = sorted(Path(name).glob("fold*/model.safetensors")) if Path(name).is_dir() else []
    if not folds:
        model = load_model(name)
        _check(model)
        yield model, *evaluation.held_out(model, wanted.corpus, list(clips))
        return
    for path in folds:
        table = read_logits(path.with_name("logits.csv"))
        tested, people = set(table.clips), {subject.rpartition("/")[2] for subject in table.subjects} - {""}
        model = load_model(path)
        _check(model)
        part = [clip for clip in clips if clip.name in tested or clip.subject in people]
        if "random" in model.checkpoint.meta["protocol"] or "copies" in model.checkpoint.meta["protocol"]:
            part = [clip for clip in part if clip.name in tested]
        yield model, part, None


def _check(model: Recognizer) -> None:
    face = model.checkpoint.branches.get("face")
    if face is not None and face.config.signal != "crops":
        raise DataError(
            f"model {model.name!r} takes action units, which clips do not hold: give its logits under 'tables'"
        )


def _speakers(plan: Plan, groups: Sequence[Group], data_root: Path | None, tell: Tell) -> list[Take]:
    """Takes that babble is mixed of: a few clips of each speaker."""
    if plan.babble is None:
        return [take for group in groups for take in group.takes]
    tell("decoding the voices of babble")
    found = scan(plan.babble, data_root)
    by_subject: dict[str | None, list[Clip]] = {}
    for clip in found:
        by_subject.setdefault(clip.subject, []).append(clip)
    rng = np.random.default_rng(plan.seed)
    chosen = [
        part[number] for part in by_subject.values() for number in rng.permutation(len(part))[:SPEAKER_CLIPS]
    ]
    return load_takes(groups[0].model, chosen[:MOST_CLIPS])[0]


def add_speakers(plan: Plan, groups: Sequence[Group], data_root: Path | None, tell: Tell) -> bool:
    """Give each group the voices that babble is mixed of; whether every clip has somebody else's."""
    others = _speakers(plan, groups, data_root, tell)
    for group in groups:
        group.others = others
    return all(any(is_other(other, take) for other in others) for group in groups for take in group.takes)


def protocol_of(plan: Plan, groups: Sequence[Group]) -> str:
    """How figures of these clips are named."""
    header = groups[0].model.checkpoint.meta
    if len(groups) > 1 or Path(plan.model).is_dir():
        return f"{header['protocol'].partition(', fold')[0]}, each clip by the fold that held it out"
    return f"clips that {groups[0].model.name} has not learned from"


def blank_table(groups: Sequence[Group]) -> LogitTable:
    """All clips in the order of the groups, with logits of zero."""
    labels = groups[0].model.labels
    parts = [
        LogitTable.of_clips(
            [take.clip for take in group.takes], labels, np.zeros((len(group.takes), len(labels))), str(number)
        )
        for number, group in enumerate(groups)
    ]
    return LogitTable.join(parts)
