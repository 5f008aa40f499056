"""TESS: 200 English words by two actresses, aged 26 and 64, in seven emotions, 2800 recordings.

A file name is actress (OAF the older, YAF the younger), the word after 'Say the word', and emotion, where ps is
pleasant surprise: OAF_Fear/OAF_back_fear.wav. The folders are spelled in various ways and are not looked at. One
name lacks a letter, OA_bite_neutral. A split that keeps two people apart says little about anybody else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from avser.datasets._facts import Facts, Part
from avser.datasets._files import AUDIO_SUFFIXES, distinct, find
from avser.types import Clip

LABELS = {
    "angry": "angry",
    "disgust": "disgust",
    "fear": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "ps": "surprised",
    "sad": "sad",
}
SPEAKERS = {"oa": "OAF", "oaf": "OAF", "yaf": "YAF"}
NAME = re.compile(rf"({'|'.join(SPEAKERS)})_([a-z]+)_({'|'.join(LABELS)})")


def scan(root: Path) -> list[Clip]:
    """The clips of TESS; `subject` is the actress, "OAF" or "YAF"."""
    clips = [clip for path in find(root, AUDIO_SUFFIXES) if (clip := _clip(path))]
    return distinct(clips, lambda clip: clip.info["take"])


def _clip(path: Path) -> Clip | None:
    match = NAME.fullmatch(path.stem.lower())
    if match is None:
        return None
    code, word, emotion = match.groups()
    speaker = SPEAKERS[code]
    info = {"gender": "female", "statement": word, "take": f"{speaker}_{word}_{emotion}"}
    return Clip(path, LABELS[emotion], speaker, "tess", info=info)


def _names(clips: Sequence[Clip]) -> list[str]:
    """Each word that is there at all, by each actress in each emotion."""
    words = sorted({clip.info["statement"] for clip in clips})
    return [f"{speaker}_{word}_{code}" for speaker in ("OAF", "YAF") for word in words for code in LABELS]


FACTS = Facts(
    title="TESS",
    page="https://doi.org/10.5683/SP2/E8H2MF",
    licence="CC BY-NC-ND 4.0",
    citation=(
        "M. K. Pichora-Fuller and K. Dupuis, Toronto Emotional Speech Set (TESS), Scholars Portal Dataverse, 2020"
    ),
    layout="sound files named like OAF_back_fear.wav anywhere below the folder",
    emotions=tuple(LABELS.values()),
    parts={
        "speech": Part(
            clips=2800,
            subjects=2,
            counts={
                "label": dict.fromkeys(LABELS.values(), 400),
                "subject": dict.fromkeys(("OAF", "YAF"), 1400),
            },
            names=_names,
        )
    },
    name_of=lambda clip: clip.info["take"],
)
