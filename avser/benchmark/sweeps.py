"""Figures over degrees of degradation: what voice, face and both fused still get right at each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from avser.benchmark.clips import Tell, blank_table
from avser.benchmark.contributions import plain
from avser.benchmark.degradation import DEGRADATIONS, OFFSETS, Level
from avser.benchmark.plan import Plan
from avser.benchmark.resampling import Draws, interval
from avser.benchmark.robustness import AFFECTS, Group, answers, shifted
from avser.logits import LogitTable

CLEAN = "none"
"""The level at which nothing is done."""
LOGITS, WINDOWS = "logits_degraded.csv", "logits_offset.csv"
"""Files of logits behind the figures."""


@dataclass
class Sweeps:
    """Figures of all sweeps, and the logits behind them as rows of a table whose first is its header, by file."""

    figures: dict
    rows: dict[str, list[list]] = field(default_factory=dict)


def run_sweeps(
    plan: Plan,
    groups: Sequence[Group],
    clean: dict[str, np.ndarray],
    names: Sequence[str],
    protocol: str,
    tell: Tell,
) -> Sweeps:
    """Every named degradation at each of its levels.

    Args:
        clean: log-probabilities (N, C) of the clips as they are, by system.
    """
    table = blank_table(groups)
    draws = Draws(table)
    found: dict[str, dict] = {}
    header = ["degradation", "level", "system", "clip", "subject", "label", *table.classes]
    rows = {LOGITS: [header, *_rows("", CLEAN, clean, table)]}
    for name in names:
        kind = DEGRADATIONS[name]
        found[name] = {"title": kind.title, "unit": kind.unit, "affects": AFFECTS[name], "protocol": protocol}
        if name in OFFSETS:
            tell(kind.title)
            levels, rows[WINDOWS] = _offsets(plan, groups, table)
            found[name] |= {"logits": WINDOWS, "window": plan.window, "levels": levels}
            continue
        levels = [{"level": CLEAN, **_figures(clean, table, draws)}]
        for level in kind.levels:
            tell(f"{kind.title}, {level} {kind.unit}".strip())
            said = together(groups, partial(answers, name=name, level=level, seed=plan.seed))
            levels.append({"level": level, **_figures(said, table, draws)})
            changed = {system: said[system] for system in said if system in (AFFECTS[name], "fused")}
            rows[LOGITS] += _rows(name, level, changed, table)
        found[name] |= {"logits": LOGITS, "levels": levels}
    figures = {"model": plan.model, "protocol": protocol, "clips": len(table.clips), "sweeps": found}
    return Sweeps(figures, rows)


def fits(name: str, group: Group) -> bool:
    """Whether a degradation concerns what the model has."""
    return AFFECTS[name] in group.branches or (name in OFFSETS and len(group.branches) == 2)


def together(groups: Sequence[Group], ask: Callable[[Group], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What is said of all groups, one after the other, by system."""
    parts = [ask(group) for group in groups]
    return {system: np.concatenate([part[system] for part in parts]) for system in parts[0]}


def _figures(said: dict[str, np.ndarray], table: LogitTable, draws: Draws) -> dict:
    """UAR with its interval and accuracy of each system; a clip of which it says nothing counts as wrong."""
    figures = {}
    for system, logs in said.items():
        answered = np.isfinite(logs).all(1)
        right = np.zeros(len(logs))
        right[answered] = logs[answered].argmax(1) == table.targets[answered]
        uar, low, high = interval(draws.uar(right))
        accuracy = float(draws.accuracy(right)[0])
        figures[system] = {
            "uar": uar,
            "low": low,
            "high": high,
            "accuracy": accuracy,
            "answered": int(answered.sum()),
        }
    return plain(figures)


def _offsets(plan: Plan, groups: Sequence[Group], table: LogitTable) -> tuple[list[dict], list[list]]:
    """Figures over the windows in which there is speech and a face at every offset, and rows of their logits."""
    starts = np.cumsum([0, *(len(group.takes) for group in groups)])
    said: dict[Level, dict[str, np.ndarray]] = {}
    for parts in zip(*(shifted(group, plan.window) for group in groups), strict=True):
        whose = np.concatenate([start + part[2] for start, part in zip(starts[:-1], parts, strict=True)])
        said[parts[0][0]] = {name: np.concatenate([part[1][name] for part in parts]) for name in parts[0][1]}
    both = np.all([np.isfinite(logs).all(1) for answer in said.values() for logs in answer.values()], axis=0)
    levels: list[dict] = []
    rows: list[list] = [["offset", "system", "window", "clip", "subject", "label", *table.classes]]
    if not both.any():
        return levels, rows
    windows = table.rows(whose[both])
    draws = Draws(windows)
    numbers = np.concatenate([np.arange(count) for count in np.bincount(whose)])[both]
    for level, answer in said.items():
        chosen = {system: logs[both] for system, logs in answer.items()}
        levels.append({"level": level, "windows": int(both.sum()), **_figures(chosen, windows, draws)})
        for system in ("face", "fused") if level else chosen:
            whole = _rows("", level, {system: chosen[system]}, windows)
            rows += [[level, system, int(n), *row[3:]] for n, row in zip(numbers, whole, strict=True)]
    return levels, rows


def _rows(name: str, level: Level, said: dict[str, np.ndarray], table: LogitTable) -> list[list]:
    """Logits of one level as rows; what is not said stays empty."""
    about = list(zip(table.clips, table.subjects, table.labels, strict=True))
    return [
        [name, level, system, *names, *(f"{x:.3f}" if np.isfinite(x) else "" for x in values)]
        for system, logs in said.items()
        for names, values in zip(about, logs, strict=True)
    ]
