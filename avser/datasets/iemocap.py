"""IEMOCAP: ten actors in five sessions of improvised and scripted talk, 10,039 utterances in American English.

An utterance is Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav: dialog, speaker's gender, number.
The letter in the dialog's name says only who of the two wore the markers. The emotion that most annotators agreed
on lies in Session1/dialog/EmoEvaluation/Ses01F_impro01.txt; utterances without agreement (xxx) or with another
emotion (oth) have no label. The films show both speakers at once and are left alone.
"""

from __future__ import annotations

import re
from pathlib import Path

from avser.datasets._facts import Facts, Part
from avser.datasets._files import AUDIO_SUFFIXES, distinct, find
from avser.types import Clip, DataError

LABELS = {
    "ang": "angry",
    "dis": "disgust",
    "exc": "excited",
    "fea": "fearful",
    "fru": "frustrated",
    "hap": "happy",
    "neu": "neutral",
    "oth": None,
    "sad": "sad",
    "sur": "surprised",
    "xxx": None,
}
NAME = re.compile(r"(?P<dialog>Ses0(?P<session>[1-5])[FM]_(?P<scenario>impro|script)\w+)_(?P<who>[FM])[X\d]+")
LINE = re.compile(r"\[[\d.]+ - [\d.]+\]\s+(\w+)\s+(\w+)\s")
"""`[6.2901 - 8.2357] Ses01F_impro01_F000 neu [2.5000, 2.5000, 2.5000]`, with tabs: times, utterance, emotion."""


def scan(root: Path) -> list[Clip]:
    """The clips of IEMOCAP; `subject` is session and gender of who speaks, for instance "Ses01F".

    Raises:
        DataError: the label file of a dialog is missing or holds no label, or names an unknown emotion.
    """
    paths = [path for path in find(root, AUDIO_SUFFIXES) if NAME.fullmatch(path.stem)]
    labels: dict[str, str | None] = {}
    for path in find(root, {".txt"}) if paths else ():
        if path.parent.name == "EmoEvaluation":  # its sub-folders hold what each annotator said
            labels |= _read(path)
    dialogs = {utterance.rpartition("_")[0] for utterance in labels}
    clips = (_clip(path, name, labels, dialogs) for path in paths if (name := NAME.fullmatch(path.stem)))
    return distinct(clips, lambda clip: clip.path.stem)


def _read(path: Path) -> dict[str, str | None]:
    labels = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := LINE.match(line):
            utterance, emotion = match.groups()
            if emotion not in LABELS:
                raise DataError(f"{path}: {utterance} has the unknown emotion {emotion!r}: unpack the file again")
            labels[utterance] = LABELS[emotion]
    return labels


def _clip(path: Path, name: re.Match[str], labels: dict[str, str | None], dialogs: set[str]) -> Clip:
    facts = name.groupdict()
    session, dialog, who = facts["session"], facts["dialog"], facts["who"]
    if dialog not in dialogs:
        raise DataError(
            f"{path} has no label, as Session{session}/dialog/EmoEvaluation/{dialog}.txt is missing or empty: "
            "unpack all of IEMOCAP_full_release and name the folder that holds Session1 to Session5"
        )
    info = {
        "session": session,
        "gender": "female" if who == "F" else "male",
        "scenario": facts["scenario"],
        "dialog": dialog,
    }
    return Clip(path, labels.get(path.stem), f"Ses0{session}{who}", "iemocap", info=info)


def _listed(root: Path) -> list[str]:
    """The utterances that have an entry, if only that nobody agreed."""
    tables = [path for path in find(root, {".txt"}) if path.parent.name == "EmoEvaluation"]
    return [name for path in tables for name in _read(path)]


FACTS = Facts(
    title="IEMOCAP",
    page="https://sail.usc.edu/iemocap/",
    licence="free for research after a signed request, no redistribution",
    citation=(
        "C. Busso, M. Bulut, C.-C. Lee, A. Kazemzadeh, E. Mower, S. Kim, J. N. Chang, S. Lee and S. S. Narayanan, "
        "IEMOCAP: Interactive Emotional Dyadic Motion Capture Database, Language Resources and Evaluation 42, 2008"
    ),
    layout=(
        "the folders Session1 to Session5 of IEMOCAP_full_release, each with sentences/wav and "
        "dialog/EmoEvaluation"
    ),
    emotions=tuple(label for label in LABELS.values() if label),
    parts={
        "utterances": Part(
            clips=10039,
            subjects=10,
            hours=12,
            counts={
                "label": {
                    "angry": 1103,
                    "excited": 1041,
                    "fearful": 40,
                    "frustrated": 1849,
                    "happy": 595,
                    "neutral": 1708,
                    "sad": 1084,
                    "surprised": 107,
                }
            },
        )
    },
    listed=_listed,
)
