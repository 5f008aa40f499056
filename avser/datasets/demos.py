"""DEMoS: 9365 emotional and 332 neutral utterances by 68 Italian students, in whom the emotions were elicited.

The naming assumed is that of the legend beside wav_DEMoS.zip: selection, gender, speaker, emotion (the first three
letters of its Italian name) and number, as in DEMOS/NP_f_01_col01d.wav. PR marks the 1564 prototypical samples, NP
the others; the neutral ones, NEU/f_01_neu01a.wav, have no such mark. What follows the emotion may be any letters
and digits.
"""

from __future__ import annotations

import re
from pathlib import Path

from avser.datasets._facts import Facts, Part
from avser.datasets._files import AUDIO_SUFFIXES, distinct, find
from avser.types import Clip

LABELS = {
    "col": "guilt",
    "dis": "disgust",
    "gio": "happy",
    "neu": "neutral",
    "pau": "fearful",
    "rab": "angry",
    "sor": "surprised",
    "tri": "sad",
}
SELECTIONS = {"PR": "prototypical", "NP": "other"}
NAME = re.compile(rf"(?:({'|'.join(SELECTIONS)})_)?([fm])_(\d\d)_({'|'.join(LABELS)})([0-9A-Za-z]*)")


def scan(root: Path) -> list[Clip]:
    """The clips of DEMoS; `subject` is the speaker's number, for instance "01": no two speakers share one."""
    clips = [clip for path in find(root, AUDIO_SUFFIXES) if (clip := _clip(path))]
    return distinct(clips, lambda clip: clip.path.stem)


def _clip(path: Path) -> Clip | None:
    match = NAME.fullmatch(path.stem)
    if match is None:
        return None
    selection, gender, speaker, emotion, number = match.groups()
    info = {"gender": "female" if gender == "f" else "male", "repetition": number}
    if selection:
        info["selection"] = SELECTIONS[selection]
    return Clip(path, LABELS[emotion], speaker, "demos", info=info)


FACTS = Facts(
    title="DEMoS",
    page="https://zenodo.org/records/2544829",
    licence="on request, with a signed licence for academic research",
    citation=(
        "E. Parada-Cabaleiro, G. Costantini, A. Batliner, M. Schmitt and B. W. Schuller, DEMoS: An Italian "
        "Emotional Speech Corpus: Elicitation Methods, Machine Learning, and Perception, Language Resources and "
        "Evaluation 54, 2020"
    ),
    layout="sound files named like NP_f_01_col01d.wav or f_01_neu01a.wav anywhere below the folder",
    emotions=tuple(LABELS.values()),
    parts={
        "speech": Part(
            clips=9697, subjects=68, counts={"label": {"neutral": 332}, "selection": {"prototypical": 1564}}
        )
    },
)
