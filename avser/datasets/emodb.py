"""EmoDB: ten German sentences by ten actors in seven emotions, 535 recordings.

A file name is speaker (two digits), text (letter and two digits), emotion (a letter of its German name) and
version: 03a01Fa is speaker 03, text a01, Freude (joy), version a.
"""

from __future__ import annotations

import re
from pathlib import Path

from avser.datasets._facts import Facts, Part
from avser.datasets._files import AUDIO_SUFFIXES, distinct, find
from avser.types import Clip

LABELS = {
    "W": "angry",
    "L": "bored",
    "E": "disgust",
    "A": "fearful",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
GENDERS = {
    "03": "male",
    "08": "female",
    "09": "female",
    "10": "male",
    "11": "male",
    "12": "male",
    "13": "female",
    "14": "female",
    "15": "male",
    "16": "female",
}
NAME = re.compile(rf"({'|'.join(GENDERS)})([ab]\d\d)([{''.join(LABELS)}])([a-z]?)")


def scan(root: Path) -> list[Clip]:
    """The clips of EmoDB; `subject` is the speaker's number, for instance "03"."""
    clips = [clip for path in find(root, AUDIO_SUFFIXES) if (clip := _clip(path))]
    return distinct(clips, lambda clip: clip.path.stem)


def _clip(path: Path) -> Clip | None:
    match = NAME.fullmatch(path.stem)
    if match is None:
        return None
    speaker, text, emotion, version = match.groups()
    info = {"gender": GENDERS[speaker], "statement": text, "repetition": version}
    return Clip(path, LABELS[emotion], speaker, "emodb", info=info)


FACTS = Facts(
    title="EmoDB",
    page="http://emodb.bilderbar.info",
    licence="openly published, free of charge",
    citation=(
        "F. Burkhardt, A. Paeschke, M. Rolfes, W. Sendlmeier and B. Weiss, A Database of German Emotional Speech, "
        "Interspeech 2005"
    ),
    layout="sound files named like 03a01Fa.wav anywhere below the folder",
    emotions=tuple(LABELS.values()),
    parts={
        "speech": Part(
            clips=535,
            subjects=10,
            hours=0.41,
            counts={
                "label": {
                    "angry": 127,
                    "bored": 81,
                    "disgust": 46,
                    "fearful": 69,
                    "happy": 71,
                    "neutral": 79,
                    "sad": 62,
                },
                "subject": {
                    "03": 49,
                    "08": 58,
                    "09": 43,
                    "10": 38,
                    "11": 55,
                    "12": 35,
                    "13": 61,
                    "14": 69,
                    "15": 56,
                    "16": 71,
                },
            },
        )
    },
)
