"""Who expresses what in each window: what was seen and heard, put together person by person."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from avser import evidence
from avser.branches import Faces, Voice
from avser.deciding import Decider
from avser.metrics import log_softmax
from avser.options import Options
from avser.results import Person, Prediction
from avser.speaking import score, who_speaks
from avser.speech import seconds_of_speech
from avser.types import MediaInfo

NOBODY = np.zeros(0, int)
"""No rows of `Faces`."""
NO_SPEECH = "no speech"
UNCLEAR = "several faces, unclear who speaks"

SPOKEN = 0.1
"""Speech that a window needs for its voice to count, s; a shorter window has to be all speech."""
HARDLY = 0.25
"""Who is seen in less than this share of the pictures of whoever is seen most does not count as seen with them."""


class Story:
    """What was seen and heard in one file, and who decides what it means.

    The voice counts in windows in which somebody speaks. It is fused with the face of the only person who is seen,
    or of the one among several who speaks. Where it is unclear who speaks it is nobody's, and has a prediction of
    its own. A voice from off the screen cannot be told from that of the only person who is seen.

    Args:
        faces: what was seen; None if nobody looked. voice: what was heard; None if nobody listened.
    """

    def __init__(
        self, decider: Decider, info: MediaInfo, options: Options, faces: Faces | None, voice: Voice | None
    ) -> None:
        self.decider, self.faces, self.voice = decider, faces, voice or Voice({}, 0.0)
        self.info, self.modality = info, options.modality
        self._speech = self.voice.speech or ()
        self._ends = [end for _, end in self._speech]

    def window(self, start: float, end: float) -> Iterator[Prediction]:
        """One prediction for each person seen in the window, and one for a voice of nobody's or for nobody."""
        said = self._speaks((start, end))
        seen = self._seen_between(start, end)
        missing = self._missing([(start, end)])
        main = _in_view(seen)
        scores = self._scores(start, end, main) if said and len(main) > 1 else {}
        owner = main[0] if len(main) == 1 else who_speaks(scores)
        note = None
        if said and seen and owner is None:
            note = UNCLEAR
        elif seen and not said and self._is_sound([(start, end)]):
            note = NO_SPEECH
        facts = {"speech": self._share(start, end), "note": note}
        for person, rows in seen.items():
            windows = [(start, end)] if person == owner else []
            facts["speaking"] = scores.get(person)
            yield self._decide(start, end, windows, person, rows, missing, **facts)
        if not seen or (said and owner is None):
            facts["speaking"] = None
            yield self._decide(start, end, [(start, end)], None, NOBODY, missing, **facts)

    def overall(self, duration: float) -> Prediction:
        """The file as a whole, everybody together."""
        windows = list(self.voice.logits)
        rows = np.arange(len(self.faces.logits)) if self.faces else NOBODY
        facts = {"speech": self._share(0.0, duration)}
        return self._decide(0.0, duration, windows, None, rows, self._missing(windows), **facts)

    def people(self, predictions: Iterable[Prediction]) -> Iterator[Person]:
        """Everybody who was followed, with what the face said in all frames and the voice in their windows."""
        if self.faces is None:
            return
        spoken: dict[int | None, list[tuple[float, float]]] = defaultdict(list)
        for p in predictions:  # once for everybody: each is made anew
            if "audio" in p.modalities:
                spoken[p.person].append((p.start, p.end))
        for person, spans in self.faces.spans.items():
            rows = np.flatnonzero(self.faces.sightings.people == person)
            overall = self._decide(spans[0][0], spans[-1][1], spoken[person], person, rows)
            yield Person(person, spans, len(rows), overall, self.faces.thumbnails.get(person))

    def _seen_between(self, start: float, end: float) -> dict[int, np.ndarray]:
        """Each person's rows of `faces` in a window, by person."""
        if self.faces is None:
            return {}
        first, last = np.searchsorted(self.faces.sightings.times, (start, end))
        people = self.faces.sightings.people[first:last]
        return {person: first + np.flatnonzero(people == person) for person in np.unique(people).tolist()}

    def _scores(self, start: float, end: float, people: Iterable[int]) -> dict[int, float | None]:
        """How likely it is that each of these people speaks in a window."""
        faces, envelope = self.faces, self.voice.envelope
        if faces is None or faces.mouths is None or envelope is None or self.voice.speech is None:
            return dict.fromkeys(people)
        sightings = faces.sightings
        inside = slice(*np.searchsorted(sightings.times, (start, end)))
        times, mouths, speech = sightings.times[inside], faces.mouths[inside], self._spoken(start, end)
        rows = {person: sightings.people[inside] == person for person in people}
        return {person: score(times[r], mouths[r], envelope, speech) for person, r in rows.items()}

    def _spoken(self, start: float, end: float) -> tuple[tuple[float, float], ...]:
        """The stretches of speech that reach into a window."""
        first = bisect.bisect_right(self._ends, start)
        last = bisect.bisect_left(self._speech, (end,))
        return self._speech[first:last]

    def _share(self, start: float, end: float) -> float | None:
        """Share of a window that is speech; None where it was not looked for."""
        if self.voice.speech is None:
            return None
        return seconds_of_speech(self._spoken(start, end), start, end) / (end - start) if end > start else 0.0

    def _has_speech(self, start: float, end: float) -> bool:
        """Whether there is speech enough for the voice to count; taken for granted where it was not looked for."""
        share = self._share(start, end)
        return share is None or share * (end - start) >= min(SPOKEN, end - start) - 1e-6

    def _is_sound(self, windows: Iterable[tuple[float, float]]) -> bool:
        """Whether the branch had anything to say, be it speech or not."""
        return any(self.voice.logits.get(window) is not None for window in windows)

    def _speaks(self, window: tuple[float, float]) -> bool:
        """Whether the voice counts in a window: the branch says something of it, and there is speech."""
        return self._is_sound([window]) and self._has_speech(*window)

    def _heard(self, windows: Iterable[tuple[float, float]]) -> dict[str, np.ndarray]:
        """Mean log-probabilities of the voice over windows in which it counts, as the branch `audio`."""
        spoken = [self.voice.logits[window] for window in windows if self._speaks(window)]
        heard = [self.decider.calibrated("audio", logits) for logits in spoken if logits is not None]
        return {"audio": log_softmax(np.mean(heard, axis=0))} if heard else {}

    def _decide(
        self,
        start: float,
        end: float,
        windows: Iterable[tuple[float, float]],
        person: int | None,
        rows: np.ndarray,
        missing: str = "",
        **facts,
    ) -> Prediction:
        """A prediction from what the voice said in `windows` and what the face did in `rows` of `faces`."""
        said, known = self._heard(windows), {}
        if self.faces is not None and len(rows):
            said["face"] = self.decider.calibrated("face", self.decider.pool(self.faces.logits[rows]))
        if self.decider.needs:
            known = self._known(start, end, windows if "audio" in said else (), rows)
        return self.decider.decide(start, end, said, person, missing, known, face_frames=len(rows), **facts)

    def _known(
        self, start: float, end: float, windows: Iterable[tuple[float, float]], rows: np.ndarray
    ) -> dict[str, float | np.ndarray]:
        """Evidence besides the logits: of the voice over `windows`, of the face in `rows` of `faces`."""
        known = evidence.average(
            self.voice.known[w] for w in windows if w in self.voice.known and self._has_speech(*w)
        )
        if self.faces is not None and len(rows):
            seen, times = self.faces.sightings, self.faces.looked
            looked = 0 if times is None else int(np.diff(np.searchsorted(times, (start, end)))[0])
            logits = self.faces.logits[rows].astype(float)
            known |= evidence.of_face(looked, seen.boxes[rows], seen.scores[rows], logits)
        return known

    def _missing(self, windows: Iterable[tuple[float, float]]) -> str:
        """What windows without evidence lack, in words."""
        reasons = []
        if self.modality != "face":
            silent = NO_SPEECH if self._is_sound(windows) else "no sound that could be speech"
            reasons.append(silent if self.info.has_audio else "no audio track")
        if self.modality != "audio":
            reasons.append("no face seen" if self.info.has_video else "no video")
        return " and ".join(reasons)


def _in_view(seen: Mapping[int, np.ndarray]) -> list[int]:
    """Those of the people seen in a window who are not seen by the way only."""
    most = max(map(len, seen.values()), default=0)
    return [person for person, frames in seen.items() if len(frames) >= HARDLY * most]
