"""EMOVO: fourteen Italian sentences by six actors in seven emotions, 588 recordings.

A file name is emotion (the first letters of its Italian name), speaker and sentence: dis-f1-b1.
"""

from __future__ import annotations

import re
from pathlib import Path

from avser.datasets._facts import Facts, Part
from avser.datasets._files import AUDIO_SUFFIXES, distinct, find
from avser.types import Clip

LABELS = {
    "dis": "disgust",
    "gio": "happy",
    "neu": "neutral",
    "pau": "fearful",
    "rab": "angry",
    "sor": "surprised",
    "tri": "sad",
}
NAME = re.compile(rf"({'|'.join(LABELS)})-([fm][123])-([bdln]\d)")


def scan(root: Path) -> list[Clip]:
    """The clips of EMOVO; `subject` is the speaker's code, for instance "f1"."""
    clips = [clip for path in find(root, AUDIO_SUFFIXES) if (clip := _clip(path))]
    return distinct(clips, lambda clip: clip.path.stem)


def _clip(path: Path) -> Clip | None:
    match = NAME.fullmatch(path.stem)
    if match is None:
        return None
    emotion, speaker, sentence = match.groups()
    info = {"gender": "female" if speaker[0] == "f" else "male", "statement": sentence}
    return Clip(path, LABELS[emotion], speaker, "emovo", info=info)


SPEAKERS = ("f1", "f2", "f3", "m1", "m2", "m3")
SENTENCES = ("b1", "b2", "b3", "d1", "d2", "l1", "l2", "l3", "l4", "n1", "n2", "n3", "n4", "n5")
NAMES = tuple(f"{code}-{who}-{sentence}" for who in SPEAKERS for code in LABELS for sentence in SENTENCES)

FACTS = Facts(
    title="EMOVO",
    page="http://voice.fub.it/activities/corpora/emovo/index.html",
    licence="openly published for research",
    citation=(
        "G. Costantini, I. Iaderola, A. Paoloni and M. Todisco, EMOVO Corpus: an Italian Emotional Speech "
        "Database, LREC 2014"
    ),
    layout="sound files named like dis-f1-b1.wav anywhere below the folder",
    emotions=tuple(LABELS.values()),
    parts={
        "speech": Part(
            clips=len(NAMES),
            subjects=len(SPEAKERS),
            hours=0.51,
            counts={
                "label": dict.fromkeys(LABELS.values(), len(SPEAKERS) * len(SENTENCES)),
                "subject": dict.fromkeys(SPEAKERS, len(LABELS) * len(SENTENCES)),
            },
            names=lambda _: NAMES,
        )
    },
)
