"""How sure figures and differences between tables of logits are: subjects drawn again and again, or exchanged."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from avser.logits import LogitTable
from avser.metrics import subjects_or_clips

SHUFFLES = 2000
"""Exchanges of the permutation test."""


class Draws:
    """The clips of tables that hold the same ones, drawn again by subject, `n` times.

    The draws are those of `metrics.bootstrap` with the same seed, and so are the intervals; here they are made
    once for many tables, of which only the right answers of each subject are counted.

    Args:
        table: any of the tables; its subjects and true labels count. With at most one subject, clips are drawn.
    """

    def __init__(self, table: LogitTable, n: int = 1000, seed: int = 0) -> None:
        self.targets, self.classes = table.targets, len(table.classes)
        self.who = subjects_or_clips(table.subjects)
        size = self.who.max() + 1
        rng = np.random.default_rng(seed)
        drawn = [np.bincount(rng.integers(size, size=size), minlength=size) for _ in range(n)]
        self.times = np.stack([np.ones(size, int), *drawn])  # (n + 1, S), all as they are first

    @cached_property
    def totals(self) -> np.ndarray:
        """Clips of each class in each draw, (n + 1, C)."""
        return self._count(np.ones(len(self.targets)))

    def _count(self, values: np.ndarray) -> np.ndarray:
        """Sums of values (N,) by class in each draw, (n + 1, C)."""
        sums = np.zeros((self.times.shape[1], self.classes))
        np.add.at(sums, (self.who, self.targets), values)
        return self.times @ sums

    def uar(self, right: np.ndarray) -> np.ndarray:
        """UAR of right answers (N,) as they are, and in each draw, (n + 1,)."""
        with np.errstate(invalid="ignore"):
            return np.nanmean(self._count(right) / np.where(self.totals > 0, self.totals, np.nan), axis=1)

    def accuracy(self, right: np.ndarray) -> np.ndarray:
        """Accuracy of right answers (N,) as they are, and in each draw, (n + 1,)."""
        return self._count(right).sum(1) / self.totals.sum(1)


def interval(values: np.ndarray) -> list[float]:
    """A figure as it is and its 95 % interval, from values (n + 1,) of `Draws`."""
    return [float(values[0]), *(float(x) for x in np.nanpercentile(values[1:], (2.5, 97.5)))]


def is_right(table: LogitTable) -> np.ndarray:
    """Whether the most probable emotion is the true one, (N,) bool."""
    return table.logits.argmax(1) == table.targets


def permutation(one: LogitTable, other: LogitTable, shuffles: int = SHUFFLES, seed: int = 0) -> float:
    """Two-sided p-value of the difference in UAR of two tables of the same clips.

    Both answers to all clips of a subject are exchanged or not, at random; of clips, where at most one subject is
    known.
    """
    targets, who = one.targets, subjects_or_clips(one.subjects)
    gains = np.zeros((who.max() + 1, len(one.classes)))  # of each subject and class, in clips
    np.add.at(gains, (who, targets), is_right(one).astype(float) - is_right(other))
    counts = np.bincount(targets, minlength=len(one.classes))
    gains = gains[:, counts > 0] / counts[counts > 0]
    signs = np.random.default_rng(seed).choice((-1, 1), size=(shuffles, len(gains)))
    observed = abs(gains.sum(0).mean())
    # an exchange that changes nothing must not look smaller by rounding
    as_large = (np.abs((signs @ gains).mean(1)) >= observed - 1e-12).sum()
    return float((as_large + 1) / (shuffles + 1))
