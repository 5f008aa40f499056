"""CK+: posed expressions of 118 subjects, in the forms that circulate with pictures of 48×48 px.

Three forms are known. Folders, `anger/S010_004_00000017.png`: the last three frames of each of 327 sequences,
nearly the same picture: split by subject. A pixel CSV (emotion, pixels, Usage) of 920 rows: 327 peaks and 593
neutral first frames, without subjects. An npz of the same rows (`images`, `label`, `label_names`, `ck_sequence`),
which names the sequence of each peak and so the subject; its neutral rows have none, but may have guesses
(`neutral_subject_guess`, and `neutral_cluster`, rows of one look).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from avser.datasets._facts import Facts, Part
from avser.datasets._files import IMAGE_SUFFIXES, find
from avser.datasets._pictures import npz_arrays, read_rows
from avser.labels import ALIASES, EMOTIONS, canonical
from avser.types import Clip, DataError

LABELS = ("angry", "disgust", "fearful", "happy", "sad", "surprised", "neutral", "contempt")
SPLITS = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
NAME = re.compile(r"((S\d{3})_\d{3})_(\d{8})")


def scan(root: Path, guessed: bool = False) -> list[Clip]:
    """The clips of CK+: of the folders, else of the pixel CSV, else of the npz. `subject` is like "S010".

    Args:
        guessed: neutral rows of the npz are of whom they look like, so that people can be kept apart. Subjects
            whom the guesses do not tell apart become one, "S071+S100".
    """
    if root.is_file():
        return _from_npz(root, guessed) if root.suffix.lower() == ".npz" else _from_csv(root)
    clips = [clip for path in find(root, IMAGE_SUFFIXES) if (clip := _from_picture(path))]
    for path in [] if clips else sorted(root.glob("*.csv")):
        if _is_table(path):
            return _from_csv(path)
    for path in [] if clips else sorted(root.glob("*.npz")):
        return _from_npz(path, guessed)
    return clips


def _from_picture(path: Path) -> Clip | None:
    match = NAME.fullmatch(path.stem)
    folder = path.parent.name.lower()
    if match is None or (folder not in EMOTIONS and folder not in ALIASES):
        return None
    sequence, subject, frame = match.groups()
    info = {"sequence": sequence, "frame": str(int(frame)), "take": sequence}
    return Clip(path, canonical(folder), subject, "ckplus", info=info)


def _is_table(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return {"emotion", "pixels"} <= {name.strip() for name in file.readline().split(",")}


def _from_csv(path: Path) -> list[Clip]:
    clips = []
    for row, values in enumerate(read_rows(path, ("emotion", "pixels"))):
        if values["emotion"] not in list("01234567"):
            raise DataError(f"row {row} of {path} is no row of CK+: emotion {values['emotion']!r} is not 0 to 7")
        split = SPLITS.get(values.get("Usage", ""))
        info = {"split": split} if split else {}
        clips.append(Clip(path, LABELS[int(values["emotion"])], None, "ckplus", row=row, info=info))
    return clips


def _from_npz(path: Path, guessed: bool) -> list[Clip]:
    label, label_names, sequences = npz_arrays(path, "label", "label_names", "ck_sequence")
    if label.shape != sequences.shape or label.ndim != 1 or (len(label) and label.max() >= len(label_names)):
        raise DataError(f"label, label_names and ck_sequence in {path} do not fit together: get the file afresh")
    names = [canonical(str(name)) for name in label_names]
    subjects = [str(sequence).split("_")[0] or None for sequence in sequences.tolist()]
    if guessed:
        subjects = _guessed(subjects, *npz_arrays(path, "neutral_subject_guess", "neutral_cluster"))
    clips = []
    for row, (index, sequence) in enumerate(zip(label.tolist(), sequences.tolist(), strict=True)):
        info = {"sequence": sequence, "take": sequence} if sequence else {}
        clips.append(Clip(path, names[index], subjects[row], "ckplus", row=row, info=info))
    return clips


def _guessed(subjects: list[str | None], guesses: np.ndarray, clusters: np.ndarray) -> list[str | None]:
    """The subject of each row, guessed where it is unknown; those that share a cluster are joined."""
    same = {name: {name} for name in {*filter(None, subjects), *filter(None, guesses.tolist())}}
    for cluster in np.unique(clusters[(guesses != "") & (clusters >= 0)]):
        joined = set().union(*(same[guess] for guess in guesses[clusters == cluster].tolist() if guess))
        same.update(dict.fromkeys(joined, joined))
    rows = zip(subjects, guesses.tolist(), strict=True)
    return ["+".join(sorted(same[who])) if (who := subject or guess) else None for subject, guess in rows]


SEQUENCES = {
    "angry": 45,
    "contempt": 18,
    "disgust": 59,
    "fearful": 25,
    "happy": 69,
    "sad": 28,
    "surprised": 83,
}
"""Sequences with a label, by emotion."""

FACTS = Facts(
    title="CK+",
    page="https://www.jeffcohn.net/resources",
    licence="research agreement, no redistribution",
    citation=(
        "P. Lucey, J. F. Cohn, T. Kanade, J. Saragih, Z. Ambadar and I. Matthews, The Extended Cohn-Kanade "
        "Dataset (CK+): A complete dataset for action unit and emotion-specified expression, CVPR Workshops 2010"
    ),
    layout="folders of pictures like anger/S010_004_00000017.png, or the pixel table as .csv or .npz",
    emotions=LABELS,
    parts={
        "folders of pictures": Part(
            clips=981, subjects=118, counts={"label": {name: 3 * count for name, count in SEQUENCES.items()}}
        ),
        "table of pixels": Part(clips=920, counts={"label": {**SEQUENCES, "neutral": 593}}),
    },
    part_of=lambda clip: "folders of pictures" if clip.row is None else "table of pixels",
    flaws=(
        "The folders hold the last three frames of each of 327 sequences, nearly the same picture.",
        "The table as CSV does not tell who is on which picture.",
    ),
)
