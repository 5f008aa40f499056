"""Fusing two tables of per-clip logits: fitted on the other folds, measured beside what either says alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from avser import metrics
from avser.datasets.ravdess import NAME
from avser.fusion.examples import Examples
from avser.fusion.rule_fitting import cross_fit, fit_fusion
from avser.fusion.tables import Pairs
from avser.labels import label_set, place
from avser.logits import LogitTable
from avser.models.fusion import FUSION_RULES, Calibration, FusionRule, Mean
from avser.splits import make_folds
from avser.types import Clip, ConfigError, DataError

AUTO = "auto"
"""In place of a rule: each fold takes the rule that does best on the folds it is fitted on."""

APART = ("luna5", "actor6", "loso", "subject5", "subject10")
"""Protocols that keep people apart; `table` takes the folds that the tables name."""


@dataclass(frozen=True)
class FoldFit:
    """What was fitted for one fold, and of `auto` the loss of every rule inside the clips it was fitted on."""

    name: str
    rule: FusionRule
    losses: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What fusing gave.

    Attributes:
        fused: log-probabilities of the test folds' clips.
        others: the same clips by each branch alone (as given), by the plain mean of log-probabilities without
            anything fitted, and of `auto` by each rule.
        oracle: share of clips for which at least one branch is right.
        folds: what was fitted for each.
        notes: what was left out, in words.
    """

    fused: LogitTable
    others: dict[str, LogitTable]
    oracle: float
    folds: list[FoldFit]
    notes: list[str]

    def difference(
        self, name: str, metric: Callable[[np.ndarray, np.ndarray], float] = metrics.accuracy
    ) -> tuple[float, float, float]:
        """By how much fusion is better than another table on its clips, and the 95 % interval over people."""
        other = self.others[name]
        rows = {clip: row for row, clip in enumerate(self.fused.clips)}
        mine = self.fused.rows([rows[clip] for clip in other.clips])
        size = len(mine.classes)
        both = np.concatenate([metrics.softmax(mine.logits), metrics.softmax(other.logits)], 1)

        def gain(probs: np.ndarray, targets: np.ndarray) -> float:
            return metric(probs[:, :size], targets) - metric(probs[:, size:], targets)

        subjects = mine.subjects if any(mine.subjects) else None
        return gain(both, mine.targets), *metrics.bootstrap(gain, both, mine.targets, subjects)


def fuse(pairs: Pairs, rule: str, protocol: str | None = None, labels: str | None = None) -> Outcome:
    """Fuse joined clips by a rule: each fold by what was fitted on the clips of all others.

    Args:
        rule: of `FUSION_RULES`, or `auto`.
        protocol: of `APART`, or `table`; by default the folds of the tables if they have some.
        labels: name of the label set to fuse over; by default the one of a branch that both can say.

    Raises:
        ConfigError: an unknown rule, protocol or label set.
        DataError: the clips do not fit the protocol, or nothing shows that their logits are out-of-fold.
    """
    if rule not in (*FUSION_RULES, AUTO):
        raise ConfigError(f"unknown fusion rule {rule!r}: choose from {', '.join((*FUSION_RULES, AUTO))}")
    shared = label_set(labels) if labels else _shared(pairs)
    examples, rows, notes = _examples(pairs, shared, protocol)
    rules = list(FUSION_RULES) if rule == AUTO else [rule]
    fused = {name: np.zeros((len(rows), len(shared))) for name in rules}
    chosen = np.zeros((len(rows), len(shared)))
    folds = []
    for name in dict.fromkeys(examples.groups.tolist()):
        tested = examples.groups == name
        rest = examples.rows(~tested)
        if len(set(rest.groups)) < 2:  # one fold to fit on: strengths are then chosen by its people
            subjects = np.array([pairs.subjects[row] for row in rows])[~tested]
            rest = dataclasses.replace(rest, groups=subjects)
        fits = {choice: fit_fusion(choice, rest) for choice in rules}
        losses = {choice: cross_fit(choice, rest) for choice in rules} if rule == AUTO else {}
        best = min(losses, key=losses.__getitem__) if losses else rule
        for choice, fitted in fits.items():
            fused[choice][tested] = predict(fitted, examples.rows(tested))
        chosen[tested] = fused[best][tested]
        folds.append(FoldFit(name, fits[best], losses))

    whole = LogitTable(
        clips=[pairs.clips[row] for row in rows],
        subjects=[pairs.subjects[row] for row in rows],
        folds=examples.groups.tolist(),
        labels=[shared[target] for target in examples.targets],
        classes=tuple(shared),
        logits=chosen,
    )
    mean = Mean(shared, {name: Calibration(source) for name, source in pairs.sources.items()})
    logs = examples.stack(mean.calibrations).numpy()  # (N, 2, C), as given
    others = {
        name: dataclasses.replace(whole, logits=logs[:, column]).rows(np.flatnonzero(examples.present[:, column]))
        for column, name in enumerate(pairs.sources)
    }
    others["plain mean"] = dataclasses.replace(whole, logits=predict(mean, examples))
    if rule == AUTO:
        others |= {name: dataclasses.replace(whole, logits=values) for name, values in fused.items()}
    right = (logs.argmax(2) == examples.targets[:, None]) & examples.present
    return Outcome(whole, others, float(right.any(1).mean()), folds, notes)


def predict(rule: FusionRule, examples: Examples) -> np.ndarray:
    """Fused log-probabilities (N, C)."""
    return rule(examples.stack(rule.calibrations), torch.from_numpy(examples.present), examples.evidence).numpy()


def _examples(
    pairs: Pairs, shared: tuple[str, ...], protocol: str | None
) -> tuple[Examples, list[int], list[str]]:
    """What can be fused, in groups by fold, with the numbers of its rows and what was left out."""
    targets = [place(label, shared) for label in pairs.labels]
    rows = [row for row, target in enumerate(targets) if target is not None and pairs.present[row].any()]
    notes = list(pairs.notes)
    if silent := int((~pairs.present.any(1)).sum()):
        notes.append(f"{silent} clips have neither branch: nothing is said of them, and they count nowhere")
    if odd := sum(target is None for target in targets):
        notes.append(f"{odd} clips of other emotions than {', '.join(shared)} are left out")
    if not rows:
        raise DataError(f"no clip has an emotion of {', '.join(shared)} and a branch: choose other labels")
    examples = Examples(
        labels=tuple(shared),
        sources=pairs.sources,
        logits={name: logits[rows] for name, logits in pairs.logits.items()},
        present=pairs.present[rows],
        targets=np.array([targets[row] for row in rows], int),
        groups=np.array(_folds(pairs, rows, protocol)),
        evidence={name: torch.from_numpy(values[rows]) for name, values in pairs.evidence.items()},
    )
    return examples, rows, notes


def _shared(pairs: Pairs) -> tuple[str, ...]:
    """The emotions of one branch that the other can say too: the larger set of the two where both can."""
    for labels in sorted(pairs.sources.values(), key=len, reverse=True):
        said = [{place(label, labels) for label in source} for source in pairs.sources.values()]
        if all(found >= set(range(len(labels))) for found in said):
            return tuple(labels)
    audio, face = (", ".join(source) for source in pairs.sources.values())
    raise DataError(f"the voice knows {audio}, the face {face}: name a label set that both can say, by --labels")


def _folds(pairs: Pairs, rows: list[int], protocol: str | None) -> list[str]:
    """The test fold of each row."""
    named = {branch: [names[row] for row in rows] for branch, names in pairs.folds.items()}
    if protocol is None:
        if not named:
            raise DataError(
                "neither table says which fold a clip was tested in, and fitting on in-sample logits is refused: "
                "add a column 'fold', or name the protocol the logits are out-of-fold by"
            )
        protocol = "table"
    if protocol == "table":
        return _named_folds(pairs, rows, named)
    if protocol not in APART:
        raise ConfigError(f"unknown protocol {protocol!r}: choose from {', '.join(('table', *APART))}")
    match = [NAME.fullmatch(f"01-{pairs.keys[row]}") for row in rows]
    corpus = "ravdess" if all(match) else "table"
    clips = [
        Clip(Path(f"{number:06d}"), pairs.labels[row], pairs.subjects[row] or None, corpus, row=number)
        for number, row in enumerate(rows)
    ]
    names = [""] * len(rows)
    for fold in make_folds(clips, protocol, val=0):
        for clip in fold.test:
            if clip.row is not None:
                names[clip.row] = fold.name
    return names


def _named_folds(pairs: Pairs, rows: list[int], named: dict[str, list[str]]) -> list[str]:
    """Folds as the tables name them, which must agree and keep people apart."""
    if not named:
        raise DataError("neither table has a fold for every clip: fill in the column 'fold' or name a protocol")
    first, *rest = named.values()
    couples = {tuple(names) for names in zip(first, *rest, strict=True)}
    if any(len(couples) != len({couple[side] for couple in couples}) for side in range(len(named))):
        raise DataError("the folds of the two tables differ: name a protocol instead")
    if len(couples) < 2:
        raise DataError(
            f"all clips lie in one fold ({first[0]!r}), and no other is left to fit on: name a protocol"
        )
    where: dict[str, str] = {}
    for row, name in zip(rows, first, strict=True):
        subject = pairs.subjects[row]
        if subject and where.setdefault(subject, name) != name:
            raise DataError(
                f"subject {subject} is in folds {where[subject]!r} and {name!r}: name a protocol that "
                "keeps people apart"
            )
    return first
