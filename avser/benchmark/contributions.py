"""What each modality contributes: figures of voice, face and fused logits on the same clips, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from avser import metrics
from avser.benchmark.resampling import SHUFFLES, Draws, interval, is_right, permutation
from avser.datasets import ravdess
from avser.logits import LogitTable
from avser.types import DataError

BRANCHES = ("audio", "face")
FACTS = ("gender", "intensity")
"""What clips are told apart by, where their corpus tells it."""
TEST = f"two-sided permutation by subject, {SHUFFLES} shuffles, not corrected for the number of comparisons"


@dataclass(frozen=True)
class Study:
    """Logits of the branches and of what fuses them, to be compared.

    Attributes:
        title, protocol: how figures are named.
        tables: of each branch and of each fusion rule, by name; branches first. A branch may lack some clips.
        sources: of each table, which files of logits it is made of, in words.
        facts: what is known of clips (gender, intensity), by the clip's name.
        main: the system that pictures show: a fusion rule, or the only branch.
        notes: what was left out, in words.
    """

    title: str
    protocol: str
    tables: Mapping[str, LogitTable]
    sources: Mapping[str, str]
    facts: Mapping[str, Mapping[str, str]]
    main: str
    notes: list[str] = field(default_factory=list)

    @property
    def branches(self) -> list[str]:
        """Those of `BRANCHES` that there are."""
        return [name for name in self.tables if name in BRANCHES]

    @property
    def rules(self) -> list[str]:
        """The fusion rules, in order."""
        return [name for name in self.tables if name not in BRANCHES]


def facts_of(clips: Sequence[str]) -> dict[str, dict[str, str]]:
    """Gender and intensity of clips that are named as RAVDESS has it, by name."""
    described = {name: ravdess.describe(Path(name)) for name in clips}
    return {name: dict(clip.info) for name, clip in described.items() if clip is not None}


def measure(study: Study) -> dict:
    """All figures of a study, as plain values.

    Branches and rules by themselves (`systems`); pairs of them on the clips that all have (`comparisons`); of each
    rule what it repairs and breaks and the share of each modality; how often at least one branch is right.
    """
    figures: dict[str, Any] = {
        "title": study.title,
        "protocol": study.protocol,
        "main": study.main,
        "systems": {name: _system(name, study) for name in study.tables},
        "notes": study.notes,
    }
    if len(study.tables) == 1:
        return figures
    both = common(study.tables)
    draws = Draws(next(iter(both.values())))
    figures["on_both"] = len(draws.targets)
    figures["test"] = TEST
    figures["comparisons"] = [
        {"system": one, "against": other, **compare(both[one], both[other], draws)}
        for one, other in _couples(study)
    ]
    if len(study.branches) == 2:
        voice, face = (is_right(both[name]) for name in BRANCHES)
        figures["either_right"] = plain(float((voice | face).mean()))
        figures["repairs"] = {rule: {b: repairs(both[rule], both[b]) for b in BRANCHES} for rule in study.rules}
        figures["shapley"] = {rule: shapley(voice, face, is_right(both[rule]), draws) for rule in study.rules}
    return figures


def _system(name: str, study: Study) -> dict:
    table = study.tables[name]
    groups = {}
    for fact in FACTS:
        values = np.array([study.facts.get(clip, {}).get(fact, "") for clip in table.clips])
        if len(names := sorted(set(values.tolist()) - {""})) > 1:
            groups[fact] = {value: _group(table.rows(np.flatnonzero(values == value))) for value in names}
    report = table.report().to_dict()
    report.pop("genders")
    about = {"logits": study.sources[name], "protocol": study.protocol}
    return {**about, **report, "reliability": reliability(table), "groups": groups}


def _group(table: LogitTable) -> dict:
    right, draws = is_right(table), Draws(table)
    uar, *uar_interval = interval(draws.uar(right))
    recalls = dict(zip(table.classes, metrics.recalls(table.logits, table.targets), strict=True))
    accuracy = float(right.mean())
    figures = {"n": len(right), "uar": uar, "uar_interval": uar_interval, "accuracy": accuracy, "recalls": recalls}
    return plain(figures)


def reliability(table: LogitTable, bins: int = 15) -> list[dict]:
    """Of each bin of confidence that holds clips: how many, their mean confidence, the share that is right.

    The bins are those of `metrics.ece`; their gaps between `confidence` and `accuracy`, weighted by `n`, are it.
    """
    confidence, right = metrics.softmax(table.logits).max(1), is_right(table)
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return [
        plain({"n": int(chosen.sum()), "confidence": confidence[chosen].mean(), "accuracy": right[chosen].mean()})
        for chosen in (index == number for number in np.unique(index))
    ]


def common(tables: Mapping[str, LogitTable]) -> dict[str, LogitTable]:
    """The tables on the clips that all of them have, in the order of the first.

    Raises:
        DataError: there is no such clip.
    """
    rows = {name: {clip: row for row, clip in enumerate(table.clips)} for name, table in tables.items()}
    first = next(iter(tables.values()))
    clips = [clip for clip in first.clips if all(clip in known for known in rows.values())]
    if not clips:
        raise DataError("voice and face have no clip in common to be compared on: measure them on the same clips")
    return {name: table.rows([rows[name][clip] for clip in clips]) for name, table in tables.items()}


def repairs(fused: LogitTable, branch: LogitTable) -> dict[str, int]:
    """Of the same clips, how many fusion gets right where the branch alone is wrong, and the other way round."""
    now, before = is_right(fused), is_right(branch)
    return {"fixed": int((now & ~before).sum()), "lost": int((before & ~now).sum()), "of": len(now)}


def shapley(audio: np.ndarray, face: np.ndarray, fused: np.ndarray, draws: Draws) -> dict:
    """The share of each modality in the fused UAR, with its 95 % interval (Shapley, A value for n-person games).

    A modality's gain, averaged over both orders in which the two can join: the first gains over chance, which is
    one divided by the number of emotions, the second over the first. Both shares and chance
    add up to the fused UAR.

    Args:
        audio, face, fused: which clips each gets right, (N,).
    """
    voice, face, both = (draws.uar(right) for right in (audio, face, fused))
    chance = 1 / len(np.unique(draws.targets))
    shares = {"audio": (voice - chance + both - face) / 2, "face": (face - chance + both - voice) / 2}
    return plain({"of": "UAR", "chance": chance} | {name: interval(values) for name, values in shares.items()})


def compare(one: LogitTable, other: LogitTable, draws: Draws) -> dict:
    """By how much the first is better on the same clips: UAR and accuracy with intervals, and a p-value.

    The intervals are paired: subjects are drawn, each with both answers to all of their clips. The p-value is that
    of the UAR, see `resampling.permutation`.
    """
    mine, theirs = is_right(one), is_right(other)
    return plain(
        {
            "uar": interval(draws.uar(mine) - draws.uar(theirs)),
            "accuracy": interval(draws.accuracy(mine) - draws.accuracy(theirs)),
            "p": permutation(one, other),
        }
    )


def _couples(study: Study) -> list[tuple[str, str]]:
    """The two branches, each rule against each branch, and the main rule against each other one."""
    couples = [("audio", "face")] if len(study.branches) == 2 else []
    couples += [(rule, branch) for rule in study.rules for branch in study.branches]
    return couples + [(study.main, rule) for rule in study.rules if rule != study.main]


def plain(value: Any) -> Any:
    """Numbers as JSON has them, with four decimals; what is no number is None."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), 4) if np.isfinite(value) else None
    return value
