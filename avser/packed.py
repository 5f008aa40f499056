"""Many predictions in little memory: hours of windows as columns, each made when it is asked for."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import overload

import numpy as np

from avser.results import Prediction

NOBODY = -1
"""Stands for the person None."""


class Packed(Sequence[Prediction]):
    """Predictions over the same C emotions as a read-only sequence; each is made anew, equal to what was put in.

    A prediction of voice and face takes about a tenth of the memory that it takes as an object. Making one takes a
    few microseconds: whoever goes through all of them again and again makes a tuple of them first.

    Args:
        predictions: taken one after the other, none of them kept.
        classes: C.
    """

    def __init__(self, predictions: Iterable[Prediction], classes: int) -> None:
        self._classes = classes
        self._start, self._end = array("d"), array("d")
        self._person, self._frames = array("q"), array("q")
        self._speech, self._speaking = _Numbers(1), _Numbers(1)
        self._fused = _Numbers(classes)
        self._modalities: dict[str, _Numbers] = {}
        self._weights: dict[str, _Numbers] = {}
        self._words: dict[str | None, int] = {None: 0}
        self._said = {name: array("H") for name in ("label", "reason", "category", "note")}
        for prediction in predictions:
            self._add(prediction)
        self._texts = tuple(self._words)
        self._modalities, self._weights = (
            dict(sorted(self._modalities.items())),
            dict(sorted(self._weights.items())),
        )

    def _add(self, p: Prediction) -> None:
        count = len(self)
        self._start.append(p.start)
        self._end.append(p.end)
        self._person.append(NOBODY if p.person is None else p.person)
        self._frames.append(p.face_frames)
        self._speech.add(count, None if p.speech is None else (p.speech,))
        self._speaking.add(count, None if p.speaking is None else (p.speaking,))
        self._fused.add(count, p.probs)
        for name, probs in p.modalities.items():
            self._modalities.setdefault(name, _Numbers(self._classes)).add(count, probs)
        for name, weight in p.weights.items():
            self._weights.setdefault(name, _Numbers(1)).add(count, (weight,))
        for name, codes in self._said.items():
            codes.append(self._words.setdefault(getattr(p, name), len(self._words)))

    def __len__(self) -> int:
        return len(self._start)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Prediction, ...]: ...

    def __getitem__(self, index: int | slice) -> Prediction | tuple[Prediction, ...]:
        if isinstance(index, slice):
            return tuple(self._made(i) for i in range(*index.indices(len(self))))
        return self._made(range(len(self))[index])

    def _made(self, i: int) -> Prediction:
        words = {name: self._texts[codes[i]] for name, codes in self._said.items()}
        return Prediction(
            start=self._start[i],
            end=self._end[i],
            person=None if self._person[i] == NOBODY else self._person[i],
            probs=self._fused.row(i),
            modalities=_present(self._modalities, i),
            weights={name: float(weight[0]) for name, weight in _present(self._weights, i).items()},
            face_frames=self._frames[i],
            speech=self._speech.one(i),
            speaking=self._speaking.one(i),
            **words,
        )


class _Numbers:
    """A column of rows of `width` numbers, some of them absent, in float64."""

    def __init__(self, width: int) -> None:
        self._width, self._values = width, array("d")

    def add(self, place: int, row: Iterable[float] | None) -> None:
        """Put a row at a place, not before the end; places that are left out are absent."""
        if row is None:
            return
        gap = place * self._width - len(self._values)
        self._values.extend([math.nan] * gap)
        self._values.extend(row)

    def row(self, place: int) -> np.ndarray | None:
        """The row (width,) at a place; None where it is absent."""
        row = np.array(self._values[place * self._width : (place + 1) * self._width])
        return None if not len(row) or np.isnan(row[0]) else row

    def one(self, place: int) -> float | None:
        """The row at a place, of one number."""
        row = self.row(place)
        return None if row is None else float(row[0])


def _present(columns: Mapping[str, _Numbers], place: int) -> dict[str, np.ndarray]:
    """The rows at a place, by name, without those that are absent."""
    rows = {name: numbers.row(place) for name, numbers in columns.items()}
    return {name: row for name, row in rows.items() if row is not None}
