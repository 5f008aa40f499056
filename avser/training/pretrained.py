"""Branches that were trained before: to start from, and to learn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from avser import checkpoint
from avser.checkpoint import Branch
from avser.config import Config
from avser.labels import label_set
from avser.metrics import log_softmax, softmax
from avser.training import data
from avser.types import DataError, ModelError


def load_branch(config: Config, path: str, protocol: str) -> Branch:
    """The branch of a model file that a config may build on.

    Args:
        protocol: protocol and fold of the training to come. A branch that has met one of its corpora may only be
            used where the same clips were held out from it.

    Raises:
        ModelError: the file holds no such branch, or is no model.
        DataError: it may have met clips that are held out here.
    """
    branch = checkpoint.load(path).branches.get(config.branch)
    if branch is None:
        raise ModelError(f"{path}: has no {config.branch} branch for {config.name}")
    shared = {corpus.name for corpus in config.corpora} & set(branch.meta["corpora"])
    if shared and branch.meta["protocol"] != protocol:
        raise DataError(
            f"{path}: has learned from {', '.join(sorted(shared))} under {branch.meta['protocol']!r}, "
            f"so clips held out under {protocol!r} are not new to it; use a model of the same fold"
        )
    return branch


def taught(config: Config, protocol: str, examples: Sequence[data.Example]) -> list[data.Example]:
    """Training examples whose targets are in part what the config's teachers say of them.

    "Distilling the Knowledge in a Neural Network" (Hinton et al. 2015): a small network learns from the soft
    answers of larger ones or of several. The target becomes a weighted mean of the old one and of the distribution
    by the teachers' averaged log-probabilities; these come from the clips as they are, without augmentation.

    Raises:
        ModelError: a teacher is no such model, or knows other emotions.
        DataError: a teacher may have met clips that are held out here.
    """
    settings = config.training
    if not settings.teachers:
        return list(examples)
    said = []
    for path in settings.teachers:
        teacher = load_branch(config, path, protocol)
        if teacher.labels != label_set(config.labels):
            raise ModelError(f"{path}: knows other emotions than {config.labels}; choose another teacher")
        said.append(log_softmax(data.run_network(teacher.network, teacher.config, examples)))
    answers = softmax(np.mean(said, axis=0)).astype(np.float32)  # (N, C)
    share = settings.teacher_share
    return [
        dataclasses.replace(example, target=(1 - share) * example.target + share * answer)
        for example, answer in zip(examples, answers, strict=True)
    ]
