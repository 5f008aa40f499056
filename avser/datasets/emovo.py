"""EMOVO: fourteen Italian sentences by six actors in seven emotions, 588 recordings.

Source: http://voice.fub.it/activities/corpora/emovo/index.html (openly published for research).
Citation: G. Costantini, I. Iaderola, A. Paoloni and M. Todisco, "EMOVO Corpus: an Italian Emotional Speech
Database", LREC 2014.

A file name is emotion (the first letters of its Italian name), speaker and sentence: dis-f1-b1.
"""

from __future__ import annotations

import re
from pathlib import Path

from avser.datasets._files import AUDIO_SUFFIXES, distinct, find
from avser.types import Clip

EXPECTS = (
    "sound files named like dis-f1-b1.wav anywhere below the folder, which you find at "
    "http://voice.fub.it/activities/corpora/emovo/index.html"
)
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
