"""RAVDESS: speech and song of 24 actors in eight emotions, as sound, as video and as both.

A file name is seven fields: modality, channel, emotion, intensity, statement, repetition, actor. Actors with odd
numbers are men, with even numbers women. One take comes as up to three files, 01- (sound and picture), 02-
(picture) and 03- (sound); their clips share `info["take"]`. The sound-only speech files 03-01-03-01-02-01-07 and
03-01-03-01-02-02-07 are identical to the byte; both are kept, for 1440 is the count that everyone reports, and as
one actor holds both they never lie on two sides of a split by subject.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from avser.datasets._facts import Facts, Part
from avser.datasets._files import MEDIA_SUFFIXES, distinct, find
from avser.types import Clip

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


def _part(modality: str, channel: str) -> Part:
    """A part as its names tell: neutral has one intensity, song neither disgust nor surprise nor Actor 18."""
    names = tuple(
        f"{modality}-{channel}-{emotion:02d}-{intensity}-{statement}-{repetition}-{actor:02d}"
        for actor in range(1, 25)
        for emotion in range(1, 9)
        for intensity in INTENSITIES
        for statement in STATEMENTS
        for repetition in ("01", "02")
        if not (emotion == 1 and intensity == "02") and not (channel == "02" and (emotion > 6 or actor == 18))
    )
    subjects = Counter(name[-2:] for name in names)
    labels = Counter(LABELS[int(name[6:8]) - 1] for name in names)
    hours = 1.48 if (modality, channel) == ("03", "01") else None
    return Part(len(names), len(subjects), hours, {"subject": subjects, "label": labels}, lambda _: names)


PARTS = {
    f"{channel}, {what}": (modality, code)
    for code, channel in CHANNELS.items()
    for modality, what in (("03", "sound only"), ("01", "sound and picture"), ("02", "picture only"))
}
"""Fields of the names of each part."""
PART_OF = {(MODALITIES[modality], CHANNELS[code]): name for name, (modality, code) in PARTS.items()}

FACTS = Facts(
    title="RAVDESS",
    page="https://zenodo.org/records/1188976",
    licence="CC BY-NC-SA 4.0",
    citation=(
        "S. R. Livingstone and F. A. Russo, The Ryerson Audio-Visual Database of Emotional Speech and Song "
        "(RAVDESS), PLoS ONE 13(5): e0196391, 2018"
    ),
    layout="media files named like 03-01-05-01-02-01-16.wav anywhere below the folder",
    emotions=LABELS,
    parts={name: _part(*fields) for name, fields in PARTS.items()},
    volume="7356 files, 24.8 GB",
    part_of=lambda clip: PART_OF[clip.info["modality"], clip.info["channel"]],
    twins=(("03-01-03-01-02-01-07", "03-01-03-01-02-02-07"),),
)
