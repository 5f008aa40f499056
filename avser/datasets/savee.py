"""SAVEE: 480 British English sentences by four men in seven emotions.

A file is DC/a01.wav in the original folders, DC_a01.wav where they were merged: speaker, emotion, sentence.
"""

from __future__ import annotations

import re
from pathlib import Path

from avser.datasets._facts import Facts, Part
from avser.datasets._files import AUDIO_SUFFIXES, distinct, find
from avser.types import Clip

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


def _name(clip: Clip) -> str:
    code = next(code for code, label in LABELS.items() if label == clip.label)
    return f"{clip.subject}_{code}{clip.info['statement']}"


SENTENCES = {code: 30 if label == "neutral" else 15 for code, label in LABELS.items()}
"""How many each speaker says by emotion."""

NAMES = tuple(
    f"{speaker}_{code}{number:02d}"
    for speaker in SPEAKERS
    for code, count in SENTENCES.items()
    for number in range(1, count + 1)
)

FACTS = Facts(
    title="SAVEE",
    page="http://kahlan.eps.surrey.ac.uk/savee",
    licence="free for research after registration, no redistribution",
    citation=(
        "S. Haq and P. J. B. Jackson, Multimodal Emotion Recognition, in Machine Audition: Principles, Algorithms "
        "and Systems, IGI Global, 2010"
    ),
    layout="sound files named like DC/a01.wav or DC_a01.wav anywhere below the folder",
    emotions=tuple(LABELS.values()),
    parts={
        "speech": Part(
            clips=len(NAMES),
            subjects=len(SPEAKERS),
            hours=0.51,
            counts={
                "label": {LABELS[code]: count * len(SPEAKERS) for code, count in SENTENCES.items()},
                "subject": dict.fromkeys(SPEAKERS, sum(SENTENCES.values())),
            },
            names=lambda _: NAMES,
        )
    },
    name_of=_name,
)
