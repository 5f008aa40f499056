"""Fusing with a modality gone: what each rule says of clips with both branches, and with one of them dropped."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avser import metrics
from avser.benchmark.contributions import BRANCHES, plain
from avser.benchmark.kept_parts import kept
from avser.benchmark.resampling import Draws, interval
from avser.caching import file_digest
from avser.fusion.fusing import Outcome, fuse
from avser.fusion.tables import Pairs
from avser.logits import LogitTable
from avser.models.fusion import Calibration, FusionRule, build_fusion

SHARES = tuple(round(0.1 * step, 1) for step in range(11))
"""Shares of the clips that lack the modality."""


@dataclass(frozen=True)
class Fused:
    """What a rule says of clips, each judged by what was fitted on the other folds.

    Attributes:
        table: with all branches that each clip has.
        without: the same clips with one branch dropped, by its name; NaN where nothing is left.
        branches: each branch by itself, on the clips that have it, as its table gives it.
        notes: what was left out, in words.
    """

    table: LogitTable
    without: Mapping[str, np.ndarray]
    branches: Mapping[str, LogitTable]
    notes: list[str]


def fuse_with_gaps(
    pairs: Pairs, files: Mapping[str, Path], rule: str, protocol: str | None, labels: str | None
) -> Fused:
    """Fit a rule on the other folds as `avser fuse` does, and let it judge with and without each branch.

    Args:
        pairs: made of `files`; what was fitted is kept for these files' contents.

    Raises:
        ConfigError, DataError: see `fusing.fuse`.
    """
    contents = {name: file_digest(path).hexdigest() for name, path in files.items()}
    settings = {"fit": 1, "files": contents, "rule": rule, "protocol": protocol, "labels": labels}
    fits = kept(settings, lambda: _fits(fuse(pairs, rule, protocol, labels)))
    rows = {clip: row for row, clip in enumerate(pairs.clips)}
    chosen = [rows[clip] for clip in fits["clips"]]
    classes = tuple(fits["classes"])
    blank = LogitTable(
        clips=fits["clips"],
        subjects=[pairs.subjects[row] for row in chosen],
        folds=fits["folds"],
        labels=fits["labels"],
        classes=classes,
        logits=np.zeros((len(chosen), len(classes))),
    )
    rules = {fold: build_fusion(settings) for fold, settings in fits["rules"].items()}
    present = pairs.present[chosen]
    said = {"": present} | {branch: present & (np.array(BRANCHES) != branch) for branch in BRANCHES}
    answers = {gone: _judge(pairs, chosen, rules, blank.folds, there) for gone, there in said.items()}
    alone = {}
    for column, branch in enumerate(BRANCHES):
        logs = Calibration(pairs.sources[branch])(pairs.logits[branch][chosen], classes)
        alone[branch] = dataclasses.replace(blank, logits=logs).rows(np.flatnonzero(present[:, column]))
    return Fused(dataclasses.replace(blank, logits=answers.pop("")), answers, alone, fits["notes"])


def _fits(outcome: Outcome) -> dict:
    table = outcome.fused
    return {
        "clips": table.clips,
        "folds": table.folds,
        "labels": table.labels,
        "classes": list(table.classes),
        "rules": {fold.name: fold.rule.settings() for fold in outcome.folds},
        "notes": outcome.notes,
    }


def _judge(
    pairs: Pairs, chosen: list[int], rules: Mapping[str, FusionRule], folds: list[str], present: np.ndarray
) -> np.ndarray:
    """Fused log-probabilities (N, C) of chosen clips, each by the rule of its fold."""
    where, rows = np.array(folds), np.array(chosen)
    labels = next(iter(rules.values())).labels
    answers = np.full((len(rows), len(labels)), np.nan)
    for fold, rule in rules.items():
        mine = where == fold
        logs = [rule.calibrations[b](pairs.logits[b][rows[mine]], rule.labels) for b in BRANCHES]
        evidence = {name: values[rows[mine]] for name, values in pairs.evidence.items()}
        answers[mine] = rule(np.stack(logs, 1), present[mine], evidence)
    return answers


def curves(fused: Fused) -> dict[str, list[dict]]:
    """UAR and accuracy where a share of the clips lacks a branch, by the branch that they lack.

    It is what one expects where chance says which clips lack it, and so lies on a line from all clips with
    both to none with both. A clip that has nothing else counts as wrong. Of the two ends, ECE as well.
    """
    targets, draws = fused.table.targets, Draws(fused.table)
    whole = _right(fused.table.logits, targets)
    points: dict[str, list[dict]] = {}
    for branch, logits in fused.without.items():
        rest = _right(logits, targets)
        points[branch] = []
        for share in SHARES:
            right = (1 - share) * whole + share * rest
            uar, low, high = interval(draws.uar(right))
            accuracy, *_ = interval(draws.accuracy(right))
            point = {"share": share, "uar": uar, "low": low, "high": high, "accuracy": accuracy}
            if share in (0, 1):
                said = fused.table.logits if share == 0 else logits
                answered = np.isfinite(said).all(1)
                point["answered"] = int(answered.sum())
                if answered.any():
                    point["ece"] = metrics.ece(metrics.softmax(said[answered]), targets[answered])
            points[branch].append(plain(point))
    return points


def _right(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Whether each clip is judged rightly, (N,); where nothing is said it is not."""
    said = np.isfinite(logits).all(1)
    right = np.zeros(len(targets))
    right[said] = logits[said].argmax(1) == targets[said]
    return right
