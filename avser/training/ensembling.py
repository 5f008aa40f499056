"""Several models as one: their log-probabilities on the same clips, averaged over the labels that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from avser.labels import place
from avser.logits import LogitTable
from avser.metrics import log_softmax
from avser.types import DataError


def align(tables: Sequence[LogitTable]) -> list[LogitTable]:
    """The tables over the labels that all of them have, with the clips that all of them have, in one order.

    Calm becomes neutral where a table has no calm. A clip is known by its name, subject and label; of several of
    one name, the first of one table is the first of the others.

    Raises:
        DataError: the tables share fewer than two labels, or no clip.
    """
    shared = [name for name in tables[0].classes if all(name in table.classes for table in tables)]
    if len(shared) < 2:
        every = "; ".join(", ".join(table.classes) for table in tables)
        raise DataError(f"these models share no two emotions to average over: {every}")
    tables = [table if list(table.classes) == shared else table.project(shared) for table in tables]
    rows = [_rows(table) for table in tables]
    # two clips of one name can be told apart by their order only where no table lacks one of them
    common = [key for key in rows[0] if all(key in row for row in rows)]
    kept = [key for key in common if len({_count(row, key) for row in rows}) == 1]
    if not kept:
        raise DataError("these models share no clip to average over; measure them on the same corpus")
    return [table.rows([row[key] for key in kept]) for table, row in zip(tables, rows, strict=True)]


def average(tables: Sequence[LogitTable]) -> LogitTable:
    """One table of the averaged log-probabilities of tables that `align` made."""
    logs = np.mean([log_softmax(table.logits) for table in tables], axis=0)
    first = tables[0]
    return LogitTable(first.clips, first.subjects, first.folds, first.labels, first.classes, log_softmax(logs))


def _rows(table: LogitTable) -> dict[tuple[Hashable, ...], int]:
    """Row number by clip, subject, label, and how many of the same came before."""
    seen: Counter[tuple[str, str, str]] = Counter()
    rows: dict[tuple[Hashable, ...], int] = {}
    for number, (clip, subject, label) in enumerate(zip(table.clips, table.subjects, table.labels, strict=True)):
        column = place(label, table.classes)
        if column is None:
            continue
        key = (clip, subject, table.classes[column])
        numbered = (*key, seen[key])
        rows[numbered] = number
        seen[key] += 1
    return rows


def _count(rows: dict[tuple[Hashable, ...], int], key: tuple[Hashable, ...]) -> int:
    number = 0
    while (*key[:-1], number) in rows:
        number += 1
    return number
