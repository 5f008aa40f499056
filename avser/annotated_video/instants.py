"""What a result says of one instant of the video: whose face is where, what is expressed, who speaks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avser.results import Prediction, Result, Sightings
from avser.timeline import moments

BRIDGE = 0.35
"""Longest time between two sightings of a face over which it counts as still followed, in s. Where faces are
looked for more rarely, it is one and a half times the usual step."""

_SAME = 1e-4  # two times this close, in s, are one


class Instants:
    """A result, asked instant by instant.

    Attributes:
        groups: what is said of the people (and the voice) of one instant after the other; each group holds until
            the next one begins.
    """

    def __init__(self, result: Result) -> None:
        self._starts, self.groups = _groups(result)
        self._speech = None if result.speech is None else np.array(result.speech).reshape(-1, 2)
        self._sightings = result.sightings
        self._cuts = np.array(result.cuts)
        self._spans = {p.person: np.array([start for start, _ in p.spans]) for p in result.people}
        self._bridge = BRIDGE
        if result.sightings is not None and len(steps := np.diff(np.unique(result.sightings.times))):
            self._bridge = max(BRIDGE, 1.5 * float(np.median(steps)))

    def group(self, time: float) -> tuple[Prediction, ...]:
        """What is said of everybody now, people in order of their ids; as in `timeline.moments`."""
        place = int(np.searchsorted(self._starts, time, "right")) - 1
        return self.groups[place] if place >= 0 else ()

    def speaks(self, prediction: Prediction, time: float) -> bool:
        """Whether this person speaks now: somebody does, and the voice of the window was fused with this face."""
        if prediction.person is None or "audio" not in prediction.modalities:
            return False
        if self._speech is None:  # nobody looked when there is speech
            return prediction.speaking is not None
        stretch = int(np.searchsorted(self._speech[:, 0], time, "right")) - 1
        return stretch >= 0 and bool(time < self._speech[stretch, 1])

    def boxes(self, time: float) -> dict[int, np.ndarray]:
        """Box (4,), xyxy in pixels of the full picture, of each person whose face is followed now.

        Between two sightings the box moves evenly. There is none before the first and after the last sighting of a
        stretch in which the face was followed, and none across a cut.
        """
        if self._sightings is None:
            return {}
        near = self._sightings.between(time - self._bridge, time + self._bridge + _SAME)
        found = {
            person: self._box(near, near.people == person, time) for person in np.unique(near.people).tolist()
        }
        return {person: box for person, box in found.items() if box is not None}

    def _box(self, near: Sightings, theirs: np.ndarray, time: float) -> np.ndarray | None:
        times, boxes, person = near.times[theirs], near.boxes[theirs], int(near.people[theirs][0])
        after = int(np.searchsorted(times, time - _SAME))
        if after == len(times):
            return None
        if times[after] <= time + _SAME:
            return boxes[after]
        if not after:
            return None
        start, end = times[after - 1], times[after]
        if end - start > self._bridge or not self._unbroken(person, start, end):
            return None
        share = (time - start) / (end - start)
        return (1 - share) * boxes[after - 1] + share * boxes[after]

    def _unbroken(self, person: int, start: float, end: float) -> bool:
        """Whether a face was followed from one sighting to another: within one span, and without a cut."""
        breaks: Sequence[np.ndarray] = (self._cuts, self._spans.get(person, np.zeros(0)) - _SAME)
        return all(
            np.searchsorted(times, start, "right") == np.searchsorted(times, end, "right") for times in breaks
        )


def _groups(result: Result) -> tuple[np.ndarray, list[tuple[Prediction, ...]]]:
    """Times (G,) at which something changes for somebody, and what is said from there on."""
    changes = []
    for number, shares in enumerate(moments(result.predictions).values()):
        for start, end, prediction in shares:
            changes += [(end, 0, number, prediction), (start, 1, number, prediction)]
    starts: list[float] = []
    groups: list[tuple[Prediction, ...]] = []
    said: dict[int, Prediction] = {}
    for time, begins, number, prediction in sorted(changes, key=lambda change: change[:2]):
        if begins:
            said[number] = prediction
        elif said.get(number) is prediction:
            del said[number]
        group = tuple(said[number] for number in sorted(said))
        seen = any(p.person is not None for p in group)  # then nobody needs to be told that nobody is seen
        group = tuple(p for p in group if p.person is not None or p.probs is not None or not seen)
        if starts and starts[-1] == time:
            groups[-1] = group
        else:
            starts.append(time)
            groups.append(group)
    return np.array(starts), groups
