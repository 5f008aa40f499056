"""CREMA-D: twelve English sentences by 91 actors in six emotions, 7442 takes, as sound and as video.

A file name is actor, sentence, emotion and intensity: AudioWAV/1001_DFA_ANG_XX.wav is the sound of the take that
VideoFlash/1001_DFA_ANG_XX.flv shows; their clips share `info["take"]`. The labels are what the actors were asked
for, not what listeners chose. AudioMP3 holds the sounds once more and is used where there is no other. One name is
cut short, 1040_ITH_SAD_X. Some files are bad, such as the silent 1076_MTI_SAD_XX; they are kept here, and what
cannot be used is reported where it is loaded.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from avser.datasets._facts import Facts, Part
from avser.datasets._files import AUDIO_SUFFIXES, MEDIA_SUFFIXES, distinct, find
from avser.types import Clip, DataError

LABELS = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
SENTENCES = ("DFA", "IEO", "IOM", "ITH", "ITS", "IWL", "IWW", "MTI", "TAI", "TIE", "TSI", "WSI")
"""Initials, as of 'Don't forget a jacket'; only IEO, 'It's eleven o'clock', comes in three intensities."""

INTENSITIES = {"LO": "low", "MD": "medium", "HI": "high", "X": "unspecified", "XX": "unspecified"}
NAME = re.compile(rf"(10[0-8]\d|109[01])_({'|'.join(SENTENCES)})_({'|'.join(LABELS)})_({'|'.join(INTENSITIES)})")
DEMOGRAPHICS = "VideoDemographics.csv"


def scan(root: Path) -> list[Clip]:
    """The clips of CREMA-D; `subject` is the actor's number ("1001" to "1091").

    The genders are those of VideoDemographics.csv in or beside the folder; without it they are unknown.

    Raises:
        DataError: that table is damaged.
    """
    paths = [path for path in find(root, MEDIA_SUFFIXES) if NAME.fullmatch(path.stem)]
    genders = _genders(root) if paths else {}
    paths.sort(key=lambda path: path.suffix.lower() == ".mp3")  # they lost what the other files still have
    clips = [_clip(path, name, genders) for path in paths if (name := NAME.fullmatch(path.stem))]
    clips = distinct(clips, lambda clip: (clip.info["modality"], clip.info["take"]))
    return sorted(clips, key=lambda clip: clip.path)


def _genders(root: Path) -> dict[str, str]:
    tables = [path for path in find(root, {".csv"}) if path.name == DEMOGRAPHICS]
    table = tables[0] if tables else root.parent / DEMOGRAPHICS
    if not table.is_file():
        return {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            return {row["ActorID"]: row["Sex"].lower() for row in csv.DictReader(file)}
    except (KeyError, AttributeError, ValueError, csv.Error) as error:
        raise DataError(f"{table} is damaged: fetch it again, or remove it to do without genders") from error


def _clip(path: Path, name: re.Match[str], genders: dict[str, str]) -> Clip:
    actor, sentence, emotion, intensity = name.groups()
    info = {
        "modality": "audio" if path.suffix.lower() in AUDIO_SUFFIXES else "av",
        "take": f"{path.stem}X" if intensity == "X" else path.stem,
        "statement": sentence,
        "intensity": INTENSITIES[intensity],
    }
    if actor in genders:
        info["gender"] = genders[actor]
    return Clip(path, LABELS[emotion], actor, "crema_d", info=info)


FACTS = Facts(
    title="CREMA-D",
    page="https://github.com/CheyneyComputerScience/CREMA-D",
    licence="Open Database License, contents under the Database Contents License",
    citation=(
        "H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova and R. Verma, CREMA-D: Crowd-Sourced "
        "Emotional Multimodal Actors Dataset, IEEE Transactions on Affective Computing 5(4), 2014"
    ),
    layout=(
        "media files named like AudioWAV/1001_DFA_ANG_XX.wav or VideoFlash/1001_DFA_ANG_XX.flv anywhere below the "
        "folder"
    ),
    emotions=tuple(LABELS.values()),
    parts={"sound": Part(clips=7442, subjects=91), "sound and picture": Part(clips=7442, subjects=91)},
    part_of=lambda clip: "sound" if clip.info["modality"] == "audio" else "sound and picture",
    flaws=(
        "1076_MTI_SAD_XX is silent.",
        "A zip file of the repository holds pointers of Git LFS in place of the media: clone it with git-lfs.",
    ),
)
