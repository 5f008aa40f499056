"""RAVDESS: speech and song of 24 actors in eight emotions, as sound, as video and as both.

Source: https://zenodo.org/records/1188976 (CC BY-NC-SA 4.0).
Citation: S. R. Livingstone and F. A. Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song
(RAVDESS)", PLoS ONE 13(5): e0196391, 2018.

A file name is seven fields: modality, channel, emotion, intensity, statement, repetition, actor. Actors with odd
numbers are men, with even numbers women. One take comes as up to three files, 01- (sound and picture), 02-
(picture) and 03- (sound); their clips share `info["take"]`. The sound-only speech files 03-01-03-01-02-01-07 and
03-01-03-01-02-02-07 are identical to the byte; both are kept, for 1440 is the count that everyone reports, and as
one actor holds both they never lie on two sides of a split by subject.
"""

from __future__ import annotations

import re
from pathlib import Path

from avser.datasets._files import MEDIA_SUFFIXES, distinct, find
from avser.types import Clip

EXPECTS = (
    "media files named like 03-01-05-01-02-01-16.wav anywhere below the folder, which you find at "
    "https://zenodo.org/records/1188976"
)
MODALITIES = {"01": "av", "02": "video", "03": "audio"}
CHANNELS = {"01": "speech", "02": "song"}
LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
INTENSITIES = {"01": "normal", "02": "strong"}
STATEMENTS = {"01": "kids", "02": "dogs"}
"""'Kids are talking by the door' and 'Dogs are sitting by the door'."""

NAME = re.compile(r"(0[123])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])")


def scan(root: Path) -> list[Clip]:
    """The clips of RAVDESS; `subject` is the actor's number ("01" to "24")."""
    clips = [clip for path in find(root, MEDIA_SUFFIXES) if (clip := describe(path))]
    return distinct(clips, lambda clip: clip.path.stem)


def describe(path: Path) -> Clip | None:
    """What the name of a file says of it; None if it is no name of RAVDESS."""
    match = NAME.fullmatch(path.stem)
    if match is None:
        return None
    modality, channel, emotion, intensity, statement, repetition, actor = match.groups()
    info = {
        "modality": MODALITIES[modality],
        "channel": CHANNELS[channel],
        "intensity": INTENSITIES[intensity],
        "statement": STATEMENTS[statement],
        "repetition": str(int(repetition)),
        "gender": "male" if int(actor) % 2 else "female",
        "take": path.stem[3:],
    }
    return Clip(path, LABELS[int(emotion) - 1], actor, "ravdess", info=info)
