"""FER2013: 35,887 grey faces of 48×48 px in seven emotions, with the votes of FER+ where they lie beside.

It comes as folders of pictures, `Training/angry/fer0000000.png` (or `train/angry/…`), or as the challenge's
`fer2013.csv`, whose rows the numbers in the picture names count. Nobody knows who is on which picture, so
`subject` is None; and 557 groups of identical pictures cross the official splits, which
`info["row_flag"]` marks in part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from avser.datasets._facts import Facts, Part
from avser.datasets._files import IMAGE_SUFFIXES, find
from avser.datasets._pictures import read_rows
from avser.labels import canonical
from avser.types import Clip, DataError

LABELS = ("angry", "disgust", "fearful", "happy", "sad", "surprised", "neutral")
SPLITS = {
    "training": "train",
    "train": "train",
    "publictest": "val",
    "validation": "val",
    "val": "val",
    "privatetest": "test",
    "test": "test",
}
ANNOTATORS = 10
"""Votes that each picture has in FER+."""
TABLES = ("fer2013.csv", "icml_face_data.csv")
VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")


def scan(root: Path) -> list[Clip]:
    """The clips of FER2013, with `info["split"]`, and with `votes` where a table of FER+ lies beside.

    `label` is the original one; `votes` are shares over the eight emotions of FER+, `info["unknown"]` and
    `info["nf"]` (no face) the counts of the other two boxes that an annotator could tick.
    """
    if root.is_file():
        return _from_table(root, _votes(root.parent))
    votes = _votes(root)
    clips = [clip for path in find(root, IMAGE_SUFFIXES) if (clip := _from_picture(root, path, votes))]
    tables = [root / name for name in TABLES if (root / name).is_file()]
    return clips or (_from_table(tables[0], votes) if tables else [])


def majority(clip: Clip) -> str | None:
    """The emotion that more than half of the annotators of FER+ saw; None if there is none.

    As in the code of Barsoum et al. 2016: single votes are taken for slips and dropped, and where the majority is
    "unknown" or "no face" there is no emotion.
    """
    if clip.votes is None:
        return None
    others = [int(clip.info["unknown"]), int(clip.info["nf"])]
    total = ANNOTATORS - sum(others)
    counts = {name: round(share * total) for name, share in clip.votes.items()}
    kept = {name: count for name, count in counts.items() if count > 1}
    votes = sum(kept.values()) + sum(count for count in others if count > 1)
    best = max(kept, key=kept.__getitem__, default=None)
    return best if best is not None and kept[best] > votes / 2 else None


def _from_picture(root: Path, path: Path, votes: Mapping[str, tuple]) -> Clip | None:
    folders = path.relative_to(root).parts[:-1]
    if len(folders) != 2 or folders[0].lower() not in SPLITS:
        return None
    # Where train/ and test/ are the only folders, names like PublicTest_123.jpg still tell the validation part.
    split = SPLITS.get(path.stem.split("_")[0].lower(), SPLITS[folders[0].lower()])
    shares, info = votes.get(path.stem, (None, {}))
    return Clip(path, canonical(folders[1]), None, "fer2013", votes=shares, info={"split": split, **info})


def _from_table(path: Path, votes: Mapping[str, tuple]) -> list[Clip]:
    clips = []
    for row, values in enumerate(read_rows(path, ("emotion", "pixels", "Usage"))):
        split = SPLITS.get(values["Usage"].lower())
        if split is None or values["emotion"] not in list("0123456"):
            raise DataError(f"row {row} of {path} is no row of FER2013: get the table afresh")
        shares, info = votes.get(f"fer{row:07d}", (None, {}))
        label = LABELS[int(values["emotion"])]
        clips.append(Clip(path, label, None, "fer2013", row=row, votes=shares, info={"split": split, **info}))
    return clips


def _votes(root: Path) -> dict[str, tuple[dict[str, float] | None, dict[str, str]]]:
    """Shares and other facts by picture name (without suffix), from either form of the FER+ table."""
    for name, column in (("fer2013_votes.csv", "path"), ("fer2013new.csv", "Image name")):
        path = root / name
        if path.is_file():
            rows = enumerate(read_rows(path, (column, *VOTES, "unknown", "NF")))
            # FER+ leaves the name of a picture without a face empty, but keeps its row.
            return {Path(values[column]).stem or f"fer{row:07d}": _shares(path, values) for row, values in rows}
    return {}


def _shares(path: Path, values: Mapping[str, str]) -> tuple[dict[str, float] | None, dict[str, str]]:
    try:
        counts = {canonical(name): int(values[name]) for name in VOTES}
    except ValueError as error:
        raise DataError(f"{path} holds a vote that is no number ({error}): get the table afresh") from error
    total = sum(counts.values())
    info = {"unknown": values["unknown"], "nf": values["NF"]}
    if "row_flag" in values:
        info["row_flag"] = values["row_flag"]
    usable = total > 0 and values.get("row_flag") != "2"
    return ({name: count / total for name, count in counts.items() if count} if usable else None), info


def _names(clips: Sequence[Clip]) -> list[str]:
    """All pictures by their number, where the pictures that are there bear it."""
    numbered = all(re.fullmatch(r"fer\d{7}", _name(clip)) for clip in clips)
    return [f"fer{row:07d}" for row in range(PICTURES)] if numbered else []


def _name(clip: Clip) -> str:
    return clip.path.stem if clip.row is None else f"fer{clip.row:07d}"


def _listed(root: Path) -> list[str]:
    """The pictures that a table of FER+ has votes for."""
    return list(_votes(root.parent if root.is_file() else root))


PICTURES = 35887
FACTS = Facts(
    title="FER2013",
    page="https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge",
    licence="free for research; the votes of FER+: MIT",
    citation=(
        "I. Goodfellow et al., Challenges in Representation Learning: A Report on Three Machine Learning "
        "Contests, ICONIP 2013; E. Barsoum, C. Zhang, C. Canton Ferrer and Z. Zhang, Training Deep Networks for "
        "Facial Expression Recognition with Crowd-Sourced Label Distribution, ICMI 2016"
    ),
    layout=(
        "folders of pictures like Training/angry/fer0000000.png, or fer2013.csv, and for votes fer2013new.csv of "
        "https://github.com/microsoft/FERPlus beside them"
    ),
    emotions=LABELS,
    parts={
        "pictures": Part(
            clips=PICTURES,
            counts={
                "split": {"train": 28709, "val": 3589, "test": 3589},
                "label": {
                    "angry": 4953,
                    "disgust": 547,
                    "fearful": 5121,
                    "happy": 8989,
                    "neutral": 6198,
                    "sad": 6077,
                    "surprised": 4002,
                },
            },
            names=_names,
        )
    },
    name_of=_name,
    twin_groups=1516,
    flaws=(
        "557 of the groups of identical pictures cross the official splits.",
        "Nobody knows who is on which picture, so that people cannot be kept apart.",
    ),
    listed=_listed,
)
