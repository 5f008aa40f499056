"""Who expresses what in each window: what was seen and heard, put together person by person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from avser.branches import Faces, Voice
from avser.deciding import Decider
from avser.metrics import log_softmax
from avser.options import Options
from avser.results import Person, Prediction
from avser.types import MediaInfo


class Story:
    """What was seen and heard in one file, and who decides what it means.

    Args:
        faces: what was seen; None if nobody looked. voice: what was heard; None if nobody listened.
    """

    def __init__(
        self, decider: Decider, info: MediaInfo, options: Options, faces: Faces | None, voice: Voice | None
    ) -> None:
        self.decider, self.faces, self.voice = decider, faces, voice
        self.missing = " and ".join(_missing(info, options.modality))

    def window(self, start: float, end: float) -> Iterator[Prediction]:
        """One prediction for each person seen in the window, else one for the voice or for nobody."""
        said = self._heard([(start, end)])
        seen = self._seen_between(start, end)
        for person, logits in seen.items():
            yield self._decide(start, end, said, person, logits)
        if not seen:
            yield self.decider.decide(start, end, said, reason=self.missing)

    def overall(self, duration: float) -> Prediction:
        """The file as a whole, everybody together."""
        said = self._heard(self.voice.logits if self.voice else ())
        logits = self.faces.logits if self.faces else np.zeros((0, 0))
        return self._decide(0.0, duration, said, None, logits)

    def people(self, predictions: Sequence[Prediction]) -> Iterator[Person]:
        """Everybody who was followed, with what the face said in all frames and the voice in their windows."""
        if self.faces is None:
            return
        for person, spans in self.faces.spans.items():
            theirs = [(p.start, p.end) for p in predictions if p.person == person and "audio" in p.modalities]
            logits = self.faces.logits[self.faces.sightings.people == person]
            overall = self._decide(spans[0][0], spans[-1][1], self._heard(theirs), person, logits)
            yield Person(person, spans, len(logits), overall, self.faces.thumbnails.get(person))

    def _seen_between(self, start: float, end: float) -> dict[int, np.ndarray]:
        """Logits (N, C) of each person's frames in a window, by person."""
        if self.faces is None:
            return {}
        inside = slice(*np.searchsorted(self.faces.sightings.times, (start, end)))
        people, logits = self.faces.sightings.people[inside], self.faces.logits[inside]
        return {person: logits[people == person] for person in np.unique(people).tolist()}

    def _heard(self, windows: Iterable[tuple[float, float]]) -> dict[str, np.ndarray]:
        """Mean log-probabilities of the voice over windows, as the branch `audio`; empty without a voice."""
        if self.voice is None:
            return {}
        heard = [x for window in windows if (x := self.voice.logits.get(window)) is not None]
        if not heard:
            return {}
        return {"audio": log_softmax(np.mean([self.decider.calibrated("audio", x) for x in heard], axis=0))}

    def _decide(
        self, start: float, end: float, said: dict[str, np.ndarray], person: int | None, logits: np.ndarray
    ) -> Prediction:
        """A prediction from what the voice said and the logits (N, C) of a face's frames."""
        if len(logits):
            said = said | {"face": self.decider.calibrated("face", self.decider.pool(logits))}
        return self.decider.decide(start, end, said, person, self.missing, face_frames=len(logits))


def _missing(info: MediaInfo, modality: str | None) -> list[str]:
    """What a window without evidence lacks, in words."""
    reasons = []
    if modality != "face":
        reasons.append("no sound that could be speech" if info.has_audio else "no audio track")
    if modality != "audio":
        reasons.append("no face seen" if info.has_video else "no video")
    return reasons
