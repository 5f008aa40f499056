"""SAVEE: 480 British English sentences by four men in seven emotions.

Source: http://kahlan.eps.surrey.ac.uk/savee (free for research after registration, no redistribution).
Citation: S. Haq and P. J. B. Jackson, "Multimodal Emotion Recognition", in Machine Audition: Principles,
Algorithms and Systems, IGI Global, 2010.

A file is DC/a01.wav in the original folders, DC_a01.wav where they were merged: speaker, emotion, sentence.
"""

from __future__ import annotations

import re
from pathlib import Path

from avser.datasets._files import AUDIO_SUFFIXES, distinct, find
from avser.types import Clip

EXPECTS = (
    "sound files named like DC/a01.wav or DC_a01.wav anywhere below the folder, which you find at "
    "http://kahlan.eps.surrey.ac.uk/savee"
)
LABELS = {
    "a": "angry",
    "d": "disgust",
    "f": "fearful",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprised",
}
SPEAKERS = ("DC", "JE", "JK", "KL")
NAME = re.compile(rf"(?:({'|'.join(SPEAKERS)})_)?(sa|su|[adfhn])(\d\d)")


def scan(root: Path) -> list[Clip]:
    """The clips of SAVEE; `subject` is the speaker's initials, for instance "DC"."""
    clips = [clip for path in find(root, AUDIO_SUFFIXES) if (clip := _clip(path))]
    return distinct(clips, lambda clip: (clip.subject, clip.label, clip.info["statement"]))


def _clip(path: Path) -> Clip | None:
    match = NAME.fullmatch(path.stem)
    if match is None:
        return None
    speaker, emotion, sentence = match.groups()
    speaker = speaker or path.parent.name
    if speaker not in SPEAKERS:
        return None
    return Clip(path, LABELS[emotion], speaker, "savee", info={"gender": "male", "statement": sentence})
